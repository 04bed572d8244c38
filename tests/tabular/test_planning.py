"""Dynamic programming against closed forms and against plain value iteration."""

import numpy as np
import pytest

from pbrl.tabular import DELIVERY_WEIGHTS, load_board, random_world
from pbrl.tabular.planning import action_values, best_sums, greedy_policy, optimal_values, policy_values

GAMMA = 0.9


def value_iteration(world, reward, gamma, sweeps):
    values = np.zeros(len(world.next_state))
    for _ in range(sweeps):
        values = (reward + gamma * values[world.next_state]).max(-1)
    return values


def test_constant_reward_for_ever_is_a_geometric_series():
    next_state, reward = np.array([[1, 1], [0, 0]]), np.full((2, 2), 3.0)
    np.testing.assert_allclose(optimal_values(next_state, reward, GAMMA), 3 / (1 - GAMMA))
    np.testing.assert_allclose(policy_values(next_state, reward, np.full((2, 2), 0.5), GAMMA), 3 / (1 - GAMMA))


def test_values_of_a_street_with_discount(street):
    found = optimal_values(street.next_state, street.reward, GAMMA)
    np.testing.assert_allclose(found, [-1 - 0.9 + 0.81 * 50, -1 + 0.9 * 50, 50, 0])


@pytest.mark.parametrize("seed", range(4))
def test_many_rewards_at_once_agree_with_value_iteration(seed):
    world, rng = random_world(seed), np.random.default_rng(seed)
    weights = rng.choice(world.reward_choices, (6, 6))
    reward = np.einsum("saf,nf->nsa", world.features, weights)
    found = optimal_values(world.next_state, reward, GAMMA)
    for values, one in zip(found, reward, strict=True):
        np.testing.assert_allclose(values, value_iteration(world, one, GAMMA, 400), atol=1e-9)


@pytest.mark.parametrize("name", ["sheep_detour", "brick_shortcut", "town"])
def test_sums_without_discount_agree_with_value_iteration(name):
    world = load_board(name)
    found = best_sums(world.next_state, world.reward)
    np.testing.assert_array_equal(found, value_iteration(world, world.reward, gamma=1, sweeps=99))


def test_a_loop_at_no_cost_is_worth_0_and_a_worse_goal_is_left_alone():
    next_state = np.array([[1, 0], [0, 2], [2, 2]])  # 0 and 1 lead to each other at no cost, 1 to the end for -5
    reward = np.array([[0.0, -1.0], [0.0, -5.0], [0.0, 0.0]])
    assert best_sums(next_state, reward).tolist() == [0, 0, 0]


def test_a_loop_that_pays_and_leads_nowhere_is_noticed():
    with pytest.raises(ValueError, match="a loop near state 0 earns more than it costs"):
        best_sums(np.array([[0, 1], [1, 1]]), np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_rewards_that_are_no_exact_floats_are_no_loop_that_pays():
    next_state = np.array([[1], [2], [0]])
    assert best_sums(next_state, np.array([[0.1], [0.2], [-0.3]])).tolist() == [-np.inf] * 3  # 0.1 + 0.2 - 0.3 > 0


def test_ties_share_the_policy(street):
    policy = greedy_policy(street.next_state, street.reward, GAMMA)
    assert policy[0].tolist() == [0, 0, 0, 1]
    assert policy[3].tolist() == [0.25] * 4
    world = load_board("sheep_detour")
    first = greedy_policy(world.next_state, world.reward, GAMMA)[0]
    assert first.tolist() == [0, 0.5, 0, 0.5]  # down or right: as far, and as good


def test_no_reward_makes_every_policy_greedy(street):
    np.testing.assert_array_equal(greedy_policy(street.next_state, 0 * street.reward, 0.999), np.full((4, 4), 0.25))


def test_the_greedy_policy_has_the_optimal_value():
    for seed in range(4):
        world = random_world(seed)
        policy = greedy_policy(world.next_state, world.reward, 0.999)
        values = policy_values(world.next_state, world.reward, policy, 0.999)
        np.testing.assert_allclose(values, optimal_values(world.next_state, world.reward, 0.999), atol=1e-6)


def test_random_moves_between_two_ends():
    """Started in the middle of three cells between -50 and 50: by symmetry the ends cancel, without gas."""
    next_state = np.array([[0, 0], [0, 2], [1, 3], [2, 4], [4, 4]])
    reward = np.array([[0, 0], [-50, 0], [0, 0], [0, 50], [0, 0]], float)
    values = policy_values(next_state, reward, np.full((5, 2), 0.5), GAMMA)
    assert values[2] == pytest.approx(0)
    assert values[3] == pytest.approx(25 / (1 + 0) + GAMMA / 2 * values[2])
    assert values[1] == pytest.approx(-values[3])


def test_successor_features_times_weights_are_values():
    world = load_board("town")
    policy = greedy_policy(world.next_state, world.reward, 0.999)
    psi = policy_values(world.next_state, world.features, policy, 0.999)
    values = policy_values(world.next_state, world.reward, policy, 0.999)
    np.testing.assert_allclose(psi @ np.array(DELIVERY_WEIGHTS), values, atol=1e-9)


def test_q_is_the_reward_and_what_follows(street):
    q = action_values(street.next_state, street.reward, np.array([1.0, 2.0, 3.0, 0.0]), 0.5)
    assert q[1].tolist() == [0, 0, -0.5, 0.5]


@pytest.mark.parametrize("gamma", [1.0, -0.1])
def test_gamma_must_be_below_1(street, gamma):
    for compute in (optimal_values, greedy_policy):
        with pytest.raises(ValueError, match="below 1"):
            compute(street.next_state, street.reward, gamma)
    with pytest.raises(ValueError, match="below 1"):
        policy_values(street.next_state, street.reward, np.full((4, 4), 0.25), gamma)
