"""`pbrl export`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import free_name, numbers, run_folder
from pbrl.errors import UserError, one_line

HELP = """usage: pbrl export RUN_DIR [policy=FORMAT,...] [reward=FORMAT,...] [out=FOLDER] [checkpoint=] [user=]
                   [weights=]
       pbrl export RUN_DIR reward=progress_parquet data=FOLDER to=LEROBOT_FOLDER

Writes what a run has learned for programs that have no pbrl, into a new folder, beside JSON files that say what goes in
and what comes out. Observations are flat vectors as Gymnasium flattens them, actions in the environment's own units.

  policy=zip           policy.zip, for Stable-Baselines3
  policy=torchscript   policy.pt, for torch.jit.load; policy=onnx: policy.onnx, for onnxruntime and others
  reward=safetensors   reward.safetensors, weights alone; reward.json says how to build the network
  reward=torchscript   reward.pt; reward=onnx: reward.onnx: obs, actions to rewards
  reward=lerobot       reward_lerobot/, a reward model of LeRobot
  reward=progress_parquet   the reward of each frame of a LeRobotDataset, as its pbrl_progress.parquet, which LeRobot's
                       reward-weighted cloning reads; data= is the data set that was imported from it
  out=FOLDER           a new folder (default: RUN_DIR/export, export_2, ...)
  checkpoint=          last or a step, instead of the newest policy and reward
  user=                of method=vpl: whose taste
  weights=             of method=cmorl and cmorl_conditioned: how much each objective counts, as 0.7,0.3

example: pbrl export runs/mine policy=onnx reward=onnx"""
KEYS = ("policy", "reward", "out", "checkpoint", "user", "weights", "data", "to")
PROGRESS = "progress_parquet"


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(KEYS)
    path = run_folder(parsed.words, HELP.splitlines()[0])
    try:
        if PROGRESS in (rewards := _listed(parsed, "reward")):
            return _progress(path, parsed, rewards)
        if wrong := [key for key in ("data", "to") if key in parsed.values]:
            raise UserError(f"{wrong[0]}= is for reward={PROGRESS}; leave it out")
        from pbrl.export.write import export

        written = export(
            path,
            Path(parsed.values["out"]) if "out" in parsed.values else free_name(path / "export"),
            policy=_listed(parsed, "policy"),
            reward=rewards,
            checkpoint=parsed.values.get("checkpoint"),
            user=parsed.values.get("user"),
            weights=numbers(parsed, "weights", "", -1e9, 1e9) if "weights" in parsed.values else None,
        )
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror or one_line(error)}") from error
    print("\n".join(f"written to {file}" for file in written))
    return 0


def _progress(path: Path, parsed: Arguments, rewards: list[str]) -> int:
    """Write beside the LeRobotDataset itself, as `pbrl data export format=lerobot` does it."""
    if len(rewards) > 1 or not parsed.values.keys() <= {"reward", "data", "to"}:
        raise UserError(f"reward={PROGRESS} goes into a LeRobotDataset; beside it there are data= and to= alone")
    if missing := [key for key in ("data", "to") if key not in parsed.values]:
        raise UserError(f"{missing[0]}= is missing: reward={PROGRESS} needs data=FOLDER to=LEROBOT_FOLDER")
    from pbrl.commands.data_command import main as data_main

    words = [parsed.values["data"], "format=lerobot", f"to={parsed.values['to']}", f"reward={path}"]
    return data_main(["export", *words])


def _listed(parsed: Arguments, key: str) -> list[str]:
    """The names between commas, each once."""
    names = [name.strip() for name in parsed.values.get(key, "").split(",") if name.strip()]
    if key in parsed.values and not names:
        raise UserError(f"{key}= is empty; leave it out, or name a format")
    return list(dict.fromkeys(names))
