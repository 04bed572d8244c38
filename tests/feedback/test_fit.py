import math

import pytest
import torch

from pbrl.feedback.fit import Fit
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.types import Answers, Segments

NUMBERS = {
    "batch_size": 10, "max_epochs": 7, "max_updates": None, "stop_accuracy": None, "patience": None,
    "bootstrap": False,
}  # fmt: skip


class Scripted:
    """A model whose held-out gain after each update, and whose accuracy in it, are given."""

    members = 2

    def __init__(self, gains=(), accuracies=()):
        self.gains, self.accuracies, self.sizes = gains, accuracies, []

    def update(self, comparisons):
        self.sizes.append(len(comparisons))
        n = len(self.sizes)
        accuracy = self.accuracies[n - 1] if n <= len(self.accuracies) else 0.5
        return {"loss": float(n), "accuracy": accuracy}

    def score(self, segments):
        return (segments.obs[:, 0, 0] * self.gains[len(self.sizes) - 1])[None]

    def state_dict(self):
        return {"updates": torch.tensor(len(self.sizes))}

    def load_state_dict(self, state):
        self.sizes = self.sizes[: int(state["updates"])]


def preferences(n, heldout=0):
    """n comparisons for training and some held out; a right segment is observed as 1, a left one as 0."""
    data = PreferenceDataset(0.0, torch.Generator().manual_seed(0))
    for first, count, share in ((0, n, 0.0), (2 * n, heldout, 1.0)):
        data.heldout_share = share
        ids = torch.arange(first, first + 2 * count).view(2, count)
        zero = torch.zeros(count, 1)
        left, right = (
            Segments(torch.full((count, 2, 1), x), zero[..., None], zero + 1, zero, zero, i)
            for x, i in zip((0.0, 1.0), ids, strict=True)
        )
        data.add(left, right, Answers(torch.ones(count), torch.ones(count).bool()))
    return data


def fit(model, data, **numbers):
    return Fit(**NUMBERS | numbers)(model, data, torch.Generator().manual_seed(0))


def test_epochs_times_batches_are_the_updates():
    model = Scripted()
    assert fit(model, preferences(25))["updates"] == 7 * 3
    assert model.sizes[:3] == [20, 20, 10]  # of 2 members


def test_max_updates_ends_within_an_epoch():
    assert fit(Scripted(), preferences(25), max_updates=5)["updates"] == 5


def test_stop_accuracy_ends_after_the_first_epoch_above_it():
    accuracies = [0.9, 0.9, 0.98, 0.97, 0.97, 0.97, 0.99, 0.99, 0.97]  # epochs of 0.926, 0.97 and 0.983
    assert fit(Scripted(accuracies=accuracies), preferences(30), stop_accuracy=0.97)["updates"] == 9


def test_figures_are_the_last_epochs_and_a_small_batch_weighs_little():
    result = fit(Scripted(accuracies=[1, 1, 1, 0.0]), preferences(21), max_epochs=2, max_updates=5)
    assert result["loss"] == 4.5
    result = fit(Scripted(accuracies=[0.0, 0.0, 1.0]), preferences(21), max_epochs=1)
    assert result["accuracy"] == pytest.approx(1 / 21)


def test_a_batch_of_ties_says_nothing_about_accuracy():
    assert fit(Scripted(accuracies=[math.nan, 0.25]), preferences(20), max_epochs=1)["accuracy"] == 0.25
    assert fit(Scripted(accuracies=[math.nan]), preferences(5), max_epochs=1)["accuracy"] == 1


def test_patience_waits_and_goes_back_to_the_best_weights():
    model = Scripted(gains=[1.0, 3.0, 2.0, 2.9, 4.0, 5.0, 6.0])  # best so far after 2; twice not better
    result = fit(model, preferences(10, heldout=4), patience=2)
    assert result["updates"] == 4
    assert len(model.sizes) == 2
    assert result["heldout_loss"] == pytest.approx(math.log(1 + math.exp(-3)))
    assert result["heldout_accuracy"] == 1


@pytest.mark.parametrize("ending", [{"max_epochs": 3}, {"max_updates": 3}, {"stop_accuracy": 0.9}])
def test_the_last_epoch_may_be_the_best_however_it_ends(ending):
    model = Scripted(gains=[1.0, 0.5, 2.0], accuracies=[0.5, 0.5, 0.95])
    fit(model, preferences(10, heldout=4), patience=2, **ending)
    assert len(model.sizes) == 3


def test_without_held_out_answers_patience_has_nothing_to_wait_for():
    result = fit(Scripted(), preferences(10), patience=1)
    assert result["updates"] == 7
    assert "heldout_loss" not in result


def test_nothing_to_learn_from_is_no_update():
    assert fit(Scripted(), preferences(0)) == {"updates": 0}
    assert fit(Scripted(), preferences(0, heldout=5)) == {"updates": 0}
