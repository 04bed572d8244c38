import pytest
import torch
from torch import nn

from pbrl.agents.fast_sac import Batch
from pbrl.agents.torch_sac import TorchSAC
from tests.agents.test_fast_sac import ACT, BATCH, OBS, assert_same_networks, make, train


@pytest.mark.parametrize("ent_coef", ["auto_0.1", 0.2])
def test_each_update_equals_fast_sac_in_float32(ent_coef):
    ours, fast = make(TorchSAC, ent_coef=ent_coef), make(ent_coef=ent_coef)
    for seed in range(3):
        fast.set_parameters(ours.get_parameters())  # one update each from the same weights and moments
        train(ours, seed=seed)
        train(fast, seed=seed)
        assert_same_networks(ours, fast, 1e-5, 1e-5)
    assert set(ours.logger.name_to_value) == set(fast.logger.name_to_value)
    for name, value in fast.logger.name_to_value.items():
        assert ours.logger.name_to_value[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def batch_of(reward):
    g = torch.Generator().manual_seed(1)
    obs, next_obs = (torch.randn(BATCH, OBS, generator=g) for _ in range(2))
    actions = torch.rand(BATCH, ACT, generator=g) * 2 - 1
    dones = (torch.rand(BATCH, 1, generator=g) < 0.3).float()
    return Batch(obs, actions, next_obs, dones, reward(obs, actions))


def test_the_gradient_of_the_critic_loss_by_the_reward_is_minus_the_mean_error_of_both_critics():
    """d/dr_i of 1/2 sum_k mean (Q_k - r - c)^2 = -sum_k (Q_k - y)_i / B."""
    sac = make(TorchSAC)
    rewards = torch.randn(BATCH, 1, requires_grad=True)
    batch = batch_of(lambda *_: rewards)
    torch.manual_seed(0)
    sac.critic_loss(batch).backward()
    q = sac.q_values(batch.obs, batch.actions).detach()
    torch.manual_seed(0)
    with torch.no_grad():
        a, log_prob = sac.sample_actions(batch.next_obs)
        next_q = torch.stack(sac.critic_target(batch.next_obs, a))[..., 0].amin(0) - sac.temperature * log_prob
        y = rewards[:, 0] + sac.gamma * (1 - batch.dones[:, 0]) * next_q
    torch.testing.assert_close(rewards.grad[:, 0], -(q - y).sum(0) / BATCH)


def test_the_gradient_through_a_virtual_step_is_that_of_finite_differences():
    sac, lr = make(TorchSAC, arch=(16,)), 1e-3
    scale = torch.tensor(0.7, requires_grad=True)
    batch = batch_of(lambda obs, actions: scale * (obs[:, :1] + actions[:, :1]))

    def outer(value):
        torch.manual_seed(3)
        moved = sac.critic_after(batch._replace(rewards=value * (batch.obs[:, :1] + batch.actions[:, :1])), lr)
        return sac.q_values(batch.obs[:5], batch.actions[:5], moved).sum()

    (gradient,) = torch.autograd.grad(outer(scale), scale)
    numeric = (outer(torch.tensor(0.75)) - outer(torch.tensor(0.65))) / 0.1  # Q is nearly linear in the scale
    torch.testing.assert_close(gradient, numeric.detach(), rtol=2e-2, atol=1e-6)
    assert gradient.abs() > 1e-6


def test_a_virtual_step_changes_nothing():
    sac = make(TorchSAC)
    before = {name: value.clone() for name, value in sac.policy.state_dict().items()}
    sac.critic_after(batch_of(lambda obs, actions: obs[:, :1]), 0.1)
    for name, value in sac.policy.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_the_policy_loss_reaches_a_reward_through_a_virtual_critic():
    """What a bilevel method needs: d actor loss / d reward parameters, through one step of the critic."""
    sac, reward = make(TorchSAC), nn.Linear(OBS + ACT, 1)
    batch = batch_of(lambda obs, actions: reward(torch.cat([obs, actions], 1)))
    sac.actor_loss(batch, critic=sac.critic_after(batch, 0.1)).backward()
    assert reward.weight.grad.abs().sum() > 0
