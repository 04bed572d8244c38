"""The study of Knox et al. (2024): which preference model recovers the reward, by who gave the labels and how many.

Labels of either model are learned from under either model (two by two), in many worlds, from a few comparisons to
thousands. One row for each fit; the rows of a world depend on the settings and its number alone, so that a study that
was stopped goes on with the same numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np

from pbrl.tabular.boards import load_board
from pbrl.tabular.evaluation import NEAR_OPTIMAL, scaled_return, scaled_returns
from pbrl.tabular.labels import MODELS, preference_labels
from pbrl.tabular.library import policy_library
from pbrl.tabular.random_worlds import random_world
from pbrl.tabular.reward_fit import FitSettings, FittedReward, fit_rewards
from pbrl.tabular.segments import random_pairs, random_segments

NOISE = ("noiseless", "stochastic")
SEGMENT_LENGTH = 3  # moves, as in the paper
COLUMNS = (
    "mdp",  # the world's number; with a board, that of the data set
    "height",
    "width",
    "labels",  # noiseless or stochastic
    "generator",  # the preference model that gave the labels
    "learner",  # the one that the reward was learned under
    "comparisons",
    "cross_entropy",
    "scaled_return",
    "near_optimal",  # 1 if the scaled return is above 0.9
)
Row = dict[str, str]


@dataclass(frozen=True)
class StudySettings:
    """The settings that the rows depend on."""

    mdps: int
    sizes: tuple[int, ...]  # comparisons; a larger set begins with the smaller ones
    labels: tuple[str, ...]  # of NOISE
    seed: int
    board: str | None  # one board with many data sets instead of random worlds
    iterations: int
    learning_rate: float

    @property
    def rows_per_mdp(self) -> int:
        return len(self.sizes) * len(self.labels) * len(MODELS) ** 2


def study(settings: StudySettings, start: int, workers: int) -> Iterator[list[Row]]:
    """The rows of one world after the other, in order, from number `start` on."""
    if workers == 1:
        yield from (mdp_rows(settings, mdp) for mdp in range(start, settings.mdps))
        return
    # A fresh interpreter each: threads of a parent that is forked may hold locks for ever.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(partial(mdp_rows, settings), range(start, settings.mdps))


def mdp_rows(settings: StudySettings, mdp: int) -> list[Row]:
    """All fits in one world: sizes x labels x generators x learners."""
    world_seed, pairs_seed, noise_seed, fit_seed = np.random.SeedSequence([settings.seed, mdp]).spawn(4)
    world = load_board(settings.board) if settings.board else random_world(world_seed, f"random {mdp}")
    rng = np.random.default_rng(pairs_seed)
    left, right = random_pairs(world, max(settings.sizes), SEGMENT_LENGTH, rng)
    noise = np.random.default_rng(noise_seed)
    kinds = [(labels, generator) for labels in NOISE for generator in MODELS]  # drawn all: one choice changes no other
    answers = [preference_labels(world, left, right, g, noise if n == "stochastic" else None) for n, g in kinds]
    asked = [i for i, (labels, _) in enumerate(kinds) if labels in settings.labels]
    prefers_right = np.stack([answers[i] for i in asked])
    fit = FitSettings(settings.iterations, settings.learning_rate)
    seed = int(fit_seed.generate_state(1)[0])

    rows = []
    for size in settings.sizes:
        for learner in MODELS:
            fits = fit_rewards(world, left[:size], right[:size], prefers_right[:, :size], learner, seed, fit)
            returns = scaled_returns(world, np.stack([fitted.weights for fitted in fits]))
            for i, fitted, scaled in zip(asked, fits, returns, strict=True):
                rows.append(_row(mdp, *kinds[i], size, fitted, scaled))
    return rows


def check_board(board: str) -> None:
    """Raise UserError where no study can be made of this board."""
    world = load_board(board)
    random_segments(world, 1, 1, np.random.default_rng(0))  # there is a cell to start from
    starts = np.stack(np.divmod(world.start_states, world.codes.shape[1]), -1)
    world.segment_statistics(starts, np.zeros((len(starts), 0, 2)))  # each has a way out
    policy_library(world, 0)
    scaled_return(world, world.weights)


def to_csv(rows: Sequence[Row], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(mdp: int, labels: str, generator: str, size: int, fitted: FittedReward, scaled: float) -> Row:
    height, width = fitted.world.codes.shape
    numbers = f"{fitted.cross_entropy:.6g}", f"{scaled:.6g}", int(scaled > NEAR_OPTIMAL)
    values = (mdp, height, width, labels, generator, fitted.model, size, *numbers)
    return dict(zip(COLUMNS, map(str, values), strict=True))
