"""The trials of a tuning: an Optuna study in a journal, where one process at a time asks and tells."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.bench.tune_space import Knob
from pbrl.errors import UserError, one_line
from pbrl.install import install_extra

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:  # an extra
    raise UserError(f"pbrl tune needs Optuna ({one_line(error)}); get it with: {install_extra('tune')}") from error

NAME = "pbrl tune"
RESULT = "result"  # attribute of a trial that has ended
STARTUP = 10  # random trials before TPE has something to go by; Optuna's default


@dataclass(frozen=True)
class Trial:
    """One setting of the knobs, and what came of it."""

    number: int
    state: str  # finished, failed or unfinished
    values: dict[str, Any]  # by knob, as run
    score: float | None = None  # mean over seeds
    scores: dict[int, float] | None = None  # by seed
    wall_s: float | None = None  # of its runs, summed
    reason: str = ""  # of a failure


class Study:
    """Proposes settings by TPE (Bergstra et al. 2011); the first are the defaults.

    Each proposal has a random generator of its own, from (seed, number): a study that goes on after a kill proposes
    what it would have proposed, as long as the same trials have ended by then.
    """

    def __init__(self, journal: Path, knobs: Sequence[Knob], defaults: dict[str, Any], seed: int) -> None:
        """journal: is repaired and locked for nobody, so the caller sees to it that no other process has it."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _repair(journal)
        self.knobs, self.defaults, self.seed = {knob.key: knob for knob in knobs}, defaults, seed
        self._distributions = {knob.key: _distribution(knob) for knob in knobs}
        try:
            self._storage = JournalStorage(JournalFileBackend(str(journal)))
            self._study = optuna.create_study(
                storage=self._storage, study_name=NAME, direction="maximize", load_if_exists=True
            )
        except (ValueError, KeyError) as error:  # a line in its middle that is none of Optuna's
            raise UserError(f"{journal} cannot be read: {one_line(error)}") from error

    def trials(self) -> list[Trial]:
        """Return all trials in the order in which they were proposed."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def ask(self) -> Trial:
        """Propose a trial; it is in the journal, whole, when this returns."""
        past = self._study.get_trials(deepcopy=False)
        number = len(past)
        parameters = self._propose(past) if past else {k: self._parameter(k, v) for k, v in self.defaults.items()}
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=parameters, distributions=self._distributions
        )
        self._study.add_trial(trial)
        return Trial(number, "unfinished", self._values(parameters))

    def finish(self, number: int, scores: dict[int, float], wall_s: float) -> None:
        """Record the end of a trial. scores: by seed."""
        self._note(number, scores, wall_s, "")
        self._study.tell(number, float(np.mean(list(scores.values()))))

    def fail(self, number: int, scores: dict[int, float], wall_s: float, reason: str) -> None:
        """Record a trial as failed, which the sampler passes over; it is not run again."""
        self._note(number, scores, wall_s, reason)
        self._study.tell(number, state=TrialState.FAIL)

    def _propose(self, past: list[FrozenTrial]) -> dict[str, Any]:
        """Propose in a copy in memory, since Optuna would write a trial down piece by piece."""
        seed = int(np.random.SeedSequence([self.seed, len(past)]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(past)
        parameters = copy.ask(self._distributions).params
        return {key: knob.rounded(parameters[key]) for key, knob in self.knobs.items()}

    def _note(self, number: int, scores: dict[int, float], wall_s: float, reason: str) -> None:
        study = self._storage.get_study_id_from_name(NAME)
        trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        result = {"scores": {str(seed): score for seed, score in scores.items()}, "wall_s": wall_s, "reason": reason}
        self._storage.set_trial_user_attr(trial, RESULT, result)

    def _trial(self, frozen: FrozenTrial) -> Trial:
        values = self._values(frozen.params)
        if not frozen.state.is_finished():
            return Trial(frozen.number, "unfinished", values)
        result = frozen.user_attrs[RESULT]
        scores = {int(seed): score for seed, score in result["scores"].items()}
        state = "finished" if frozen.state == TrialState.COMPLETE else "failed"
        return Trial(frozen.number, state, values, frozen.value, scores, result["wall_s"], result["reason"])

    def _values(self, parameters: dict[str, Any]) -> dict[str, Any]:
        chosen = {key for key, knob in self.knobs.items() if knob.kind == "choice"}
        return {key: json.loads(parameters[key]) if key in chosen else parameters[key] for key in self.knobs}

    def _parameter(self, key: str, value: Any) -> Any:
        return json.dumps(value) if self.knobs[key].kind == "choice" else value


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest score, the earliest of equals; None where none has finished."""
    finished = [trial for trial in trials if trial.score is not None]
    return max(finished, key=lambda trial: (trial.score, -trial.number), default=None)


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.kind == "choice":  # Optuna knows no lists
        return CategoricalDistribution([json.dumps(value) for value in knob.values])
    low, high = knob.values
    if knob.kind == "int":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=knob.kind == "log")


def _repair(journal: Path) -> None:
    """Remove what a killed process left: its lock, and a line that is not whole, onto which the next would go."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)
