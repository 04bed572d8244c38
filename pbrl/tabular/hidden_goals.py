"""VPL beside one reward for all: users with different goals that nobody names, and users who all want the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.rewards.latent_user import Answered, LatentUser
from pbrl.rewards.partial_return import PartialReturn
from pbrl.tabular.beds import Bed, Measured
from pbrl.types import Comparisons, Segments

Score = Callable[[Answered, Answered], list[Tensor]]
"""Pairs that users told of, and those to score -> the scores of both sides."""

USERS, HELD_OUT, PAIRS, CONTEXT = 800, 200, 16, 8  # of each user: answers, and those that a taste is inferred from
SLOPE, BATCH, EPOCHS = 10.0, 128, 50
MODEL: dict[str, Any] = {"latent": 8, "hidden": 64, "kl_weight": 1.0, "sample": True, "prototypes": None, "lr": 3e-3}
ONE_REWARD: dict[str, Any] = {
    **{"members": 1, "hidden": (64, 64), "activation": "relu", "head": "linear", "normalise": False, "lr": 3e-3},
    **{"smoothing": 0.0, "crop": None, "precision": "float32"},
}


def make_users(goals: int, users: int, rng: torch.Generator) -> tuple[Answered, Tensor]:
    """Answers about points of the square [-1, 1]^2, and the gains (U, K, goals): what each goal says of each pair.

    The goals lie evenly on the unit circle; the nearer point is preferred, with probability sigmoid(10 * difference).
    """
    angles = 2 * torch.pi * torch.arange(goals) / goals
    places = torch.stack([angles.cos(), angles.sin()], 1)
    points = torch.rand(2, users * PAIRS, 2, generator=rng) * 2 - 1
    distance = torch.cdist(points, places.expand(2, goals, 2))  # (2, U K, goals)
    gains = (distance[0] - distance[1]).view(users, PAIRS, goals)
    wanted = torch.randint(goals, (users, 1, 1), generator=rng)
    own = gains.gather(2, wanted.expand(users, PAIRS, 1))[..., 0]
    answers = (torch.rand(own.shape, generator=rng) < torch.sigmoid(SLOPE * own)).float()
    left, right = map(one_step, points)
    return Answered(left, right, answers), torch.cat([gains, own[..., None]], 2)


def one_step(points: Tensor) -> Segments:
    """Points (N, 2) as segments of one step without an action."""
    n, zeros = len(points), torch.zeros(len(points), 1)
    obs = points[:, None].expand(n, 2, 2)
    return Segments(obs, torch.zeros(n, 1, 1), zeros + 1, zeros, zeros, torch.arange(n))


def of_users(answered: Answered, users: Tensor, pairs: slice = slice(None)) -> Answered:
    rows = torch.arange(answered.prefers_right.numel()).view(answered.prefers_right.shape)[users][:, pairs]
    flat = rows.flatten()
    return Answered(answered.left[flat], answered.right[flat], answered.prefers_right[users][:, pairs])


def batches(answered: Answered, rng: torch.Generator) -> Iterator[Answered]:
    """The answers of some users at a time."""
    for _ in range(EPOCHS * (USERS // BATCH)):
        yield of_users(answered, torch.randperm(USERS, generator=rng)[:BATCH])


def fit_vpl(answered: Answered, rng: torch.Generator) -> LatentUser:
    model = LatentUser(obs_size=2, action_size=1, **MODEL, rng=rng)
    updates = EPOCHS * (USERS // BATCH)
    for update, batch in enumerate(batches(answered, rng)):
        model.update(batch, CONTEXT, update / updates, rng)
    return model


def fit_one_reward(answered: Answered, rng: torch.Generator) -> PartialReturn:
    model = PartialReturn(obs_size=2, action_size=1, **ONE_REWARD, rng=rng)
    for batch in batches(answered, rng):
        answers = batch.prefers_right.flatten()
        model.update(Comparisons(batch.left, batch.right, answers, torch.zeros(len(answers), dtype=torch.long)))
    return model


def by_taste(model: LatentUser, told: Answered, rest: Answered) -> list[Tensor]:
    """Score both sides of the rest of the pairs by the taste of each user, inferred from what they told."""
    z = model.encode(told).mean.repeat_interleave(PAIRS - CONTEXT, 0)
    return [model.score(side, z) for side in (rest.left, rest.right)]


def for_all(model: PartialReturn, told: Answered, rest: Answered) -> list[Tensor]:
    """Score both sides of the rest of the pairs alike for everybody."""
    return [model.score(side).mean(0) for side in (rest.left, rest.right)]


@torch.no_grad()
def accuracy(score: Score, answered: Answered, gains: Tensor) -> dict[str, float]:
    """Measure, on pairs that no taste was inferred from, agreement with the users' true wishes by where goals agree."""
    everybody = torch.arange(len(gains))
    scores = score(*(of_users(answered, everybody, pairs) for pairs in (slice(CONTEXT), slice(CONTEXT, None))))
    found = (scores[1] > scores[0]).view(len(gains), -1)
    by_goal, own = gains[:, CONTEXT:, :-1] > 0, gains[:, CONTEXT:, -1] > 0
    agree = (by_goal == by_goal[..., :1]).all(-1)
    hits = found == own
    kinds = (("agree", agree), ("differ", ~agree))
    return {name: float(hits[rows].float().mean()) for name, rows in kinds if rows.any()}


def run(seed: int) -> list[Measured]:
    found = []
    for goals in (1, 2):
        rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, goals]).generate_state(1)[0]))
        (train, _), (test, gains) = make_users(goals, USERS, rng), make_users(goals, HELD_OUT, rng)
        fits: tuple[tuple[str, Any, Any], ...] = (
            ("VPL", fit_vpl, by_taste),
            ("one reward for all", fit_one_reward, for_all),
        )
        for arm, fit, score in fits:
            of = accuracy(partial(score, fit(train, rng)), test, gains)
            names = {"agree": "pairs on which all agree", "differ": "pairs on which they differ"}
            who = f"{goals} goal" + ("s" if goals > 1 else "")
            found += [Measured(f"{who}, {names[name]}", arm, value) for name, value in of.items()]
    return found


BED = Bed(
    claim="Where users differ, eight answers of a new one are enough to foresee the others, and a single reward is "
    "right as often as a coin; where all want the same, nothing is lost.",
    task=f"{USERS} users, {PAIRS} noisy answers each about points of a square; {HELD_OUT} new users, {CONTEXT} answers "
    "to know them by",
    measure="share of the other pairs of new users on which their true wish is foreseen",
    run=run,
)
