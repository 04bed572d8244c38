"""What `pbrl speed` measures. Each part gives rows; ours and the other one alternate within a row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.fast_sac import FastSAC
from pbrl.config import build, compose_config
from pbrl.data.recorder import EpisodeRecorder
from pbrl.precision import has_bfloat16_hardware
from pbrl.speed.floor import sac_update
from pbrl.speed.timing import Job, Timing, alternate, timed
from pbrl.types import Comparisons, Segments

CHEETAH, WALKER = (17, 6), (24, 6)  # observation and action sizes of HalfCheetah-v5 and of dm_control's walker
UPDATES = [(width, batch) for width in (256, 1024) for batch in (256, 1024)]
MILLION = 1_000_000
PLAIN = "plain SB3"


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` beside the other one, and the floor where it is known."""

    part: str
    setting: str
    threads: int
    unit: str  # "ms", or something per second
    ours: Timing  # seconds per unit of work
    other: Timing | None = None
    other_name: str = ""
    floor_s: float | None = None


@dataclass(frozen=True)
class Effort:
    repeats: int
    seconds: float  # of one turn
    loop_steps: int  # of one run of the whole loop
    threads: tuple[int, ...]

    def alternate(self, jobs: dict[str, Job]) -> dict[str, Timing]:
        return alternate(jobs, self.repeats, self.seconds)


def matmul(effort: Effort) -> Iterator[Row]:
    """Square products: the machine's rate."""
    for threads in effort.threads:
        with torch_threads(threads):
            for size in (256, 1024):
                jobs = {str(dtype): _product(size, dtype) for dtype in _dtypes()}
                for name, timing in effort.alternate(jobs).items():
                    yield Row("matmul", f"{size}^3, {name.removeprefix('torch.')}", threads, "ms", timing)


def update(effort: Effort) -> Iterator[Row]:
    """One SAC update on the sizes of HalfCheetah, and its floor at the rate of products measured beside it."""
    for threads in effort.threads:
        for width, batch in UPDATES:
            operations = sac_update(*CHEETAH, [width, width], batch)
            with torch_threads(threads):
                jobs = {str(dtype): _product(width, dtype) for dtype in _dtypes()}
                jobs |= {f"SAC {dtype}": _training(fast_sac(dtype, width), batch) for dtype in _dtypes()}
                times = effort.alternate(jobs | {PLAIN: _training(_plain_sac(width), batch)})
            rate = {dtype: 2 * width**3 / times[str(dtype)].median for dtype in _dtypes()}
            for dtype in _dtypes():
                yield Row(
                    "SAC update",
                    f"2 x {width}, batch {batch}, {str(dtype).removeprefix('torch.')}",
                    threads,
                    "ms",
                    times[f"SAC {dtype}"],
                    times[PLAIN],
                    PLAIN,
                    operations.seconds(rate[dtype], rate[torch.float32]),
                )


def act(effort: Effort) -> Iterator[Row]:
    """One action with noise for one observation."""
    obs = np.zeros((1, CHEETAH[0]), np.float32)
    models = {"ours": fast_sac(torch.float32, 256), PLAIN: _plain_sac(256)}
    with torch_threads(1):
        times = effort.alternate({name: timed(partial(model.predict, obs)) for name, model in models.items()})
    yield Row("acting", "2 x 256, one observation", 1, "ms", times["ours"], times[PLAIN], PLAIN)


def reward(effort: Effort) -> Iterator[Row]:
    """Steps of the reward model of method=pebble: three members, a batch of 128 pairs of 50 steps for each."""
    rng = torch.Generator().manual_seed(0)
    pairs = 3 * 128
    comparisons = Comparisons(
        left=_segments(pairs, 50, rng),
        right=_segments(pairs, 50, rng),
        prefers_right=torch.randint(2, (pairs,), generator=rng).float(),
        annotator=torch.zeros(pairs, dtype=torch.int64),
    )
    model = _reward_model()
    for threads in effort.threads:
        with torch_threads(threads):
            timing = effort.alternate({"ours": timed(lambda: model.update(comparisons))})["ours"]
        per_pair = Timing(tuple(s / pairs for s in timing.seconds))
        yield Row("reward fit", "3 members, 128 pairs of 50 steps each", threads, "pairs/s", per_pair)


def relabel(effort: Effort) -> Iterator[Row]:
    """Relabelling a buffer of a million steps of walker-walk."""
    buffer = LearnedRewardBuffer(MILLION, *_spaces(*WALKER), "cpu")
    fill(buffer)
    buffer.reward_fn = _reward_model().step_reward
    for threads in effort.threads:
        with torch_threads(threads):
            timing = alternate({"ours": timed(buffer.relabel)}, effort.repeats, effort.seconds, units=1)["ours"]
        per_step = Timing(tuple(s / MILLION for s in timing.seconds))
        yield Row("relabelling", "a million steps, 3 members of 3 x 256", threads, "steps/s", per_step)


