"""PEARL on two reaching tasks: how far answers about one, carried by a plan, are true of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from pbrl.rewards.gaussian_return import GaussianReturn
from pbrl.rewards.label_transport import carry, contradicted, distances, told_matrix, transport_plan
from pbrl.rewards.partial_return import PartialReturn
from pbrl.tabular.beds import Bed, Measured
from pbrl.types import Comparisons, Segments

LENGTH, DRAWS, ANCHORS = 20, 5, 3
RANKS = "rank correlation of carried returns"
EPSILON, ITERATIONS = 0.02, 60
NEW, UPDATES, BATCH = 60, 150, 64  # trajectories to judge a reward by, and what it learns in
SAME = {"same goal": (1.0, 0.0)}
TARGETS = {"rotated": (0.0, 1.0), "mirrored, 1.5 x as far": (-1.5, 0.0)}
MODEL: dict[str, Any] = {
    **{"members": 1, "hidden": (32, 32), "activation": "tanh", "head": "linear", "normalise": True, "lr": 3e-3},
    **{"smoothing": 0.0, "crop": None, "precision": "float32"},
}


class Walks(NamedTuple):
    """N trajectories of a point that begins at the origin."""

    places: np.ndarray  # (N, LENGTH + 1, 2)
    returns: np.ndarray  # (N,) minus the sum of distances to the goal

    def flat(self) -> np.ndarray:
        return self.places[:, 1:].reshape(len(self.places), -1)


def walk(goal: tuple[float, float], n: int, rng: np.random.Generator) -> Walks:
    """Walk with a skill in [0, 1] each: that share of a step goes towards the goal, the rest in its own direction."""
    end, far = np.array(goal), float(np.hypot(*goal))
    skill, angle = rng.uniform(size=(n, 1)), rng.uniform(0, 2 * np.pi, n)
    astray = np.stack([np.cos(angle), np.sin(angle)], 1) * far / LENGTH
    places = [np.zeros((n, 2))]
    for _ in range(LENGTH):
        left = end - places[-1]
        reach = np.linalg.norm(left, axis=1, keepdims=True).clip(min=1e-9)
        towards = left * np.minimum(1, 1.5 * far / LENGTH / reach)
        noise = 0.1 * far / LENGTH * rng.normal(size=(n, 2))
        places.append(places[-1] + skill * towards + (1 - skill) * astray + noise)
    return _judged(np.stack(places, 1), end)


def walk_in_a_fan(goal: tuple[float, float], n: int, rng: np.random.Generator) -> Walks:
    """Walk straight, and as far towards the goal as skill says, with a drift that does not depend on it.

    Turned end for end the cloud of trajectories is the same, so that distances do not tell the good ones from the bad.
    """
    end, far = np.array(goal), float(np.hypot(*goal))
    share = np.arange(LENGTH + 1)[:, None] / LENGTH
    drift = rng.normal(size=(n, 1, 2)) * 0.15 * far
    return _judged(rng.uniform(size=(n, 1, 1)) * share * end + drift * share, end)


def _judged(places: np.ndarray, goal: np.ndarray) -> Walks:
    return Walks(places, -np.linalg.norm(places[:, 1:] - goal, axis=2).sum(1))


def answers_of(walks: Walks, pairs: np.ndarray) -> np.ndarray:
    """Return whether the second of each pair (C, 2) has the higher return: (C,), 1 or 0."""
    return (walks.returns[pairs[:, 1]] > walks.returns[pairs[:, 0]]).astype(float)


def two_by_two(n: int) -> np.ndarray:
    """Return all pairs (C, 2) of n."""
    return np.stack(np.triu_indices(n, 1), 1)


def carried_answers(source: Walks, plan: np.ndarray) -> np.ndarray:
    """Carry answers about all pairs of the source to pairs of the target (N, N)."""
    pairs = two_by_two(len(source.places))
    told = told_matrix(pairs[:, 0], pairs[:, 1], answers_of(source, pairs), len(source.places))
    return carry(plan, *told)


def share_right(carried: np.ndarray, target: Walks, pairs: np.ndarray) -> float:
    return float(((carried[pairs[:, 0], pairs[:, 1]] > 0.5) == (answers_of(target, pairs) > 0.5)).mean())


def rank_correlation(source: Walks, target: Walks, plan: np.ndarray) -> float:
    """Spearman's, of the target's returns and those of the source that the plan matches with each."""
    return float(spearmanr(source.returns @ (plan / plan.sum(0)), target.returns).statistic)


def by_distances(source: Walks, target: Walks) -> np.ndarray:
    return transport_plan(distances(source.flat()), distances(target.flat()), EPSILON, ITERATIONS)


def by_coordinates(source: Walks, target: Walks) -> np.ndarray:
    """The plan that moves least, with the same entropy: what one would do without knowing that the task is another."""
    import ot

    cost = ot.dist(source.flat(), target.flat())
    weights = (np.full(n, 1 / n) for n in cost.shape)
    plan: np.ndarray = ot.sinkhorn(*weights, cost / cost.max(), EPSILON, "sinkhorn_log", warn=False)
    return plan


def one_draw(source: Walks, target: Walks, rng: np.random.Generator) -> dict[str, float]:
    """Share of carried answers that are true, by arm; those of the anchors themselves do not count for any."""
    pairs = rng.permutation(two_by_two(len(target.places)))
    anchors, others = pairs[:ANCHORS], pairs[ANCHORS:]
    plan = by_distances(source, target)
    carried = carried_answers(source, plan)
    turned = contradicted(carried, anchors[:, 0], anchors[:, 1], answers_of(target, anchors))
    near = carried_answers(source, by_coordinates(source, target))
    return {
        "PEARL": share_right(carried, target, others),
        f"PEARL, {ANCHORS} anchors": share_right(1 - carried if turned else carried, target, others),
        "plan by coordinates": share_right(near, target, others),
        RANKS: rank_correlation(source, target, plan),
    }


Drawn = tuple[str, list[dict[str, float]]]  # a case, and what its draws gave


def draws(targets: Mapping[str, tuple[float, float]], rng: np.random.Generator) -> Iterator[Drawn]:
    """Draw trajectories to each of these goals, 4 and 50 of them, and carry answers about another goal to them."""
    for name, goal in targets.items():
        for n in (4, 50):
            found = [one_draw(walk((1, 0), n, rng), walk(goal, n, rng), rng) for _ in range(DRAWS)]
            yield f"{name}, {n} trajectories", found


def draws_in_fans(rng: np.random.Generator) -> Drawn:
    fans = [one_draw(walk_in_a_fan((1, 0), 50, rng), walk_in_a_fan((0, 1), 50, rng), rng) for _ in range(DRAWS)]
    return "good and bad alike in shape, 50 trajectories", fans


def as_segments(walks: Walks) -> Segments:
    obs = torch.from_numpy(walks.places).float()
    n, zeros = len(obs), torch.zeros(len(obs), LENGTH)
    return Segments(obs, torch.zeros(n, LENGTH, 1), zeros + 1, zeros, zeros, torch.arange(n))


def learned_reward(kind: type[PartialReturn], asked: Comparisons, new: Walks, seed: int) -> float:
    """Share of pairs of new trajectories that a reward orders rightly which has learned from these answers."""
    rng = torch.Generator().manual_seed(seed)
    model = kind(obs_size=2, action_size=1, **MODEL, rng=rng)
    model.observe(asked.left.obs[:, :-1].flatten(0, 1).numpy())
    for _ in range(UPDATES):
        model.update(asked[torch.randint(len(asked), (BATCH,), generator=rng)])
    with torch.no_grad():
        scores = model.score(as_segments(new)).mean(0).numpy()
    pairs = two_by_two(len(scores))
    return float(((scores[pairs[:, 1]] > scores[pairs[:, 0]]) == (answers_of(new, pairs) > 0.5)).mean())


def rewards(seed: int, n: int, rng: np.random.Generator) -> Iterator[Measured]:
    """Rewards from what five draws of n trajectories carried to the rotated task."""
    parts = []
    for _ in range(DRAWS):
        source, target = walk((1, 0), n, rng), walk(TARGETS["rotated"], n, rng)
        carried, pairs = carried_answers(source, by_distances(source, target)), two_by_two(n)
        shown, value = as_segments(target), torch.from_numpy(carried[pairs[:, 0], pairs[:, 1]]).float()
        parts.append(Comparisons(shown[pairs[:, 0]], shown[pairs[:, 1]], value, torch.zeros(len(pairs)).long()))
    new = walk(TARGETS["rotated"], NEW, rng)
    for arm, kind in (("Gaussian reward", GaussianReturn), ("plain reward", PartialReturn)):
        agrees = learned_reward(kind, Comparisons.cat(parts), new, seed)
        yield Measured(f"rotated, {DRAWS} draws of {n}: new pairs", arm, agrees)


def run(seed: int) -> list[Measured]:
    rng = np.random.default_rng([seed, 7])
    drawn = [*draws(TARGETS, rng), draws_in_fans(rng)]
    learned = [measured for n in (4, 50) for measured in rewards(seed, n, rng)]
    found = []
    for case, of_draws in [*draws(SAME, rng), *drawn]:
        for arm in of_draws[0]:
            values = [draw[arm] for draw in of_draws]
            found += [Measured(case, arm, float(np.mean(values))), Measured(f"{case}: worst", arm, min(values))]
    return found + learned


BED = Bed(
    claim="Fifty trajectories are enough to carry answers about one reaching task to another that is rotated or "
    "mirrored; from four it is luck, and where good and bad have the same shape a few known answers must say which is "
    "which.",
    task=f"a point walks for {LENGTH} steps with different skill; answers about all pairs of trajectories to one goal "
    f"are carried to trajectories to another, by Gromov-Wasserstein or by an ordinary plan; {DRAWS} draws each",
    measure=f"share of pairs that are ordered rightly, and {RANKS} with true ones, mean and worst of {DRAWS} draws",
    run=run,
)
