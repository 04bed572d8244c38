import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.exploration import StateEntropy
from pbrl.agents.reward_source import StoredReward
from pbrl.errors import UserError

OBS, ACT = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32), gym.spaces.Box(-1, 1, (2,), np.float32)


class WholeEpisodes:
    """Rewards episodes by this function when they end."""

    when = "episode"

    def __init__(self, reward):
        self.of_episode = reward


def stored(buffer, *names):
    buffer.label_pending()
    return [getattr(buffer, name)[: len(buffer)].reshape(len(buffer) * buffer.n_envs, -1) for name in names]


@pytest.mark.parametrize("numbers", [{}, {"n_envs": 3}, {"steps": 40}, {"steps": 40, "n_envs": 3}], ids=str)
def test_after_relabelling_every_stored_reward_is_the_functions(make_sac, reward, numbers):
    agent = make_sac(**numbers)  # 40 steps of room for 100: the buffer goes round
    agent.learn(100)
    assert np.all(agent.buffer.rewards == 0)  # the environment's 100 is hidden
    agent.set_reward(StoredReward(reward))
    obs, actions, rewards = stored(agent.buffer, "observations", "actions", "rewards")
    np.testing.assert_allclose(rewards[:, 0], reward(obs, actions), rtol=1e-6)
    agent.learn(20)
    obs, actions, rewards = stored(agent.buffer, "observations", "actions", "rewards")
    np.testing.assert_allclose(rewards[:, 0], reward(obs, actions), rtol=1e-6)


@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)], ids=str)
def test_rewards_that_are_not_one_number_for_each_step_are_refused(make_sac, reward, shape):
    agent = make_sac()
    agent.learn(10)
    source = StoredReward(lambda obs, actions: reward(obs, actions).reshape(shape))
    with pytest.raises(UserError, match=r"StoredReward.of_steps returned rewards of shape .*; expected \(10,\)"):
        agent.set_reward(source)


def test_the_true_reward_is_kept_where_it_is_asked_for(make_sac):
    agent = make_sac(given=None)
    agent.learn(30)
    assert np.all(agent.buffer.rewards[:30] == 100)


@pytest.mark.parametrize("ends", [False, True], ids=["time limits alone", "terminations too"])
def test_time_limits_are_bootstrapped_and_terminations_are_not(make_sac, ends):
    agent = make_sac(ends=ends, limit=30)
    finished = agent.learn(200)
    buffer, terminated = agent.buffer, sum(e.terminated for e in finished)
    assert terminated > 1 if ends else terminated == 0
    assert len(finished) > terminated
    dones = buffer.transitions(np.arange(len(buffer)))[3]
    assert dones.shape == (200, 1)
    assert dones.sum() == terminated


@pytest.mark.parametrize("size", [1, 2, 9, 40, 300])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_what_is_drawn_is_what_was_put_in_however_episodes_end_and_the_buffer_goes_round(size, n_envs):
    rng = np.random.default_rng(size)
    buffer = LearnedRewardBuffer(size * n_envs, OBS, ACT, "cpu", n_envs)
    obs, put_in = rng.normal(size=(n_envs, 3)).astype(np.float32), []
    for _ in range(200):
        following, action = rng.normal(size=(n_envs, 3)), rng.uniform(-1, 1, (n_envs, 2))
        done, limit = rng.random(n_envs) < 0.2, rng.random(n_envs) < 0.5
        following, action = following.astype(np.float32), action.astype(np.float32)
        infos = [{"TimeLimit.truncated": bool(d and t)} for d, t in zip(done, limit, strict=True)]
        buffer.add(obs, following, action, obs[:, 0], done, infos)
        ended = (done & ~limit).astype(np.float32)
        put_in += [(*o, *a, *f, e, o[0]) for o, a, f, e in zip(obs, action, following, ended, strict=True)]
        obs = np.where(done[:, None], rng.normal(size=(n_envs, 3)), following).astype(np.float32)

        present = set(put_in[-min(len(put_in), size * n_envs) :])
        drawn = {tuple(row) for row in np.concatenate(buffer.sample_arrays(50), axis=1)}
        assert drawn <= present
    everything = {tuple(row) for _ in range(40) for row in np.concatenate(buffer.sample_arrays(500), axis=1)}
    assert everything == present


