"""Folders that look like finished runs, with evaluations that a test chooses."""

import json

from omegaconf import OmegaConf

from pbrl.config import compose_config


def made_run(folder, returns, *overrides, status="finished"):
    """A run whose evaluations, every 100 steps, had these returns."""
    folder.mkdir(parents=True)
    config = compose_config(["env=point_reach", "steps=300", *overrides])
    OmegaConf.save(config, folder / "config.yaml")
    (folder / "command.txt").write_text("pbrl train\n")
    rows = [f"{100 * i},{10 * i},{value},0.5,{0.25 * i},30,1.0,0.0" for i, value in enumerate(returns)]
    header = "env_steps,labels,return_mean,return_std,success_rate,episode_length,wall_s,success_at_end"
    (folder / "evaluations.csv").write_text("\n".join([header, *rows, ""]))
    if status is not None:
        summary = {"status": status, "method": config.method.name, "final_return": returns[-1] if returns else None}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder
