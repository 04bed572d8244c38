"""The resuming of a run, which is first proven to be the one that its checkpoint saw."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from pbrl.config import leaves
from pbrl.errors import UserError, typed
from pbrl.files import replacing
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import read_summary

# These keys decide nothing that was learned. Data sets may lie elsewhere by now: their content is compared.
FREE_KEYS = {"steps", "run_dir", "report", "threads", "log_every", "data", "labels", "teacher.labels"}
FREE_KEYS |= {"evaluation.every", "evaluation.envs", "evaluation.window", "method.learned"}
FREE_KEYS |= {"method.demos_data"}
FREE_PARTS = ("viewer.", "checkpoint.", "logger.", "tensorboard.")


def config_record(config: DictConfig) -> dict[str, Any]:
    """Return what a checkpoint keeps of the config that ran: each value by its dotted key."""
    return dict(leaves(OmegaConf.to_container(config, resolve=True)))


def prove_resumable(run: RunDir, config: DictConfig) -> None:
    """Refuse a config that is not the one that ran, and a run with nothing to go on with; change nothing."""
    checkpoints = Checkpoints(run.checkpoints, keep=1)
    last, summary = checkpoints.last(), read_summary(run) or {}
    ended_at = summary.get("updates", summary.get("env_steps", 0))
    reached = 0 if last is None else int(last.name)
    if ended_at > reached:
        gone = f"{run.path} ended at step {ended_at}, and the checkpoint of it is gone"
        raise UserError(f"{gone}; a new run can begin with its policy: {typed('train', f'init={run.path}')} ...")
    if last is None:
        return  # it begins anew, with whatever its config says now
    record = checkpoints.config(last)
    if record is None:
        old = f"{last} is of an older pbrl and has no record of its config"
        raise UserError(f"{old}; a new run can begin with its policy: {typed('train', f'init={run.path}')} ...")
    _require_same(record, config_record(config), run, reached)
    finished = summary.get("status") == "finished"
    if config.steps <= reached and (finished or config.steps != record["steps"]):
        state = "has finished" if finished else "is"
        more = f"more steps extend it: {typed('train', f'resume={run.path}', 'steps=N')} with N above {reached}"
        raise UserError(f"resume={run.path}: this run {state} at step {reached}, and steps={config.steps}; {more}")


def go_on(run: RunDir, config: DictConfig) -> None:
    """Write the config of a run that goes on, which may have more steps, and remove its summary."""
    if OmegaConf.load(run.config) != config:
        with replacing(run.config) as partial:
            OmegaConf.save(config, partial)
    run.summary.unlink(missing_ok=True)


def _require_same(ran: dict[str, Any], now: dict[str, Any], run: RunDir, step: int) -> None:
    """Require the same value of every key but the free ones."""
    changed = [
        f"{key} is {now.get(key)} and was {ran.get(key)}"
        for key in {**ran, **now}
        if now.get(key) != ran.get(key) and key not in FREE_KEYS and not key.startswith(FREE_PARTS)
    ]
    if changed:
        back = "put that back, or begin a new run"
        raise UserError(f"checkpoint {step} does not fit {run.config}: {', '.join(changed)} when it ran; {back}")