@pytest.mark.parametrize("episode", [20, 1000])
def test_a_million_transitions_take_the_room_of_one_copy_and_at_most_a_fifth(episode):
    walker, size = gym.spaces.Box(-np.inf, np.inf, (24,), np.float64), 100_000  # dm_control gives float64
    buffer = LearnedRewardBuffer(size, walker, gym.spaces.Box(-1, 1, (6,)), "cpu")
    obs = np.zeros((1, 24))
    for i in range(size):
        done = np.array([(i + 1) % episode == 0])
        buffer.add(obs, obs + 1, np.zeros((1, 6)), np.zeros(1), done, [{"TimeLimit.truncated": True}])
        obs = obs + 1 - 2 * done
    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    one_copy = 4 * (24 + 6 + 1) + 1  # bytes of observation, action and reward in float32, and the end of an episode
    assert size * one_copy < sum(array.nbytes for array in arrays) < 1.2 * size * one_copy


def test_rewards_of_new_steps_are_computed_together_once_one_is_drawn(make_sac, reward):
    agent, calls = make_sac(), []
    agent.learn(9)  # no updates yet, which would draw
    agent.set_reward(StoredReward(lambda obs, actions: calls.append(len(obs)) or reward(obs, actions)))
    assert calls == [9]
    model = agent.model
    for _ in range(5):
        model.collect_rollouts(
            model.env, model._init_callback(None), TrainFreq(1, TrainFrequencyUnit.STEP), agent.buffer
        )
    assert calls == [9]
    agent.buffer.transitions(np.array([3, 8]))
    assert calls == [9]
    obs, actions, _, _, rewards = agent.buffer.transitions(np.array([3, 10]))
    assert calls == [9, 5]
    np.testing.assert_array_equal(rewards[:, 0], reward(obs, actions))


def test_an_intrinsic_reward_is_computed_when_a_batch_is_drawn(make_sac):
    agent = make_sac()
    agent.learn(60)
    calls = []

    class FirstNumber:
        when = "sampled"

        def of_steps(self, steps):
            calls.append((len(steps.obs), len(agent.stored_obs)))
            return steps.obs[:, 0]

    agent.set_reward(FirstNumber())
    obs, _, _, _, rewards = agent.buffer.sample_arrays(12)
    assert calls == [(12, 60)]
    np.testing.assert_array_equal(rewards[:, 0], obs[:, 0])
    agent.set_reward(None)
    assert np.all(agent.buffer.sample_arrays(12)[4] == 0)


def test_sb3_samples_what_sample_arrays_gives(make_sac, reward):
    agent = make_sac(n_envs=2)
    agent.set_reward(StoredReward(reward))
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
    agent.set_reward(StoredReward(reward))
    agent.learn(1)
    clipped = np.clip(seen["actions"], -1, 1)
    assert np.abs(seen["actions"]).max() > 1
    expected = reward(seen["observations"].reshape(-1, 3), clipped.reshape(-1, 2)).reshape(16, 2)
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


def test_the_bootstrapped_value_of_a_time_limit_is_kept(make_ppo, reward):
    agent, seen = rollout(make_ppo, limit=4)
    agent.set_reward(StoredReward(reward))
    agent.learn(1)
    bonus = seen["before"]
    assert np.count_nonzero(bonus) == 8  # 4 of 16 steps in each of 2 environments are the last of 4
    clipped = np.clip(seen["actions"], -1, 1)
    expected = reward(seen["observations"].reshape(-1, 3), clipped.reshape(-1, 2)).reshape(16, 2) + bonus
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


class AtEnd:
    """An episode gets its length, at its last step."""

    when = "episode"

    def of_episode(self, episode):
        rewards = np.zeros(len(episode), np.float32)
        rewards[-1] = len(episode)
        return rewards


def test_whole_episodes_are_rewarded_at_their_ends_in_whichever_rollout_these_are(make_ppo):
    agent, seen = rollout(make_ppo, limit=7)  # in rollouts of 16 steps, of two environments
    agent.set_reward(AtEnd())
    ends = ([6, 13], [4, 11], [2, 9])  # the third episode began in the rollout before, and so on
    for rows in ends:
        agent.learn(1)
        given = seen["rewards"] - seen["before"]
        expected = np.zeros((16, 2))
        expected[rows] = 7
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_a_rollout_explores_by_its_own_observations(make_ppo):
    agent, seen = rollout(make_ppo, limit=100)
    explore = StateEntropy(k=2, reference=100, normalise=False)
    explore.stored = lambda: agent.stored_obs
    agent.set_reward(explore)
    agent.learn(1)
    obs = seen["observations"].reshape(-1, 3)
    expected = StateEntropy(k=2, reference=100, normalise=False)(obs, obs).reshape(16, 2)
    np.testing.assert_allclose(seen["rewards"], expected, rtol=1e-5)


