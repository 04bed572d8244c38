"""Policies and rewards in an environment's own units: one or many, dictionaries, boxes that are not [-1, 1]."""

import gymnasium as gym
import numpy as np
import pytest
from named_task import ACTIONS, NAMED, Named, observations, stacked, trained
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import pbrl
from pbrl.use.units import Units


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with trained(tmp_path_factory.mktemp("units") / "run") as run:
        yield run


def test_rows_are_gymnasiums_own_flattening():
    units = Units(NAMED, ACTIONS, "env=named")
    several = observations(5)
    rows, many = units.obs(stacked(several))
    (one, single) = units.obs(several[2])
    assert (many, single) == (True, False)
    expected = [gym.spaces.flatten(NAMED, obs) for obs in several]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    np.testing.assert_array_equal(one[0], rows[2])


def test_actions_go_to_the_unit_box_and_back():
    units = Units(NAMED, ACTIONS, "env=named")
    own = np.array([[-2, 3], [2, 5], [0, 4], [1, 3.5]], np.float32)
    unit = units.unit_actions(own, 4)
    np.testing.assert_allclose(unit, [[-1, -1], [1, 1], [0, 0], [0.5, -0.5]])
    np.testing.assert_allclose(units.own_actions(unit), own)
    assert units.unit_actions([5, 0], 1).tolist() == [[1, -1]]  # outside: its end


@pytest.mark.parametrize(
    ("obs", "problem"),
    [
        ({"z": np.zeros((2, 2))}, r"an observation with \['z'\]; expected a dictionary of \['a', 'kind', 'z'\]"),
        (np.zeros(8), "was given an observation with a ndarray"),
        (observations(1)[0] | {"z": np.zeros((3, 2))}, r"of shape \(3, 2\); expected \(2, 2\), or \(M, \*\(2, 2\)\)"),
        (observations(1)[0] | {"z": np.zeros((4, 2, 2))}, "expected one or several of"),
        (observations(1)[0] | {"a": np.array([np.nan])}, "not finite"),
        (observations(1)[0] | {"a": "wide"}, "of type <U4; expected numbers"),
        (observations(1)[0] | {"kind": np.int64(3)}, "expected one of Discrete"),
    ],
)  # fmt: skip
def test_what_is_no_observation_is_refused(obs, problem):
    with pytest.raises(pbrl.UserError, match=problem):
        Units(NAMED, ACTIONS, "env=named").obs(obs)


def test_a_policy_acts_in_own_units_as_the_file_for_sb3_does(run):
    policy, elsewhere = pbrl.load_policy(run), SAC.load(run.path / "policy.zip")
    several = observations(6)
    actions = policy(stacked(several))
    np.testing.assert_allclose(actions, elsewhere.predict(stacked(several), deterministic=True)[0], atol=1e-5)
    np.testing.assert_allclose(policy.predict(several[1])[0], actions[1], atol=1e-6)
    assert (policy(several[0]).shape, policy.action_space, policy.observation_space) == ((2,), ACTIONS, NAMED)


def test_a_reward_scores_one_as_it_scores_many(run):
    reward = run.reward()
    several, actions = observations(6), ACTIONS.low + np.linspace(0, 1, 12).reshape(6, 2) * (ACTIONS.high - ACTIONS.low)
    many = reward(stacked(several), actions)
    assert (many.shape, many.dtype) == ((6,), np.float32)
    assert len(set(many.tolist())) == 6
    for one, action, expected in zip(several, actions, many, strict=True):
        found = reward(one, action)
        assert isinstance(found, float)
        assert found == pytest.approx(expected, rel=1e-5)
    with pytest.raises(pbrl.UserError, match=r"actions of shape \(2,\); expected \(6, 2\)"):
        reward(stacked(several), actions[0])


def test_a_wrapped_environment_gives_the_reward_of_what_was_seen_before_the_step(run):
    env, reward = pbrl.RewardWrapper(Named(), run), run.reward()
    obs, _ = env.reset(seed=3)
    for action in ([-2, 3], [1, 4], [0.5, 5]):
        before = {key: np.copy(part) for key, part in obs.items()}
        obs, learned, terminated, _, info = env.step(np.float32(action))
        assert learned == pytest.approx(reward(before, action), rel=1e-5)
        assert (terminated, info["true_reward"]) == (False, -1.0)


def test_vectorised_environments_give_it_too_and_sb3_learns_from_it(run):
    made = DummyVecEnv([lambda: Monitor(gym.wrappers.TimeLimit(Named(), 5))] * 2)
    venv, reward = pbrl.RewardVecEnvWrapper(made, run.reward()), run.reward()
    obs = venv.reset()
    for _ in range(7):  # over an end of an episode
        before = {key: np.copy(part) for key, part in obs.items()}
        actions = np.array([[-2, 3], [1, 5]], np.float32)
        obs, learned, dones, infos = venv.step(actions)
        np.testing.assert_allclose(learned, reward(before, actions), rtol=1e-5)
        assert [info["true_reward"] for info in infos] == [-1, -1]
        if dones.any():
            assert infos[0]["episode"]["r"] == -5  # of a Monitor inside
    model = SAC("MultiInputPolicy", venv, learning_starts=10, policy_kwargs={"net_arch": [8]}, buffer_size=100)
    model.learn(30)
    kept = model.replay_buffer
    rows = {key: part[: kept.pos, 0] for key, part in kept.observations.items()}
    rows["kind"] = rows["kind"][:, 0]  # a row of one in SB3's buffers
    own = model.policy.unscale_action(kept.actions[: kept.pos, 0])
    np.testing.assert_allclose(kept.rewards[: kept.pos, 0], reward(rows, own), rtol=1e-3, atol=1e-4)


def test_another_environment_is_refused(run):
    with pytest.raises(pbrl.UserError, match="the environment has observations Box"):
        pbrl.RewardWrapper(gym.make("Pendulum-v1"), run.path)
    with pytest.raises(pbrl.UserError, match="expected a reward of"):
        pbrl.RewardWrapper(Named(), 3)


def test_a_run_without_a_reward_says_so(finished):
    with pytest.raises(pbrl.UserError, match=r"has no learned reward of single steps: method=true_reward learns none"):
        pbrl.load_reward(finished(method="true_reward"))
