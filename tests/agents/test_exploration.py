import numpy as np
import pytest
from scipy.spatial import cKDTree

from pbrl.agents.exploration import StateEntropy


def make(k=5, reference=10_000, normalise=False):
    return StateEntropy(k=k, reference=reference, normalise=normalise)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def neighbour_distance(stored, rows, k):
    """Of stored states to their k-th nearest other one."""
    return cKDTree(stored.astype(float)).query(stored[rows].astype(float), k + 1)[0][:, -1]


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("centre", [0.0, 1000.0], ids=["centred", "far from the origin"])
def test_distance_to_the_kth_neighbour_over_its_deviation(k, centre):
    stored = normals(400, 6) + np.float32(centre)
    expected = neighbour_distance(stored, np.arange(50), k)
    np.testing.assert_allclose(make(k)(stored[:50], stored), expected / expected.std(), rtol=1e-3)


def test_the_deviation_is_that_of_all_distances_so_far():
    explore, stored = make(), normals(300, 4)
    first, second = (neighbour_distance(stored, slice(i, i + 100), 5) for i in (0, 100))
    explore(stored[:100], stored)
    rewards = explore(stored[100:200], stored)
    np.testing.assert_allclose(rewards, second / np.concatenate([first, second]).std(), rtol=1e-4)


def test_an_isolated_state_gets_the_largest_reward():
    stored = normals(200, 3)
    stored[17] = 30
    assert make()(stored, stored).argmax() == 17


def test_few_stored_states_give_finite_rewards():
    for n in (1, 2, 5):
        stored = normals(n, 3)
        assert np.isfinite(make()(stored, stored)).all()
    assert np.isfinite(make()(np.zeros((4, 3), np.float32), np.zeros((9, 3), np.float32))).all()


def test_a_random_reference_keeps_the_order_of_near_and_far():
    np.random.seed(0)  # noqa: NPY002  the agents' stream
    stored = normals(5000, 2)
    obs = np.array([[0, 0], [2, 2], [5, 5]], np.float32)
    rewards = make(reference=500)(obs, stored)
    assert rewards[0] < rewards[1] < rewards[2]


def test_normalised_distances_do_not_depend_on_units():
    stored = normals(300, 3)
    scaled = stored * np.float32([1, 1000, 0.01])
    rewards = [make(normalise=True)(x[:50], x) for x in (stored, scaled)]
    np.testing.assert_allclose(*rewards, rtol=1e-3)


def test_a_restored_reward_goes_on_with_its_deviation():
    old, new, stored = make(), make(), normals(200, 3)
    old(stored[:100], stored)
    new.load_state_dict(old.state_dict())
    np.testing.assert_array_equal(old(stored[100:], stored), new(stored[100:], stored))
