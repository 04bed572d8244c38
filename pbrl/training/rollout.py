"""Whole episodes of a policy in environments of its own, with the true reward of each step."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from pbrl.data.episodes import Episode
from pbrl.data.recorder import EpisodeRecorder
from pbrl.training.environments import SIDE_BY_SIDE, OneMore

ActFn = Callable[[np.ndarray], np.ndarray]
"""Actions (M, A) in [-1, 1] of observations (M, O)."""


def roll_out(
    make_env: Callable[[], gym.Env], act: ActFn, episodes: int, seed: int, envs: int = SIDE_BY_SIDE
) -> list[Episode]:
    """Play the first `episodes` episodes of this seed; an `Evaluator` with this seed sees the same.

    envs: how many at once at most, each in an environment of its own.
    """
    recorders: list[EpisodeRecorder] = []
    one_more = OneMore(make_env, first=None, alone="pbrl eval RUN_DIR envs=1")
    try:
        recorders.extend(EpisodeRecorder(one_more()) for _ in range(min(episodes, envs)))
        blocks = [range(i, min(i + envs, episodes)) for i in range(0, episodes, envs)]
        return [episode for numbers in blocks for episode in _block(recorders, act, numbers, seed)]
    finally:
        for recorder in recorders:
            recorder.close()


def random_policy(action_size: int, seed: int) -> ActFn:
    """Return a policy of uniform actions in [-1, 1], whatever it sees."""
    rng = np.random.default_rng(seed)
    return lambda obs: rng.uniform(-1, 1, (len(obs), action_size)).astype(np.float32)


def steps_of(episodes: list[Episode]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return observations (M, O), actions (M, A) and true rewards (M,) of all steps, in order."""
    return (
        np.concatenate([e.obs[:-1] for e in episodes]),
        np.concatenate([e.actions for e in episodes]),
        np.concatenate([e.true_reward for e in episodes]),
    )


def mean_return(episodes: list[Episode]) -> float:
    return float(np.mean([e.true_reward.sum(dtype=np.float64) for e in episodes]))


def _block(recorders: list[EpisodeRecorder], act: ActFn, numbers: range, seed: int) -> list[Episode]:
    envs = recorders[: len(numbers)]
    obs = np.stack([env.begin(seed, number) for env, number in zip(envs, numbers, strict=True)])
    running = np.arange(len(envs))
    while len(running):
        ended = []
        for i, action in zip(running, act(obs[running]), strict=True):
            obs[i], _, terminated, truncated, _ = envs[i].step(action)
            ended.append(terminated or truncated)
        running = running[~np.array(ended)]
    return [episode for env in envs for episode in env.take_finished()]
