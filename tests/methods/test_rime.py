"""RIME on facts: its bound by hand, what is flipped of exact and of wrong answers, and the warm start."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from test_few_labels import comparisons, model, segments
from tiny import TINY, train

from pbrl.agents.exploration import StateEntropy
from pbrl.feedback.label_filter import Chosen, LabelFilter, surprise
from pbrl.methods.rime import Rime
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Comparisons

NUMBERS = {"weight": 0.5, "widest": 3.0, "doubt_epochs": 60, "pace": 0.1, "flip_below": 0.001}


@pytest.mark.parametrize(("method", "sessions"), [("rime", 4), ("prefppo_rime", 3)])
def test_it_trains_and_goes_on_as_if_never_killed(method, sessions, run, tmp_path):
    code, _, err = train(tmp_path / "whole", "teacher=mistake", method=method)
    assert code == 0, err
    rows = table(tmp_path / "whole" / "progress.csv")
    assert rows[-1]["feedback/labels"] == str(6 * sessions)
    assert [float(row["reward/trusted"]) > 0 for row in rows if row["reward/trusted"]] == [True] * sessions
    killed = [*TINY[method], "teacher=mistake", f"run_dir={tmp_path / 'killed'}", "report=false"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_the_bound_by_hand():
    made = LabelFilter(**NUMBERS)
    assert made.bound == pytest.approx(8 * math.log(10) + 3)  # 21.4: everything is trusted in the first epoch
    made.epoch, made.rho, made.variance = 30, 0.5, 0.2  # beta is 2
    assert made.bound == pytest.approx(math.log(2) + 0.25 + 0.4)
    made.epoch = 60_000  # beta is 1
    assert made.bound == pytest.approx(math.log(2) + 0.25 + 0.2)
    made.variance = 50.0
    assert made.bound == pytest.approx(math.log(2) + 0.25 + 3)
    assert made.flip_bound == pytest.approx(3 * math.log(10))


def test_it_follows_the_largest_and_the_spread_of_what_it_trusted():
    made, seen = LabelFilter(**NUMBERS), []
    rho = 0.0
    for new in ([0.2, 0.9, 0.4], [1.5], [0.1, 0.3], []):
        made.note_learned(torch.tensor(new))
        seen += new
        rho += 0.1 * (max(new) - rho) if new else 0
        assert made.rho == pytest.approx(rho, rel=1e-6)
        assert made.mean == pytest.approx(np.mean(seen), rel=1e-6)
        assert made.variance == pytest.approx(np.var(seen), rel=1e-6)
    assert made.epoch == 4
    other = LabelFilter(**NUMBERS)
    other.load_state_dict(made.state_dict())
    assert other.bound == made.bound


def test_what_is_neither_trusted_nor_flipped_is_left_out_and_what_is_both_counts_twice():
    made = LabelFilter(**NUMBERS)
    assert made.choose(torch.tensor([1.0, 8.0])).rows.tolist() == [0, 1, 1]  # the bound is 21.4
    made.rho, made.variance = 0.5, 0.2  # 1.54
    chosen = made.choose(torch.tensor([1.5, 1.6, 7.0, 0.1]))
    assert chosen.trusted.tolist() == [True, False, False, True]
    assert chosen.flipped.tolist() == [False, False, True, False]


def test_the_surprise_is_the_cross_entropy_of_the_mean_probability():
    reward, pairs = model(members=2), comparisons(3)  # left, equal and right
    gain = (reward.score(pairs.right) - reward.score(pairs.left)).tolist()
    p = [sum(1 / (1 + math.exp(-one)) for one in column) / 2 for column in zip(*gain, strict=True)]
    expected = [-math.log(1 - p[0]), -(math.log(p[1]) + math.log(1 - p[1])) / 2, -math.log(p[2])]
    assert surprise(reward.score, pairs).tolist() == pytest.approx(expected, rel=1e-5)


def answered(wrong, n=900, steps=20):
    """Pairs that a linear reward tells well apart, with this share of wrong answers; and which are wrong."""
    left, right = (segments(n, steps=steps, seed=seed) for seed in (1, 2))
    gain = (right.obs[:, :-1, 0] - left.obs[:, :-1, 0]).sum(1)  # of a standard deviation of 6
    flip = torch.rand(n, generator=torch.Generator().manual_seed(0)) < wrong
    answers = torch.where(flip, gain < 0, gain > 0).float()
    clear = gain.abs() > 3
    return Comparisons(left, right, answers, torch.zeros(n, dtype=torch.long))[clear], flip[clear]


def rime(pairs, label_filter, epochs, seed=0):
    rng = torch.Generator().manual_seed(seed)
    numbers = {"hidden": (64, 64), "activation": "leaky_relu", "head": "tanh", "normalise": False, "smoothing": 0.0}
    model = PartialReturn(
        obs_size=3, action_size=2, members=3, lr=3e-3, crop=None, precision="float32", rng=rng, **numbers
    )
    made = Rime.__new__(Rime)
    made.model, made.optimizer, made.label_filter = model, model.optimizer, label_filter
    made.batch_size, made.min_epochs, made.max_epochs, made.stop_accuracy = 64, epochs, epochs, 1.0
    made.warmup_epochs, made._lr = 10, 3e-3
    made.preferences = SimpleNamespace(believed=pairs, train_rows=torch.arange(len(pairs)))
    made.run = SimpleNamespace(rng=lambda name: rng)
    return made


def test_of_exact_answers_nothing_is_flipped_and_few_are_distrusted():
    pairs, _ = answered(0.0)
    made = rime(pairs, LabelFilter(**NUMBERS), epochs=50)
    metrics = made.learn_model()
    chosen = made.label_filter.choose(surprise(made.model.score, pairs))
    assert metrics["flipped"] == 0
    assert not chosen.flipped.any()
    assert chosen.trusted.float().mean() > 0.98


class TrustAll(LabelFilter):
    def choose(self, surprise):
        return Chosen(surprise >= 0, surprise < 0)


def test_of_three_wrong_answers_in_ten_those_that_are_flipped_were_wrong():
    pairs, wrong = answered(0.3)
    right_answers = torch.where(wrong, 1 - pairs.prefers_right, pairs.prefers_right)
    made, control = (rime(pairs, kind(**NUMBERS), epochs=30) for kind in (LabelFilter, TrustAll))
    accuracy = []
    for method in (made, control):
        method.learn_model()
        gain = (method.model.score(pairs.right) - method.model.score(pairs.left)).mean(0)
        accuracy.append(float(((gain > 0) == (right_answers > 0.5)).float().mean()))
    chosen = made.label_filter.choose(surprise(made.model.score, pairs))
    assert chosen.flipped.sum() > 10
    assert wrong[chosen.flipped].float().mean() > 0.9
    assert wrong[chosen.trusted].float().mean() < 0.05
    assert accuracy[0] > 0.95 > 0.85 > accuracy[1]  # it learns the wrong ones by heart


def test_the_learning_rate_rises_with_the_epochs_of_the_run():
    made = rime(answered(0.0, n=80)[0], LabelFilter(**NUMBERS), epochs=3)
    made.learn_model()
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * 3 / 10)
    made.min_epochs = made.max_epochs = 20
    made.learn_model()
    assert made.optimizer.param_groups[0]["lr"] == 3e-3


def test_the_warm_start_aims_at_centred_intrinsic_rewards_over_the_largest_seen():
    made = Rime.__new__(Rime)
    made.explore, made.largest = StateEntropy(k=1, reference=8, normalise=False), 0.0
    made.explore.distances.observe(torch.tensor([[2.0], [6.0]]))  # mean 4 and spread 2
    paid = torch.tensor([1.0, 2.0, 5.0])  # distances of 2, 4 and 10
    torch.testing.assert_close(made.warm_target(paid), torch.tensor([-1.0, 0.0, 3.0]) / 3)
    torch.testing.assert_close(made.warm_target(paid[:2]), torch.tensor([-1.0, 0.0]) / 3)


def test_the_warm_start_leaves_the_reward_near_its_target():
    made = rime(answered(0.0, n=8)[0], LabelFilter(**NUMBERS), epochs=1)
    made.explore = StateEntropy(k=1, reference=8, normalise=False)
    made.warm_updates, made.warm_batch, made.warmed, made.largest, made.observed = 5, 64, 0, 0.0, []
    spread, rng = 3.0, torch.Generator().manual_seed(5)
    made.explore.distances.observe(spread * (2 + torch.randn(5000, 1, generator=rng).tanh()))

    def sample_arrays(n):
        obs = torch.randn(n, 3, generator=rng)
        paid = spread * (2 + obs[:, :1].tanh()) / made.explore.distances.var.sqrt()
        return obs.numpy(), np.zeros((n, 2), np.float32), None, None, paid.float().numpy()

    made.run.step, made.run.agent = 60, SimpleNamespace(buffer=SimpleNamespace(settled=60, sample_arrays=sample_arrays))
    made.warm_up()
    assert made.warmed == 300
    assert made.next_warm > 60
    obs, actions, *_ = sample_arrays(500)
    learned = made.model.step_reward(obs, actions)
    np.testing.assert_allclose(learned, np.tanh(obs[:, 0]), atol=0.25)  # the largest is near 1
    made.warm_up()  # nothing is due
    assert made.warmed == 300


def test_the_warm_start_ends_with_the_first_answers(tmp_path):
    code, _, err = train(tmp_path / "run", "method.warm_updates=3", "steps=200", method="rime")
    assert code == 0, err
    rows = table(tmp_path / "run" / "progress.csv")
    warmed = {int(row["time/total_timesteps"]): int(row["reward/warm_updates"]) for row in rows}
    assert warmed == {25: 60, 50: 150, 75: 210, 100: 300, 125: 360, 150: 360, 175: 360, 200: 360}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.explore=null"], "method.warm_updates=1: explore=null pays nothing that it could learn; set 0"),
        (["method.max_epochs=3"], "method.max_epochs=3: expected a whole number of at least 15"),
        (["method.label_filter.flip_below=0"], "method.label_filter.flip_below=0: expected a number above 0"),
        (["method.label_filter=null"], "method.label_filter=None: this method needs it"),
        (["method.label_filter.pace=2"], "method.label_filter.pace=2: expected a number from 0 to 1"),
        (["method=prefppo_rime", "method.warm_updates=5"], "method.warm_updates=5: agent=ppo keeps no steps"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_the_run(overrides, said, tmp_path):
    name = "prefppo_rime" if "method=prefppo_rime" in overrides else "rime"
    overrides = [one for one in overrides if not one.startswith("method=")]
    code, _, err = train(tmp_path / "run", *overrides, method=name)
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()
