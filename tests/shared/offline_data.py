"""Small offline data with known facts: in state s the good action is W s, and segments differ in how good they are."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import torch

from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.data.offline import OfflineData, Pairs
from pbrl.nets.devices import CPU
from pbrl.nets.policies import Policy

BEST = np.array([[0.5, -0.3], [0.2, 0.6]], np.float32)
STEPS, LENGTH = 4, 12


def make_data(
    episodes: int = 40, pairs: int = 200, seed: int = 0, reward: bool = True, dense: bool = False, last_obs: bool = True
) -> OfflineData:
    """Actions are the best ones plus noise that grows from one episode to the next; labels follow minus its square."""
    rng = np.random.default_rng(seed)
    done = [_episode(rng, noise, reward) for noise in np.linspace(0, 1, episodes)]
    store = EpisodeStore(episodes)
    store.add(done)
    first = np.arange(episodes) * (LENGTH + 1)
    ids = rng.permuted(np.concatenate([first + start for start in range(0, LENGTH - STEPS + 1, STEPS)]))
    segments = store.gather(ids, STEPS)
    regret = -((segments.actions - segments.obs[:, :-1] @ torch.from_numpy(BEST).T) ** 2).sum((1, 2))
    left, right = (torch.from_numpy(rng.integers(0, len(ids), pairs)) for _ in range(2))
    told = torch.where(left == right, 0.5, (regret[right] > regret[left]).float())
    labelled = Pairs(left, right, told, torch.zeros_like(left))
    return OfflineData(
        label="regret",
        sha256="0",
        segments=segments,
        episodes=done,
        pairs=labelled,
        validation=labelled[: pairs // 10].comparisons(segments),
        scores=regret if dense else None,
        last_obs=last_obs,
        annotators=("regret",),
    )


def small_policy(hidden: tuple[int, ...] = (32,), dropout: float = 0.0):
    return partial(Policy, hidden=hidden, dropout=dropout, normalise=False)


def begun(method: type, data: OfflineData, steps: int, *, seed: int = 0, policy: dict | None = None, **numbers):
    """A method that has begun in a run of so many updates on this data, which goes on by `update` and `run`."""
    rng = torch.Generator().manual_seed(seed)
    made = method(policy=small_policy(**policy or {}), **numbers)
    sizes = {"obs_shape": data.segments.obs.shape[2:], "action_size": data.segments.actions.shape[-1]}
    made.begin(SimpleNamespace(data=data, steps=steps, step=0, device=CPU, rng=lambda name: rng, **sizes))
    return made


def update(learner) -> dict[str, float]:
    """One step, as a run takes it."""
    metrics = learner.step()
    learner.run.step += 1
    return metrics


def run(learner, updates: int | None = None) -> dict[str, float]:
    """Trains to the end; the last metrics."""
    metrics: dict[str, float] = {}
    for _ in range(updates or learner.steps):
        metrics = update(learner)
    return metrics


def action_error(learner) -> float:
    """Mean squared distance to the best actions, over fresh states."""
    obs = np.random.default_rng(99).uniform(-1, 1, (500, 2)).astype(np.float32)
    return float(((learner.actor.act(obs) - obs @ BEST.T) ** 2).mean())


def _episode(rng: np.random.Generator, noise: float, reward: bool) -> Episode:
    obs = rng.uniform(-1, 1, (LENGTH + 1, 2)).astype(np.float32)
    # The noise leans to one side: cloning everything is biased, cloning the good is not.
    actions = (obs[:-1] @ BEST.T + noise * rng.uniform(-0.1, 0.6, (LENGTH, 2))).astype(np.float32)
    value = -((actions - obs[:-1] @ BEST.T) ** 2).sum(1)
    return Episode(obs, actions, value if reward else np.full(LENGTH, np.nan, np.float32), terminated=False)