def env(effort: Effort) -> Iterator[Row]:
    """Simulated steps as the agent sees them (episodes and simulator states recorded) beside the same without that."""
    for name in ("halfcheetah", "walker-walk"):
        make_env = partial(build, compose_config([f"env={name}"]).env.make)
        ours = EpisodeRecorder(make_env(), hide_reward=True)
        times = effort.alternate({"ours": _stepping(ours), "unrecorded": _stepping(make_env())})
        yield Row("environment", name, 1, "steps/s", times["ours"], times["unrecorded"], "unrecorded")


def loop(effort: Effort) -> Iterator[Row]:
    """Whole runs of method=pebble on walker-walk: exploring, asking, fitting, learning, evaluating."""
    steps = effort.loop_steps
    jobs = {"ours": _run("sac"), PLAIN: _run("sac_sb3")}
    times = alternate(jobs, effort.repeats, effort.seconds, units=steps)
    setting = f"pebble, walker-walk, {steps} steps, 2 x 256, batch 256"
    yield Row("whole loop", setting, 1, "steps/s", times["ours"], times[PLAIN], PLAIN)


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "matmul": matmul,
    "update": update,
    "act": act,
    "reward": reward,
    "relabel": relabel,
    "env": env,
    "loop": loop,
}


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fill(buffer: Any, seed: int = 0) -> None:
    """Random transitions in every row of a replay buffer."""
    rng = np.random.default_rng(seed)
    for name in ("observations", "next_observations", "actions", "rewards"):
        if (array := getattr(buffer, name, None)) is not None:
            array[:] = rng.uniform(-1, 1, array.shape)
    buffer.full = True


def fast_sac(dtype: torch.dtype, width: int) -> SAC:
    precision = str(dtype).removeprefix("torch.")
    return _sac(FastSAC, width, precision=precision, replay_buffer_class=LearnedRewardBuffer)


class _Nowhere(gym.Env):
    """Spaces alone: what an update needs of an environment."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space, self.action_space = _spaces(obs, actions)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(self.observation_space.shape or (), np.float32), {}


def _spaces(obs: int, actions: int) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    return gym.spaces.Box(-np.inf, np.inf, (obs,), np.float32), gym.spaces.Box(-1, 1, (actions,), np.float32)


def _dtypes() -> list[torch.dtype]:
    return [torch.float32, *([torch.bfloat16] if has_bfloat16_hardware() else [])]


def _product(size: int, dtype: torch.dtype) -> Job:
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    return timed(lambda: torch.mm(a, b, out=out))


def _plain_sac(width: int) -> SAC:
    return _sac(SAC, width)


def _sac(algorithm: type[SAC], width: int, **kwargs: Any) -> SAC:
    policy = {"net_arch": [width, width]}
    env = _Nowhere(*CHEETAH)
    model = algorithm("MlpPolicy", env, buffer_size=20_000, policy_kwargs=policy, device="cpu", seed=0, **kwargs)
    model._setup_learn(1)
    fill(model.replay_buffer)
    return model


def _training(model: SAC, batch: int) -> Job:
    """A call of train() per update, as in a run."""
    return timed(lambda: model.train(gradient_steps=1, batch_size=batch))


def _reward_model() -> Any:
    from pbrl.training.build import build_reward

    config = compose_config(["method=pebble"])
    return build_reward(config, *_spaces(*WALKER), torch.Generator().manual_seed(0))


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


def _stepping(env: gym.Env) -> Job:
    env.reset(seed=0)
    env.action_space.seed(0)
    take = getattr(env, "take_finished", list)

    def step() -> None:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            take()  # or the recorder's episodes would pile up
            env.reset()

    return timed(step)


def _run(agent: str) -> Job:
    """Steps of a whole run, with a session in each quarter; making its environments does not count."""

    def job(steps: int) -> float:
        from pbrl.training.online import start

        settings = {
            "env": "walker-walk",
            "method": "pebble",
            "agent": agent,
            "steps": steps,
            "feedback.budget": 30,
            "feedback.per_session": 10,
            "feedback.first": steps // 4,
            "feedback.every": steps // 4,
            "evaluation.every": steps,
            "evaluation.episodes": 1,
            "agent.learning_starts": steps // 10,
            "checkpoint.every": steps,
            "report": "false",
        }
        with tempfile.TemporaryDirectory() as folder:
            overrides = [f"{key}={value}" for key, value in settings.items()] + [f"run_dir={Path(folder) / 'run'}"]
            run = start(compose_config(overrides), ["pbrl", "speed"])
            return timed(run.train)(1)

    return job


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
