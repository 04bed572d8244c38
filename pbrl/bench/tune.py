"""The loop of tuning: propose settings, run each on all its seeds, go on where a killed process stopped."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from pbrl.bench.jobs import INTERRUPTED, Executor, Job, Outcome
from pbrl.bench.tune_space import Space
from pbrl.bench.tune_study import Study, Trial, best_of
from pbrl.errors import UserError
from pbrl.reading import read_object
from pbrl.training.log import read_evaluations

REPORTED = range(100)  # seeds of every result: what chooses settings must not report them
TUNING = range(100, 200)
CONFIRMING = range(200, 300)


@dataclass(frozen=True)
class Plan:
    """The plan of a tuning: what does not depend on how far it has come."""

    space: Space
    objective: str
    overrides: tuple[str, ...]  # of `pbrl train`, without knobs, seed and data
    config: DictConfig  # composed from these
    defaults: dict[str, Any]  # of the knobs
    seeds: tuple[int, ...]
    sampler_seed: int
    data: Path | None
    config_dir: Path | None

    def job(self, folder: Path, name: str, values: dict[str, Any], seed: int) -> Job:
        """A run with these values of the knobs."""
        knobs = [knob.override(values[knob.key]) for knob in self.space.knobs]
        quiet = [] if any(text.startswith("report=") for text in self.overrides) else ["report=false"]
        arguments = (*self.overrides, *knobs, *quiet, f"seed={seed}")
        return Job(f"{name}/s{seed}", folder / name / f"s{seed}", arguments, self.data, self.config_dir)


class Tuning:
    """The trials of a folder. `stop` ends what runs with a checkpoint, and the loop with it."""

    def __init__(
        self,
        plan: Plan,
        study: Study,
        folder: Path,
        executor: Executor,
        ended: Callable[[Trial], None],
    ) -> None:
        """ended: gets each trial as it finishes or fails."""
        self.plan, self.study, self.folder, self.executor = plan, study, folder, executor
        self.ended = ended
        self.stopped = False
        self._runs: dict[Path, tuple[int, int]] = {}  # trial and seed of each run folder
        self._results: dict[int, dict[int, tuple[float, float]]] = {}  # score and seconds by trial and seed
        self._open: set[int] = set()

    def stop(self) -> None:
        self.stopped = True
        self.executor.stop()

    def run(self, trials: int) -> bool:
        """Run until there are so many trials, earlier ones included; return False if it was stopped before."""
        for outcome in self.executor.run(self._jobs(trials)):
            self._hear(outcome)
        return not self.stopped and all(trial.state != "unfinished" for trial in self.study.trials())

    def _jobs(self, trials: int) -> Iterator[Job]:
        """Draw jobs one by one as processes become free, so that a proposal knows all that has ended by then."""
        for trial in self.study.trials():
            if trial.state == "unfinished":
                yield from self._jobs_of(trial)
        while len(self.study.trials()) < trials:
            yield from self._jobs_of(self.study.ask())

    def _jobs_of(self, trial: Trial) -> Iterator[Job]:
        self._open.add(trial.number)
        for seed in self.plan.seeds:
            if trial.number not in self._open:
                return  # another of its seeds has failed
            job = self.plan.job(self.folder, f"trials/{trial.number}", trial.values, seed)
            self._runs[job.folder] = (trial.number, seed)
            yield job

    def _hear(self, outcome: Outcome) -> None:
        number, seed = self._runs[outcome.job.folder]
        if number not in self._open or outcome.code == INTERRUPTED:
            return
        results = self._results.setdefault(number, {})
        reason = ""
        if outcome.code == 0:
            score, wall_s = read_score(outcome.job.folder, self.plan.objective)
            if math.isfinite(score):
                results[seed] = (score, wall_s)
                # A finished run keeps its policy and its tables; checkpoints take most of the space.
                shutil.rmtree(outcome.job.folder / "checkpoints", ignore_errors=True)
            else:
                reason = f"seed {seed}: {self.plan.objective} is {score}"
        else:
            reason = f"seed {seed}: {outcome.message or f'exit code {outcome.code}'}"
        if not reason and len(results) < len(self.plan.seeds):
            return
        self._open.remove(number)
        scores = {seed: results[seed][0] for seed in sorted(results)}
        seconds = round(sum(wall_s for _, wall_s in results.values()), 1)
        if reason:
            self.study.fail(number, scores, seconds, reason)
        else:
            self.study.finish(number, scores, seconds)
        self.ended(self.study.trials()[number])


def read_score(run: Path, objective: str) -> tuple[float, float]:
    """Read the objective of a finished run, and how many seconds it trained.

    final_*: of the last evaluation. area_*: the mean height of the evaluation curve (trapezoids over its steps).
    """
    summary = read_object(run / "summary.json")
    kind, measure = objective.split("_")
    if summary[f"final_{measure}"] is None:
        raise UserError(f"objective={objective}: env={summary['env']} reports no success; valid is {kind}_return")
    if kind == "final":
        return float(summary[f"final_{measure}"]), float(summary["wall_s"])
    rows = read_evaluations(run / "evaluations.csv")
    steps = np.array([row["updates"] if "updates" in row else row["env_steps"] for row in rows], float)
    heights = np.array([row["return_mean" if measure == "return" else "success_rate"] for row in rows], float)
    area = float(np.sum(np.diff(steps) * (heights[1:] + heights[:-1]) / 2))
    return area / float(steps[-1] - steps[0]), float(summary["wall_s"])


class Confirming:
    """The best trial and the defaults on seeds that chose neither."""

    def __init__(self, plan: Plan, trials: Sequence[Trial], folder: Path, executor: Executor) -> None:
        best = best_of(trials)
        self.plan, self.folder, self.executor = plan, folder, executor
        self.trials = {trial.number: trial for trial in (trials[0], best) if trial is not None}
        self.scores: dict[int, dict[int, float]] = {number: {} for number in self.trials}  # by trial and seed
        self.wall_s = dict.fromkeys(self.trials, 0.0)
        self.failed: list[str] = []
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.executor.stop()

    def run(self, seeds: int) -> bool:
        """Make so many runs of each, less those that an earlier time has finished; return False if stopped before."""
        runs: dict[Path, tuple[int, int]] = {}

        def jobs() -> Iterator[Job]:
            for seed in CONFIRMING[:seeds]:
                for number, trial in self.trials.items():
                    job = self.plan.job(self.folder, f"confirm/{number}", trial.values, seed)
                    runs[job.folder] = (number, seed)
                    yield job

        for outcome in self.executor.run(jobs()):
            number, seed = runs[outcome.job.folder]
            if outcome.code == 0:
                self.scores[number][seed], wall_s = read_score(outcome.job.folder, self.plan.objective)
                self.wall_s[number] += wall_s
                shutil.rmtree(outcome.job.folder / "checkpoints", ignore_errors=True)
            elif outcome.code != INTERRUPTED:
                self.failed.append(f"{outcome.job.name}: {outcome.message or f'exit code {outcome.code}'}")
        return not self.stopped
