"""Words of people who watched a policy act (`pbrl watch`), as episodes to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pbrl.errors import UserError
from pbrl.labels.sets import load_label_set
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.question_kinds import Intervention
from pbrl.types import Episode


def blamed_steps(signals: np.ndarray) -> np.ndarray:
    """Return which steps are blamed (L,) bool: the policy's own before somebody took over, or which somebody named."""
    over = (signals & Intervention.TOOK_OVER) > 0
    said = (signals & Intervention.WRONG) > 0
    follows = np.append(over[1:], False)
    blamed: np.ndarray = ~over & (follows | said)
    return blamed


def watched_episodes(source: Path) -> list[Episode]:
    """Read all that people watched, with two tags at each step: it is blamed, and it is not the policy's.

    source: a label set of kind=intervention, or the folder of `pbrl watch`. UserError: it has none.
    """
    if (source / FILE_NAME).is_file():
        with LabelStore(source, create=False) as store:
            found = store.answered(kind=Intervention)
        if found is None:
            raise UserError(f"{source} has no episodes that people watched; pbrl watch keeps some")
        questions, signals = found.questions, found.answers.signals.numpy()
    else:
        labels = load_label_set(source)
        rows = np.flatnonzero(labels.answered).tolist()
        questions, signals = labels.questions[rows], labels.value[rows]
    if not isinstance(questions, Intervention):
        raise UserError(f"{source} has answers of kind={questions.kind}; expected kind=intervention, of pbrl watch")
    return [_episode(questions, row, signals[row]) for row in range(len(questions))]


def _episode(questions: Intervention, row: int, signals: np.ndarray) -> Episode:
    segments = questions.episodes
    steps = int(segments.mask[row].sum())
    own = signals[:steps]
    tags = np.stack([blamed_steps(own), (own & Intervention.TOOK_OVER) > 0], 1).astype(np.float32)
    return Episode(
        obs=segments.obs[row, : steps + 1].numpy(),
        actions=segments.actions[row, :steps].numpy(),
        true_reward=segments.true_reward[row, :steps].numpy(),
        terminated=bool(segments.terminated[row, steps - 1]),
        tags=tags,
    )
