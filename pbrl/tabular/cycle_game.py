"""SPO on a game of three actions that beat each other in a circle: which policy is the minimax winner."""

from __future__ import annotations

from collections import deque

import numpy as np

from pbrl.rewards.win_rate import win_rates
from pbrl.tabular.beds import Bed, Measured

BEATS = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])  # of the row against the column
START = np.array([2.0, 0.0, 0.0])  # logits
UPDATES, BATCH, QUEUE, STEP_SIZE = 6000, 8, 8, 0.5
ENTROPY = (0.0, 0.02, 0.05)  # weights of the policy's entropy


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def gap(policy: np.ndarray) -> float:
    """Return how much the best answer to a policy (3,) wins beyond 1/2; 0 for the uniform minimax winner alone."""
    return float((BEATS @ policy).max() - 0.5)


def self_play(entropy: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The last policy, and the mean of those of the second half; REINFORCE on win rates against the queue."""
    logits, total = START.copy(), np.zeros(3)
    queue = deque(rng.choice(3, QUEUE, p=softmax(logits)).tolist(), maxlen=QUEUE)
    for update in range(UPDATES):
        policy = softmax(logits)
        actions = rng.choice(3, BATCH, p=policy)
        rewards = win_rates(BEATS[actions][:, list(queue)]) - 0.5
        score = np.eye(3)[actions] - policy  # (BATCH, 3) gradient of log pi
        log_policy = np.log(policy)
        of_entropy = -policy * (log_policy - policy @ log_policy)
        logits = logits + STEP_SIZE * (rewards @ score / BATCH + entropy * of_entropy)
        queue.extend(actions.tolist())
        if update >= UPDATES // 2:
            total += policy
    return softmax(logits), total / total.sum()


def run(seed: int) -> list[Measured]:
    found = []
    for number, entropy in enumerate(ENTROPY):
        last, mean = self_play(entropy, np.random.default_rng([seed, number]))
        case = f"entropy weight {entropy:g}"
        found += [Measured(case, "averaged policy", gap(mean)), Measured(case, "last policy", gap(last))]
    return found


BED = Bed(
    claim="Where preferences go in a circle, the policy to keep is the average: with a little entropy it is the "
    "minimax winner, while the last policy of self-play goes round and round.",
    task=f"three actions, each beats the next; {UPDATES:,} updates of a softmax policy on win rates against its last "
    f"{QUEUE} actions",
    measure="how much the best answer to the policy wins beyond 1/2",
    run=run,
)
