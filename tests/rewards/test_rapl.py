"""RAPL on squares that fall: how far they have come counts, where and in which colour they do is a distraction."""

import math
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load, save
from squares import make_squares

from pbrl.building import build
from pbrl.data.videos import Triplets, Videos
from pbrl.errors import UserError
from pbrl.feedback.triplets import uniform_triplets
from pbrl.rewards.optimal_transport import cosine_cost, sinkhorn
from pbrl.rewards.rapl import RAPL
from pbrl.rewards.video_encoders import Pretrained, SmallCNN
from pbrl.teachers.triplet import TripletTeacher

YAML = """
_target_: pbrl.rewards.rapl.RAPL
encoder: {_target_: pbrl.rewards.video_encoders.SmallCNN, _partial_: true}
dim: 8
start:
  _target_: pbrl.rewards.self_supervised.pretrain
  _partial_: true
  updates: 2
  batch_size: 2
  sampled_frames: 3
  temperature: 0.1
  lr: 1.0e-3
  weight_decay: 0.0
align: true
epsilon: 0.1
temperature: 1.0
iterations: 50
tolerance: 0.01
lr: 1.0e-3
batch_size: 10
frames_per_video: null
epochs: 1
validation: 0.2
"""


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


SMALL = partial(SmallCNN, strides=(2, 1, 1, 1))


def make_rapl(seed=0, shape=(16, 16, 3), encoder=SMALL, **settings):
    numbers = {"dim": 32, "start": None, "align": True, "epsilon": 0.1, "iterations": 50, "tolerance": 0.01}
    numbers |= {"lr": 1e-3, "batch_size": 10, "epochs": 10, "validation": 0.2, "frames_per_video": None}
    numbers |= {"temperature": 1.0}
    return RAPL(frame_shape=shape, encoder=encoder, **numbers | settings, rng=rng(seed))


def ask(videos, n, seed=0):
    teacher = TripletTeacher(beta=None, mistake=0.0, equal=0.0, rng=rng(seed))
    return teacher.answer_triplets(videos, uniform_triplets(len(videos), n, rng(seed)))


def accuracy(model, videos, triplets):
    frames = videos.frames
    first, second = (
        model.distance(frames[triplets.anchor], frames[other]) for other in (triplets.first, triplets.second)
    )
    return float(((first > second) == (triplets.closer_second > 0.5)).float().mean())


def rank_correlation(x, y):
    return float(torch.corrcoef(torch.stack([v.argsort().argsort().float() for v in (x, y)]))[0, 1])


def returns_of(model, frames):
    return torch.stack([model.reward(video).sum() for video in frames])


@pytest.fixture(scope="module")
def worlds():
    """Videos to learn from and videos to test on."""
    return make_squares(60, rng(10)), make_squares(50, rng(20))


@pytest.fixture(scope="module")
def aligned(worlds):
    """Fitted to 100 triplets, with the four best videos as demonstrations."""
    videos = worlds[0]
    model = make_rapl()
    metrics = model.fit(videos, ask(videos, 100))
    model.set_demos(videos[videos.true_return.topk(4).indices].frames, videos.frames)
    return model, metrics


def test_a_hundred_triplets_align_the_encoder(worlds, aligned):
    unseen, (model, metrics) = worlds[1], aligned
    triplets = ask(unseen, 200, seed=3)
    assert accuracy(make_rapl(), unseen, triplets) < 0.6
    assert accuracy(model, unseen, triplets) > 0.68  # 0.78 on average over seeds; unaligned 0.53
    assert metrics["heldout_accuracy"] > 0.7


def test_likeness_to_good_videos_is_a_reward_for_the_task_after_alignment_only(worlds, aligned):
    videos, unseen = worlds
    before = make_rapl()
    before.set_demos(videos[videos.true_return.topk(4).indices].frames, videos.frames)
    assert rank_correlation(returns_of(aligned[0], unseen.frames), unseen.true_return) > 0.7
    assert rank_correlation(returns_of(before, unseen.frames), unseen.true_return) < 0.4


def test_the_reward_is_minus_the_cost_of_each_frame_with_the_nearest_demonstration(worlds, aligned):
    model, frames = aligned[0], worlds[1].frames[0]
    with torch.no_grad():
        costs = [cosine_cost(model.encoder(frames)[None], demo[None]) for demo in model.demos]
    rewards = [-(sinkhorn(cost, 0.1, 2000, 1e-6) * cost)[0].sum(1) for cost in costs]
    nearest = max(rewards, key=lambda reward: float(reward.sum())) * model.scale
    torch.testing.assert_close(model.reward(frames), nearest, rtol=0.03, atol=1e-4)  # the tolerance is 0.01


def test_the_scale_makes_episodes_add_up_to_one(worlds, aligned):
    assert float(returns_of(aligned[0], worlds[0].frames).abs().mean()) == pytest.approx(1, rel=1e-4)


def test_asking_for_rewards_changes_nothing(worlds, aligned):
    model, frames = aligned[0], worlds[1].frames
    first = model.reward(frames[0])
    model.reward(frames[1])
    assert torch.equal(model.reward(frames[0]), first)


def test_an_episode_may_be_longer_or_shorter_than_the_demonstrations(worlds, aligned):
    frames = worlds[1].frames[0]
    assert aligned[0].reward(frames[:3]).shape == (3,)
    assert aligned[0].reward(torch.cat([frames, frames])).shape == (10,)


def test_each_frame_shown_twice_is_the_same_video(worlds, aligned):
    model, frames = aligned[0], worlds[1].frames[0]
    torch.testing.assert_close(model.reward(frames.repeat_interleave(2, 0)).sum(), model.reward(frames).sum())


