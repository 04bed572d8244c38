"""The `fit` section on models: scores by length, what members know of each other, pessimism, and whom to believe."""

import dataclasses

import pytest
import torch

from pbrl.errors import UserError
from pbrl.feedback.crops import crop_loss, draw_crops
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.rewards.losses.co_teaching import CoTeaching
from pbrl.rewards.losses.em import FlipEM
from pbrl.rewards.losses.loss import AnswerLoss, BradleyTerry
from pbrl.rewards.objective import Objective
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.pessimism import Mean, MeanMinusVariance, NominalWorst, WorstCase
from pbrl.rewards.preference_transformer import PreferenceTransformer
from pbrl.types import Answers, Comparisons, Segments


def objective(**changes):
    usual = {"loss": BradleyTerry(), "pessimism": Mean(), "score": "sum", "annotators": "alike", "calibrate": False}
    return Objective(**usual | changes)


def reward_model(members=2, **changes):
    numbers = {"hidden": (8,), "activation": "relu", "head": "linear", "normalise": False, "lr": 1e-2}
    numbers |= {"smoothing": 0.0, "crop": None, "precision": "float32"} | changes
    return PartialReturn(obs_size=3, action_size=2, members=members, rng=torch.Generator().manual_seed(0), **numbers)


def segments(n, steps=6, seed=0, real=None):
    rng = torch.Generator().manual_seed(seed)
    mask = (torch.arange(steps) < torch.full((n, 1), steps if real is None else real)).float()
    return Segments(
        obs=torch.randn(n, steps + 1, 3, generator=rng),
        actions=torch.rand(n, steps, 2, generator=rng) * 2 - 1,
        mask=mask,
        terminated=torch.zeros(n, steps),
        true_reward=torch.zeros(n, steps),
        ids=torch.arange(n),
    )


def comparisons(n, answers=None, annotator=None, real=None):
    told = (torch.arange(n) % 2).float() if answers is None else torch.tensor(answers)
    who = torch.zeros(n, dtype=torch.long) if annotator is None else torch.tensor(annotator)
    return Comparisons(segments(n, seed=1), segments(n, seed=2, real=real), told, who)


class Seen(AnswerLoss):
    """Keeps what it is given."""

    peers = True

    def forward(self, gain, target, peers=None):
        self.gain, self.target, self.given = gain.detach(), target, peers
        return gain.square()


def test_by_the_mean_a_segment_that_ended_early_is_worth_as_much_as_one_that_went_on_so():
    by_mean = objective(score="mean")
    whole, half = segments(4), segments(4, real=3)
    ones = torch.ones(2, 4, 6)  # a reward of 1 at each step
    torch.testing.assert_close(by_mean.scores((ones * whole.mask).sum(-1), whole), torch.full((2, 4), 6.0))
    torch.testing.assert_close(by_mean.scores((ones * half.mask).sum(-1), half), torch.full((2, 4), 6.0))
    assert (objective().scores((ones * half.mask).sum(-1), half) == 3).all()
    assert by_mean.scores(torch.full((4,), 3.0), half).tolist() == [6.0] * 4


@pytest.mark.parametrize("score", ["sum", "mean"])
def test_the_loss_is_given_each_members_gain_and_that_of_the_next_one(score):
    model, batch, seen = reward_model(members=3), comparisons(12, real=4), Seen()
    before = model.score(batch.right) - model.score(batch.left)
    if score == "mean":
        before = model.score(batch.right) * 6 / 4 - model.score(batch.left)
    model.update(batch, objective=objective(loss=seen, score=score))
    for member in range(3):
        rows = slice(4 * member, 4 * member + 4)
        torch.testing.assert_close(seen.gain[member], before[member, rows])
        torch.testing.assert_close(seen.given[member], before[(member + 1) % 3, rows])
        assert seen.target[member].equal(batch.prefers_right[rows])


def test_crops_are_given_to_the_same_loss():
    model, batch, seen = reward_model(members=2), comparisons(8, real=4), Seen()
    crops = draw_crops(8, 6, [6, 6], 1, torch.Generator())  # the whole segments
    crop_loss(model, batch, crops, objective(loss=seen, score="mean"))
    gain, peers = seen.gain, seen.given
    model.update(batch, objective=objective(loss=seen, score="mean"))
    torch.testing.assert_close(gain, seen.gain)
    torch.testing.assert_close(peers, seen.given)


def test_a_transformer_learns_by_the_same_losses():
    rng = torch.Generator().manual_seed(0)
    sizes = {"width": 8, "attention_heads": 2, "blocks": 1, "dropout": 0.0, "max_steps": 6, "lr": 1e-3}
    model, seen = PreferenceTransformer(obs_size=3, action_size=2, head="mean", rng=rng, **sizes), Seen()
    batch = comparisons(5)
    before = model.score(batch.right) - model.score(batch.left)
    model.update(batch, objective=objective(loss=seen))
    torch.testing.assert_close(seen.gain, before.detach())


REWARDS = torch.tensor([[1.0, 2.0], [3.0, 0.0]])


