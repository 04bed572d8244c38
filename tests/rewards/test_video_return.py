import math
from functools import partial

import pytest
import torch
from safetensors.torch import load, save
from squares import make_squares

from pbrl.data.videos import VideoPairs, Videos
from pbrl.feedback.triplets import uniform_pairs
from pbrl.rewards.video_encoders import SmallCNN
from pbrl.rewards.video_return import VideoReturn
from pbrl.teachers.triplet import TripletTeacher


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def make_model(seed=0, **settings):
    numbers = {"lr": 1e-3, "batch_size": 10, "epochs": 8, "validation": 0.2, "frames_per_video": None}
    return VideoReturn(
        frame_shape=(16, 16, 3), encoder=partial(SmallCNN, strides=(2, 1, 1, 1)), **numbers | settings, rng=rng(seed)
    )


def ask(videos, n):
    teacher = TripletTeacher(beta=None, mistake=0.0, equal=0.0, rng=rng())
    return teacher.answer_pairs(videos, uniform_pairs(len(videos), n, rng()))


@pytest.fixture(scope="module")
def fitted():
    videos = make_squares(60, rng(1))
    model = make_model()
    return model, model.fit(videos, ask(videos, 100)), videos


def test_it_ranks_new_videos_as_the_pairs_ranked_others(fitted):
    unseen = make_squares(50, rng(2))
    sums = torch.stack([fitted[0].reward(video).sum() for video in unseen.frames])
    ranks = torch.stack([v.argsort().argsort().float() for v in (sums, unseen.true_return)])
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.7
    assert fitted[1]["heldout_accuracy"] > 0.7


def test_rewards_are_0_on_average_and_episodes_1(fitted):
    model, _, videos = fitted
    rewards = torch.stack([model.reward(video) for video in videos.frames])
    assert rewards.shape == (60, 5)
    assert float(rewards.mean()) == pytest.approx(0, abs=1e-5)
    assert float(rewards.sum(1).abs().mean()) == pytest.approx(1, rel=1e-4)


def test_offset_and_scale_do_not_change_the_order_of_videos(fitted):
    model, _, videos = fitted
    raw = torch.stack([model.encoder(video).sum() for video in videos.frames[:10]])
    scaled = torch.stack([model.reward(video).sum() for video in videos.frames[:10]])
    assert scaled.argsort().tolist() == raw.argsort().tolist()


def test_the_reward_of_a_frame_is_its_own(fitted):
    model, _, videos = fitted
    frames = videos.frames[0]
    torch.testing.assert_close(model.reward(frames)[[3, 1]] * 5, model.reward(frames[[3, 1]]) * 2)


def test_a_video_with_each_frame_twice_is_worth_as_much(fitted):
    model, _, videos = fitted
    frames = videos.frames[0]
    torch.testing.assert_close(model.reward(frames).sum(), model.reward(frames.repeat_interleave(2, 0)).sum())


def test_saved_and_loaded_it_rewards_the_same(fitted):
    model, _, videos = fitted
    other = make_model(seed=9)
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other.reward(videos.frames[0]), model.reward(videos.frames[0]))


def test_it_reads_frames_only():
    videos = make_squares(20, rng(1))
    blind = Videos(videos.frames, torch.full_like(videos.features, torch.nan), torch.full((20,), torch.nan))
    pairs = ask(videos, 40)
    metrics = [make_model(epochs=2).fit(v, pairs) for v in (videos, blind)]
    assert metrics[0] == metrics[1]
    assert all(math.isfinite(value) for value in metrics[0].values())


def test_a_tie_is_learned_as_equal_returns():
    videos, rows = make_squares(12, rng(1)), uniform_pairs(12, 30, rng())
    model = make_model(validation=0.0, epochs=20)
    metrics = model.fit(videos, VideoPairs(rows[:, 0], rows[:, 1], torch.full((30,), 0.5)))
    assert metrics["loss"] == pytest.approx(math.log(2), abs=0.01)


def test_a_start_trains_all_of_it_and_answers_the_head_alone():
    videos, model = make_squares(12, rng(1)), make_model(epochs=2, validation=0.0)
    model.encoder.head_only = True
    seen = {}

    def start(encoder, frames, rng):
        for p in encoder.parameters():
            assert p.requires_grad
            p.data += 0.01
        seen.update({name: p.detach().clone() for name, p in encoder.named_parameters()})
        return {"cycle_back_loss": 0.5}

    model.start = start
    metrics = model.fit(videos, ask(videos, 20))
    assert metrics["cycle_back_loss"] == 0.5
    moved = {name for name, p in model.encoder.named_parameters() if not torch.equal(p, seen[name])}
    assert moved <= {"head.weight", "head.bias"}
    assert moved
