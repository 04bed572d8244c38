"""The parts that `pbrl speed` measures. Each gives rows; ours and the other one alternate within a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC

from pbrl.agents.reward_source import StoredReward
from pbrl.building import build
from pbrl.config import compose_config
from pbrl.data.recorder import EpisodeRecorder, hidden
from pbrl.native.binding import load
from pbrl.nets.precision import has_bfloat16_hardware
from pbrl.speed.fixtures import (
    CHEETAH,
    as_shipped,
    comparisons,
    fast_sac,
    full_buffer,
    plain_sac,
    reward_model,
    reward_sizes,
    run,
    spinning,
    stepping,
)
from pbrl.speed.floor import Operations, mlp, sac_update
from pbrl.speed.timing import Job, Timing, alternate, timed

UPDATES = [(width, batch) for width in (256, 1024) for batch in (256, 1024)]
MILLION = 1_000_000
TASKS = ("walker-walk", "halfcheetah")
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


def limit(effort: Effort) -> Iterator[Row]:
    """Yield what one thread can do at most, and how near torch's square products come to it."""
    with use_torch_threads(1):
        for size in (256, 1024):
            jobs = {_name(dtype): per_giga(_product(size, size, dtype), size) for dtype in _dtypes()}
            jobs["float32, torch's default"] = as_shipped(jobs["float32"])
            limits = limit_jobs()
            times = effort.alternate(jobs | limits)
            if size == 256:
                for name in limits:
                    yield Row("limit", f"in registers, {name.removeprefix(LIMIT)}", 1, "GFLOP/s", times[name])
            for name in jobs:
                floor = times.get(LIMIT + name.partition(",")[0])
                setting = f"torch, {size} x {size} x {size}, {name}"
                yield Row("limit", setting, 1, "GFLOP/s", times[name], floor_s=floor.median if floor else None)


def update(effort: Effort) -> Iterator[Row]:
    """Time one SAC update on the sizes of HalfCheetah: by each backend, in each precision."""
    for threads in effort.threads:
        for width, batch in UPDATES:
            with use_torch_threads(threads):
                models = {
                    f"{backend}, {_name(dtype)}": fast_sac(dtype, width, backend)
                    for backend, dtypes in _backends().items()
                    for dtype in dtypes
                }
                jobs = {name: _training(model, batch) for name, model in models.items()}
                plain = as_shipped(_training(plain_sac(width), batch))
                times = effort.alternate(jobs | {PLAIN: plain} | limit_jobs())
            work = sac_update(*CHEETAH, [width, width], batch)
            for name in jobs:
                setting = f"2 x {width}, batch {batch}, {name}"
                floor = floor_s(work, times, name.rpartition(" ")[2], 1 if name.startswith("native") else threads)
                yield Row("SAC update", setting, threads, "ms", times[name], times[PLAIN], PLAIN, floor)


def act(effort: Effort) -> Iterator[Row]:
    """Time one action with noise for one observation."""
    obs = np.zeros((1, CHEETAH[0]), np.float32)
    plain, ours = plain_sac(256), fast_sac(torch.float32, 256)
    with use_torch_threads(1):
        jobs = {"ours": timed(partial(ours.predict, obs)), PLAIN: as_shipped(timed(partial(plain.predict, obs)))}
        times = effort.alternate(jobs)
    yield Row("acting", "2 x 256, one observation", 1, "ms", times["ours"], times[PLAIN], PLAIN)


def reward(effort: Effort) -> Iterator[Row]:
    """Time steps of the reward model of method=pebble: three members, each with a batch of 128 pairs of 50 steps."""
    pairs, steps = 3 * 128, 50
    asked, model = comparisons(pairs, steps), reward_model()
    work = mlp(reward_sizes(model), 2 * steps, training=True)  # of a pair
    for threads in effort.threads:
        with use_torch_threads(threads):
            times = effort.alternate({"ours": timed(lambda: model.update(asked))} | limit_jobs())
        ours, floor = times["ours"].per(pairs), floor_s(work, times, _name(model.dtype), threads)
        setting = f"3 members, 128 pairs of 50 steps each, {_name(model.dtype)}"
        yield Row("reward fit", setting, threads, "pairs/s", ours, floor_s=floor)


