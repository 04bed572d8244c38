"""Test beds of systems that are tables: reward design by linear programmes, and costs with a tail."""

import itertools
import random

import numpy as np
import pytest

from pbrl.tabular.cycle_game import softmax
from pbrl.tabular.nash_game import accelerated, extragradient, gap, nash_md, play, random_game, self_play
from pbrl.tabular.reward_design import CHAIN, GAMMA, Designer, make_chain, optimal_q, truncated
from pbrl.tabular.reward_design import run as run_design
from pbrl.tabular.reward_shaping import GOAL, Learner, Step
from pbrl.tabular.stock_augmented import (
    TAILS,
    World,
    cost_distribution,
    cvar_of,
    least_cvar,
    least_mean,
    random_world,
)


@pytest.fixture(scope="module")
def designer():
    return Designer(make_chain())


def test_a_designed_reward_keeps_the_optimal_policy_and_its_margins(designer):
    losses = []
    for design in designer.grow(3):
        q = optimal_q(designer.chain, design.rewards)[:CHAIN]
        assert (q.argmax(1) == designer.policy[:CHAIN]).all()
        assert (q.max(1) - q.min(1) >= designer.gaps - 1e-6).all()
        assert np.abs(design.rewards).max() <= 10 + 1e-9
        losses.append(design.loss)
    assert (np.diff(losses) < -1e-3).all()
    assert designer.design(range(CHAIN)).loss == pytest.approx(0, abs=1e-9)


def test_only_chosen_states_are_rewarded(designer):
    rewarded = np.flatnonzero(np.abs(designer.design([4, 9]).rewards).max(1) > 1e-9)
    assert set(rewarded) <= {4, 9, CHAIN}


def test_values_over_a_horizon_are_sums_of_rewards():
    """By hand: one step is its own reward, and many are the values of the policy."""
    chain, rng = make_chain(4), np.random.default_rng(0)
    rewards = rng.normal(size=chain.rewards.shape)
    policy = np.ones(5, int)
    np.testing.assert_allclose(truncated(chain, policy, 1).reshape(5, 2, -1) @ rewards.ravel(), rewards)
    follow, own = chain.next_states[np.arange(5), policy], rewards[np.arange(5), policy]
    two = rewards + GAMMA * chain.next_states @ own
    np.testing.assert_allclose(truncated(chain, policy, 2).reshape(5, 2, -1) @ rewards.ravel(), two)
    lasting = rewards + GAMMA * chain.next_states @ np.linalg.solve(np.eye(5) - GAMMA * follow, own)
    np.testing.assert_allclose(truncated(chain, policy, 900).reshape(5, 2, -1) @ rewards.ravel(), lasting)


def test_a_few_rewarded_states_halve_the_episodes():
    found = [{m.arm: m.value for m in run_design(seed) if m.case == "episodes to learn"} for seed in range(8)]
    given, designed = (np.mean([f[arm] for f in found]) for arm in ("the given reward", "goal and 3 more"))
    assert designed < given / 2


def risky_short_cut() -> World:
    """Return 5 x 5 cells; straight on along the middle row three cells cost 1, or 9 in 5 % of times."""
    side, moves = 5, np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    start, goal = 2 * side, 2 * side + side - 1
    cells = np.stack(np.divmod(np.arange(side * side), side), 1)
    next_state = np.clip(cells[:, None] + moves, 0, side - 1) @ (side, 1)
    risky = np.isin(next_state, np.arange(start + 1, goal))
    next_state[goal] = goal
    usual, rare = np.ones(next_state.shape, int), np.where(risky, 9, 1)
    usual[goal] = rare[goal] = 0
    return World(next_state, usual, rare, np.where(risky, 0.05, 0.0), 14, start)


def test_the_short_cut_is_left_where_its_tail_counts():
    """Four steps of which three cost 1 + 8 / 20 in the mean, or six steps that cost 1."""
    world = risky_short_cut()
    costs = np.arange(world.most + 1)
    short = cost_distribution(world, least_mean(world))
    assert short @ costs == pytest.approx(5.2)
    assert [cvar_of(short, tail) for tail in TAILS] == pytest.approx([13.18, 12.59, 8.8])
    planned, moves = least_cvar(world, 0.05)
    safe = cost_distribution(world, moves)
    assert (planned, cvar_of(safe, 0.05), safe @ costs) == pytest.approx((6, 6, 6))


