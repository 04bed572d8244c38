import dataclasses
import math

import numpy as np
import pytest
import torch
from offline_data import BEST, action_error, begun, make_data, run, update

from pbrl.losses import cpl_loss
from pbrl.methods.cpl import CPL
from pbrl.methods.early_stop import EarlyStop


def cpl(data, steps=600, **changes):
    numbers = {"alpha": 0.5, "bias": 0.5, "gamma": 1.0, "bc_weight": 0.0, "kl": False, "bc_share": 0.5}
    numbers |= {"lr": 3e-3, "lr_factor": 1.0, "warmup_share": 0.02, "batch_size": 32}
    policy = {k: changes.pop(k) for k in ("hidden", "dropout") if k in changes}
    return begun(CPL, data, steps, policy=policy, **numbers | changes)


@pytest.mark.parametrize("changes", [{}, {"bias": 1.0, "bc_weight": 1.0}])
@pytest.mark.parametrize("dense", [False, True])
def test_ends_closer_to_the_best_than_cloning(changes, dense):
    learner = cpl(make_data(dense=dense), **changes)
    assert "train/bc_loss" in run(learner, 300)
    cloned = action_error(learner)
    run(learner, 300)
    assert action_error(learner) < 0.75 * cloned


@pytest.mark.parametrize("dense", [False, True])
def test_kl_moves_from_the_cloned_policy_to_the_better_side(dense):
    learner = cpl(make_data(dense=dense), kl=True, bias=0.75, alpha=0.2, lr_factor=0.1)
    run(learner)
    obs = np.random.default_rng(99).uniform(-1, 1, (500, 2)).astype(np.float32)
    moved, wanted = learner.actor.act(obs) - learner.reference.act(obs), obs @ BEST.T - learner.reference.act(obs)
    assert (moved * wanted).sum() > 0.8 * np.linalg.norm(moved) * np.linalg.norm(wanted)


def test_the_score_is_alpha_times_the_log_likelihood(data):
    learner = cpl(data, alpha=0.3)
    log_prob = learner.actor.log_prob(data.segments.obs[:, :-1], data.segments.actions)
    torch.testing.assert_close(learner.score(data.segments), 0.3 * log_prob.sum(1))


def test_padding_does_not_count(data):
    segments = data.segments[:3]
    padded = type(segments)(**{**vars(segments), "mask": segments.mask * torch.tensor([1.0, 1, 0, 0])})
    cut = segments.crop(torch.zeros(3, dtype=torch.long), 2)
    learner = cpl(data)
    torch.testing.assert_close(learner.score(padded), learner.score(cut))


def test_per_step_a_longer_segment_is_not_better_for_being_longer(data):
    learner = cpl(data, alpha=0.3, per_step=True)
    log_prob = learner.actor.log_prob(data.segments.obs[:, :-1], data.segments.actions)
    torch.testing.assert_close(learner.score(data.segments), 0.3 * log_prob.mean(1))
    padded = dataclasses.replace(data.segments, mask=data.segments.mask * torch.tensor([1.0, 1, 0, 0]))
    torch.testing.assert_close(learner.score(padded), 0.3 * log_prob[:, :2].mean(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"per_step": True, "alpha": 2.0, "margin": 0.2},
        {"kl": True, "ipo": 0.1, "bias": 1.0},
        {"chosen_weight": 0.5},
        {"kl": True, "divergence": "jensen_shannon", "alpha": 1.0},
    ],
)
def test_variants_end_closer_to_the_best_than_cloning(changes, data):
    learner = cpl(data, **changes)
    run(learner, 300)
    cloned = action_error(learner)
    run(learner, 300)
    assert action_error(learner) < 0.5 * cloned


def test_what_is_of_pairs_is_refused_of_scored_segments():
    with pytest.raises(ValueError, match="are of pairs"):
        cpl(make_data(dense=True), ipo=1.0, bias=1.0, kl=True)


def test_relative_to_itself_every_segment_scores_zero_until_the_second_stage_moves(data):
    learner = cpl(data, kl=True, lr_factor=0.0)
    assert learner.score(data.segments) is None  # nothing to compare with yet
    run(learner, 301)  # one update of the second stage, at rate 0
    torch.testing.assert_close(learner.score(data.segments), torch.zeros(len(data.segments)))
    reference = {k: v.clone() for k, v in learner.reference.state_dict().items()}
    run(learner, 20)
    for name, value in learner.reference.state_dict().items():
        torch.testing.assert_close(value, reference[name])


def test_the_second_stage_warms_up(data):
    learner = cpl(data, steps=100, warmup_share=0.1, lr_factor=0.5)
    rates = []
    for _ in range(100):
        update(learner)
        rates.append(learner.optimizers["policy"].param_groups[0]["lr"])
    assert rates[:50] == [3e-3] * 50
    assert rates[50:60] == pytest.approx([3e-3 * 0.5 * i / 10 for i in range(1, 11)])
    assert rates[60:] == [3e-3 * 0.5] * 40


