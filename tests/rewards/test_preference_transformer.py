import dataclasses

import numpy as np
import pytest
import torch
from offline_data import make_data

from pbrl.rewards.preference_transformer import PreferenceTransformer
from pbrl.types import Segments


def make(head="attention", dropout=0.0, seed=0, **changes):
    numbers = {"obs_size": 2, "action_size": 2, "width": 16, "attention_heads": 2, "blocks": 1, "max_steps": 8}
    return PreferenceTransformer(
        **numbers | {"lr": 3e-3} | changes,
        head=head,
        dropout=dropout,
        rng=torch.Generator().manual_seed(seed),
    )


def inputs(n=3, t=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, 2, generator=rng), torch.randn(n, t, 2, generator=rng), torch.ones(n, t)


def test_no_step_sees_the_future():
    obs, actions, mask = inputs()
    model = make("mean")
    before = model(obs, actions, mask)
    obs[:, 4:], actions[:, 4:] = 9.0, -9.0
    after = model(obs, actions, mask)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] != before[:, 4:]).any()


@pytest.mark.parametrize("head", ["attention", "mean"])
def test_padding_at_the_end_changes_no_score(head):
    segments = make_data().segments[:3]
    cut = segments.crop(torch.zeros(3, dtype=torch.long), 2)
    padded = Segments(**{**vars(segments), "mask": segments.mask * torch.tensor([1.0, 1, 0, 0])})
    torch.testing.assert_close(make(head).score(padded), make(head).score(cut))


def test_the_attention_head_averages_its_rewards():
    """Weights are a softmax: equal rewards of all steps are the score, whatever the weights."""
    model = make("attention")
    with torch.no_grad():
        model.query_key_reward.weight[-1] = 0
        model.query_key_reward.bias[-1] = 1.5
    torch.testing.assert_close(model(*inputs()), torch.full((3, 6), 1.5))


@pytest.mark.parametrize("head", ["attention", "mean"])
def test_learns_what_is_preferred(head):
    data, model = make_data(), make(head, dropout=0.1)
    rng = torch.Generator().manual_seed(1)
    for _ in range(300):
        model.update(data.sample_pairs(32, rng))
    model.eval()
    fresh = make_data(seed=1)
    held = fresh.pairs.comparisons(fresh.segments)
    right = model.score(held.right)[0] > model.score(held.left)[0]
    assert (right == (held.prefers_right > 0.5)).float().mean() > 0.75


def test_rewards_of_an_episode_are_those_of_the_windows_that_end_there():
    data, model = make_data(), make("mean")
    model.update(data.sample_pairs(8, torch.Generator().manual_seed(0)))
    model.eval()
    episode = data.episodes[3]
    reward = model.episode_reward(episode)
    assert reward.shape == (len(episode),)
    obs, actions = torch.from_numpy(episode.obs), torch.from_numpy(episode.actions)
    window = model(obs[None, 5:9], actions[None, 5:9], torch.ones(1, 4))[0, -1]
    assert reward[8] == pytest.approx(float(window.detach()), abs=1e-5)


@pytest.mark.parametrize("head", ["attention", "mean"])
def test_early_rewards_are_those_of_windows_that_begin_with_the_episode(head):
    """Step k of an episode has the k-th position, as it had in training, and reads nothing but the steps before it."""
    data, model = make_data(), make(head)
    model.update(data.sample_pairs(8, torch.Generator().manual_seed(0)))  # segments of 4 steps
    model.eval()
    episode = data.episodes[3]
    reward = model.episode_reward(episode)
    obs, actions = (torch.from_numpy(x) for x in (episode.obs, episode.actions))
    for k in range(1, 5):
        window = model(obs[None, :k], actions[None, :k], torch.ones(1, k))[0, -1]
        assert reward[k - 1] == pytest.approx(float(window.detach()), abs=1e-5)


def test_early_rewards_use_no_position_that_training_did_not_show_there():
    """What only the last position adds changes no reward of a step before a window is full."""
    data, model = make_data(), make("mean")
    model.update(data.sample_pairs(8, torch.Generator().manual_seed(0)))
    model.eval()
    before = model.episode_reward(data.episodes[3])
    with torch.no_grad():
        model.embed_step[3] += torch.linspace(-9.0, 9.0, model.embed_step.shape[-1])  # normalising takes off a constant
    after = model.episode_reward(data.episodes[3])
    assert (after[:3] == before[:3]).all()
    assert (np.abs(after[3:] - before[3:]) > 1e-4).all()


@pytest.mark.parametrize("head", ["attention", "mean"])
def test_rewards_of_an_episode_that_is_shorter_than_a_window(head):
    data, model = make_data(), make(head)
    model.update(data.sample_pairs(8, torch.Generator().manual_seed(0)))
    model.eval()
    episode = data.episodes[3]
    short = dataclasses.replace(
        episode, obs=episode.obs[:3], actions=episode.actions[:2], true_reward=episode.true_reward[:2]
    )
    assert model.episode_reward(short) == pytest.approx(model.episode_reward(episode)[:2], abs=1e-5)


def test_longer_segments_than_it_was_made_for():
    with pytest.raises(ValueError, match="max_steps is 8"):
        make()(*inputs(t=9))


@pytest.mark.parametrize(("changes", "message"), [({"head": "max"}, "attention, mean"), ({"width": 15}, "multiple")])
def test_wrong_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
