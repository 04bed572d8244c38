"""What `pbrl speed` measures. Each part gives rows; ours and the other one alternate within a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from stable_baselines3 import SAC

from pbrl.agents.reward_source import StoredReward
from pbrl.config import build, compose_config
from pbrl.data.recorder import EpisodeRecorder
from pbrl.nets.precision import has_bfloat16_hardware
from pbrl.speed.fixtures import CHEETAH, comparisons, fast_sac, full_buffer, plain_sac, reward_model, run, stepping
from pbrl.speed.floor import sac_update
from pbrl.speed.timing import Job, Timing, alternate, timed

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

    def alternate(self, jobs: dict[str, Job], units: int | None = None) -> dict[str, Timing]:
        return alternate(jobs, self.repeats, self.seconds, units)


def matmul(effort: Effort) -> Iterator[Row]:
    """Square products: the machine's rate."""
    for threads in effort.threads:
        with torch_threads(threads):
            for size in (256, 1024):
                jobs = {_name(dtype): _product(size, size, dtype) for dtype in _dtypes()}
                for name, timing in effort.alternate(jobs).items():
                    per_giga = timing.per(2 * size**3 / 1e9)
                    yield Row("matmul", f"{size} x {size} x {size}, {name}", threads, "GFLOP/s", per_giga)


def update(effort: Effort) -> Iterator[Row]:
    """One SAC update on the sizes of HalfCheetah, and its floor at the rate of products measured beside it."""
    for threads in effort.threads:
        for width, batch in UPDATES:
            with torch_threads(threads):
                jobs = {f"product {_name(dtype)}": _product(batch, width, dtype) for dtype in _dtypes()}
                jobs |= {_name(dtype): _training(fast_sac(dtype, width), batch) for dtype in _dtypes()}
                times = effort.alternate(jobs | {PLAIN: _training(plain_sac(width), batch)})
            work = sac_update(*CHEETAH, [width, width], batch)
            rate = {name: 2 * batch * width**2 / times[f"product {name}"].median for name in map(_name, _dtypes())}
            for name in rate:
                setting = f"2 x {width}, batch {batch}, {name}"
                floor = work.seconds(rate[name], rate["float32"])
                yield Row("SAC update", setting, threads, "ms", times[name], times[PLAIN], PLAIN, floor)


def act(effort: Effort) -> Iterator[Row]:
    """One action with noise for one observation."""
    obs = np.zeros((1, CHEETAH[0]), np.float32)
    models = {"ours": fast_sac(torch.float32, 256), PLAIN: plain_sac(256)}
    with torch_threads(1):
        times = effort.alternate({name: timed(partial(model.predict, obs)) for name, model in models.items()})
    yield Row("acting", "2 x 256, one observation", 1, "ms", times["ours"], times[PLAIN], PLAIN)


def reward(effort: Effort) -> Iterator[Row]:
    """Steps of the reward model of method=pebble: three members, a batch of 128 pairs of 50 steps for each."""
    pairs = 3 * 128
    asked, model = comparisons(pairs, steps=50), reward_model()
    for threads in effort.threads:
        with torch_threads(threads):
            timing = effort.alternate({"ours": timed(lambda: model.update(asked))})["ours"]
        yield Row("reward fit", "3 members, 128 pairs of 50 steps each", threads, "pairs/s", timing.per(pairs))


def relabel(effort: Effort) -> Iterator[Row]:
    """Relabelling a buffer of a million steps of walker-walk."""
    buffer = full_buffer(MILLION)
    buffer.source = StoredReward(reward_model().step_reward)
    held = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray))
    setting = f"a million steps ({held / 2**20:.0f} MiB), 3 members of 3 x 256"
    for threads in effort.threads:
        with torch_threads(threads):
            timing = effort.alternate({"ours": timed(buffer.relabel)}, units=1)["ours"]
        yield Row("relabelling", setting, threads, "steps/s", timing.per(MILLION))


def env(effort: Effort) -> Iterator[Row]:
    """Simulated steps as the agent sees them (episodes and simulator states recorded) beside the same without that."""
    for name in ("halfcheetah", "walker-walk"):
        make_env = partial(build, compose_config([f"env={name}"]).env.make)
        recorder = EpisodeRecorder(make_env(), hide_reward=True)
        recorded, unrecorded = stepping(recorder), stepping(make_env())

        def emptied(units: int, recorded: Job = recorded, recorder: EpisodeRecorder = recorder) -> float:
            recorder.take_finished()
            return recorded(units)

        times = effort.alternate({"ours": emptied, "unrecorded": unrecorded})
        yield Row("environment", name, 1, "steps/s", times["ours"], times["unrecorded"], "unrecorded")


def loop(effort: Effort) -> Iterator[Row]:
    """Whole runs of method=pebble on walker-walk: exploring, asking, fitting, learning, evaluating."""
    steps = effort.loop_steps
    setting = f"pebble, walker-walk, {steps} steps, one session, 2 x 256, batch 256"
    run("sac", 1)(steps // 4)  # the first run of a process also imports
    for threads in effort.threads:
        times = effort.alternate({"ours": run("sac", threads), PLAIN: run("sac_sb3", threads)}, units=steps)
        yield Row("whole loop", setting, threads, "steps/s", times["ours"], times[PLAIN], PLAIN)


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


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _dtypes() -> list[torch.dtype]:
    return [torch.float32, *([torch.bfloat16] if has_bfloat16_hardware() else [])]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _product(rows: int, size: int, dtype: torch.dtype) -> Job:
    a, b = torch.randn(rows, size).to(dtype), torch.randn(size, size).to(dtype)
    out = torch.empty(rows, size, dtype=dtype)
    return timed(lambda: torch.mm(a, b, out=out))


def _training(model: SAC, batch: int) -> Job:
    """A call of train() per update, as in a run."""
    return timed(lambda: model.train(gradient_steps=1, batch_size=batch))
