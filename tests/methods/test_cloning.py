"""BC, %BC, SFT and PAWS: what is cloned, and that cloning less of the bad is closer to the best."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from offline_data import action_error, begun, make_data, run, update

from pbrl.data.episodes import Episode
from pbrl.methods.bc import BC, best_episodes
from pbrl.methods.paws import PAWS, weights_of_share
from pbrl.methods.sft import SFT
from pbrl.rewards.partial_return import PartialReturn


def bc(data, top=1.0, steps=400):
    return begun(BC, data, steps, top=top, batch_size=128, lr=3e-3)


def test_bc_finds_the_mean_action(data):
    learner = bc(data)
    assert run(learner)["train/bc_loss"] > 0.01  # the noise stays
    # the mean of the noise is 0.25 * (mean of 0 to 1) on each of two dimensions
    assert action_error(learner) == pytest.approx(0.125**2, abs=0.006)


def test_percent_bc_clones_the_best_episodes(data):
    assert [e.true_reward.sum() for e in best_episodes(data, 0.1)] == sorted(
        (e.true_reward.sum() for e in data.episodes), reverse=True
    )[:4]
    learner = bc(data, 0.1)
    run(learner)
    assert action_error(learner) < 0.003


def test_an_episode_that_was_cut_goes_on_as_it_went():
    """Five good steps and a cut are better than eight poor ones, unless the five ended the task."""

    def episode(length, reward, terminated):
        zeros = np.zeros((length + 1, 2), np.float32)
        return Episode(zeros, zeros[1:], np.full(length, reward, np.float32), terminated=terminated)

    data = make_data()
    cut, poor, ended = episode(5, 2.0, False), episode(8, 1.5, False), episode(5, 2.0, True)
    assert best_episodes(replace(data, episodes=[poor, cut]), 0.5) == [cut]
    assert best_episodes(replace(data, episodes=[ended, poor]), 0.5) == [poor]


def test_percent_bc_without_true_returns():
    with pytest.raises(ValueError, match="true return"):
        bc(make_data(reward=False), 0.1)


@pytest.mark.parametrize("top", [0.0, 1.5])
def test_a_share_is_a_share(data, top):
    with pytest.raises(ValueError, match="expected a share"):
        bc(data, top)


def test_sft_ends_closer_to_the_best_than_bc(data):
    sft = begun(SFT, data, 600, bc_share=0.5, batch_size=32, lr=3e-3)
    assert "train/bc_loss" in run(sft, 300)
    cloned = action_error(sft)
    assert "train/loss" in run(sft, 300)
    assert action_error(sft) < 0.75 * cloned


def test_sft_takes_both_sides_of_a_tie():
    data = make_data(pairs=1)
    data.pairs.prefers_right.fill_(0.5)
    sft = begun(SFT, data, 5, bc_share=0.0, batch_size=1, lr=0.0)
    both = data.segments[torch.cat([data.pairs.left, data.pairs.right])]
    expected = -sft.actor.log_prob(both.obs[:, :-1], both.actions).mean().detach()
    assert run(sft)["train/loss"] == pytest.approx(float(expected))


def paws(data, steps=400, share=0.1):
    def model(**sizes):
        numbers = {
            "members": 1,
            "hidden": (32, 32),
            "activation": "relu",
            "head": "linear",
            "normalise": False,
            "lr": 3e-3,
        }
        return PartialReturn(**numbers, smoothing=0.0, crop=None, precision="float32", **sizes)

    numbers = {"advantage_share": 0.5, "check_every": 20, "pairs": 32, "batch_size": 32, "lr": 3e-3}
    return begun(PAWS, data, steps, model=model, sample_share=share, **numbers)


def test_paws_clones_what_its_advantages_prefer(data):
    learner = paws(data, 800)
    run(learner)
    assert learner.best["accuracy"] > 0.85
    assert action_error(learner) < 0.006


def test_paws_stops_at_the_best_held_out_accuracy(data):
    learner = paws(data)
    seen = [update(learner).get("reward/validation_accuracy", -1) for _ in range(200)]
    update(learner)
    assert learner.best["accuracy"] == max(seen)
    for name, value in learner.model.state_dict().items():
        torch.testing.assert_close(value, learner.best["weights"][name])


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_effective_sample_size(share):
    weights = weights_of_share(torch.randn(500, generator=torch.Generator().manual_seed(0)), share)
    assert float(1 / weights.square().sum()) == pytest.approx(share * 500, rel=0.02)
    assert float(weights.sum()) == pytest.approx(1)


def test_weights_do_not_depend_on_scale_or_shift():
    advantage = torch.randn(100, dtype=torch.float64)
    torch.testing.assert_close(weights_of_share(advantage, 0.2), weights_of_share(1000 * advantage - 7, 0.2))


def test_equal_advantages_weigh_the_same():
    np.testing.assert_allclose(weights_of_share(torch.full((8,), 3.0), 0.1), 1 / 8)
