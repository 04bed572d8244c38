"""The implicit gradient where the inner problem is a parabola, whose answer is known; and the grid it is tried on."""

import math

import numpy as np
import pytest
import torch

import pbrl.tabular.helper_grid as bed
from pbrl.rewards.implicit import implicit_gradient, largest_curvature, neumann


def parabola(phi):
    """J(theta) = -1/2 theta' C theta + theta' B phi: theta* = C^-1 B phi, and dJ_p/dphi = B' C^-1 v for linear J_p."""
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.standard_normal((4, 4)))
    c = root @ root.T + torch.eye(4)
    b, v = torch.from_numpy(rng.standard_normal((4, 3))), torch.from_numpy(rng.standard_normal(4))
    theta = torch.linalg.solve(c, b @ phi.detach()).requires_grad_()
    return -0.5 * theta @ c @ theta + theta @ b @ phi, theta, v, b, c


def test_with_many_terms_it_is_the_exact_gradient():
    phi = torch.ones(3, dtype=torch.float64, requires_grad=True)
    objective, theta, v, b, c = parabola(phi)
    step = 1 / float(torch.linalg.eigvalsh(c).max())
    (inverse,) = neumann(objective, [theta], [v], terms=2000, step=step)
    torch.testing.assert_close(inverse, torch.linalg.solve(c, v))
    (found,) = implicit_gradient(objective, [theta], [v], [phi], terms=2000, step=step)
    torch.testing.assert_close(found, b.T @ torch.linalg.solve(c, v))


def test_power_iteration_finds_the_largest_curvature_and_never_more():
    phi = torch.ones(3, dtype=torch.float64, requires_grad=True)
    objective, theta, v, _, c = parabola(phi)
    largest = float(torch.linalg.eigvalsh(c).max())
    assert largest_curvature(objective, [theta], [v], 100) == pytest.approx(largest)
    assert largest_curvature(objective, [theta], [v], 2) <= largest


def test_without_terms_it_is_one_step_of_gradient_ascent():
    phi = torch.ones(3, dtype=torch.float64, requires_grad=True)
    objective, theta, v, b, _ = parabola(phi)
    (found,) = implicit_gradient(objective, [theta], [v], [phi], terms=0, step=0.1)
    torch.testing.assert_close(found, 0.1 * b.T @ v)


def test_the_curvature_may_be_of_another_objective():
    phi = torch.ones(3, dtype=torch.float64, requires_grad=True)
    objective, theta, v, b, _ = parabola(phi)
    flat = -0.5 * (2 * theta).square().sum()  # H = -4 I
    (found,) = implicit_gradient(objective, [theta], [v], [phi], terms=1, step=0.1, curvature=flat)
    torch.testing.assert_close(found, 0.1 * (1 + 0.6) * b.T @ v)


def grid(entropy, met):
    nothing = torch.zeros((1, 25, 4), dtype=torch.float64)
    return bed.Problem(nothing, torch.full((1, 1), entropy, dtype=torch.float64), torch.tensor([[met]]))


def test_entropy_counts_in_all_states_alike_or_where_the_policy_comes():
    """Of a uniform policy it is log 4 in each of 24 states; where nobody arrives, log 4 / (1 - gamma) on the way."""
    uniform, nothing = torch.zeros((1, 25, 4), dtype=torch.float64), torch.zeros((1, 25, 4), dtype=torch.float64)
    assert float(grid(0.05, False).objective(uniform, nothing)) == pytest.approx(0.05 * 24 * math.log(4))
    endless = grid(0.05, True)
    endless.moves[:] = 0
    endless.moves[:, :, 0] = 1  # everything leads back to the start
    assert float(endless.objective(uniform, nothing)) == pytest.approx(0.05 * math.log(4) / (1 - bed.GAMMA))


def test_on_the_grid_the_best_return_is_that_of_the_shortest_way():
    problem = grid(entropy=0.0, met=False)
    down_then_right = torch.full((1, 25, 4), -50.0, dtype=torch.float64)
    down_then_right[:, :, 3] = 50
    down_then_right[:, ::5] = torch.tensor([-50.0, 50.0, -50.0, -50.0], dtype=torch.float64)
    down_then_right[:, 20:] = torch.tensor([-50.0, -50.0, -50.0, 50.0], dtype=torch.float64)
    assert float(problem.value(down_then_right, problem.task)) == pytest.approx(bed.GAMMA**7)


def test_a_reward_that_learns_survives_a_bad_helper_and_the_plain_sum_does_not(monkeypatch):
    monkeypatch.setattr(bed, "OUTER_STEPS", 60)
    misleading = bed.cases()[1:3]
    monkeypatch.setattr(bed, "cases", lambda: misleading)
    found = {(m.case, m.arm): m.value for m in bed.run(0)}
    for case in misleading:
        assert found[case.name, "BARFI"] > 0.95
        assert found[case.name, "plain sum"] < 0.5
        assert found[case.name, "task alone"] > 0.9
        assert found[case.name, "outer gradient at the start"] > 0.01


def test_a_bonus_that_learns_frees_a_policy_that_entropy_holds_back(monkeypatch):
    (held,) = [case for case in bed.cases() if case.name == "no helper, entropy 0.05"]
    monkeypatch.setattr(bed, "cases", lambda: [held])
    found = {m.arm: m.value for m in bed.run(1)}
    assert found["task alone"] == pytest.approx(found["plain sum"])
    assert found["task alone"] < 0.8
    assert found["BARFI"] > 0.95
