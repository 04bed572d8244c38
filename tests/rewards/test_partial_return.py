import numpy as np
import pytest
import torch

from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Answers, Comparisons, Segments

OBS, ACT, STEPS = 3, 2, 10
NETWORK = {"members": 3, "hidden": [16, 16], "activation": "leaky_relu", "head": "linear", "normalise": False}
TRAINING = {"lr": 3e-3, "smoothing": 0.0, "crop": None, "precision": "float32"}
DIRECTION = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0])  # of the planted reward, over observation and action


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def make_model(seed=0, **settings):
    return PartialReturn(obs_size=OBS, action_size=ACT, rng=rng(seed), **NETWORK | TRAINING | settings)


def make_segments(n, seed=0, steps=STEPS, scale=1.0):
    g = rng(seed)
    obs = torch.randn(n, steps + 1, OBS, generator=g) * scale
    actions = torch.rand(n, steps, ACT, generator=g) * 2 - 1
    true_reward = torch.cat([obs[:, :-1] / scale, actions], -1) @ DIRECTION
    return Segments(
        obs, actions, torch.ones(n, steps), torch.zeros(n, steps), true_reward, torch.arange(n) + 1000 * seed
    )


def make_comparisons(n, seed=0, **kwargs):
    left, right = make_segments(n, 2 * seed, **kwargs), make_segments(n, 2 * seed + 1, **kwargs)
    better = (right.true_reward.sum(1) > left.true_reward.sum(1)).float()
    return Comparisons(left, right, better, torch.zeros(n))


def train(model, comparisons, epochs, bootstrap=False):
    data = PreferenceDataset(0.0, rng())
    everything = torch.ones(len(comparisons)).bool()
    data.add(comparisons.left, comparisons.right, Answers(comparisons.prefers_right, everything))
    generator = rng(1)
    for _ in range(epochs):
        for batch in data.batches(64, model.members, bootstrap, generator):
            metrics = model.update(batch)
    return metrics


def accuracy(model, comparisons):
    with torch.no_grad():
        gain = (model.score(comparisons.right) - model.score(comparisons.left)).mean(0)
    return float(((gain > 0).float() == comparisons.prefers_right).float().mean())


@pytest.fixture(scope="module")
def trained():
    model = make_model()
    train(model, make_comparisons(1000), epochs=10)
    return model


def test_a_planted_linear_reward_is_recovered_on_fresh_pairs(trained):
    assert accuracy(trained, make_comparisons(500, seed=7)) > 0.95


def test_step_rewards_follow_the_planted_ones_though_only_sums_were_compared(trained):
    segments = make_segments(100, seed=50)
    learned = trained.reward(segments).flatten().numpy()
    assert np.corrcoef(learned, segments.true_reward.flatten())[0, 1] > 0.9


def test_turned_answers_teach_the_opposite(trained):
    data = make_comparisons(1000)
    turned, model = Comparisons(data.right, data.left, data.prefers_right, data.annotator), make_model()
    train(model, turned, epochs=10)
    assert accuracy(model, make_comparisons(200, seed=7)) < 0.05


def test_scores_are_sums_of_rewards_and_the_agent_sees_the_mean_member(trained):
    segments = make_segments(6, seed=9)
    reward, score = trained.reward(segments), trained.score(segments)
    assert score.shape == (3, 6)
    torch.testing.assert_close(score.mean(0), reward.sum(1), rtol=1e-4, atol=1e-4)
    steps = trained.step_reward(segments.obs[:, :-1].flatten(0, 1).numpy(), segments.actions.flatten(0, 1).numpy())
    np.testing.assert_allclose(steps.reshape(6, STEPS), reward, rtol=1e-4, atol=1e-5)


def test_the_tanh_head_bounds_the_reward():
    model = make_model(head="tanh")
    train(model, make_comparisons(200), epochs=10)
    reward = model.reward(make_segments(50, scale=100.0)).abs()
    assert 0.9 < reward.max() <= 1


