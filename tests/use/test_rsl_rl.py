"""The contract of rsl_rl's VecEnv: the reward of what was seen before each step, and what is recorded."""

import numpy as np
import pytest
import torch
from tiny import collect, offline, train

import pbrl

N, LIMIT = 3, 5


class Points:
    """Three points that are pushed; the first falls off at step 3 of each episode, all are cut off after LIMIT steps.

    Follows `rsl_rl.env.VecEnv`: it writes into its buffers and begins anew by itself.
    """

    num_envs, num_actions, max_episode_length, device, cfg = N, 2, LIMIT, "cpu", {}

    def __init__(self, size=6):
        self.obs = torch.arange(N * size, dtype=torch.float32).view(N, size) / 10
        self.episode_length_buf = torch.zeros(N, dtype=torch.long)

    def get_observations(self):
        return {"policy": self.obs, "critic": -self.obs}

    def step(self, actions):
        self.obs[:, :2] += 0.1 * actions
        self.episode_length_buf += 1
        fallen = (torch.arange(N) == 0) & (self.episode_length_buf == 3)
        time_outs = self.episode_length_buf == LIMIT
        dones = (fallen | time_outs).long()
        self.episode_length_buf[dones.bool()] = 0
        self.obs[dones.bool()] = 0
        return self.get_observations(), -torch.ones(N), dones, {"time_outs": time_outs, "log": {"/own": 1.0}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rsl_rl")
    assert train(folder / "run", *offline("piql", collect(folder / "data")), method=None)[0] == 0
    return pbrl.load_run(folder / "run")


def test_the_reward_is_that_of_what_was_seen_before_the_step(run):
    env, reward = pbrl.RslRlRewardWrapper(Points(), run.path), run.reward()
    for k in range(8):  # over ends of episodes
        before = env.get_observations()["policy"].clone()
        actions = torch.full((N, 2), 0.3 - 0.2 * k)
        obs, learned, dones, extras = env.step(actions)
        np.testing.assert_allclose(learned, reward(before.numpy(), actions.numpy()), atol=1e-6)
        assert extras["true_reward"].tolist() == [-1] * N
        assert extras["log"]["/own"] == 1
        assert (float(extras["log"]["/reward/true"]), obs.keys()) == (-1, {"policy", "critic"})
        assert extras["time_outs"].shape == dones.shape == (N,)
    assert float(extras["log"]["/reward/learned"]) == pytest.approx(float(learned.mean()))


def test_an_environment_whose_observations_are_noisy_is_asked_once(monkeypatch):
    """Asked again, it would show something else than the policy saw."""
    inner, asked = Points(), []
    monkeypatch.setattr(Points, "get_observations", lambda self: asked.append(1) or {"policy": self.obs + len(asked)})
    env = pbrl.RslRlRewardWrapper(inner, lambda obs, actions: obs[:, 0])
    shown = env.get_observations()
    for _ in range(3):
        seen = shown["policy"][:, 0].clone()
        shown, learned, _, _ = env.step(torch.zeros(N, 2))
        assert torch.equal(learned, seen)


def test_all_else_is_the_environments_own(run):
    inner = Points()
    env = pbrl.RslRlRewardWrapper(inner, run.reward())
    assert (env.num_envs, env.num_actions, env.max_episode_length, env.device, env.cfg) == (N, 2, LIMIT, "cpu", {})
    env.episode_length_buf = torch.tensor([1, 2, 3])  # as a runner does at its start
    assert inner.episode_length_buf.tolist() == [1, 2, 3]


def test_what_is_recorded_is_a_data_set_with_states_that_a_method_learns_from(run, tmp_path):
    inner = Points()
    env = pbrl.RslRlRewardWrapper(inner, None, record=14 * N, state=lambda e: e.obs[:, :2].double())
    seen, acted = [], []
    for k in range(14):
        seen.append(inner.obs.clone())
        acted.append(torch.full((N, 2), 0.2 * k - 1.4))
        _, given, _, _ = env.step(acted[-1])
        assert given.tolist() == [-1] * N  # without a reward the environment's own
    data = env.save(tmp_path / "data", name="points", segment_length=3, limit=2.0)
    lengths = [3, 3, 3, 3, 2] + 2 * [5, 5, 4]  # the last of each goes on
    assert [len(e) for e in data.episodes] == lengths
    assert [e.terminated for e in data.episodes] == [True] * 4 + [False] * 7
    first = data.episodes[1]
    np.testing.assert_array_equal(first.obs[:3], [seen[k][0] for k in (3, 4, 5)])
    np.testing.assert_allclose(first.actions, [acted[k][0] / 2 for k in (3, 4, 5)], rtol=1e-6)
    np.testing.assert_array_equal(first.states[:3], [seen[k][0, :2].double() for k in (3, 4, 5)])
    assert (data.meta["last_obs"], data.segments.steps) == (False, 3)
    with pytest.raises(pbrl.UserError, match="nothing is recorded"):
        pbrl.RslRlRewardWrapper(Points(), None).save(tmp_path / "other", name="points", segment_length=3)


def test_other_sizes_and_groups_are_refused(run):
    with pytest.raises(pbrl.UserError, match=r"observations \(4,\) and actions \(2,\); the reward \(\(6,\), \(2,\)\)"):
        pbrl.RslRlRewardWrapper(Points(size=4), run.path)
    with pytest.raises(pbrl.UserError, match="group='state': the environment has the groups policy, critic"):
        pbrl.RslRlRewardWrapper(Points(), run.path, group="state")


def test_a_function_of_tensors_is_a_reward_too():
    env = pbrl.RslRlRewardWrapper(Points(), lambda obs, actions: obs[:, 0] + actions[:, 1])
    before = env.get_observations()["policy"][:, 0].clone()
    assert env.step(torch.ones(N, 2))[1].tolist() == pytest.approx((before + 1).tolist())
