import numpy as np
import pytest
import torch

from pbrl.agents.exploration import StateEntropy


def stored(buffer, *names):
    return [getattr(buffer, name)[: len(buffer)].reshape(len(buffer) * buffer.n_envs, -1) for name in names]


@pytest.mark.parametrize("numbers", [{}, {"n_envs": 3}, {"steps": 40}, {"steps": 40, "n_envs": 3}], ids=str)
def test_after_relabelling_every_stored_reward_is_the_functions(make_sac, reward, numbers):
    agent = make_sac(**numbers)  # 40 steps of room for 100: the buffer goes round
    agent.learn(100)
    assert np.all(agent.buffer.rewards == 0)  # the environment's 100 is hidden
    agent.set_reward(reward)
    obs, actions, rewards = stored(agent.buffer, "observations", "actions", "rewards")
    np.testing.assert_allclose(rewards[:, 0], reward(obs, actions), rtol=1e-6)
    agent.learn(20)
    obs, actions, rewards = stored(agent.buffer, "observations", "actions", "rewards")
    np.testing.assert_allclose(rewards[:, 0], reward(obs, actions), rtol=1e-6)


def test_relabelling_in_blocks_is_relabelling(make_sac, reward, monkeypatch):
    agent = make_sac()
    agent.learn(100)
    monkeypatch.setattr("pbrl.agents.buffers.RELABEL_BLOCK", 7)
    agent.set_reward(reward)
    obs, actions, rewards = stored(agent.buffer, "observations", "actions", "rewards")
    np.testing.assert_allclose(rewards[:, 0], reward(obs, actions), rtol=1e-6)


def test_the_true_reward_is_kept_where_it_is_asked_for(make_sac):
    agent = make_sac(hide_reward=False)
    agent.learn(30)
    assert np.all(agent.buffer.rewards[:30] == 100)


@pytest.mark.parametrize("ends", [False, True], ids=["time limits alone", "terminations too"])
def test_time_limits_are_bootstrapped_and_terminations_are_not(make_sac, ends):
    agent = make_sac(ends=ends, limit=30)
    finished = agent.learn(200)
    buffer, terminated = agent.buffer, sum(e.terminated for e in finished)
    assert terminated > 1 if ends else terminated == 0
    assert buffer.dones.sum() == len(finished) > terminated
    dones = buffer._rows(np.arange(len(buffer)))[3]
    assert dones.shape == (200, 1)
    assert dones.sum() == terminated


def test_the_next_observation_of_a_last_step_is_that_episodes_own(make_sac):
    agent = make_sac(limit=7)
    finished = agent.learn(70)
    ends = np.flatnonzero(agent.buffer.dones[:, 0])
    np.testing.assert_array_equal(agent.buffer.next_observations[ends, 0], [e.obs[-1] for e in finished])


def test_an_intrinsic_reward_is_computed_when_a_batch_is_drawn(make_sac):
    agent = make_sac()
    agent.learn(60)
    calls = []
    agent.set_intrinsic(lambda obs, everything: calls.append((len(obs), len(everything))) or obs[:, 0])
    obs, _, _, _, rewards = agent.buffer.sample_arrays(12)
    assert calls == [(12, 60)]
    np.testing.assert_array_equal(rewards[:, 0], obs[:, 0])
    agent.set_intrinsic(None)
    assert np.all(agent.buffer.sample_arrays(12)[4] == 0)


def test_sb3_samples_what_sample_arrays_gives(make_sac, reward):
    agent = make_sac(n_envs=2)
    agent.set_reward(reward)
    agent.learn(60)
    batches = []
    for draw in (agent.buffer.sample, agent.buffer.sample_arrays):
        np.random.seed(3)  # noqa: NPY002  because SB3 draws from it
        batches.append(draw(16))
    sb3, arrays = batches
    names = ("observations", "actions", "next_observations", "dones", "rewards")
    for name, array in zip(names, arrays, strict=True):
        np.testing.assert_array_equal(getattr(sb3, name), array)


def test_every_stored_transition_is_drawn_equally_often(make_sac):
    agent = make_sac(n_envs=2)
    agent.learn(40)
    index = {tuple(o): i for i, o in enumerate(stored(agent.buffer, "observations")[0].tolist())}
    counts = np.zeros(len(index))
    np.random.seed(0)  # noqa: NPY002
    for obs in agent.buffer.sample_arrays(40_000)[0].tolist():
        counts[index[tuple(obs)]] += 1
    assert len(index) == 40
    assert np.abs(counts - 1000).max() < 5.5 * 1000**0.5


def rollout(make_ppo, **numbers):
    """A PPO agent and, of its first rollout, what it stored before SB3 flattened it."""
    agent, seen = make_ppo(**numbers), {}
    compute = agent.buffer.compute_returns_and_advantage

    def spy(last_values, dones):
        seen["before"] = agent.buffer.rewards.copy()
        compute(last_values, dones)
        for name in ("observations", "actions", "rewards", "advantages", "returns", "values"):
            seen[name] = getattr(agent.buffer, name).copy()

    agent.buffer.compute_returns_and_advantage = spy
    return agent, seen


def test_a_rollout_gets_learned_rewards_of_the_clipped_actions(make_ppo, reward):
    agent, seen = rollout(make_ppo, limit=100)
    agent.set_reward(reward)
    agent.learn(1)
    clipped = np.clip(seen["actions"], -1, 1)
    assert np.abs(seen["actions"]).max() > 1
    expected = reward(seen["observations"].reshape(-1, 3), clipped.reshape(-1, 2)).reshape(16, 2)
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


def test_the_bootstrapped_value_of_a_time_limit_is_kept(make_ppo, reward):
    agent, seen = rollout(make_ppo, limit=4)
    agent.set_reward(reward)
    agent.learn(1)
    bonus = seen["before"]
    assert np.count_nonzero(bonus) == 8  # 4 of 16 steps in each of 2 environments are the last of 4
    clipped = np.clip(seen["actions"], -1, 1)
    expected = reward(seen["observations"].reshape(-1, 3), clipped.reshape(-1, 2)).reshape(16, 2) + bonus
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


def test_a_rollout_explores_by_its_own_observations(make_ppo):
    agent, seen = rollout(make_ppo, limit=100)
    agent.set_intrinsic(StateEntropy(k=2, reference=100, normalise=False))
    agent.learn(1)
    obs = seen["observations"].reshape(-1, 3)
    expected = StateEntropy(k=2, reference=100, normalise=False)(obs, obs).reshape(16, 2)
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


def test_a_restored_buffer_draws_the_same(make_sac, reward):
    old, new = make_sac(steps=40), make_sac(steps=40)
    old.set_reward(reward)
    old.learn(100)
    new.buffer.load_state_dict(old.buffer.state_dict())
    draws = []
    for agent in (old, new):
        np.random.seed(1)  # noqa: NPY002
        draws.append(agent.buffer.sample_arrays(20))
    for a, b in zip(*draws, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    assert (old.buffer.pos, old.buffer.full) == (new.buffer.pos, new.buffer.full) == (20, True)