def relabel(effort: Effort) -> Iterator[Row]:
    """Time relabelling a buffer of a million steps of walker-walk's sizes."""
    buffer, model = full_buffer(MILLION), reward_model()
    buffer.source = StoredReward(model.step_reward)
    held = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray))
    setting = f"a million steps ({held / 2**20:.0f} MiB), 3 members of 3 x 256, float32"
    work = mlp(reward_sizes(model), 1, training=False).times(3)
    for threads in effort.threads:
        with use_torch_threads(threads):
            times = effort.alternate({"ours": timed(buffer.relabel)}, units=1)
            limits = effort.alternate(limit_jobs())
        floor = floor_s(work, limits, "float32", threads)
        yield Row("relabelling", setting, threads, "steps/s", times["ours"].per(MILLION), floor_s=floor)


def env(effort: Effort) -> Iterator[Row]:
    """Time simulated steps as the agent sees them (episodes and states recorded) beside the same without that."""
    for name in TASKS:
        make_env = partial(build, compose_config([f"env={name}"]).env.make)
        recorder = EpisodeRecorder(make_env(), hidden)
        recorded, unrecorded = stepping(recorder), stepping(make_env())

        def emptied(units: int, recorded: Job = recorded, recorder: EpisodeRecorder = recorder) -> float:
            recorder.take_finished()
            return recorded(units)

        times = effort.alternate({"ours": emptied, "unrecorded": unrecorded})
        yield Row("environment", name, 1, "steps/s", times["ours"], times["unrecorded"], "unrecorded")


def loop(effort: Effort) -> Iterator[Row]:
    """Time whole runs of method=pebble: exploring, asking, fitting, learning, evaluating."""
    steps = effort.loop_steps
    half: dict[str, Any] = {"agent.precision": "bfloat16"} if has_bfloat16_hardware() else {}
    run("sac", 1)(steps // 4)  # the first run of a process also imports
    for threads, env in product(effort.threads, TASKS):
        setting = f"pebble, {env}, {steps} steps, one session, 2 x 256, batch 256"
        jobs = {"float32": run("sac", threads, env)}
        jobs |= {"bfloat16": run("sac", threads, env, **half)} if half else {}
        times = effort.alternate(jobs | {PLAIN: as_shipped(run("sac_sb3", threads, env))}, units=steps)
        for name in jobs:
            yield Row("whole loop", f"{setting}, {name}", threads, "steps/s", times[name], times[PLAIN], PLAIN)


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "limit": limit,
    "update": update,
    "act": act,
    "reward": reward,
    "relabel": relabel,
    "env": env,
    "loop": loop,
}


LIMIT = "limit, "


def limit_jobs() -> dict[str, Job]:
    """Return what one thread can do at most in each precision, to be measured in turn with what is held against it."""
    jobs = {LIMIT + _name(dtype): spinning(dtype) for dtype in _dtypes()}
    return {name: job for name, job in jobs.items() if job is not None}


def floor_s(work: Operations, times: dict[str, Timing], precision: str, threads: int) -> float | None:
    """Return the least seconds of this work, its hidden products in this precision; None: not known here."""
    hidden, thin = times.get(LIMIT + precision), times.get(LIMIT + "float32")
    return work.seconds(1e9 / hidden.median, 1e9 / thin.median) / threads if hidden and thin else None


def per_giga(product: Job, size: int) -> Job:
    """Make a job of square products whose unit is 1e9 operations."""
    each = 2 * size**3 / 1e9

    def job(units: int) -> float:
        count = max(round(units / each), 1)
        return product(count) * units / (count * each)

    return job


@contextmanager
def use_torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _backends() -> dict[str, list[torch.dtype]]:
    """Return what can make updates here, and in which precisions."""
    library, _ = load()
    if library is None:
        return {"torch": _dtypes()}
    native = [dtype for dtype in _dtypes() if dtype == torch.float32 or library.has_half]
    return {"native": native, "torch": _dtypes()}


def _dtypes() -> list[torch.dtype]:
    return [torch.float32, *([torch.bfloat16] if has_bfloat16_hardware() else [])]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _product(rows: int, size: int, dtype: torch.dtype) -> Job:
    a, b = torch.randn(rows, size).to(dtype), torch.randn(size, size).to(dtype)
    out = torch.empty(rows, size, dtype=dtype)
    return timed(lambda: torch.mm(a, b, out=out))


def _training(model: SAC, batch: int) -> Job:
    """Make a job of calls of train() per update, as in a run."""
    return timed(lambda: model.train(gradient_steps=1, batch_size=batch))
