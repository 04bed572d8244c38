"""Scores of segments against values known without the code."""

from statistics import NormalDist
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sb3 import SACAgent
from pbrl.collection import scores
from pbrl.collection.behaviour import make_behaviours
from pbrl.collection.episodes import collect_episodes
from pbrl.collection.scores import (
    ExpertValue,
    Rollouts,
    likelihood,
    partial_return,
    regret_critic,
    regret_mc,
    soft_value,
)
from pbrl.data.cut import Cut, cut_segments
from pbrl.data.episodes import Episode
from pbrl.data.rows import flatten, store_of
from pbrl.errors import UserError
from pbrl.types import Segments
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.wrap import wrap

H = 12


class Staircase(gym.Env):
    """x grows by 1 where the action is positive; the reward is the new x. The expert always climbs."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    sim_state_attributes = ("x",)
    top = 10**6  # the step that ends the MDP

    def reset(self, seed=None, options=None):
        self.x = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.x += float(action[0] > 0)
        return np.array([self.x], np.float32), self.x, self.x >= self.top, False, {}

    def expert_action(self, obs):
        return np.ones(1, np.float32)


class ShortStaircase(Staircase):
    top = 6


def make_stairs(kind=Staircase):
    return wrap(TimeLimit(kind(), H), "stairs")


def climb(length, stops=(), kind=Staircase):
    """An episode that climbs, but for some steps."""
    env = make_stairs(kind)
    obs, _ = env.reset(seed=0)
    rows, states, actions, rewards = [obs], [env.save_state()], [], []
    for t in range(length):
        action = np.array([-1.0 if t in stops else 1.0], np.float32)
        obs, reward, terminated, _, _ = env.step(action)
        rows.append(obs)
        states.append(env.save_state())
        actions.append(action)
        rewards.append(reward)
    return Episode(np.array(rows), np.array(actions), np.array(rewards, np.float32), terminated, np.array(states))


def cut(episodes, length):
    """All segments, in order of their ids."""
    found = cut_segments(
        store_of(flatten(episodes)), np.zeros(len(episodes), int), 10**6, length, np.random.default_rng(0)
    )
    order = torch.argsort(found.segments.ids)
    return Cut(found.segments[order], *(x[order.numpy()] for x in found[1:]))


def test_the_return_is_the_sum_of_the_rewards():
    assert partial_return(cut([climb(4)], 3)).tolist() == [1 + 2 + 3, 2 + 3 + 4]


def test_the_value_of_a_state_is_what_the_expert_gets_until_the_time_limit():
    episode, value = climb(8, stops=(2, 3)), ExpertValue(make_stairs())
    for t in (0, 5, 8, 3, 0):  # in any order: the counter of the time limit must not cut a roll-out short
        x = episode.obs[t, 0]
        assert value(episode.states[t], episode.obs[t], t) == sum(x + i for i in range(1, H - t + 1))
    assert value(episode.states[8], episode.obs[8], H) == 0


def test_regret_is_what_the_stops_cost_until_the_time_limit():
    """A step not taken at t costs 1 in each of the H - t rewards that are still to come."""
    episodes = [climb(H), climb(9, stops=(4,)), climb(9, stops=(1, 2))]
    found = cut(episodes, 3)
    score = regret_mc(found, episodes, make_stairs)
    stops = [(), (4,), (1, 2)]
    expected = [
        -sum(H - t for t in stops[k] if start <= t < start + 3)
        for k, start in zip(found.episode, found.start, strict=True)
    ]
    np.testing.assert_allclose(score, expected, atol=1e-6)
    assert min(expected) == -(H - 1) - (H - 2)


def test_after_termination_the_value_is_0():
    """Where the MDP ends at step 6, a stop on the way costs nothing: the expert gets 1 + ... + 6 too, only earlier."""
    episodes = [climb(7, stops=(0,), kind=ShortStaircase)]
    found = cut(episodes, 4)
    assert found.segments.mask.sum(1).tolist() == [4, 4, 4, 4, 3, 2]  # the absorbing state fills up to half
    score = regret_mc(found, episodes, lambda: make_stairs(ShortStaircase))
    np.testing.assert_allclose(score, 0, atol=1e-6)


def test_each_state_is_rolled_out_once(monkeypatch):
    calls = []

    class Counted(ExpertValue):
        def __call__(self, state, obs, step):
            calls.append(step)
            return super().__call__(state, obs, step)

    monkeypatch.setattr(scores, "ExpertValue", Counted)
    episodes = [climb(9)]
    regret_mc(cut(episodes, 3), episodes, make_stairs)
    assert sorted(calls) == list(range(10))


def test_the_value_by_noisy_roll_outs_is_the_mean_return_of_an_expert_with_noise():
    """An action of 1 with noise 2 is above 0 with chance Phi(1/2), and each of H rewards grows by it."""
    episodes = [climb(H)]
    found = cut(episodes, H)
    rollouts = Rollouts(number=1000, noise=2.0)
    score = regret_mc(found, episodes, make_stairs, rollouts, np.random.default_rng(0))
    total = H * (H + 1) / 2
    np.testing.assert_allclose(score, total - total * NormalDist().cdf(0.5), atol=0.02 * total)


class NarrowStaircase(Staircase):
    """At x = 2 the least step aside is a fall, to a place with no reward."""

    def step(self, action):
        falls = self.x < 0 or (self.x == 2 and action[0] < 1)
        self.x = -1.0 if falls else self.x + float(action[0] > 0)
        return np.array([self.x], np.float32), max(self.x, 0.0), False, False, {}


def test_segments_are_unknown_where_roll_outs_from_their_ends_disagree():
    """Noise of 0.1 makes every second expert fall at x = 2; below and above nothing is left to chance."""
    episodes = [climb(9, kind=NarrowStaircase)]
    found = cut(episodes, 3)
    rollouts = Rollouts(number=16, noise=0.1, max_error=1e-3)
    score = regret_mc(found, episodes, lambda: make_stairs(NarrowStaircase), rollouts, np.random.default_rng(0))
    assert np.isnan(score).tolist() == [x <= 2 for x in found.segments.obs[:, 0, 0].tolist()]
    np.testing.assert_allclose(score[found.start > 2], 0, atol=1e-6)


def test_the_likelihood_of_an_expert_is_minus_the_squared_distance_to_its_actions():
    found = two_segments()
    found.segments.actions[0, 1] = torch.tensor([0.5, -1.0])
    found.segments.actions[1, 2] = 1  # padding counts nothing
    score = likelihood(found, lambda obs: np.full((len(obs), 2), 0.5, np.float32))
    np.testing.assert_allclose(score, [-(0.5 + 1.5**2 + 0.5), -(0.5 + 0.5)], rtol=1e-6)


def make_point(steps=60):
    return make_gym("pbrl_envs/PointReach-v0", max_episode_steps=steps)


def collect(policies, noise, other_goal=0.0, episodes=4):
    choices = make_behaviours(policies, make_point, noise)
    return collect_episodes(make_point, choices, episodes, other_goal=other_goal, stop_after_success=10, seed=0)[0]


def test_the_expert_has_no_regret_and_nobody_has_less():
    own = collect(["expert:1"], noise=0)
    score = regret_mc(cut(own, 16), own, make_point)
    np.testing.assert_allclose(score, 0, atol=1e-4)
    others = collect(["expert:0.5", "random"], noise=0.3, other_goal=0.5)
    score = regret_mc(cut(others, 16), others, make_point)
    assert score.max() < 0.05
    assert score.mean() < -3


@pytest.mark.parametrize(("make", "message"), [
    (lambda: make_gym("Pendulum-v1"), "there is no expert of this environment"),
    (lambda: wrap(Staircase(), "stairs"), "its episodes have no time limit"),
])  # fmt: skip
def test_roll_outs_that_are_not_possible_are_refused(make, message):
    with pytest.raises(UserError, match=f"labels=regret_mc needs expert roll-outs: .*{message}"):
        regret_mc(cut([climb(4)], 3), [climb(4)], make)


@pytest.fixture
def model():
    """A SAC agent whose critics say 5 and 7 whatever they see, with a fixed temperature of 0."""
    agent = SACAgent(
        make_point, algorithm=FastSAC, given=None, steps=10, seed=0, device="cpu", n_envs=1, hidden=[8],
        activation="relu", lr=1e-3, batch_size=4, gamma=0.9, tau=0.005, ent_coef=0.0, learning_starts=1,
        gradient_steps=1, target_update_interval=1, precision="float32",
    )  # fmt: skip
    for net, value in zip(agent.model.critic.q_networks, (5, 7), strict=True):
        for p in net.parameters():
            p.data.zero_()
        net[-1].bias.data.fill_(value)
    return agent.model


def two_segments():
    """Three steps each; the second ends its MDP after two."""
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 0]])
    ended = torch.tensor([[0.0, 0, 0], [0, 1, 0]])
    reward = torch.tensor([[1.0, 2, 3], [1, 2, 0]])
    segments = Segments(torch.randn(2, 4, 6), torch.zeros(2, 3, 2), mask, ended, reward, torch.tensor([0, 9]))
    return Cut(segments, np.array([0, 1]), np.zeros(2, int), np.zeros(2, int))


def test_regret_of_a_critic_is_discounted_and_takes_the_smaller_one(model):
    g = model.gamma
    score = regret_critic(two_segments(), model, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(score, [1 + 2 * g + 3 * g**2 + g**3 * 5 - 5, 1 + 2 * g - 5], rtol=1e-6)


def test_the_entropy_of_the_policy_is_part_of_a_value(model):
    obs, rng = torch.randn(3, 6), torch.Generator().manual_seed(0)
    model.ent_coef_tensor = torch.tensor(0.5)
    values = torch.stack([soft_value(model, obs, rng) for _ in range(40)]).mean(0)
    with torch.no_grad():
        log_prob = torch.stack([model.actor.action_log_prob(obs)[1] for _ in range(4000)]).mean(0)  # SB3's own
    torch.testing.assert_close(values, 5 - 0.5 * log_prob.double(), atol=0.03, rtol=0)


def test_the_temperature_is_the_learned_one():
    learned = SimpleNamespace(log_ent_coef=torch.tensor([0.0]), ent_coef_tensor=None)
    assert scores.temperature(learned) == 1