def test_saved_and_loaded_it_rewards_the_same(worlds, aligned):
    model, other = aligned[0], make_rapl(seed=9)
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other.reward(worlds[1].frames[0]), model.reward(worlds[1].frames[0]))


def test_it_reads_frames_only(worlds):
    videos = worlds[0][:20]
    blind = Videos(videos.frames, torch.full_like(videos.features, torch.nan), torch.full((20,), torch.nan))
    triplets = ask(videos, 40)
    metrics = [make_rapl(epochs=2).fit(v, triplets) for v in (videos, blind)]
    assert metrics[0] == metrics[1]
    assert all(math.isfinite(value) for value in metrics[0].values())


def test_fewer_frames_are_as_good_as_videos_that_have_no_others(worlds):
    videos, triplets = worlds[0][:20], ask(worlds[0][:20], 40)
    thin = Videos(videos.frames[:, ::2], videos.features[:, ::2], videos.true_return)
    few, all_of_them = make_rapl(epochs=1, frames_per_video=3), make_rapl(epochs=1)
    assert few.fit(videos, triplets) == all_of_them.fit(thin, triplets)


def test_frames_of_another_shape_are_refused(aligned):
    with pytest.raises(ValueError, match=r"\(4, 20, 16, 3\), expected \(M, 16, 16, 3\)"):
        aligned[0].reward(torch.zeros(4, 20, 16, 3, dtype=torch.uint8))


def test_without_alignment_the_encoder_stays_and_the_triplets_are_measured(worlds):
    videos, model = worlds[0], make_rapl(align=False)
    triplets = ask(videos, 50)
    before = {name: value.clone() for name, value in model.encoder.trained.items()}
    metrics = model.fit(videos, triplets)
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.trained.items())
    assert metrics["accuracy"] == pytest.approx(accuracy(model, videos, triplets))


def test_equally_close_is_learned_as_equal_distances(worlds):
    videos = worlds[0][:12]
    rows = uniform_triplets(12, 30, rng()).unbind(1)
    model = make_rapl(validation=0.0, epochs=15)
    metrics = model.fit(videos, Triplets(*rows, torch.full((30,), 0.5)))
    assert metrics["loss"] == pytest.approx(math.log(2), abs=2e-3)
    assert math.isnan(metrics["accuracy"])  # no answer was decided


def test_it_is_built_from_a_config_and_starts_without_labels(worlds):
    videos = worlds[0][:20]
    config = OmegaConf.merge(OmegaConf.create(YAML), {"encoder": {"strides": [2, 1, 1, 1]}})
    model = build(config, frame_shape=videos.frame_shape, rng=rng())
    metrics = model.fit(videos, ask(videos, 40))
    assert metrics.keys() == {"cycle_back_loss", "loss", "accuracy", "heldout_loss", "heldout_accuracy", "best_epoch"}


def test_a_pretrained_encoder_is_aligned_by_its_linear_layer(worlds, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed; get it with: pip install 'pbrl[vision]'")
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(tmp_path)
    pretrained = {"_target_": "pbrl.rewards.video_encoders.Pretrained", "_partial_": True}
    encoder = pretrained | {"folder": str(tmp_path), "size": 32}
    config = OmegaConf.merge(
        OmegaConf.create(YAML), {"encoder": encoder, "start": None, "validation": 0.0, "epochs": 20, "lr": 0.01}
    )
    model = build(config, frame_shape=(16, 16, 3), rng=rng())
    triplets = ask(worlds[0][:20], 30)
    unaligned = make_rapl(encoder=partial(Pretrained, folder=tmp_path, size=32), dim=8, align=False)
    before = unaligned.fit(worlds[0][:20], triplets)
    assert model.fit(worlds[0][:20], triplets)["loss"] < before["loss"]
    weights = [m.encoder.backbone.state_dict() for m in (model, unaligned)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_there_is_no_reward_before_demonstrations_and_after_a_new_fit(worlds):
    videos, model = worlds[0][:12], make_rapl(epochs=1)
    with pytest.raises(RuntimeError, match="set_demos"):
        model.reward(videos.frames[0])
    with pytest.raises(ValueError, match="at least one video"):
        model.set_demos(videos.frames[:0], videos.frames)
    model.set_demos(videos.frames[:2], videos.frames)
    model.fit(videos, ask(videos, 30))
    with pytest.raises(RuntimeError, match="set_demos"):
        model.reward(videos.frames[0])


def test_an_answer_is_as_sure_as_its_distances_differ_in_units_of_the_temperature(worlds):
    videos = worlds[0][:12]
    asked = ask(videos, 30)
    model = make_rapl(align=False, temperature=0.1)
    metrics = model.fit(videos, asked)
    first, second = (model.distance(videos.frames[asked.anchor], videos.frames[k]) for k in (asked.first, asked.second))
    expected = torch.nn.functional.binary_cross_entropy_with_logits((first - second) / 0.1, asked.closer_second)
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("epsilon", 0.0), ("iterations", 0), ("tolerance", -1.0), ("temperature", 0.0)]
)
def test_numbers_of_the_transport_that_make_no_sense(name, value):
    with pytest.raises(UserError, match=f"{name}={value}"):
        make_rapl(**{name: value})


def test_a_frozen_encoder_without_a_linear_layer_cannot_be_aligned():
    def frozen(**arguments):
        return SMALL(**arguments).requires_grad_(False)

    with pytest.raises(UserError, match="nothing to train"):
        make_rapl(encoder=frozen, dim=None)
    make_rapl(encoder=partial(frozen), dim=None, align=False)
