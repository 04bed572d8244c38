import pytest
import torch

from pbrl.errors import UserError
from pbrl.rewards.video_encoders import FrameEncoder
from pbrl.rewards.video_fit import check_fit_settings, embed_videos, fit_best_epoch, measure, split_by_video, thin_out


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def questions(n=150, videos=40):
    return torch.rand(n, videos, generator=rng()).argsort(1)[:, :3]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_each_heldout_question_has_a_video_that_training_never_sees(share):
    rows = questions()
    train, heldout = split_by_video(rows, share, rng())
    assert sorted([*train.tolist(), *heldout.tolist()]) == list(range(150))
    known = set(rows[train].flatten().tolist())
    assert all(not set(row) <= known for row in rows[heldout].tolist())
    assert share <= len(heldout) / 150 < share + 0.15  # one video has about 11 of the 150


def test_nothing_is_held_out_unless_asked():
    train, heldout = split_by_video(questions(), 0.0, rng())
    assert train.tolist() == list(range(150))
    assert len(heldout) == 0


def test_too_few_answers_to_hold_some_out():
    rows = torch.tensor([[0, 1, 2], [0, 2, 1]])  # any video is in both
    with pytest.raises(UserError, match="2 answers about 3 videos leave none to train on"):
        split_by_video(rows, 0.2, rng())


def test_frames_are_taken_at_even_distances_from_the_first_to_the_last():
    frames = torch.arange(9).expand(2, 9)
    assert thin_out(frames, 3).tolist() == [[0, 4, 8]] * 2
    assert thin_out(frames, 5).tolist() == [[0, 2, 4, 6, 8]] * 2
    for all_of_them in (None, 9, 20):
        assert torch.equal(thin_out(frames, all_of_them), frames)


class Utilities(FrameEncoder):
    """A number for each video, to be learned."""

    def __init__(self, values):
        super().__init__((1, 1, 1), 1, None, rng())
        self.values = torch.nn.Parameter(torch.tensor(values))

    def scores(self, rows):
        return self.values[rows[:, 0]], self.values[rows[:, 1]]


def fit(encoder, rows, answers, **settings):
    numbers = {"lr": 0.1, "batch_size": 10, "epochs": 50, "validation": 0.0}
    return fit_best_epoch(encoder, encoder.scores, rows, answers, **numbers | settings, rng=rng())


def test_it_learns_the_order_that_the_answers_have():
    rows = torch.tensor([[i, j] for i in range(5) for j in range(5) if i != j])
    encoder = Utilities([0.0] * 5)
    metrics = fit(encoder, rows, (rows[:, 1] > rows[:, 0]).float())
    assert encoder.values.argsort().tolist() == [0, 1, 2, 3, 4]
    assert metrics["accuracy"] == 1
    assert metrics.keys() == {"loss", "accuracy"}


def test_it_fits_the_odds_of_divided_answers():
    rows, answers = torch.tensor([[0, 1]] * 10), torch.tensor([1.0] * 7 + [0.0] * 3)
    encoder = Utilities([0.0, 0.0])
    fit(encoder, rows, answers, epochs=200)
    gain = (encoder.values[1] - encoder.values[0]).detach()
    assert float(gain) == pytest.approx(float(torch.tensor(0.7 / 0.3).log()), abs=0.01)


class Watched(Utilities):
    """Remembers what it was given to embed; `augment` turns 0 into 1."""

    def __init__(self, values):
        super().__init__(values)
        self.seen = []

    def augment(self, clips):
        return clips + 1

    def embed(self, prepared):
        self.seen.append((torch.is_grad_enabled(), prepared.unique().tolist()))
        return prepared * self.values[0]

    def scores(self, rows):
        return embed_videos(self, torch.zeros(40, 3, 1), rows).sum((2, 3)).unbind(1)


def test_clips_are_augmented_for_training_and_never_for_measuring():
    encoder = Watched([1.0])
    fit(encoder, torch.arange(40).view(20, 2), torch.ones(20), validation=0.2, epochs=3)
    assert {learning for learning, _ in encoder.seen} == {True, False}
    assert all(values == ([1.0] if learning else [0.0]) for learning, values in encoder.seen)
    encoder.seen.clear()
    measure(encoder.scores, torch.arange(40).view(20, 2), torch.ones(20))  # as it is left by the fit
    assert all(values == [0.0] for _, values in encoder.seen)


def test_where_learning_only_hurts_heldout_answers_the_start_is_kept():
    rows = torch.arange(40).view(20, 2)  # no video is in two questions
    answers = torch.zeros(20)
    answers[split_by_video(rows, 0.2, rng())[1]] = 1.0  # the start is right about the held-out ones alone
    encoder = Utilities([0.0, 1.0])
    encoder.scores = lambda rows: (encoder.values[0].expand(len(rows)), encoder.values[1].expand(len(rows)))
    metrics = fit(encoder, rows, answers, validation=0.2)
    assert metrics["best_epoch"] == 0
    assert encoder.values.tolist() == [0, 1]
    assert metrics["heldout_accuracy"] == 1
    assert metrics["accuracy"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames_per_video", 1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("epochs", -1),
        ("validation", 1.0),
    ],
)
def test_numbers_that_no_fit_can_use(name, value):
    good = {"frames_per_video": None, "lr": 1e-3, "batch_size": 10, "epochs": 30, "validation": 0.2}
    check_fit_settings(**good)
    with pytest.raises(UserError, match=f"{name}={value}: expected"):
        check_fit_settings(**good | {name: value})
