"""Policies and rewards from the folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from pbrl.errors import UserError
from pbrl.training.run_dir import RunDir
from pbrl.training.saved import load_run as load_saved
from pbrl.training.saved import saved_weights
from pbrl.training.saved_run import SavedRun, chosen_checkpoint
from pbrl.use.policy import Policy
from pbrl.use.reward import Reward

Checkpoint = str | int | None
"""None for the newest policy and reward, "last" for those of the last checkpoint, a number for those of that step."""


def load_saved_run(
    run: str | PathLike[str],
    checkpoint: Checkpoint = None,
    user: str | None = None,
    weights: Sequence[float] | None = None,
) -> SavedRun:
    """Return the run in its folder, or for one user (method=vpl) or weights of its objectives (method=cmorl)."""
    saved = load_saved(Path(run), None if checkpoint is None else str(checkpoint))
    saved = saved if user is None else saved.of_user(user)
    return saved if weights is None else saved.along(weights)


def load_policy(
    run: str | PathLike[str],
    checkpoint: Checkpoint = None,
    user: str | None = None,
    weights: Sequence[float] | None = None,
) -> Policy:
    """Load the newest policy of a run: of its end, or of its last checkpoint if it went on after that or was killed.

    run: a `Run`, or its folder.
    checkpoint: "last", or the step of a checkpoint, to take that one.
    user: of method=vpl, whose taste: a name, or the folder of a label set.
    weights: of method=cmorl and cmorl_conditioned, how much each objective counts: the policy that is best by that.
    Raises UserError where the folder has no policy, or its environment cannot be made here.
    """
    return Policy(load_saved_run(run, checkpoint, user, weights))


def load_reward(run: str | PathLike[str], checkpoint: Checkpoint = None, user: str | None = None) -> Reward:
    """Load the learned reward of a run, which scores (obs, actions) in the environment's own units.

    run, checkpoint, user: as in `load_policy`.
    Raises UserError where the run has learned none, or one that needs more than a step.
    """
    saved = load_saved_run(run, checkpoint, user)
    return Reward(saved, reward_scale(saved, checkpoint))


def reward_scale(saved: SavedRun, checkpoint: Checkpoint = None) -> float:
    """Return what the model's reward was multiplied by for the agent that it drove."""
    folder = RunDir(saved.path)
    file = chosen_checkpoint(folder, None if checkpoint is None else str(checkpoint))
    _, about = saved_weights(folder, saved.method, file)
    return float(about.get("scale", 1.0))


def reward_of(given: Reward | str | PathLike[str]) -> Reward:
    """Return a reward, or that of the run in a folder."""
    if isinstance(given, Reward):
        return given
    if isinstance(given, (str, PathLike)):
        return load_reward(given)
    raise UserError(f"reward={given!r:.60}: expected a reward of pbrl.load_reward, or the folder of a run")