def test_a_restored_buffer_draws_the_same(make_sac, reward):
    old, new = make_sac(steps=40), make_sac(steps=40)
    old.set_reward(StoredReward(reward))
    old.learn(100)
    new.buffer.load_state_dict(old.buffer.state_dict())
    draws = []
    for agent in (old, new):
        np.random.seed(1)  # noqa: NPY002
        draws.append(agent.buffer.sample_arrays(20))
    for a, b in zip(*draws, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    assert (old.buffer.pos, old.buffer.full) == (new.buffer.pos, new.buffer.full) == (20, True)


@pytest.mark.parametrize("plain", [False, True], ids=["FastSAC", "SB3"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_steps_of_an_episode_are_drawn_once_it_has_ended_with_the_rewards_of_the_whole(make_sac, plain, n_envs):
    agent = make_sac(plain, ends=True, limit=9, n_envs=n_envs, learning_starts=60)
    agent.set_reward(WholeEpisodes(lambda episode: np.arange(len(episode)) + 100 * episode.obs[0, 0]))
    finished = agent.learn(200)
    buffer = agent.buffer
    unfinished = [len(r.state_dict()["actions"]) for r in agent.recorders]
    assert buffer.settled == len(buffer) - max(unfinished)
    rewards = [np.arange(len(e)) + 100 * e.obs[0, 0] for e in finished]
    expected = np.sort(np.concatenate([*rewards, np.zeros(sum(unfinished))]))
    np.testing.assert_allclose(np.sort(buffer.rewards[: len(buffer)].ravel()), expected, rtol=1e-5)
    known = {tuple(o): w for e, r in zip(finished, rewards, strict=True) for o, w in zip(e.obs, r, strict=False)}
    obs, _, _, _, drawn = map(np.asarray, buffer.sample_arrays(500))
    np.testing.assert_allclose(drawn[:, 0], [known[tuple(o)] for o in obs], rtol=1e-5)


def test_a_buffer_that_has_gone_round_draws_what_is_rewarded_and_all_of_it():
    buffer = LearnedRewardBuffer(6, OBS, ACT, "cpu", 1)
    buffer.last_episode, buffer.source = lambda env: None, WholeEpisodes(lambda episode: np.full(4, 7.0))
    for step in range(10):  # two episodes of four steps, and two steps more
        obs, done = np.full((1, 3), step, np.float32), np.array([step % 4 == 3])
        buffer.add(obs, obs + 1, np.zeros((1, 2)), np.zeros(1), done, [{}])
    obs, _, _, _, rewards = map(np.asarray, buffer.sample_arrays(200))
    assert (rewards == 7).all()
    assert set(obs[:, 0]) == {4, 5, 6, 7}


def test_a_rollout_of_whole_episodes_gets_what_each_is_worth_before_it_is_learned_from(make_ppo):
    agent = make_ppo(limit=8, n_steps=16, n_envs=2)
    agent.require_whole_episodes(8)
    agent.set_reward(WholeEpisodes(lambda episode: np.arange(len(episode)) + 100 * episode.obs[0, 0]))
    finished = agent.learn(32)
    assert len(finished) == 4
    expected = [np.arange(7) + 100 * e.obs[0, 0] for e in finished]  # the last step has the value of what follows too
    given = agent.model.rollout_buffer.rewards.T.reshape(4, 8)[:, :7]
    np.testing.assert_allclose(np.sort(given, 0), np.sort(expected, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("limit", "says"), [(7, r"agent\.n_steps=16: .* a multiple of its 7 steps"), (None, "nobody knows")]
)
def test_a_rollout_that_cuts_episodes_cannot_wait_for_their_rewards(make_ppo, limit, says):
    agent = make_ppo(limit=7, n_steps=16)
    with pytest.raises(UserError, match=says):
        agent.require_whole_episodes(limit)
    agent.require_whole_episodes(limit, at_end=True)
    agent.set_reward(WholeEpisodes(lambda episode: np.ones(len(episode))))
    with pytest.raises(UserError, match=r"agent\.n_steps=16: an episode began a rollout earlier"):
        agent.learn(64)


def test_rewards_of_whole_episodes_need_one_before_learning_starts(make_sac):
    agent = make_sac(limit=30, learning_starts=10)
    agent.set_reward(WholeEpisodes(lambda episode: np.zeros(len(episode))))
    with pytest.raises(UserError, match=r"no episode has ended .* agent\.learning_starts"):
        agent.learn(40)


def test_a_buffer_smaller_than_an_episode_is_named_for_it():
    buffer = LearnedRewardBuffer(6, OBS, ACT, "cpu", 1)
    buffer.last_episode, buffer.source = lambda env: None, WholeEpisodes(lambda episode: np.zeros(len(episode)))
    for step in range(8):
        obs = np.full((1, 3), step, np.float32)
        buffer.add(obs, obs + 1, np.zeros((1, 2)), np.zeros(1), np.array([False]), [{}])
    with pytest.raises(UserError, match=r"the 6 steps .* set agent\.buffer_size to the steps of several episodes"):
        buffer.sample_arrays(4)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("room", [40, 41, 90])
def test_a_buffer_that_has_gone_round_goes_on_in_one_of_more_room(make_sac, reward, room, n_envs):
    old, new = (make_sac(buffer_size=size * n_envs, n_envs=n_envs) for size in (40, room))
    old.set_reward(StoredReward(reward))
    old.learn(70 * n_envs)
    new.set_reward(StoredReward(reward))
    new.load_state_dict(old.state_dict())

    def steps(agent):
        buffer = agent.buffer
        buffer.label_pending()
        rows = np.arange(len(buffer))
        oldest_first = (buffer.pos + rows) % len(buffer) if buffer.full else rows
        newest = [buffer._next_obs(oldest_first, np.full(len(rows), env)) for env in range(n_envs)]
        arrays = [getattr(buffer, name)[oldest_first] for name in ("observations", "actions", "rewards", "terminated")]
        return [*arrays, np.stack(newest, 1)]

    for mine, theirs in zip(steps(new), steps(old), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    new.learn(20 * n_envs)
    kept = min(room, 60) - 20
    for now, before in zip(steps(new), steps(old), strict=True):
        assert len(now) == kept + 20
        np.testing.assert_array_equal(now[:kept], before[-kept:])  # the oldest went, where there was no room


def test_a_buffer_of_less_room_than_what_is_stored_is_refused(make_sac):
    old, new = make_sac(buffer_size=40), make_sac(buffer_size=39)
    old.learn(50)
    with pytest.raises(ValueError, match="a replay buffer of 39 rows for 40"):
        new.load_state_dict(old.state_dict())


def test_a_buffer_holds_the_run_unless_its_size_is_given(make_sac):
    assert make_sac(steps=300).buffer.buffer_size == 300
    assert make_sac(steps=300, buffer_size=50).buffer.buffer_size == 50
    assert make_sac(steps=300, buffer_size=50, n_envs=2).buffer.buffer_size == 25  # rows, of two steps each
    assert make_sac(steps=300, buffer_size=3, n_envs=3).buffer.buffer_size == 1
    agent = make_sac(steps=31, n_envs=3)
    agent.learn(31)  # 33, which is all of the run as well
    assert len(agent.buffer) == 11
    assert agent.buffer.stored_obs.shape == (33, 3)


@pytest.mark.parametrize("numbers", [{"steps": 10**15}, {"steps": 300, "buffer_size": 10**13}], ids=str)
def test_a_buffer_that_memory_cannot_hold_is_refused_before_it_is_allocated(make_sac, monkeypatch, numbers):
    monkeypatch.setattr(LearnedRewardBuffer, "__init__", None)  # never called
    with pytest.raises(
        UserError, match=r"GiB, and [\d.]+ GiB are free; set agent\.buffer_size to at most (\d+)"
    ) as error:
        make_sac(**numbers)
    most = int(re.search(r"at most (\d+)", str(error.value))[1])
    monkeypatch.undo()
    assert make_sac(steps=300, buffer_size=most).buffer.buffer_size == most  # the advice works: nothing is touched yet


def test_rollouts_that_memory_cannot_hold_are_refused(make_ppo):
    with pytest.raises(UserError, match=r"n_steps=1000000000000 of 2 environments would take"):
        make_ppo(n_steps=10**12)


def test_each_batch_of_a_call_holds_the_rows_that_were_chosen_for_one(make_sac):
    agent = make_sac()
    agent.learn(30)
    agent.buffer.choose = lambda buffer, n: np.repeat([3, 7], [n - 1, 1])[::-1]
    rows = agent.buffer.draw_places(4, batches=3)["rows"]
    assert rows.flags.c_contiguous  # whoever gathers them goes by their address
    assert rows.reshape(3, 4).tolist() == 3 * [[7, 3, 3, 3]]


@pytest.mark.parametrize("chosen", [[0, 1, 2], [0, 1, 2, 30], [-1, 0, 1, 2], []])
def test_rows_that_are_not_stored_are_refused_and_not_read(make_sac, chosen):
    agent = make_sac()
    agent.learn(30)
    agent.buffer.choose = lambda buffer, n: np.array(chosen, np.int64)
    with pytest.raises(ValueError, match="expected 4 of the 30 that are stored"):
        agent.buffer.draw_places(4)
