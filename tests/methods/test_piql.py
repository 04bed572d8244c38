import numpy as np
import pytest
import torch
from offline_data import BEST, LENGTH, begun, make_data, run, update

from pbrl.agents.iql import IQL, Batch
from pbrl.methods.ipl import IPL
from pbrl.methods.piql import IQLOnControl, RewardThenIQL
from pbrl.methods.regret import Regret
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Segments


def small_iql(**arguments):
    return IQL(expectile=0.7, beta=0.1, gamma=0.5, tau=0.05, hidden=(32,), lr=3e-3, **arguments)


def small_reward(**sizes):
    numbers = {"members": 2, "hidden": (32, 32), "activation": "relu", "head": "linear", "normalise": False, "lr": 3e-3}
    return PartialReturn(**numbers, smoothing=0.0, crop=None, precision="float32", **sizes)


def piql(data, control=None, steps=600, seed=0, **changes):
    numbers = {"batch_size": 64, "scale": True, "iql": small_iql} | changes
    if control is not None:
        return begun(IQLOnControl, data, steps, seed=seed, control=control, **numbers)
    fit = {"model": small_reward, "reward_share": 0.5, "reward_schedule": "constant", "pairs": 32}
    return begun(RewardThenIQL, data, steps, seed=seed, **fit | numbers)


def leaning(learner) -> float:
    """How far actions lean to the side of the noise: 0 is best, 0.125 clones everything."""
    obs = np.random.default_rng(99).uniform(-1, 1, (500, 2)).astype(np.float32)
    return float((learner.actor.act(obs) - obs @ BEST.T).mean())


def test_first_the_reward_then_the_policy(data):
    learner = piql(data, steps=20)
    first = [update(learner) for _ in range(10)]
    assert all("reward/loss" in m and "train/critic_loss" not in m for m in first)
    weights = {k: v.clone() for k, v in learner.model.state_dict().items()}
    second = [update(learner) for _ in range(10)]
    assert all("reward/loss" not in m and "train/critic_loss" in m for m in second)
    for name, value in learner.model.state_dict().items():
        torch.testing.assert_close(value, weights[name])


def test_a_reward_is_fitted_in_the_shortest_run_and_refused_without_a_share_of_it(data):
    assert "reward/loss" in update(piql(data, steps=1))
    with pytest.raises(ValueError, match="reward_share=0: expected a number above 0"):
        piql(data, reward_share=0)


def test_the_learned_reward_brings_the_policy_closer_to_the_best(data):
    learner = piql(data)
    run(learner)
    held = data.validation
    accuracy = ((learner.score(held.right) > learner.score(held.left)) == (held.prefers_right > 0.5)).float().mean()
    assert accuracy > 0.8
    assert abs(leaning(learner)) < 0.09


def test_controls_order_as_they_must(data):
    lean = {}
    for control in ("true", "zero", "negated"):
        learner = piql(data, control)
        run(learner)
        lean[control] = leaning(learner)
    assert lean["true"] < lean["zero"] - 0.02
    assert lean["zero"] < lean["negated"] - 0.02


@pytest.mark.parametrize("control", ["true", "zero", "random", "negated"])
def test_control_rewards(data, control):
    learner = piql(data, control, scale=False, steps=2)
    run(learner)
    true = torch.from_numpy(np.concatenate([e.true_reward for e in data.episodes]))
    expected = {"true": true, "zero": torch.zeros_like(true), "negated": -true}
    if control == "random":
        assert abs(np.corrcoef(learner._rewards, true)[0, 1]) < 0.15
        assert learner._rewards.abs().max() <= 1
    else:
        torch.testing.assert_close(learner._rewards, expected[control])


def test_scaled_rewards_spread_over_one_episode_length(data):
    learner = piql(data, "true", steps=2)
    run(learner)
    sums = learner._rewards.view(-1, LENGTH).sum(1)
    assert float(sums.max() - sums.min()) == pytest.approx(LENGTH, rel=1e-4)


def test_a_control_needs_what_it_controls_with():
    data = make_data(reward=False)
    with pytest.raises(ValueError, match="true rewards"):
        piql(data, "true")
    run(piql(data, "zero", steps=3))
    with pytest.raises(ValueError, match="valid are true, zero, random, negated"):
        piql(data, "wrong")


def ipl(data, steps=600, regulariser=0.5):
    return begun(IPL, data, steps, regulariser=regulariser, pairs=16, batch_size=64, iql=small_iql)


def test_the_reward_implied_by_the_true_q_is_the_reward(data):
    """Q = r + gamma V(s') makes r_Q = r, whatever V is."""
    learner = ipl(data)
    batch = Batch(*(column[:50] for column in data.transitions()))
    batch = batch._replace(terminated=(torch.arange(50) % 7 == 0).float())
    reward = torch.randn(50)
    next_v = learner.iql.v(learner.iql.norm(batch.next_obs))[0, :, 0]
    q = reward + 0.5 * (1 - batch.terminated) * next_v
    learner.iql.q.forward = lambda _: q.expand(2, -1)[..., None]
    torch.testing.assert_close(learner.implied_reward(batch), reward.expand(2, -1))


