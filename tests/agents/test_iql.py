"""IQL on a task whose values are known: one state, reward r(a), no end or an end at every step."""

import math

import pytest
import torch

from pbrl.agents.iql import IQL, Batch, effective_share
from pbrl.nets.policies import Policy


def make(expectile=0.7, gamma=0.5, beta=1 / 3, steps=2000, beta_unit="one"):
    rng = torch.Generator().manual_seed(0)
    policy = Policy(obs_shape=(1,), action_size=1, hidden=(16,), dropout=0.0, normalise=False, rng=rng)
    iql = IQL(
        policy=policy, expectile=expectile, beta=beta, gamma=gamma, tau=0.05, hidden=(32,), lr=3e-3,
        policy_steps=steps, rng=rng, beta_unit=beta_unit,
    )  # fmt: skip
    return iql, policy


def batch(actions, ended=0.0):
    n = len(actions)
    return Batch(torch.zeros(n, 1), actions, torch.zeros(n, 1), torch.full((n,), ended))


def value(iql):
    return float(iql.v(torch.zeros(1, 1)).detach())


def test_a_constant_reward_is_worth_its_discounted_sum():
    iql, policy = make(gamma=0.5)
    actions = torch.linspace(-1, 1, 16)[:, None]
    for _ in range(1500):
        iql.update(policy, batch(actions), torch.ones(16))
    assert value(iql) == pytest.approx(1 / (1 - 0.5), abs=0.05)
    torch.testing.assert_close(iql.slow_q(batch(actions)), torch.full((16,), 2.0), atol=0.1, rtol=0)


def test_nothing_comes_after_the_end():
    iql, policy = make(gamma=0.9)
    actions = torch.linspace(-1, 1, 16)[:, None]
    for _ in range(1000):
        iql.update(policy, batch(actions, ended=1.0), torch.ones(16))
    assert value(iql) == pytest.approx(1, abs=0.05)


def test_the_policy_leans_to_better_actions():
    iql, policy = make()
    actions = torch.linspace(-1, 1, 32)[:, None]
    for _ in range(1500):
        iql.update(policy, batch(actions, ended=1.0), 2 * actions[:, 0])
    assert float(policy(torch.zeros(1, 1)).detach()) > 0.5  # cloning would be at 0


def test_a_higher_expectile_is_more_hopeful():
    values = []
    for expectile in (0.5, 0.9):
        iql, policy = make(expectile)
        actions = torch.linspace(-1, 1, 32)[:, None]
        for _ in range(1000):
            iql.update(policy, batch(actions, ended=1.0), actions[:, 0])
        values.append(value(iql))
    assert values[0] == pytest.approx(0, abs=0.1)  # the mean
    assert 0.3 < values[1] < 1


def test_the_policy_rate_falls_along_a_cosine():
    iql, policy = make(steps=100)
    rates = []
    for _ in range(101):
        iql.update(policy, batch(torch.zeros(4, 1)), torch.zeros(4))
        rates.append(iql.optimizer.param_groups[1]["lr"])
    assert rates[0] == 3e-3
    assert rates[50] == pytest.approx(1.5e-3)
    assert rates[100] == pytest.approx(0)
    assert iql.optimizer.param_groups[0]["lr"] == 3e-3


@pytest.mark.parametrize("expectile", [0.4, 1.0])
def test_wrong_expectile(expectile):
    with pytest.raises(ValueError, match="expectile"):
        make(expectile)


def test_a_temperature_in_units_of_the_spread_forgets_the_scale_of_the_reward():
    advantage = torch.randn(64, generator=torch.Generator().manual_seed(0)) - 0.3
    of_spread, of_one = make(beta_unit="spread")[0], make()[0]
    torch.testing.assert_close(of_spread.weights(1000 * advantage), of_spread.weights(advantage), rtol=1e-4, atol=0)
    expected = (advantage / (advantage.std(correction=0) / 3)).exp().clamp(max=100)
    torch.testing.assert_close(of_spread.weights(advantage), expected)
    torch.testing.assert_close(of_one.weights(advantage), (3 * advantage).exp().clamp(max=100))
    assert torch.isfinite(of_spread.weights(torch.zeros(8))).all()


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_normal_advantages_over_their_spread_leave_a_share_of_one_over_e(scale):
    """Of log-normal weights E[w]^2 / E[w^2] = exp(-1 / beta^2); with beta of a fixed size it is 1 or nearly 0."""
    advantage = scale * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    weight = make(beta=1.0, beta_unit="spread")[0].weights(advantage)
    assert float(effective_share(weight)) == pytest.approx(math.exp(-1), abs=0.02)
    if scale == 0.01:
        assert float(effective_share(make(beta=1.0)[0].weights(advantage))) > 0.999


def test_the_effective_share_counts_what_weighs():
    assert float(effective_share(torch.full((7,), 3.0))) == pytest.approx(1)
    assert float(effective_share(torch.tensor([5.0, 0, 0, 0]))) == pytest.approx(1 / 4)
    counts = torch.tensor([1.0, 1, 0, 0])  # padding
    assert float(effective_share(torch.tensor([2.0, 2, 9, 0]), counts)) == pytest.approx(1)


def test_padding_has_no_say_in_the_spread():
    iql = make(beta_unit="spread")[0]
    advantage = torch.tensor([1.0, -1.0, 50.0])
    torch.testing.assert_close(iql.weights(advantage, torch.tensor([1.0, 1, 0]))[:2], iql.weights(advantage[:2]))
