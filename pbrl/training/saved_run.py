"""The files in the folder of a run, and a run that was read from it. Nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from omegaconf import DictConfig
from torch import Tensor

from pbrl.agents.sb3 import PPOAgent, SACAgent
from pbrl.building import build
from pbrl.data.episodes import Episode
from pbrl.errors import UserError, one_line, typed
from pbrl.methods.method import Method
from pbrl.nets.policies import Policy
from pbrl.reading import read_object, require_archive, require_file
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.environments import evaluation_envs
from pbrl.training.rollout import ActFn, roll_out
from pbrl.training.run_dir import RunDir
from pbrl.types import RewardFn


@dataclass(frozen=True)
class SavedRun:
    path: Path
    config: DictConfig
    act: ActFn  # without noise
    obs_shape: tuple[int, ...]
    action_size: int  # A
    reward: RewardFn | None  # None where the run learns none, or has had no answers yet
    source: str  # the file that the policy came from, relative to the run
    step: int  # at which the policy was saved: environment steps, or gradient steps of an offline run
    method: Method  # which has not begun
    agent: SACAgent | PPOAgent | None = None  # None where the method is offline
    reference: Policy | None = None  # what an offline policy was learned relative to, where it was
    policy: Policy | None = None  # an offline method's
    choosing: Callable[[int], Any] | None = None  # the policy that does the best of so many actions, where it has one

    @property
    def offline(self) -> bool:
        """Return whether it has no agent, and learned from data alone."""
        return not self.method.agents

    @property
    def learns_from_answers(self) -> bool:
        """Return whether somebody was asked while the agent acted."""
        return bool(self.method.asks) and not self.method.needs_data

    @property
    def has_env(self) -> bool:
        return self.config.env.make is not None

    def roll_out(self, act: ActFn, episodes: int, seed: int, envs: int | None = None) -> list[Episode]:
        """Play any policy in the task of the run; envs: how many at once, by default as many as the run had."""
        return roll_out(self.make_env, act, episodes, seed, envs or evaluation_envs(self.config))

    def of_user(self, user: str) -> SavedRun:
        """Return the run as it acts and rewards for one user, see `Method.personal`."""
        learned = self.method.personal(user)
        assert learned.policy is not None
        return replace(self, act=learned.policy.act, policy=learned.policy, reward=learned.reward)

    def along(self, weights: Sequence[float]) -> SavedRun:
        """Return the run acting by the policy that is best by these weights of its objectives, see `Method.along`.

        The agent is the same one: this run acts so from now on, too.
        """
        return self._with(*self.method.along(weights))

    def of_number(self, number: int) -> SavedRun:
        """Return the run acting by one of the policies of its front, as `along` does; see `Method.policy_of`."""
        return self._with(*self.method.policy_of(number))

    def _with(self, actor: Mapping[str, Tensor], what: str) -> SavedRun:
        assert self.agent is not None
        self.agent.actor.load_state_dict(actor)
        return replace(self, source=f"{self.source}, {what}")

    def make_env(self, **options: Any) -> gym.Env:
        """Make the task of the run; options such as render_mode go to the suite. UserError if it had none."""
        if not self.has_env:
            raise UserError(f"{self.path} learned without an environment (env=none), so there is none to act in")
        return build(self.config.env.make, **options)


def read_summary(run: RunDir) -> dict[str, Any] | None:
    """Read summary.json; None while the run goes on, and after it was killed."""
    if not os.path.lexists(run.summary):
        return None
    summary = read_object(run.summary)
    if not isinstance(summary.get("status"), str):
        raise UserError(f"{run.summary} is not the summary of a run: it has no status")
    return summary


def saved_step(run: RunDir, *keys: str) -> int:
    """Return what summary.json says under the first of these keys that it has; 0 without any."""
    summary = read_summary(run) or {}
    found = next((summary[key] for key in keys if key in summary), 0)
    if type(found) is not int:
        raise UserError(f"{run.summary}: {' or '.join(keys)} is {found!r}, expected a whole number")
    return found


def without_env(run: RunDir) -> str:
    """Say what is known of an offline run that was not evaluated."""
    summary = read_summary(run) or {}
    if (error := summary.get("action_error")) is None:
        return heldout_accuracy(summary)
    return f"{heldout_accuracy(summary)}; action error {error:.2g} ({summary.get('action_error_on')})"


def heldout_accuracy(summary: dict[str, Any]) -> str:
    """Say how many of the labels that it did not learn from a run foresees."""
    for key, split in (("reward_accuracy", "test"), ("validation_accuracy", "validation")):
        if (share := summary.get(key)) is not None:
            ceiling = summary.get("model_ceiling") if split == "test" else None
            beside = "" if ceiling is None else f"; an expert's own likelihood {ceiling:.0%}"
            return f"accuracy on held-out labels {share:.0%} ({split}){beside}"
    return "no held-out labels to measure by"


def chosen_checkpoint(run: RunDir, wanted: str | None) -> Path | None:
    """Return the checkpoint to read, or None for the files that the run wrote at its end.

    wanted: "last" or a number of steps; None: whichever is newer. UserError where there is none of what is wanted.
    """
    checkpoints = Checkpoints(run.checkpoints, keep=1)
    if wanted not in (None, "last"):
        if not (wanted.isdigit() and (run.checkpoints / wanted).is_dir()):
            there = sorted((p.name for p in run.checkpoints.glob("*") if p.name.isdigit()), key=int)
            raise UserError(f"checkpoint={wanted}: valid are {', '.join(['last', *there]) if there else 'none yet'}")
        return run.checkpoints / wanted
    last = checkpoints.last()
    if wanted == "last" and last is None:
        raise UserError(f"checkpoint=last: {run.path} has no checkpoint")
    if wanted == "last" or not any(map(os.path.lexists, (run.policy, run.offline_policy))):
        if last is None:
            raise UserError(f"{run.path} has no policy yet; go on with: {typed('train', f'resume={run.path}')}")
        return last
    # A run that was resumed and killed has an old policy.zip beside newer checkpoints.
    at_end = saved_step(run, "updates", "env_steps")
    return last if last is not None and int(last.name) > at_end else None


def read(file: Path, load: Callable[[], Any]) -> Any:
    """Return what `load` makes of a file of weights, or of a checkpoint's folder, which was checked before."""
    if not file.is_dir():
        require_file(file)
    if (archive := file.suffix == ".zip") and file.is_file():
        require_archive(file)
    try:
        return load()
    except Exception as error:  # zip, torch, safetensors and SB3 each fail in their own way
        other = "; checkpoint=last takes the last checkpoint" if archive else ""
        raise UserError(f"{file} is damaged or of another config ({one_line(error)}){other}") from error