def test_ipl_learns_what_is_preferred(data):
    learner = ipl(data)
    metrics = run(learner)
    assert metrics["train/accuracy"] > 0.75
    held = data.validation
    accuracy = ((learner.score(held.right) > learner.score(held.left)) == (held.prefers_right > 0.5)).float().mean()
    assert accuracy > 0.75
    assert leaning(learner) < 0.1


def test_a_stronger_regulariser_shrinks_the_implied_reward(data):
    squares = [run(ipl(data, 200, regulariser))["train/reward_square"] for regulariser in (0.01, 10.0)]
    assert squares[1] < squares[0] / 5


def test_the_schedule_of_a_reward(data):
    learner = piql(data, steps=200, reward_schedule="warmup_cosine")
    rates = []
    for _ in range(100):
        update(learner)
        rates.append(learner.model.optimizer.param_groups[0]["lr"])
    assert rates[9] == pytest.approx(3e-3)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[9:]) < 0)
    assert rates[-1] == pytest.approx(3e-4)


def test_random_rewards_differ_between_episodes_and_seeds(data):
    first, second = (piql(data, "random", scale=False, steps=2, seed=seed) for seed in (0, 1))
    run(first), run(second)
    episodes = first._rewards.view(-1, LENGTH)
    assert len({tuple(e.tolist()) for e in episodes}) == len(episodes)
    assert not torch.equal(first._rewards, second._rewards)


@pytest.mark.parametrize(
    ("control", "changes", "message"),
    [
        (None, {"reward_schedule": "linear"}, "valid are constant, warmup_cosine"),
        (None, {"pairs": 0}, "whole number"),
        (None, {"batch_size": -1}, "whole number"),
    ],
)
def test_wrong_numbers(data, control, changes, message):
    with pytest.raises(ValueError, match=message):
        piql(data, control, **changes)


def regret(data, steps=400):
    return begun(Regret, data, steps, model=small_reward, pairs=32, batch_size=64, iql=small_iql)


def test_regret_of_a_segment_telescopes(data):
    learner = regret(data)
    run(learner, 20)
    segments = data.segments[:5]
    first, second = segments.crop(torch.zeros(5, dtype=torch.long), 2), segments.crop(torch.full((5,), 2), 2)
    torch.testing.assert_close(learner.score(first) + learner.score(second), learner.score(segments))


def test_what_is_done_best_has_no_regret():
    """A chain to a goal, reward 1 there: with exact values, optimal steps score 0 and every wasted one costs."""
    learner = regret(make_data())
    gamma = learner.iql.gamma
    learner.iql.v.forward = lambda obs: (gamma ** (-obs[:, :1]) / (1 - gamma))[None]  # obs: minus the steps to go
    learner.model.forward = lambda obs, actions: (obs[..., 0] == 0).float().expand(2, -1)
    toward = torch.tensor([[-3.0, -2, -1, 0, 0], [-5, -4, -3, -2, -1], [-3, -3, -3, -2, -1]])
    n, t = 3, 4
    obs = torch.stack([toward, torch.zeros(n, t + 1)], -1)
    flat = torch.zeros(n, t)
    segments = Segments(obs, torch.zeros(n, t, 2), flat + 1, flat, flat, torch.arange(n))
    best, also_best, idle = learner.score(segments).tolist()
    assert best == pytest.approx(0, abs=1e-5)
    assert also_best == pytest.approx(0, abs=1e-5)
    value = gamma**3 / (1 - gamma)
    assert idle == pytest.approx(-2 * (1 - gamma) * value, abs=1e-5)


def test_the_end_of_the_mdp_has_no_value(data):
    learner = regret(data)
    run(learner, 20)
    segments = data.segments[:5]
    ended = Segments(**{**vars(segments), "terminated": segments.terminated.clone()})
    ended.terminated[:, -1] = 1
    value = learner.iql.v(segments.obs[:, -1])[0, :, 0].detach()
    torch.testing.assert_close(learner.value_gain(segments) - learner.value_gain(ended), learner.iql.gamma * value)


def test_regret_learns_what_is_preferred(data):
    learner = regret(data)
    run(learner)
    held = data.validation
    accuracy = ((learner.score(held.right) > learner.score(held.left)) == (held.prefers_right > 0.5)).float().mean()
    assert accuracy > 0.75


@pytest.mark.parametrize("make", [ipl, regret, piql])
def test_an_unknown_last_observation_is_never_read(make):
    """Where it is a copy, replacing it by noise changes nothing that is learned."""
    scores = []
    for noise in (0.0, 5.0):
        data = make_data(last_obs=False)
        data.segments.obs[:, -1] += noise * torch.randn_like(data.segments.obs[:, -1]) if make is not regret else 0
        for episode in data.episodes:
            episode.obs[-1] += noise
        learner = make(data, steps=10)
        run(learner)
        scores.append(learner.actor.act(np.ones((3, 2), np.float32)))
    np.testing.assert_array_equal(*scores)
