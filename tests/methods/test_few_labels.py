"""SURF, RUNE and QPA on facts: crops as masks, a half life, which pairs and which rows count; and each trains."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, train

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.feedback.crops import crop_loss, crop_sums, draw_crops
from pbrl.losses import bradley_terry_loss
from pbrl.methods.qpa import Qpa
from pbrl.methods.rune import Rune
from pbrl.methods.surf import Surf
from pbrl.rewards.losses.loss import BradleyTerry
from pbrl.rewards.objective import Objective
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.pessimism import Mean
from pbrl.types import Comparisons, Segments, Steps

METHODS = ["surf", "rune", "qpa", "few_labels"]


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_goes_on_as_if_never_killed(method, run, tmp_path):
    code, _, err = train(tmp_path / "whole", method=method)
    assert code == 0, err
    last = table(tmp_path / "whole" / "progress.csv")[-1]
    assert last["feedback/labels"] == "24"
    killed = [*TINY[method], f"run_dir={tmp_path / 'killed'}", "report=false"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def model(members=2, seed=0):
    numbers = {"hidden": (8,), "activation": "relu", "head": "tanh", "normalise": False, "lr": 1e-3, "smoothing": 0.0}
    rng = torch.Generator().manual_seed(seed)
    return PartialReturn(obs_size=3, action_size=2, members=members, crop=None, precision="float32", rng=rng, **numbers)


def segments(n, steps=12, seed=0, padded=0):
    rng = torch.Generator().manual_seed(seed)
    mask = torch.ones(n, steps)
    mask[:, steps - padded :] = 0
    return Segments(
        obs=torch.randn(n, steps + 1, 3, generator=rng),
        actions=torch.rand(n, steps, 2, generator=rng) * 2 - 1,
        mask=mask,
        terminated=torch.zeros(n, steps),
        true_reward=torch.zeros(n, steps),
        ids=torch.arange(n),
    )


def comparisons(n, **shape):
    answers = (torch.arange(n) % 3 / 2).float()
    left, right = (segments(n, seed=seed, **shape) for seed in (1, 2))
    return Comparisons(left, right, answers, torch.zeros(n, dtype=torch.long))


@pytest.mark.parametrize("padded", [0, 4])
def test_crops_as_masks_are_the_mean_over_explicit_crops(padded):
    members, pairs, times = 2, 6, 20
    reward, batch = model(members), comparisons(members * pairs, padded=padded)
    crops = draw_crops(len(batch), 12, [5, 9], times, torch.Generator().manual_seed(3))
    loss, _ = crop_loss(reward, batch, crops)
    each = []
    for row in range(len(batch)):
        for k in range(times):
            length = int(crops.length[row, k])
            sides = [
                side[[row]].crop(start[[row], k], length)
                for side, start in ((batch.left, crops.left), (batch.right, crops.right))
            ]
            left, right = (reward.score(side)[row // pairs][None] for side in sides)  # of the member whose row it is
            each.append(bradley_terry_loss(left, right, batch.prefers_right[[row]]))
    assert float(loss) == pytest.approx(members * float(torch.stack(each).mean()), rel=1e-5)


def test_a_crop_is_a_difference_of_cumulative_sums():
    sums = crop_sums(torch.tensor([1.0, 2, 4, 8, 16]), torch.tensor([0, 1, 3, 0]), torch.tensor([1, 2, 2, 5]))
    assert sums.tolist() == [1, 6, 24, 31]


def test_crops_are_uniform_and_both_sides_have_one_length():
    crops = draw_crops(2000, 12, [5, 9], 3, torch.Generator().manual_seed(0))
    counts = torch.bincount(crops.length.flatten(), minlength=10)
    assert counts[:5].sum() == 0
    assert (counts[5:] / 6000 - 0.2).abs().max() < 0.03
    for start in (crops.left, crops.right):
        assert (start >= 0).all()
        assert (start + crops.length <= 12).all()
        last = (start == 12 - crops.length)[crops.length == 5].float().mean()
        assert float(last) == pytest.approx(1 / 8, abs=0.03)  # the last start is as likely as the others


@pytest.mark.parametrize("crop", [[0, 5], [6, 5], [5, 13]])
def test_crops_that_do_not_fit_are_refused(crop):
    with pytest.raises(ValueError, match=r"crop=.* 1 <= shortest <= longest <= 12"):
        draw_crops(3, 12, crop, 1, torch.Generator())


def rune(step, first_session, rewards):
    method = Rune.__new__(Rune)
    method.bonus, method.half_life, method.scale, method.first_session = 0.05, 1000, 2.0, first_session
    method.run, method.model = SimpleNamespace(step=step), lambda obs, actions: rewards
    return method


def test_the_bonus_halves_with_each_half_life_after_the_first_session():
    rewards = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])  # 3 members, spread 1 and 0
    steps = Steps(torch.zeros(2, 3), torch.zeros(2, 2))
    for step, beta in ((500, 0.05), (1500, 0.025), (2500, 0.0125)):
        method = rune(step, 500, rewards)
        assert method.beta == pytest.approx(beta)
        torch.testing.assert_close(method.of_steps(steps), 2 * torch.tensor([1 + beta, 1.0]))


def test_a_reward_that_is_taken_over_has_the_whole_bonus_until_the_first_session():
    assert rune(5000, math.nan, torch.zeros(2, 1)).beta == 0.05


def test_one_member_has_nothing_to_disagree_with(tmp_path):
    code, _, err = train(tmp_path / "run", "method.model.members=1", "queries=uniform", method="rune")
    assert code == 2
    assert "method.model.members=1: expected a whole number of at least 2, who disagree" in err


def surf(threshold):
    method = Surf.__new__(Surf)
    method.crop, method.threshold, method.model = [12, 12], threshold, model(members=1)
    method.run = SimpleNamespace(rng=lambda name: torch.Generator().manual_seed(0))
    return method


def test_only_pairs_that_a_member_is_sure_of_count_with_the_side_that_it_prefers():
    pairs = comparisons(40)
    gain = (surf(0.5).model.score(pairs.right) - surf(0.5).model.score(pairs.left))[0].detach()
    p = torch.sigmoid(gain)
    confidence = torch.maximum(p, 1 - p)
    threshold = float(confidence.median())
    loss, used = surf(threshold).unlabelled_loss(pairs)  # crops are whole segments here
    sure = confidence >= threshold
    assert used == pytest.approx(float(sure.float().mean()))
    assert float(loss) == pytest.approx(float((sure * -confidence.log()).mean()), rel=1e-4)
    loss, used = surf(1.0).unlabelled_loss(pairs)
    assert (float(loss), used) == (0, 0)


@pytest.mark.parametrize(("batch", "each"), [(None, 4 * 3), (512, 512)])
def test_unlabelled_pairs_are_four_per_labelled_one_or_as_many_as_are_wanted(batch, each, monkeypatch):
    method, seen = surf(0.5), []
    method.model, method.unlabelled, method.unlabelled_batch, method.weight = model(members=2), 4, batch, 1.0
    monkeypatch.setattr(method, "unlabelled_loss", lambda pairs: (seen.append(len(pairs)), (torch.zeros(()), 0.0))[1])
    method.update(comparisons(2 * 3), comparisons(40))
    assert seen == [2 * each]


def test_pseudo_labels_compare_what_answers_do():
    pairs = comparisons(40)
    pairs.right.mask[:, 3:] = 0  # ended early
    method = surf(0.5)
    rewards = [method.model.own_rewards(side)[0].detach() for side in (pairs.left, pairs.right)]
    for score, gain in (
        ("sum", rewards[1].sum(1) - rewards[0].sum(1)),
        ("mean", rewards[1].sum(1) * 4 - rewards[0].sum(1)),
    ):
        method.objective = Objective(
            loss=BradleyTerry(), pessimism=Mean(), score=score, annotators="alike", calibrate=False
        )
        loss, _ = method.unlabelled_loss(pairs)
        assert float(loss) == pytest.approx(float(torch.log1p(torch.exp(-gain.abs())).mean()), rel=1e-4)


def buffer(steps, size=50, n_envs=1):
    from gymnasium import spaces

    box = spaces.Box(-1, 1, (1,), np.float32)
    made = LearnedRewardBuffer(size, box, box, device="cpu", n_envs=n_envs)
    for step in range(steps):
        obs = np.full((n_envs, 1), step / 1000, np.float32)
        done = np.zeros(n_envs)
        made.add(obs, obs, np.zeros((n_envs, 1)), np.zeros(n_envs), done, [{} for _ in range(n_envs)])
    return made


@pytest.mark.parametrize("steps", [30, 70])  # the buffer has gone round in the second
def test_half_of_a_batch_comes_from_the_steps_of_the_pool(steps):
    method = Qpa.__new__(Qpa)
    method.recent_share, method.lengths = 0.5, [6, 4]
    method.run = SimpleNamespace(desk=SimpleNamespace(exhausted=False))
    np.random.seed(0)  # noqa: NPY002  as SB3: one global stream
    made = buffer(steps)
    rows = method.rows(made, 4000)
    age = steps - 1 - np.round(made.observations[rows, 0, 0] * 1000)
    stored = min(steps, 50)
    assert (age < 10).mean() == pytest.approx(0.5 + 0.5 * 10 / stored, abs=0.03)
    assert age.max() == stored - 1
    method.run.desk.exhausted = True
    assert method.rows(made, 8) is None  # all uniform once nobody is asked any more


def test_the_fit_of_qpa_ends_after_its_passes_or_when_all_crops_are_foreseen(monkeypatch):
    from pbrl.methods import qpa

    method = Qpa.__new__(Qpa)
    method.crop, method.crops, method.batch_size, method.passes, method.stop_accuracy = [5, 9], 20, 8, 5, 0.98
    method.whole_passes = False
    method.run, method.model = SimpleNamespace(rng=lambda name: torch.Generator().manual_seed(0)), model(members=1)
    batch = comparisons(8)
    method.preferences = SimpleNamespace(train_rows=torch.arange(24), batches=lambda *_: iter([batch] * 3))
    accuracies = iter([0.5, 0.9, *[1.0] * 98])
    loss = torch.zeros((), requires_grad=True)
    monkeypatch.setattr(qpa, "crop_loss", lambda *_: (loss * 1, 0.5))
    assert method.learn_model()["updates"] == math.ceil(5 * 24 / 8)
    method.batch_size = 128
    assert method.learn_model()["updates"] == 1  # ceil(5 * 24 / 128)
    method.whole_passes = True
    assert method.learn_model()["updates"] == 5
    method.whole_passes, method.batch_size = False, 8
    monkeypatch.setattr(qpa, "crop_loss", lambda *_: (loss * 1, next(accuracies)))
    method.passes = 1000
    assert method.learn_model()["updates"] == 30  # (0.5 + 0.9 + 28) / 30 is the first mean of 0.98


@pytest.mark.parametrize(
    ("method", "crop", "told"),
    [(method, *case) for method in ("surf", "qpa") for case in (("[6,11]", "[6, 11]"), ("[1.5,3]", "[1.5, 3]"))]
    + [("surf", "null", "None")],
)
def test_crops_that_no_segment_has_are_refused_before_the_run(method, crop, told, tmp_path):
    code, _, err = train(tmp_path / "run", f"method.crop={crop}", method=method)
    assert code == 2
    assert f"method.crop={told}: expected [shortest, longest] with 1 <= shortest <= longest <= 10" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["surf", "qpa"])
def test_a_fit_that_nothing_would_read_is_refused(method, tmp_path):
    fit = "batch_size:8,max_epochs:1,max_updates:1,stop_accuracy:null,patience:null,bootstrap:false"
    given = f"method.fit={{_target_:pbrl.feedback.fit.Fit,{fit}}}"
    code, _, err = train(tmp_path / "run", given, method=method)
    assert (code, err.count("\n")) == (2, 1)
    assert "fit is given: this method trains its model in a way of its own; set fit=null" in err


def test_one_crop_of_all_steps_is_the_whole_segment(tmp_path):
    whole, cropped = (
        train(tmp_path / name, "method.crops=1", f"method.crop={crop}", method="qpa")[0]
        for name, crop in (("whole", "null"), ("cropped", "[10,10]"))
    )
    assert (whole, cropped) == (0, 0)
    assert_same(tmp_path / "whole", tmp_path / "cropped")
    code, _, err = train(tmp_path / "run", "method.crop=null", "method.crops=2", method="qpa")
    assert code == 2
    assert "crops=2: with crop=null all are the whole segment; set crops=1" in err


@pytest.mark.parametrize("method", ["surf", "ppe"])
def test_crops_of_the_reward_model_are_refused_where_the_method_has_its_own(method, tmp_path):
    code, _, err = train(tmp_path / "run", "method.model.crop=[6,9]", method=method)
    assert code == 2
    assert "method.model.crop=[6, 9]: this method learns from crops of its own; leave it out" in err
