"""The objects that `pbrl speed` works on: models with full buffers, comparisons, environments and short runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.fast_sac import FastSAC
from pbrl.config import compose_config
from pbrl.native.binding import load
from pbrl.speed.timing import Job, timed
from pbrl.types import Comparisons, Segments

CHEETAH, WALKER = (17, 6), (24, 6)  # observation and action sizes of HalfCheetah-v5 and of dm_control's walker


def fast_sac(dtype: torch.dtype, width: int, backend: str = "auto") -> SAC:
    precision = str(dtype).removeprefix("torch.")
    return _sac(FastSAC, width, precision=precision, backend=backend, replay_buffer_class=LearnedRewardBuffer)


def plain_sac(width: int) -> SAC:
    return _sac(SAC, width)


def full_buffer(transitions: int) -> LearnedRewardBuffer:
    """Fill a buffer with random steps of walker-walk's sizes."""
    buffer = LearnedRewardBuffer(transitions, *_spaces(*WALKER), "cpu")
    _fill(buffer)
    return buffer


def reward_model() -> Any:
    """Make the model of method=pebble for walker-walk, untrained, its input statistics in use."""
    from pbrl.building import maker_of

    rng = np.random.default_rng(0)
    config = compose_config(["method=pebble"])
    sizes = {"obs_size": WALKER[0], "action_size": WALKER[1]}
    model = maker_of(config.method.model).make(**sizes, rng=torch.Generator().manual_seed(0))
    model.observe(rng.normal(size=(1000, WALKER[0])).astype(np.float32))
    return model


def reward_sizes(model: Any) -> list[int]:
    """Return the layer sizes of one member, input and output included."""
    return [model.net.weights[0].shape[1], *(weight.shape[2] for weight in model.net.weights)]


def comparisons(pairs: int, steps: int) -> Comparisons:
    """Pair random segments of walker-walk's sizes, answered by coin toss."""
    rng = torch.Generator().manual_seed(0)
    return Comparisons(
        left=_segments(pairs, steps, rng),
        right=_segments(pairs, steps, rng),
        prefers_right=torch.randint(2, (pairs,), generator=rng).float(),
        annotator=torch.zeros(pairs, dtype=torch.int64),
    )


def stepping(env: gym.Env) -> Job:
    """Make a job of random actions, episode after episode."""
    env.reset(seed=0)
    env.action_space.seed(0)

    def step() -> None:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()

    return timed(step)


def run(agent: str, threads: int, env: str = "walker-walk", **changes: Any) -> Job:
    """Make a job of whole runs of method=pebble, one session half-way; making their parts does not count."""

    def job(steps: int) -> float:
        from pbrl.training.start import start

        settings = {
            "env": env,
            "method": "pebble",
            "agent": agent,
            "steps": steps,
            "threads": threads,
            "feedback.budget": 10,
            "feedback.per_session": 10,
            "feedback.first": steps // 2,
            "evaluation.every": steps,
            "evaluation.episodes": 1,
            "agent.learning_starts": steps // 10,
            "checkpoint.every": steps,
            "report": "false",
            **changes,
        }
        with tempfile.TemporaryDirectory() as folder:
            overrides = [f"{key}={value}" for key, value in settings.items()] + [f"run_dir={Path(folder) / 'run'}"]
            return timed(start(compose_config(overrides), ["pbrl", "speed"]).train)(1)

    return job


def spinning(dtype: torch.dtype) -> Job | None:
    """Make a job of the most that one thread can multiply and add, in registers alone: a unit is 1e9 operations.

    None where there is no compiled kernel.
    """
    library, _ = load()
    half = dtype == torch.bfloat16
    if library is None or (half and not library.has_half):
        return None

    def job(units: int) -> float:
        rounds = 1_000_000
        start = time.process_time()
        done = library.spin(rounds, half)
        while done < units * 1e9:
            done += library.spin(rounds, half)
        return (time.process_time() - start) * units * 1e9 / done

    return job


def as_shipped(job: Job) -> Job:
    """Return a job with float32 products as torch computes them by itself."""

    def shipped(units: int) -> float:
        with _use_default_products():
            return job(units)

    return shipped


@contextmanager
def _use_default_products() -> Iterator[None]:
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(matmul, "fp32_precision"):
        yield
        return
    before, matmul.fp32_precision = matmul.fp32_precision, "none"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class _Nowhere(gym.Env):
    """Spaces alone: what an update needs of an environment."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space, self.action_space = _spaces(obs, actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(self.observation_space.shape or (), np.float32), {}


def _spaces(obs: int, actions: int) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    return gym.spaces.Box(-np.inf, np.inf, (obs,), np.float32), gym.spaces.Box(-1, 1, (actions,), np.float32)


def _sac(algorithm: type[SAC], width: int, **kwargs: Any) -> SAC:
    policy = {"net_arch": [width, width]}
    env = _Nowhere(*CHEETAH)
    model = algorithm("MlpPolicy", env, buffer_size=20_000, policy_kwargs=policy, device="cpu", seed=0, **kwargs)
    model._setup_learn(1)
    _fill(model.replay_buffer)
    return model


def _fill(buffer: Any) -> None:
    """Fill every row of a replay buffer, SB3's own or ours, with random numbers."""
    rng = np.random.default_rng(0)
    for name in ("observations", "next_observations", "actions", "rewards"):
        if (array := getattr(buffer, name, None)) is not None:
            rng.random(dtype=np.float32, out=array)
    buffer.full = True


def _segments(n: int, steps: int, rng: torch.Generator) -> Segments:
    obs, actions = WALKER
    return Segments(
        obs=torch.randn(n, steps + 1, obs, generator=rng),
        actions=torch.rand(n, steps, actions, generator=rng) * 2 - 1,
        mask=torch.ones(n, steps),
        terminated=torch.zeros(n, steps),
        true_reward=torch.zeros(n, steps),
        ids=torch.arange(n),
    )