def test_members_agree_on_what_was_learned_and_differ_elsewhere(trained):
    seen, far = make_segments(50, seed=9), make_segments(50, seed=9, scale=30.0)
    spread = [trained.score(s).std(0).mean() / STEPS for s in (seen, far)]
    assert 0 < spread[0] < spread[1]


def copy_member(stacked, e, **settings):
    alone = make_model(**settings | {"members": 1})
    with torch.no_grad():
        for mine, theirs in zip(alone.net.parameters(), stacked.net.parameters(), strict=True):
            mine.copy_(theirs[[e]])
    return alone


def test_a_stacked_update_equals_members_trained_one_by_one():
    stacked, batches = make_model(), [make_comparisons(3 * 8, seed=s) for s in range(5)]
    members = [copy_member(stacked, e) for e in range(3)]
    for batch in batches:
        together = stacked.update(batch)
        alone = [m.update(batch[8 * e : 8 * (e + 1)]) for e, m in enumerate(members)]
        assert together["loss"] == pytest.approx(np.mean([a["loss"] for a in alone]), rel=1e-5)
        assert together["accuracy"] == pytest.approx(np.mean([a["accuracy"] for a in alone]))
    for e, member in enumerate(members):
        for mine, theirs in zip(member.net.parameters(), stacked.net.parameters(), strict=True):
            torch.testing.assert_close(mine[0], theirs[e], rtol=1e-3, atol=1e-5)


def test_bfloat16_updates_are_those_of_float32_within_its_precision():
    models = [make_model(hidden=[64, 64], precision=precision) for precision in ("bfloat16", "float32")]
    figures = [train(model, make_comparisons(200), epochs=5) for model in models]
    assert figures[0]["loss"] == pytest.approx(figures[1]["loss"], rel=0.05)
    assert figures[0]["loss"] != figures[1]["loss"]
    low, full = (model.reward(make_segments(100, seed=9)).flatten() for model in models)
    assert np.corrcoef(low, full)[0, 1] > 0.99
    assert all(p.dtype == torch.float32 for p in models[0].parameters())


def test_bootstrapped_members_learn_from_answers_of_their_own():
    data, fresh, spreads = make_comparisons(60), make_comparisons(200, seed=9), []
    for bootstrap in (False, True):
        model = make_model(members=10, hidden=[], lr=1e-2, smoothing=0.1)  # convex: the data alone decide the end
        train(model, data, epochs=300, bootstrap=bootstrap)
        spreads.append(float((model.score(fresh.right) - model.score(fresh.left)).detach().std(0).mean()))
    assert spreads[0] < 0.05
    assert spreads[1] > 0.3


def test_crops_have_one_length_for_both_sides_within_bounds_and_independent_starts():
    model = make_model(crop=[4, 7])
    comparisons = make_comparisons(30)
    lengths, offsets = set(), set()
    for _ in range(40):
        left, right = model._crop(comparisons)
        assert left.steps == right.steps
        lengths.add(left.steps)
        for crop, whole in ((left, comparisons.left), (right, comparisons.right)):
            starts = [int((whole.obs[i] == crop.obs[i, 0]).all(1).nonzero()) for i in range(30)]
            assert all(torch.equal(crop.obs[i], whole.obs[i, s : s + crop.steps + 1]) for i, s in enumerate(starts))
            offsets.add(tuple(starts))
    assert lengths == {4, 5, 6, 7}
    assert len(offsets) == 80
    short = make_comparisons(2, steps=3)
    assert model._crop(short) == (short.left, short.right)  # shorter than any crop: as it is


def test_crops_teach_the_same_reward():
    model = make_model(crop=[5, 9])
    train(model, make_comparisons(1000), epochs=10)
    assert accuracy(model, make_comparisons(500, seed=7)) > 0.9


