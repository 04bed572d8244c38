import pytest
import torch

from pbrl.errors import UserError
from pbrl.rewards.self_supervised import cycle_back_loss, pretrain
from pbrl.rewards.video_encoders import SmallCNN


def make_encoder(dim):
    return SmallCNN(shape=(16, 16, 1), dim=dim, rng=rng(), strides=(2, 1, 1, 1))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def bars(n, frames, rng):
    """A bar that falls from the top to the bottom in the same time, at a place and in a shade of its own."""
    videos = torch.zeros(n, frames, 16, 16, 1, dtype=torch.uint8)
    for video in videos:
        left, shade = int(torch.randint(12, (), generator=rng)), int(torch.randint(100, 256, (), generator=rng))
        for t, frame in enumerate(video):
            top = round(t * 12 / (frames - 1))
            frame[top : top + 4, left : left + 4] = shade
    return videos


def fit(encoder, videos, **settings):
    numbers = {"updates": 60, "batch_size": 4, "sampled_frames": 6, "temperature": 0.1, "lr": 1e-3, "weight_decay": 0.0}
    return pretrain(encoder, videos, **numbers | settings, rng=rng())


def test_frames_that_are_found_again_cost_nothing():
    video = 100 * torch.eye(5)[None]
    assert float(cycle_back_loss(video, video, 0.1)) == 0
    assert float(cycle_back_loss(video, video[:, [4, 1, 3, 0, 2]], 0.1)) == 0  # there and back, whatever the order


def test_embeddings_that_tell_nothing_cost_the_variance_of_time():
    same = torch.ones(2, 5, 3)  # everything comes back at 1/2; times 0, 1/4, ... have variance 1/8
    assert float(cycle_back_loss(same, same, 0.1)) == pytest.approx(1 / 8)


def test_a_frame_without_a_partner_comes_back_elsewhere():
    # Frames at 0, 10 and 12; in the other video only 0 and 12: the middle one goes to 12 and stays there
    x, y = torch.tensor([[[0.0], [10.0], [12.0]]]), torch.tensor([[[0.0], [12.0]]])
    assert float(cycle_back_loss(x, y, 0.01)) == pytest.approx((1 - 0.5) ** 2 / 3)


def test_pairs_do_not_mix():
    x, y = torch.randn(2, 3, 6, 4, generator=rng())
    alone = [cycle_back_loss(x[[i]], y[[i]], 0.3) for i in range(3)]
    torch.testing.assert_close(cycle_back_loss(x, y, 0.3), torch.stack(alone).mean())


def test_training_aligns_videos_it_has_not_seen():
    videos, others = bars(24, 8, rng(1)), bars(6, 8, rng(2))
    encoder = make_encoder(dim=8)

    @torch.no_grad()
    def mistimed():
        """Mean error of the time of the nearest frame in another video, in frames."""
        x = encoder(others.flatten(0, 1)).unflatten(0, (6, 8))
        nearest = torch.cdist(x[:3], x[3:]).argmin(-1)
        return float((nearest - torch.arange(8)).abs().float().mean())

    before = mistimed()
    metrics = fit(encoder, videos, updates=150)
    assert metrics["cycle_back_loss"] < 0.05
    assert mistimed() < 0.5 * before


def test_the_same_seed_trains_the_same():
    videos = bars(4, 6, rng(1))
    encoders = [make_encoder(dim=4) for _ in range(2)]
    first, second = (fit(encoder, videos, updates=3) for encoder in encoders)
    assert first == second
    assert torch.equal(encoders[0](videos[0]), encoders[1](videos[0]))


def test_one_video_has_nothing_to_go_to():
    with pytest.raises(UserError, match="of 1 videos"):
        fit(make_encoder(dim=4), bars(1, 6, rng()))