@pytest.mark.parametrize(
    ("pessimism", "expected"),
    [
        (Mean(), [2.0, 1.0]),
        (WorstCase(), [1.0, 0.0]),
        (MeanMinusVariance(weight=0.5), [1.5, 0.5]),
        (NominalWorst(nominal=0.25), [1.25, 0.25]),
    ],
)
def test_what_members_rewards_become(pessimism, expected):
    assert pessimism(REWARDS).tolist() == expected


def test_pessimism_does_not_mind_the_offset_that_comparisons_leave_open():
    model, careful = reward_model(), objective(pessimism=WorstCase())
    careful.prepare(model)
    shown = segments(5, real=4)
    obs, actions = shown.obs[:, 0].numpy(), shown.actions[:, 0].numpy()
    careful.settle(model, [shown])
    before = model.step_reward(obs, actions)
    with torch.no_grad():
        model.net.biases[-1][1] += 7.0
    careful.settle(model, [shown])
    torch.testing.assert_close(torch.from_numpy(model.step_reward(obs, actions)), torch.from_numpy(before) + 3.5)
    other = reward_model()
    careful.prepare(other)
    other.load_state_dict(model.state_dict())  # the levels are among the weights
    assert (other.step_reward(obs, actions) == model.step_reward(obs, actions)).all()


def test_an_ensemble_of_equal_members_has_nothing_to_be_careful_about():
    model = reward_model()
    with torch.no_grad():
        for layer in (*model.net.weights, *model.net.biases):
            layer[1] = layer[0]
    shown = segments(5)
    obs, actions = shown.obs[:, 0].numpy(), shown.actions[:, 0].numpy()
    mean = model.step_reward(obs, actions)
    for pessimism in (WorstCase(), MeanMinusVariance(weight=2.0), NominalWorst(nominal=0.1)):
        model.be_pessimistic(pessimism)
        objective(pessimism=pessimism).settle(model, [shown])
        torch.testing.assert_close(model.step_reward(obs, actions), mean)


def crowd(n, right=(0.9, 0.8, 0.55), seed=0):
    """Everybody answers every pair; every other question is shown to the second with its sides swapped."""
    rng = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, generator=rng) < 0.5).float()
    left, right_side = segments(n, steps=2, seed=1), segments(n, steps=2, seed=2)
    parts = []
    for who, share in enumerate(right):
        wrong = torch.rand(n, generator=rng) >= share
        told = torch.where(wrong, 1 - truth, truth)
        pair = Comparisons(left, right_side, told, torch.full((n,), 10 + who))
        if who == 1:
            pair = dataclasses.replace(pair, left=right_side, right=left, prefers_right=1 - told)
        parts.append(pair)
    return truth, Comparisons.cat(parts)


def test_who_is_often_outvoted_counts_for_less_whichever_side_was_left():
    truth, answers = crowd(n=3000)
    fit = objective(annotators="dawid_skene")
    believed = fit.targets(answers).view(3, -1)
    assert fit.reliability.keys() == {10, 11, 12}
    assert list(fit.reliability.values()) == pytest.approx([0.9, 0.8, 0.55], abs=0.03)
    torch.testing.assert_close(believed[0], 1 - believed[1])  # one truth for each question
    torch.testing.assert_close(believed[0], believed[2])
    best = answers.prefers_right.view(3, -1)[0]
    assert ((believed[0] > 0.5) == (truth > 0.5)).float().mean() >= ((best > 0.5) == (truth > 0.5)).float().mean()
    named = fit.told({10: "ann", 11: "bob", 12: "cyd"})["reliability"]
    assert list(named) == ["ann", "bob", "cyd"]


def test_ties_are_left_alone_and_the_reward_learns_what_is_believed():
    _, answers = crowd(n=50)
    told = answers.prefers_right.clone()
    told[::7] = 0.5
    answers = dataclasses.replace(answers, prefers_right=told)
    fit = objective(annotators="dawid_skene")
    data = PreferenceDataset(0.0, torch.Generator().manual_seed(0), fit.targets)
    data.add(answers.left, answers.right, Answers(told, torch.ones(150).bool()), answers.annotator)
    learned = torch.cat([b.prefers_right for b in data.batches(16, 1, False, torch.Generator().manual_seed(0))])
    assert torch.allclose(learned.sort().values, fit.targets(data.all).sort().values)
    assert (fit.targets(data.all)[::7] == 0.5).all()
    assert data.all.prefers_right.equal(told)


def test_what_was_learned_of_answers_is_saved():
    one = objective(loss=FlipEM(flip_rate=0.4, rate=0.5), annotators="dawid_skene")
    one.targets(crowd(n=50)[1])
    one.loss(torch.randn(1, 9), torch.ones(1, 9))
    other = objective(loss=FlipEM(flip_rate=0.1, rate=0.5), annotators="dawid_skene")
    other.load_state_dict(one.state_dict())
    assert other.facts() == one.facts()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": CoTeaching(flip_rate=0.1, ramp=9)}, "fit.loss=CoTeaching needs 2 members at least"),
        ({"pessimism": WorstCase()}, "fit.pessimism=WorstCase needs 2 members at least"),
        ({"calibrate": True}, "fit.calibrate=true needs held-out answers; set feedback.heldout"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        objective(**changes).check(reward_model(members=1), heldout=0.0)