def test_normalised_inputs_make_units_irrelevant():
    rewards = []
    for scale in (1.0, 1000.0):
        model, data = make_model(normalise=True), make_comparisons(100, scale=scale)
        model.observe(data.left.obs.flatten(0, 1).numpy())
        train(model, data, epochs=3)
        rewards.append(model.reward(make_segments(20, seed=9, scale=scale)))
    torch.testing.assert_close(*rewards, rtol=1e-2, atol=1e-3)


def test_ties_make_scores_equal_and_smoothing_bounds_the_logit():
    data = make_comparisons(40)
    ties = Comparisons(data.left, data.right, torch.full((40,), 0.5), data.annotator)
    for comparisons, smoothing, logit in ((ties, 0.0, 0.0), (data, 0.1, np.log(9))):
        model = make_model(smoothing=smoothing)
        train(model, comparisons, epochs=400)
        gain = (model.score(data.right) - model.score(data.left)).detach()
        assert float(gain.abs().mean()) == pytest.approx(logit, abs=0.3)


def survival_store():
    """Episodes that end after 3 to 12 steps beside whole ones of 20; observations say nothing about which is which."""
    generator, store = np.random.default_rng(0), EpisodeStore(500)
    for i in range(300):
        ends = i % 2 == 0
        n = int(generator.integers(3, 13)) if ends else 20
        obs = generator.normal(size=(n + 1, OBS)).astype(np.float32)
        store.add([Episode(obs, generator.uniform(-1, 1, (n, ACT)).astype(np.float32), np.ones(n, np.float32), ends)])
    return store


@pytest.mark.parametrize("sign", [1, -1], ids=["longer is better", "shorter is better"])
def test_the_absorbing_state_fixes_the_sign_of_surviving(sign):
    store, model, generator = survival_store(), make_model(head="tanh"), rng()
    left, right = (store.sample(300, STEPS, generator) for _ in range(2))
    gain = sign * (right.true_reward.sum(1) - left.true_reward.sum(1))
    train(model, Comparisons(left, right, torch.where(gain == 0, 0.5, (gain > 0).float()), torch.zeros(300)), 30)
    reward = model.step_reward(*store.recent_steps(500)[:2])
    assert sign * reward.mean() > 0.2
    assert (sign * reward > 0).mean() > 0.95


def test_rewards_are_zero_on_padding():
    segments = make_segments(4)
    mask = torch.ones(4, STEPS)
    mask[:, 6:] = 0
    assert make_model().reward(Segments(**vars(segments) | {"mask": mask}))[:, 6:].abs().sum() == 0


def test_many_rows_in_blocks_equal_row_by_row(trained, monkeypatch):
    obs, actions = make_segments(5).obs[:, 0].numpy(), make_segments(5).actions[:, 0].numpy()
    monkeypatch.setattr("pbrl.rewards.partial_return.BLOCK", 2)
    one_by_one = [trained.step_reward(o[None], a[None])[0] for o, a in zip(obs, actions, strict=True)]
    np.testing.assert_allclose(trained.step_reward(obs, actions), one_by_one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "valid"),
    [
        ({"head": "softmax"}, "valid are tanh, linear"),
        ({"activation": "gelu"}, "valid are relu, leaky_relu, tanh"),
        ({"crop": [5, 3]}, "shortest, longest"),
        ({"smoothing": 0.5}, r"\[0, 0.5\)"),
    ],
)
def test_bad_settings_name_the_valid_ones(setting, valid):
    with pytest.raises(ValueError, match=valid):
        make_model(**setting)


def test_a_steps_reward_does_not_hang_on_how_many_are_asked_for():
    model = make_model(normalise=True)
    obs, actions = (torch.randn(37, n, generator=torch.Generator().manual_seed(n)).numpy() for n in (OBS, ACT))
    model.observe(obs)
    every = model.step_reward(obs, actions)
    for n in (1, 2, 3, 5, 36):
        np.testing.assert_allclose(model.step_reward(obs[:n], actions[:n]), every[:n], atol=1e-6)
    assert model.step_reward(obs[:0], actions[:0]).shape == (0,)
