"""SPO on a double integrator: what flipped answers cost where episodes are rewarded by win rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pbrl.rewards.win_rate import Spread
from pbrl.tabular.beds import Bed, Measured

DT, LENGTH, START = 0.1, 40, (0.9, 0.0)  # s; steps; position and speed
NOISE, STEP_SIZE, UPDATES, BATCH, QUEUE = 0.5, 0.04, 250, 32, 32
FLIPS = (0.0, 0.2, 0.4)

Rewards = Callable[[np.ndarray], np.ndarray]
"""(n,) rewards of n episodes, of their returns (n,)."""


def roll_out(gain: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (n,), and the gradients (n, 2) of log pi summed over an episode, of u = gain . (x, v) + noise (n, T).

    The return is minus the sum of x^2 + 0.1 v^2 + 0.01 u^2, with x'' = u.
    """
    state = np.tile(START, (len(noise), 1))  # (n, 2)
    returns, score = np.zeros(len(noise)), np.zeros((len(noise), 2))
    for t in range(LENGTH):
        force = state @ gain + noise[:, t]
        returns -= state[:, 0] ** 2 + 0.1 * state[:, 1] ** 2 + 0.01 * force**2
        score += noise[:, t : t + 1] * state / NOISE**2
        state = state + DT * np.stack([state[:, 1], force], 1)
    return returns, score


def learn(rewards_of: Rewards, rng: np.random.Generator) -> float:
    """The return without noise of a linear policy after REINFORCE on these rewards; Adam."""
    gain, first, second = np.zeros(2), np.zeros(2), np.zeros(2)
    for update in range(1, UPDATES + 1):
        returns, score = roll_out(gain, NOISE * rng.standard_normal((BATCH, LENGTH)))
        rewards = rewards_of(returns)
        gradient = (rewards - rewards.mean()) @ score / BATCH
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.9**update) / (np.sqrt(second / (1 - 0.999**update)) + 1e-8)
        gain = gain + STEP_SIZE * step
    return float(roll_out(gain, np.zeros((1, LENGTH)))[0][0])


def self_play(flips: float, rng: np.random.Generator) -> Rewards:
    """Normalised win rates against the returns of the last episodes, answers flipped with this probability."""
    spread, rivals = Spread(), np.zeros(0)

    def rewards_of(returns: np.ndarray) -> np.ndarray:
        nonlocal rivals
        against = rivals if len(rivals) else returns
        wins = (returns[:, None] > against).astype(float)
        rivals = np.concatenate([rivals, returns])[-QUEUE:]
        return spread.rewards(np.where(rng.random(wins.shape) < flips, 1 - wins, wins))

    return rewards_of


def run(seed: int) -> list[Measured]:
    rng = np.random.default_rng([seed, 0])
    truth, coin = learn(lambda returns: returns / returns.std(), rng), learn(self_play(0.5, rng), rng)
    found = []
    for number, flips in enumerate(FLIPS, 1):
        rng, case = np.random.default_rng([seed, number]), f"{flips:.0%} of answers flipped"
        arms = {
            "SPO": learn(self_play(flips, rng), rng),
            "true return": truth,
            "coin-toss answers": coin,
        }
        found += [Measured(case, arm, value) for arm, value in arms.items()]
    return found


BED = Bed(
    claim="Win rates bear noise: with 40 % of the answers flipped the policy is as good as on the true return.",
    task=f"a double integrator, {UPDATES} updates of a linear policy from {BATCH} episodes, each compared with the "
    f"last {QUEUE}: {UPDATES * BATCH * QUEUE:,} comparisons",
    measure="return without noise",
    run=run,
)
