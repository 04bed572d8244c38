"""Learning to win a game of preferences with no last word: which updates end at the Nash policy, and how near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.cycle_game import softmax

ACTIONS, UPDATES, STEP_SIZE, PULL = 6, 2000, 0.3, 0.05  # PULL: weight of the KL to the reference
MOMENTUM = 0.3

Update = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Logits (A,), the logits of the reference and P(row beats column) (A, A) -> the next logits."""


def random_game(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """P(row beats column), where about half of the triples go in a circle, and the logits of a reference policy."""
    upper = np.triu(rng.uniform(0, 1, (ACTIONS, ACTIONS)), 1)
    beats = upper + np.tril(1 - upper.T, -1)
    np.fill_diagonal(beats, 0.5)
    return beats, rng.normal(size=ACTIONS)


def gap(beats: np.ndarray, policy: np.ndarray, reference: np.ndarray) -> float:
    """The duality gap of the game with a KL of weight PULL to the reference: 0 for its Nash policy alone.

    max over answers q of  q P pi - PULL KL(q || ref) + PULL KL(pi || ref) - 1/2
    """
    wins = beats @ policy
    best = PULL * np.log(reference @ np.exp(wins / PULL))
    own = policy @ beats @ policy - PULL * policy @ np.log(policy / reference)
    return float(best - own)


def mirror(logits: np.ndarray, reference: np.ndarray, beats: np.ndarray, against: np.ndarray) -> np.ndarray:
    """A step of mirror descent on the win rates against a policy, and towards the reference.

    Against itself this is the squared regression of INPO (Zhang et al. 2024), solved exactly.
    """
    policy_pull = STEP_SIZE * PULL
    return (1 - policy_pull) * logits + policy_pull * reference + STEP_SIZE * beats @ softmax(against)


def self_play(logits: np.ndarray, reference: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Play against itself with no pull: the squared regression of SPPO (Wu et al. 2024), solved exactly."""
    return logits + STEP_SIZE * beats @ softmax(logits)


def nash_md(logits: np.ndarray, reference: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Play against the geometric mixture with the reference (Munos et al. 2024)."""
    mixed = (1 - STEP_SIZE * PULL) * logits + STEP_SIZE * PULL * reference
    return mixed + STEP_SIZE * beats @ softmax(mixed)


def extragradient(logits: np.ndarray, reference: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """A step from here against where a step would lead (EGPO, Zhou et al. 2025; mirror-prox)."""
    return mirror(logits, reference, beats, mirror(logits, reference, beats, logits))


def accelerated(update: Update) -> Update:
    """The same, and on by a share of how the logits moved last (APO, He et al. 2024)."""
    last: list[np.ndarray] = []

    def step(logits: np.ndarray, reference: np.ndarray, beats: np.ndarray) -> np.ndarray:
        ahead = update(logits, reference, beats)
        pushed = ahead + MOMENTUM * (ahead - last[0]) if last else ahead
        last[:] = [ahead]
        return pushed

    return step


def play(update: Update, beats: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The last policy and the mean one; and after how many updates the gap of the last one is below 0.001."""
    logits, total, sooner = reference.copy(), np.zeros(ACTIONS), UPDATES
    anchor = softmax(reference)
    for number in range(UPDATES):
        logits = update(logits, reference, beats)
        logits = logits - logits.max()
        total += softmax(logits)
        if sooner == UPDATES and gap(beats, softmax(logits), anchor) < 1e-3:
            sooner = number + 1
    return softmax(logits), total / UPDATES, sooner


def run(seed: int) -> list[Measured]:
    beats, reference = random_game(np.random.default_rng(seed))
    arms: dict[str, Update] = {
        "self-play": self_play,
        "self-play, pulled": lambda logits, pull, wins: mirror(logits, pull, wins, logits),
        "Nash-MD": nash_md,
        "extragradient": extragradient,
        "Nash-MD, accelerated": accelerated(nash_md),
    }
    found = []
    for arm, update in arms.items():
        last, mean, sooner = play(update, beats, reference)
        for name, policy in (("last", last), ("mean", mean)):
            found.append(Measured(f"gap of the {name} policy", arm, gap(beats, policy, softmax(reference))))
            plain = float((beats @ policy).max() - 0.5)
            found.append(Measured(f"what the best answer to the {name} policy wins beyond 1/2", arm, plain))
        found.append(Measured("updates until the gap of the last one is below 0.001", arm, sooner))
    return found


BED = Bed(
    claim="Where preferences go in circles, mirror descent with a pull to a reference policy ends at the Nash policy "
    "in its last iterate; self-play without one does not.",
    task=f"random games of {ACTIONS} actions, exact win rates, {UPDATES:,} updates, a KL of weight {PULL} to a random "
    "reference",
    measure="the duality gap of the game with that KL, or see the case",
    run=run,
    seeds=20,
)
