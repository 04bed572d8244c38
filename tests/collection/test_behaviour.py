"""Who acts while data are collected: frequencies against the formula, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest

from pbrl.collection.behaviour import (
    BLOCK,
    RandomActions,
    SavedPolicy,
    SkilledExpert,
    default_policies,
    make_behaviours,
    noisy,
)
from pbrl.collection.episodes import StopAfterSuccess, collect_episodes
from pbrl.errors import UserError
from pbrl_envs.experts import Expert
from pbrl_envs.suites.gym import make_gym

KNOWN = np.array([0.25, -0.5], np.float32)
STUB = Expert(lambda obs: KNOWN, own=(0,))


def make_point():
    return make_gym("pbrl_envs/PointReach-v0", max_episode_steps=60)


def act(behaviour, steps, obs=None, seed=0):
    behaviour.begin(np.random.default_rng(seed))
    return np.array([behaviour.act(np.zeros(2) if obs is None else obs) for _ in range(steps)])


@pytest.mark.parametrize("skill", [0.0, 0.25, 0.75, 1.0])
def test_an_expert_of_skill_p_follows_the_expert_in_a_share_p_of_the_blocks(skill):
    blocks = 2000
    actions = act(SkilledExpert(STUB, 2, skill=skill, noise=0), blocks * BLOCK).reshape(blocks, BLOCK, 2)
    follows = (actions == KNOWN).all((1, 2))
    assert (actions == KNOWN).all(2).any(1).sum() == follows.sum()  # a whole block or none of it
    assert abs(follows.mean() - skill) < 4 * np.sqrt(skill * (1 - skill) / blocks) + 1e-9


def test_blocks_without_the_expert_are_held_or_random_at_even_odds():
    actions = act(SkilledExpert(STUB, 2, skill=0, noise=0), 2000 * BLOCK).reshape(2000, BLOCK, 2)
    held = (actions == actions[:, :1]).all((1, 2))
    assert abs(held.mean() - 0.5) < 0.05
    assert abs(actions.mean()) < 0.02
    assert abs(actions.std() - 1 / np.sqrt(3)) < 0.02  # uniform on [-1, 1]


def test_noise_has_the_standard_deviation_that_was_asked_for():
    actions = act(SkilledExpert(STUB, 2, skill=1, noise=0.1), 5000)
    np.testing.assert_allclose((actions - KNOWN).std(0), 0.1, rtol=0.05)
    saved = act(SavedPolicy("run:x", lambda obs: np.repeat(KNOWN[None], len(obs), 0), noise=0.1), 5000)
    np.testing.assert_allclose((saved - KNOWN).std(0), 0.1, rtol=0.05)


def test_actions_are_float32_within_their_bounds():
    for behaviour in (SkilledExpert(STUB, 2, skill=0.5, noise=2), RandomActions(2)):
        actions = act(behaviour, 500)
        assert actions.dtype == np.float32
        assert np.abs(actions).max() <= 1
    assert noisy(np.array([3.0, -3.0]), 0, np.random.default_rng(0)).tolist() == [1, -1]


def test_in_pursuit_of_another_goal_only_its_own_body_is_as_it_is():
    seen = []
    expert = Expert(lambda obs: seen.append(obs.copy()) or KNOWN, own=(0, 2))
    other = np.array([10.0, 11.0, 12.0, 13.0])
    obs = np.array([1.0, 2.0, 3.0, 4.0])
    behaviour = SkilledExpert(expert, 2, skill=1, noise=0, layout=lambda seed: other)
    act(behaviour, 3, obs)
    assert [list(s) for s in seen] == [[1, 11, 3, 13]] * 3
    assert obs.tolist() == [1, 2, 3, 4]
    assert behaviour.name == "expert:1 of another goal"


def test_the_same_seed_gives_the_same_actions():
    for make in (lambda: SkilledExpert(STUB, 2, skill=0.5, noise=0.3), lambda: RandomActions(2)):
        np.testing.assert_array_equal(act(make(), 50, seed=3), act(make(), 50, seed=3))
        assert (act(make(), 50, seed=3) != act(make(), 50, seed=4)).any()


def test_what_is_offered_by_default_follows_the_environment():
    assert default_policies(make_point()) == ["expert:0", "expert:0.25", "expert:0.5", "expert:0.75", "expert:1"]
    assert default_policies(make_gym("Pendulum-v1")) == ["random"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("expert", "policies=expert: valid are expert:SKILL"),
        ("expert:2", "policies=expert:2: valid are expert:SKILL"),
        ("expert:nan", "policies=expert:nan: valid are expert:SKILL"),
        ("scripted", "policies=scripted: valid are expert:SKILL"),
        ("run:", "policies=run:: valid are expert:SKILL"),
        ("run:nowhere", "nowhere is not a run directory"),
    ],
)
def test_an_unknown_policy_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as caught:
        make_behaviours([name], make_point, noise=0)
    assert "\n" not in str(caught.value)


def test_an_expert_where_there_is_none_is_refused():
    with pytest.raises(UserError, match="no expert of this environment; valid are random and run:DIR"):
        make_behaviours(["expert:1"], lambda: make_gym("Pendulum-v1"), noise=0)


def test_a_naive_policy_is_the_tasks_own_and_only_some_tasks_have_one():
    (choice,) = make_behaviours(["naive:1"], lambda: make_gym("pbrl_envs/SweepAvoiding-v0"), noise=0)
    assert (choice.own.name, choice.other.name) == ("naive:1", "naive:1 of another goal")
    env = make_gym("pbrl_envs/SweepAvoiding-v0")
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(act(choice.own, 1, obs)[0], env.unwrapped.naive_action(obs))
    with pytest.raises(UserError, match="policies=naive:1: there is no naive controller in this environment"):
        make_behaviours(["naive:1"], make_point, noise=0)


class SucceedsAt(gym.Env):
    """`info["success"]` at some steps; 20 steps long."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, *steps):
        self.steps = steps

    def reset(self, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 0.0, False, self.t == 20, {"success": float(self.t in self.steps)}


@pytest.mark.parametrize(("success", "stop", "length"), [(3, 5, 8), (3, 0, 3), (18, 5, 20), (99, 5, 20)])
def test_an_episode_stops_some_steps_after_its_first_success(success, stop, length):
    env = StopAfterSuccess(SucceedsAt(success, success + 2), stop)
    for _ in range(2):  # a reset forgets the last success
        env.reset()
        ends = [env.step(np.zeros(1))[3] for _ in range(length)]
        assert ends == [False] * (length - 1) + [True]


def test_episodes_are_dealt_in_turn_and_other_goals_come_with_their_share():
    choices = make_behaviours(["expert:1", "random"], make_point, noise=0)
    settings = {"stop_after_success": None, "seed": 0}
    episodes, names = collect_episodes(make_point, choices, 6, other_goal=0, **settings)
    assert names == ["expert:1", "random"] * 3
    assert [len(e) for e in episodes] == [60] * 6
    assert [e.success for e in episodes[::2]] == [1, 1, 1]
    _, names = collect_episodes(make_point, choices, 4, other_goal=1, **settings)
    assert names == ["expert:1 of another goal", "random"] * 2  # chance pursues nothing
