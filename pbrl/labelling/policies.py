"""Asks people in the viewer which of several policies is the best and which the worst, by an episode of each."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from pbrl.data.episodes import whole_episodes
from pbrl.errors import UserError
from pbrl.files import new_folder
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice
from pbrl.teachers.human import NO_TRAINING
from pbrl.training.rollout import roll_out
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun

MOST_POLICIES = 9  # that the page can show
LOOK_S = 0.2  # between looks for the answer
SAMPLER = "policies"


class PolicyJudges:
    """People who judge policies in a viewer. Use it as a context manager: the viewer opens with the first question.

    Args:
        folder: for questions and answers; a new one, or one of the same policies, whose answers stand.
        seed: of the episodes, which all begin alike.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self._opened = folder, seed, False
        self._viewer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PolicyJudges:
        return self

    def __exit__(self, *error: object) -> None:
        from pbrl.viewer.serve import stop_viewer

        if self._viewer is not None:
            stop_viewer(self._viewer)

    def __call__(self, runs: Sequence[Path]) -> tuple[int, int]:
        """Ask for the best and the worst of these runs; return their places."""
        return self.choose([load_run(run) for run in runs])

    def choose(self, saved: Sequence[SavedRun]) -> tuple[int, int]:
        """Ask for the best and the worst; return their places."""
        question = episodes_of(saved, self.seed)
        if not self._opened:
            self._open(saved[0])
        with LabelStore(self.folder) as store:
            (query,) = store.ask(0, 0, question, sampler=SAMPLER)  # the same policies, after a kill: the same question
            print(f"waiting for somebody to choose the best and the worst of {len(saved)}", flush=True)
            best, worst = _answer_to(store, query)
        return int(best), int(worst)

    def _open(self, saved: SavedRun) -> None:
        """Open the store, and a viewer of it that draws in the environment of these runs."""
        config = saved.config.copy()
        config.teacher = NO_TRAINING
        config.viewer.repeats = 0.0
        if not self.folder.exists():
            with new_folder(self.folder, private=True) as folder:
                OmegaConf.save(config, folder / "config.yaml")
                LabelStore(folder).close()
        if config.viewer.start:
            from pbrl.viewer.serve import start_viewer

            self._viewer = start_viewer(self.folder)
        self._opened = True


def _answer_to(store: LabelStore, query: int) -> tuple[float, ...]:
    """Wait for an answer. A skip is taken back: nobody would be asked again, and this waits."""
    while True:
        for answer in store.standing_answers([query]):
            if answer.value is not None:
                return answer.value
            store.retract(answer.id)
        time.sleep(LOOK_S)


def pick_along(run: Path, checkpoint: str | None, folder: Path, seed: int) -> SavedRun:
    """Return the policy of a run's front that somebody likes best; of many the least crowded ones are shown.

    folder: a new one for the question and its answer.
    """
    numbers = load_run(run, checkpoint).method.shown(MOST_POLICIES)
    if len(numbers) < 2:
        raise UserError(f"{run}: its front has one policy, so there is nothing to choose from")
    saved = [load_run(run, checkpoint).of_number(number) for number in numbers]
    with PolicyJudges(folder, seed) as judges:
        best, _ = judges.choose(saved)
    return saved[best]


def episodes_of(runs: Sequence[SavedRun], seed: int) -> Choice:
    """Make the question about an episode of each policy, from the same start; UserError without simulator states."""
    episodes = [roll_out(run.make_env, run.act, 1, seed, envs=1)[0] for run in runs]
    longest = max(map(len, episodes))
    items, states = [], []
    for number, episode in enumerate(episodes):
        if episode.states is None:
            raise UserError(f"{runs[number].path}: its environment has no simulator state to draw an episode from")
        items.append(whole_episodes([episode], [number], steps=longest))
        states.append(np.pad(episode.states, ((0, longest + 1 - len(episode.states)), (0, 0)), mode="edge")[None])
    return Choice(tuple(items), wanted="best_and_worst", states=tuple(states))