def test_the_loss_is_that_of_the_paper(data):
    learner = cpl(data, bc_share=0.0, lr=0.0, dropout=0.0)
    loss = run(learner, 1)["train/loss"]
    comparisons = data.sample_pairs(32, _same_draws(learner, data))
    left, right = learner.score(comparisons.left), learner.score(comparisons.right)
    assert loss == pytest.approx(float(cpl_loss(left, right, comparisons.prefers_right, 0.5)), rel=1e-5)


def _same_draws(learner, data) -> torch.Generator:
    """A generator where the learner's stood after its weights were drawn."""
    rng = torch.Generator().manual_seed(0)
    learner.actor.__class__(obs_shape=(2,), action_size=2, hidden=(32,), dropout=0.0, normalise=False, rng=rng)
    return rng


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": 0.0}, "lambda"),
        ({"bc_share": 1.2}, "share"),
        ({"kl": True, "bc_share": 0.0}, "above 0"),
        ({"batch_size": 0}, "whole number"),
        ({"divergence": "forward_kl"}, "no policy that it is from"),
        ({"kl": True, "divergence": "chi"}, "divergence=chi"),
        ({"ipo": 0.5}, "expected kl=true, margin=0 and bias=1"),
        ({"margin": -1.0}, "margin=-1.0"),
    ],
)
def test_wrong_numbers(data, changes, message):
    with pytest.raises(ValueError, match=message):
        cpl(data, **changes)


def test_scored_segments_are_never_compared_with_themselves():
    data = make_data(dense=True)
    drawn = dataclasses.replace(data, scores=data.scores[:3]).sample_pairs(500, torch.Generator().manual_seed(0))
    assert (drawn.left.obs != drawn.right.obs).flatten(1).any(1).all()


def test_it_clones_for_a_number_of_updates_however_long_the_run(data):
    for steps in (50, 500):
        learner = cpl(data, steps=steps, clone_updates=20)
        assert "train/bc_loss" in run(learner, 20)
        assert "train/loss" in run(learner, 1)
    with pytest.raises(ValueError, match="clone_updates=50 leaves none of 50 updates to learn from answers"):
        cpl(data, steps=50, clone_updates=50)


def with_heldout(data, wrong):
    """Held-out answers are those of training, or the opposite of them."""
    held = data.pairs.comparisons(data.segments)
    value = 1 - held.prefers_right if wrong else held.prefers_right
    return dataclasses.replace(data, validation=dataclasses.replace(held, prefers_right=value))


def test_it_stops_with_the_clone_where_what_it_learns_makes_held_out_answers_worse(data):
    learner = cpl(with_heldout(data, wrong=True), stop_after=3, check_every=10, bc_share=0.1, lr_factor=3.0)
    run(learner, 60)
    cloned = {name: value.clone() for name, value in learner.actor.state_dict().items()}
    run(learner, 30)
    assert learner.stop.over
    assert update(learner) == {}  # nothing is learned any more
    assert learner.facts()["best_update"] == 60
    for name, value in learner.actor.state_dict().items():
        torch.testing.assert_close(value, cloned[name], rtol=0, atol=0)


def test_it_goes_on_while_held_out_answers_get_better_and_keeps_the_best_look(data):
    learner = cpl(with_heldout(data, wrong=False), steps=300, stop_after=3, check_every=50)
    run(learner, 300)
    assert learner.facts()["best_update"] > 150
    held = learner.data.validation
    learner.train(False)
    gain = learner.score(held.right) - learner.score(held.left)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(gain, held.prefers_right)
    assert float(loss) == pytest.approx(learner.stop.best, rel=1e-5)


def test_nothing_to_stop_by_is_refused(data):
    with pytest.raises(ValueError, match="and there are none; set feedback"):
        cpl(dataclasses.replace(data, validation=None, scores=None), stop_after=3)
    with pytest.raises(ValueError, match="pairs=dense lists none; expected null"):
        cpl(dataclasses.replace(data, scores=torch.zeros(len(data.segments))), stop_after=3)


def test_where_no_held_out_loss_is_a_number_the_first_weights_stay():
    stop, layer = EarlyStop(checks=2), torch.nn.Linear(1, 1)
    first = {name: value.clone() for name, value in layer.state_dict().items()}
    stop.look(layer, math.nan, update=1)
    torch.nn.init.zeros_(layer.weight)
    stop.look(layer, math.nan, update=2)
    stop.look(layer, math.nan, update=3)
    assert stop.over
    assert layer.state_dict() == first


def test_a_number_is_better_than_none():
    stop, layer = EarlyStop(checks=3), torch.nn.Linear(1, 1)
    stop.look(layer, math.nan, update=1)
    stop.look(layer, 0.7, update=2)
    assert (stop.best, stop.best_update, stop.missed) == (0.7, 2, 0)
