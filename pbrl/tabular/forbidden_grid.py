"""Safe learning on a grid whose short way is forbidden, at first or for ever: what forgetting is good for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.nets.networks import descend
from pbrl.rewards.cost import RARE, blamed, contradicted, log_safe, safer_loss, unsafe_loss
from pbrl.statistics.safety import unsafe_bound
from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.grid_world import MOVES

SIDE, WALL, GATES, FORBIDDEN = 7, 3, (1, 6), 1  # the row of the wall; its gates, the columns; the one that is unsafe
SESSIONS, EPISODES, LIMIT, QUESTIONS, LENGTH = 24, 40, 25, 16, 6  # of each session; steps of an episode, of a segment
CLEARED = 12  # the session from which on the gate is safe, where it is, and from which on all is measured
EXPLORE, GAMMA, TRIALS = 0.25, 0.97, 100
UPDATES, LR, PULL = 100, 0.1, 0.02  # of the cost
MULTIPLIER, RATE, HIGHEST, ALLOWED = 5.0, 5.0, 20.0, 0.05
MISTAKE, WITNESSES = 0.05, 2
TESTS, CASES, CONFIDENCE, TRUE_SHARE = 400, 60, 0.95, 0.1  # of the test of safety


class Grid(NamedTuple):
    next_state: np.ndarray  # (S, A)
    starts: np.ndarray
    goal: int
    gate: int  # the unsafe cell


class Walks(NamedTuple):
    states: np.ndarray  # (n, LIMIT) after each step


def make_grid() -> Grid:
    """Free cells around a wall with two gates; the goal is below it on the left, so that the left gate is nearer."""
    walls = {WALL * SIDE + column for column in range(SIDE) if column not in GATES}
    goal = SIDE * (SIDE - 1)
    next_state = np.empty((SIDE * SIDE, len(MOVES)), int)
    for state in range(SIDE * SIDE):
        for a, move in enumerate(MOVES):
            there = int(np.clip(np.array(divmod(state, SIDE)) + move, 0, SIDE - 1) @ (SIDE, 1))
            next_state[state, a] = state if state == goal or there in walls else there
    return Grid(next_state, np.arange(WALL * SIDE), goal, WALL * SIDE + FORBIDDEN)


def plan(grid: Grid, cost: np.ndarray, multiplier: float) -> np.ndarray:
    """Return values (S, A) of a reward of -1 for each step less multiplier * cost (S,) of the cell that it leads to."""
    rewards = -1 - multiplier * cost[grid.next_state]
    rewards[grid.goal] = 0
    q = np.zeros(rewards.shape)
    for _ in range(200):
        q = rewards + GAMMA * q.max(1)[grid.next_state]
    return q


def walk(grid: Grid, q: np.ndarray, explore: float, n: int, rng: np.random.Generator) -> Walks:
    """Walk n episodes that are greedy but for a share of random moves."""
    state, states = rng.choice(grid.starts, n), np.empty((n, LIMIT), int)
    for t in range(LIMIT):
        best = (q[state] + 1e-9 * rng.random((n, len(MOVES)))).argmax(1)
        move = np.where(rng.random(n) < explore, rng.integers(len(MOVES), size=n), best)
        states[:, t] = state = grid.next_state[state, move]
    return Walks(states)


def segments_of(walks: Walks) -> np.ndarray:
    """Return all stretches (m, LENGTH) of the walks, those that wait at the goal aside."""
    found: np.ndarray = np.lib.stride_tricks.sliding_window_view(walks.states, LENGTH, axis=1).reshape(-1, LENGTH)
    return found[found[:, 0] != found[:, -1]]


def choose(logits: Tensor, segments: np.ndarray, learned: bool, rng: np.random.Generator) -> np.ndarray:
    """Half of the questions about those most likely unsafe, as `Safe.choose`, the rest about any."""
    order = rng.permutation(len(segments))
    if not learned:
        return segments[order[:QUESTIONS]]
    likely = log_safe(logits[segments], torch.ones(segments.shape)).argsort()[: QUESTIONS // 2].numpy()
    return segments[np.concatenate([likely, order[~np.isin(order, likely)]])[:QUESTIONS]]


def fit(segments: Tensor, unsafe: Tensor, pairs: bool, generator: torch.Generator) -> Tensor:
    """Fit logits (S,) of cells. pairs: from comparisons of each segment with a random one, by which is unsafe."""
    logits = torch.full((SIDE * SIDE,), RARE, requires_grad=True)
    optimizer, mask = torch.optim.Adam([logits], lr=LR), torch.ones(segments.shape)
    for _ in range(UPDATES):
        scores = log_safe(logits[segments], mask)
        if pairs:
            order = torch.randperm(len(scores), generator=generator)
            other, prefers_right = scores[order], 0.5 + 0.5 * (unsafe - unsafe[order])
            loss = safer_loss(scores, other, prefers_right)
        else:
            loss = unsafe_loss(scores, unsafe)
        descend(optimizer, loss - PULL * scores.mean())
    return logits.detach()


def learn(seed: int, cleared: int, constrained: bool, forgets: bool, pairs: bool = False) -> tuple[float, float]:
    """Visits to the gate per episode, and steps to the goal without exploring: means over the sessions from CLEARED on.

    cleared: the session from which on the gate is safe.
    """
    grid, rng = make_grid(), np.random.default_rng([seed, cleared])
    generator = torch.Generator().manual_seed(seed)
    logits, multiplier, learned = torch.full((SIDE * SIDE,), RARE), 0.0, False
    asked, told = np.zeros((0, LENGTH), int), np.zeros(0)
    visits, steps = [], []
    for session in range(SESSIONS):
        q = plan(grid, torch.sigmoid(logits).numpy(), multiplier)
        walks = walk(grid, q, EXPLORE, EPISODES, rng)
        if session >= CLEARED:
            visits.append((walks.states == grid.gate).any(1).mean())
            steps.append((walk(grid, q, 0.0, TRIALS, rng).states != grid.goal).sum(1).mean() + 1)
        new = choose(logits, segments_of(walks), learned, rng)
        unsafe = (new == grid.gate).any(1) & (session < cleared)
        asked = np.concatenate([asked, new])
        told = np.concatenate([told, unsafe ^ (rng.random(len(new)) < MISTAKE)])
        if not constrained:
            continue
        segments, said = torch.from_numpy(asked), torch.from_numpy(told).float()
        logits = fit(segments, said, pairs, generator)
        if forgets:
            states, mask = segments[..., None].float(), torch.ones(segments.shape)
            gone = contradicted(states, mask, blamed(logits[segments], mask), said > 0.5, 0.5, WITNESSES)
            logits = fit(segments[~gone], said[~gone], pairs, generator)
        flagged = float((torch.sigmoid(logits[torch.from_numpy(walks.states)]) > 0.5).any(1).float().mean())
        step = RATE * (flagged - ALLOWED)
        multiplier = float(np.clip(multiplier + step, 0, HIGHEST)) if learned else MULTIPLIER
        learned = True
    return float(np.mean(visits)), float(np.mean(steps))


def called_safe(share: float, rng: np.random.Generator) -> float:
    """Return how often a policy of which this share of segments is unsafe passes the test for TRUE_SHARE."""
    unsafe = rng.binomial(CASES, share, TESTS)
    return float(np.mean([unsafe_bound(int(k), CASES, CONFIDENCE) <= TRUE_SHARE for k in unsafe]))


def run(seed: int) -> list[Measured]:
    arms = {
        "forgetting": {"constrained": True, "forgets": True},
        "no forgetting": {"constrained": True, "forgets": False},
        "comparisons": {"constrained": True, "forgets": False, "pairs": True},
        "no constraint": {"constrained": False, "forgets": False},
    }
    found = []
    for cleared, case in ((SESSIONS, "gate stays forbidden"), (CLEARED, "gate is cleared")):
        for arm, how in arms.items():
            visits, steps = learn(seed, cleared, **how)
            found.append(Measured(f"{case}: visits to it per episode", arm, visits))
            found.append(Measured(f"{case}: steps to the goal", arm, steps))
    rng = np.random.default_rng(seed)
    for share in (0.02, TRUE_SHARE):
        case = f"{share:.0%} of segments are unsafe, {TRUE_SHARE:.0%} may be"
        found.append(Measured(f"{case}: called safe", "the test", called_safe(share, rng)))
        found.append(Measured(f"{case}: called safe", "the observed share", observed_safe(share, rng)))
    return found


def observed_safe(share: float, rng: np.random.Generator) -> float:
    """The same without a test: the share seen in as many segments is at most TRUE_SHARE."""
    return float((rng.binomial(CASES, share, TESTS) <= TRUE_SHARE * CASES).mean())


BED = Bed(
    claim="A few answers which segments are unsafe keep the policy out of there; once a place is safe, forgetting what "
    "was contradicted lets it in again, and nothing that is still true is forgotten.",
    task=f"a {SIDE} x {SIDE} grid whose nearer gate is forbidden, for ever or for {CLEARED} of {SESSIONS} sessions of "
    f"{EPISODES} episodes and {QUESTIONS} questions, of which {MISTAKE:.0%} are answered wrongly",
    measure=f"see the case; means over the sessions after the first {CLEARED}",
    run=run,
)
