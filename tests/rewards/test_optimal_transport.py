"""Transport plans against exact linear programs, closed forms and symmetries."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from pbrl.rewards.optimal_transport import cosine_cost, sinkhorn, transport_cost

EXACT = {"iterations": 5000, "tolerance": 1e-9}


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_program(cost):
    """The least <P, cost> over plans with uniform marginals."""
    t, s = cost.shape
    rows, columns = np.kron(np.eye(t), np.ones(s)), np.kron(np.ones(t), np.eye(s))
    marginals = np.r_[np.full(t, 1 / t), np.full(s, 1 / s)]
    return linprog(cost.flatten(), A_eq=np.vstack([rows, columns]), b_eq=marginals, bounds=(0, None)).fun


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (5, 1)])
def test_a_small_epsilon_costs_what_the_linear_program_does(shape):
    cost = draw(3, *shape)
    plans = sinkhorn(cost, 0.002, **EXACT)
    exact = [linear_program(c.numpy()) for c in cost]
    np.testing.assert_allclose(transport_cost(cost, plans), exact, rtol=0.01)


def test_a_small_epsilon_finds_the_best_assignment():
    cost = draw(1, 8, 8)
    rows, columns = linear_sum_assignment(cost[0])
    assignment = np.zeros((8, 8))
    assignment[rows, columns] = 1 / 8
    np.testing.assert_allclose(sinkhorn(cost, 0.001, **EXACT)[0], assignment, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 1.0])
def test_marginals_are_uniform(epsilon):
    plan = sinkhorn(2 * draw(4, 9, 5).float(), epsilon, 1000, 1e-4)
    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(2), torch.full((4, 9), 1 / 9), rtol=1e-4, atol=0)
    torch.testing.assert_close(plan.sum(1), torch.full((4, 5), 1 / 5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_two_by_two_by_hand(epsilon):
    # Staying costs 0, crossing 1: by symmetry p / (1/2 - p) = e^(1 / epsilon)
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    p = float(torch.sigmoid(torch.tensor(1 / epsilon, dtype=torch.float64))) / 2
    expected = torch.tensor([[[p, 0.5 - p], [0.5 - p, p]]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(cost, epsilon, **EXACT), expected)


def test_a_large_epsilon_spreads_everything_evenly():
    torch.testing.assert_close(sinkhorn(draw(2, 3, 4), 1e6, **EXACT), torch.full((2, 3, 4), 1 / 12).double())


def test_what_every_plan_must_pay_changes_no_plan():
    cost = draw(2, 5, 4)
    dearer = cost + draw(2, 5, 1, seed=1) + draw(2, 1, 4, seed=2)
    torch.testing.assert_close(sinkhorn(dearer, 0.1, **EXACT), sinkhorn(cost, 0.1, **EXACT))


def test_permuted_frames_permute_the_plan_and_keep_the_cost():
    cost, order = draw(2, 6, 5), torch.randperm(6, generator=torch.Generator().manual_seed(3))
    plan, permuted = sinkhorn(cost, 0.1, **EXACT), sinkhorn(cost[:, order], 0.1, **EXACT)
    torch.testing.assert_close(permuted, plan[:, order])
    torch.testing.assert_close(transport_cost(cost[:, order], permuted), transport_cost(cost, plan))


def test_the_other_direction_is_the_transpose():
    cost = draw(2, 6, 5)
    torch.testing.assert_close(sinkhorn(cost.mT, 0.1, **EXACT), sinkhorn(cost, 0.1, **EXACT).mT, rtol=1e-6, atol=1e-9)


def test_a_batch_is_its_pairs_one_by_one():
    cost = draw(3, 5, 4)
    alone = torch.cat([sinkhorn(c[None], 0.1, 40, 0.0) for c in cost])
    torch.testing.assert_close(sinkhorn(cost, 0.1, 40, 0.0), alone)


def test_a_tiny_epsilon_stays_finite_in_single_precision():
    cost = (2 * draw(1, 30, 30)).float().requires_grad_()
    value = transport_cost(cost, sinkhorn(cost, 1e-3, 50, 1e-3)).sum()
    value.backward()
    assert value.isfinite()
    assert cost.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences():
    x, y = draw(2, 3, 4).requires_grad_(), draw(2, 5, 4, seed=1).requires_grad_()

    def distance(x, y):
        cost = cosine_cost(x, y)
        return transport_cost(cost, sinkhorn(cost, 0.3, 20, 0.0))

    assert torch.autograd.gradcheck(distance, (x, y))


def test_a_video_costs_nothing_against_itself():
    frames = torch.eye(6)[None]  # embeddings at right angles: cost 1 to every other frame
    cost = cosine_cost(frames, frames)
    assert float(transport_cost(cost, sinkhorn(cost, 0.05, 100, 1e-6))) == pytest.approx(0, abs=1e-6)


def test_cosine_cost_by_hand():
    x = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    y = torch.tensor([[[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [1.0, 1.0]]])
    expected = torch.tensor([[[0, 1, 2, 1 - 0.5**0.5], [1, 1, 1, 1]]])
    torch.testing.assert_close(cosine_cost(x, y), expected)


def test_cosine_cost_is_never_negative():
    x = torch.randn(1, 200, 32, generator=torch.Generator().manual_seed(0))
    assert (cosine_cost(x, x) >= 0).all()


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_the_plan_is_the_one_of_pot(epsilon):
    ot = pytest.importorskip("ot", reason="POT is not installed; get it with: pip install POT")
    cost = draw(7, 4)
    expected = ot.sinkhorn(np.full(7, 1 / 7), np.full(4, 1 / 4), cost.numpy(), epsilon, "sinkhorn_log", 5000, 1e-10)
    np.testing.assert_allclose(sinkhorn(cost[None], epsilon, **EXACT)[0], expected, atol=1e-8)


def test_wrong_shapes_and_numbers_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\), expected \(B, T, S\)"):
        sinkhorn(draw(3, 4), 0.1, 10, 0.0)
    with pytest.raises(ValueError, match="epsilon=0"):
        sinkhorn(draw(1, 3, 4), 0, 10, 0.0)
    with pytest.raises(ValueError, match=r"\(1, 3, 4\) and \(1, 3, 5\)"):
        cosine_cost(draw(1, 3, 4), draw(1, 3, 5))
