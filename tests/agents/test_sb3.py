import copy

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC

from pbrl.agents.reward_source import StoredReward
from pbrl.errors import UserError


@pytest.fixture(params=["fast SAC", "plain SAC", "PPO"])
def make(request, make_sac, make_ppo):
    """`make(**numbers)` for each agent in turn, with rewards of its own unless told otherwise."""
    if request.param == "PPO":
        return make_ppo
    return lambda **numbers: make_sac(plain=request.param == "plain SAC", **numbers)


OBS = np.random.default_rng(0).normal(size=(50, 3), scale=5).astype(np.float32)


@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_within_minus_one_and_one(make, deterministic):
    agent = make()
    agent.learn(40)
    actions = agent.act(OBS, deterministic)
    assert actions.shape == (50, 2)
    assert np.abs(actions).max() <= 1
    if deterministic:
        np.testing.assert_array_equal(actions, agent.act(OBS, True))


def test_learn_returns_every_finished_episode_once(make):
    agent = make(n_envs=1)
    episodes = agent.learn(10) + agent.learn(25)
    assert agent.env_steps >= 35
    assert len(episodes) == agent.env_steps // 7
    assert {len(e) for e in episodes} == {7}
    np.testing.assert_array_equal(np.concatenate([e.true_reward for e in episodes]), 100.0)


def weights(agent):
    return {k: v.clone() for k, v in agent.model.policy.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_one_call_or_many_are_the_same(make, reward):
    results = []
    for calls in (1, 3):
        agent = make()  # takes over the global random streams
        agent.set_reward(StoredReward(reward))
        for _ in range(calls):
            agent.learn(96 // calls)
        results.append(weights(agent))
    assert same(*results)


def test_the_environments_reward_changes_nothing_once_hidden(make, reward, monkeypatch):
    agents = []
    for value in (100.0, float("nan")):
        agent = make()
        for recorder in agent.recorders:
            step = recorder.env.step
            monkeypatch.setattr(recorder.env, "step", lambda a, s=step, v=value: (*(o := s(a))[:1], v, *o[2:]))
        agent.set_reward(StoredReward(reward))
        agent.learn(64)
        agents.append(agent)
    assert same(*map(weights, agents))


@pytest.mark.parametrize("steps", [4, 70])
def test_a_restored_agent_goes_on_bit_by_bit(make, reward, steps):
    old, new = make(), make(seed=5)
    old.set_reward(StoredReward(reward))
    old.learn(steps)
    state = copy.deepcopy(old.state_dict())
    old.learn(40)
    new.learn(8)  # its own past must be forgotten
    new.load_state_dict(state)
    new.resume_reward(StoredReward(reward))
    new.learn(40)
    assert same(weights(old), weights(new))
    assert old.env_steps == new.env_steps
    for a, b in zip(old.recorders, new.recorders, strict=True):
        np.testing.assert_array_equal(a._obs, b._obs)


@pytest.mark.parametrize(("name", "loader"), [("fast SAC", SAC), ("plain SAC", SAC), ("PPO", PPO)])
def test_the_saved_zip_opens_with_plain_sb3(name, loader, make_sac, make_ppo, reward, tmp_path):
    agent = make_ppo() if name == "PPO" else make_sac(plain=name == "plain SAC")
    agent.set_reward(StoredReward(reward))
    agent.learn(64)
    agent.save(str(tmp_path / "policy.zip"))
    loaded = loader.load(tmp_path / "policy.zip", device="cpu")
    assert type(loaded) is loader
    np.testing.assert_allclose(loaded.predict(OBS, deterministic=True)[0], agent.act(OBS, True), atol=1e-6)


def test_load_policy_takes_the_weights_alone(make, tmp_path):
    trained, fresh = make(), make(seed=3)
    trained.learn(64)
    trained.save(str(tmp_path / "policy.zip"))
    fresh.load_policy(str(tmp_path / "policy.zip"))
    np.testing.assert_array_equal(trained.act(OBS, True), fresh.act(OBS, True))


@pytest.mark.parametrize("plain", [False, True])
def test_reset_critic_changes_both_critics_and_targets_and_leaves_the_rest(make_sac, plain):
    agent = make_sac(plain=plain)
    agent.learn(60)
    model = agent.model
    before, temperature = weights(agent), model.log_ent_coef.detach().clone()
    agent.reset_critic()
    after = weights(agent)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("actor"), name
    for name, value in model.critic.state_dict().items():
        assert torch.equal(value, model.critic_target.state_dict()[name])
    assert torch.equal(model.log_ent_coef, temperature)
    moments = [v for s in model.critic.optimizer.state.values() for v in s.values()]
    assert sum(float(torch.as_tensor(v).abs().sum()) for v in moments) == 0
    assert len(model.actor.optimizer.state) > 0


def test_update_learns_without_acting(make_sac, reward):
    agent = make_sac()
    agent.set_reward(StoredReward(reward))
    agent.learn(40)
    before, steps = weights(agent), agent.env_steps
    agent.update(5)
    assert agent.env_steps == steps
    assert not same(before, weights(agent))
    assert agent.metrics()["train/n_updates"] == 30 + 5  # one per step after the first 10


def test_metrics_are_sb3s_and_are_told_once(make):
    agent = make()
    agent.learn(64)
    figures = agent.metrics()
    assert all(name.startswith("train/") and np.isfinite(value) for name, value in figures.items())
    assert "train/n_updates" in figures
    assert agent.metrics() == {}


def test_the_clip_range_falls_to_zero_at_the_last_step(make_ppo):
    agent = make_ppo(steps=64)
    for expected in (0.2, 0.0):  # after 32 and 64 of 64 steps, from 0.4
        agent.learn(32)
        assert agent.metrics()["train/clip_range"] == pytest.approx(expected)


def test_observation_statistics_move_between_rollouts_only(make_ppo):
    agent = make_ppo(limit=100)
    norm = agent.model.policy.features_extractor.norm
    assert norm.count == 0
    agent.learn(1)
    seen = agent.buffer.observations.reshape(-1, 3)
    np.testing.assert_allclose(norm.mean, seen.mean(0), rtol=1e-5)
    agent.act(OBS, True)
    assert norm.count == len(seen) == 32


@pytest.mark.parametrize("algorithm", ["make_sac", "make_ppo"])
def test_an_unknown_activation_names_the_valid_ones(algorithm, request):
    with pytest.raises(UserError, match=r"activation='gelu': valid are relu, tanh, leaky_relu, elu"):
        request.getfixturevalue(algorithm)(activation="gelu")
