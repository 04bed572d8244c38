"""IQL on a task whose values are known: one state, reward r(a), no end or an end at every step."""

import pytest
import torch

from pbrl.agents.iql import IQL, Batch
from pbrl.nets.policies import Policy


def make(expectile=0.7, gamma=0.5, beta=1 / 3, steps=2000):
    rng = torch.Generator().manual_seed(0)
    policy = Policy(obs_shape=(1,), action_size=1, hidden=(16,), dropout=0.0, normalise=False, rng=rng)
    iql = IQL(
        policy=policy, expectile=expectile, beta=beta, gamma=gamma, tau=0.05, hidden=(32,), lr=3e-3,
        policy_steps=steps, rng=rng,
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