def test_what_is_planned_is_what_the_policy_has_and_nothing_is_better():
    for seed in range(4):
        world = random_world(np.random.default_rng(seed))
        for tail in TAILS:
            planned, moves = least_cvar(world, tail)
            assert cvar_of(cost_distribution(world, moves), tail) == pytest.approx(planned)
            assert planned <= cvar_of(cost_distribution(world, least_mean(world)), tail) + 1e-9


def test_the_second_choice_hangs_on_what_the_first_one_cost():
    """First 1 or 5 at even odds, then 4 for sure, or 1, or 8 in a fifth of times: by all four policies of the cost."""
    next_state = np.array([[1, 1], [2, 2], [2, 2]])
    usual, rare = np.array([[1, 1], [4, 1], [0, 0]]), np.array([[5, 5], [4, 8], [0, 0]])
    world = World(next_state, usual, rare, np.array([[0.5, 0.5], [0.0, 0.2], [0.0, 0.0]]), 2)
    by_hand = {}
    for low, high in itertools.product((0, 1), repeat=2):
        of = np.zeros(world.most + 1)
        for first, choice in ((1, low), (5, high)):
            of[first + usual[1, choice]] += 0.5 * (1 - world.chance[1, choice])
            of[first + rare[1, choice]] += 0.5 * world.chance[1, choice]
        by_hand[low, high] = cvar_of(of, 0.25)
    planned, moves = least_cvar(world, 0.25)
    assert planned == pytest.approx(min(by_hand.values())) == pytest.approx(8.8)
    assert moves[1][1, 1] != moves[1][1, 5]
    assert planned < min(by_hand[0, 0], by_hand[1, 1])  # either, whatever the first one cost


def test_the_gap_is_zero_where_nobody_wins_and_the_reference_is_kept():
    even, reference = np.full((6, 6), 0.5), softmax(np.arange(6.0))
    assert gap(even, reference, reference) == pytest.approx(0)
    assert gap(even, np.full(6, 1 / 6), reference) > 0.01
    beats, logits = random_game(np.random.default_rng(0))
    np.testing.assert_allclose(beats + beats.T, 1)
    policies = np.random.default_rng(1).dirichlet(np.ones(6), 200)
    assert min(gap(beats, policy, softmax(logits)) for policy in policies) > 0


@pytest.mark.parametrize("update", [nash_md, extragradient, accelerated(nash_md)])
def test_with_a_pull_the_last_policy_is_the_nash_policy_and_without_it_is_not(update):
    beats, reference = random_game(np.random.default_rng(3))
    (last, _, sooner), (cycled, _, never) = (play(how, beats, reference) for how in (update, self_play))
    assert gap(beats, last, softmax(reference)) < 1e-4
    assert sooner < 1000
    assert gap(beats, cycled, softmax(reference)) > 0.01
    assert never == 2000


def test_a_learned_reward_follows_the_true_return_by_hand():
    """One episode of one step to the goal: G = 1, V = 0, and the chance of either move is 1/2."""
    learner = Learner(shapes=True, explores=True, rng=random.Random(0))
    learner.last.append([Step(GOAL - 1, True, GOAL, 1.0, 1.0)])
    learner.learn_shaping()
    assert learner.phi[GOAL - 1] == pytest.approx([-0.01 * 0.5 * 0.5, 0.01 * 0.5 * 0.5])
    assert learner.values[GOAL - 1] == pytest.approx(0.01)
    learner.learn_policy()
    assert learner.logits[GOAL - 1] == pytest.approx(0.1 * 0.5)
    assert learner.reward(GOAL - 1, True, GOAL) == pytest.approx(1.0025)  # no bonus at the goal
    assert learner.reward(3, False, 2) == 1.0  # for what was never reached
    learner.counts[2] = 3
    assert learner.reward(3, False, 2) == 0.5


def test_shaped_with_a_bonus_the_goal_is_found_while_the_given_reward_says_nothing():
    shares = {}
    for how in ((False, False), (True, True)):
        learner = Learner(*how, rng=random.Random(1))
        found = []
        for number in range(2000):
            found.append(learner.episode())
            learner.learn(number + 1)
        shares[how] = np.mean(found)
    assert shares[False, False] < 0.02
    assert shares[True, True] > 0.3
