"""RLHF on pictures: a reward of single frames whose sum over a video explains which of two is preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pbrl.data.videos import VideoPairs, Videos
from pbrl.rewards.video_encoders import FrameEncoder
from pbrl.rewards.video_fit import check_fit_settings, embed_videos, fit_best_epoch, prepare_videos, thin_out


class VideoReturn(nn.Module):
    """The pairwise baseline of RAPL: the same backbone with one output, and Bradley-Terry on its sum over frames.

    Christiano et al. 2017, eq. 1, with rewards of frames. Videos of one length leave the offset of the reward open, so
    it is 0 on average over the videos learned from; and it is scaled as RAPL's, so that one agent suits both.

    Args:
        frame_shape: (H, W, C).
        encoder: makes a `FrameEncoder` from shape, dim and rng; dim is 1 here.
        start: trains the encoder on the unlabelled frames first, see `RAPL`; None leaves it as made.
        lr: of Adam.
        batch_size: pairs.
        epochs: passes over the training pairs, of which the one with the least held-out loss is kept.
        frames_per_video: frames at even distances that `fit` reads of each video, which its time grows with; None: all.
        validation: share of the pairs that is held out, by video.
        rng: weights, the split, batches and what `augment` draws.
    """

    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        frame_shape: Sequence[int],
        encoder: Callable[..., FrameEncoder],
        frames_per_video: int | None,
        lr: float,
        batch_size: int,
        epochs: int,
        validation: float,
        rng: torch.Generator,
        start: Callable[..., dict[str, float]] | None = None,
    ) -> None:
        super().__init__()
        check_fit_settings(
            frames_per_video=frames_per_video, lr=lr, batch_size=batch_size, epochs=epochs, validation=validation
        )
        self.frames_per_video, self.start, self.rng = frames_per_video, start, rng
        self.encoder = encoder(shape=frame_shape, dim=1, rng=rng).eval()
        self._optimise = partial(
            fit_best_epoch, lr=lr, batch_size=batch_size, epochs=epochs, validation=validation, rng=rng
        )
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, videos: Videos, answers: VideoPairs) -> dict[str, float]:
        """Learn what is preferred; return the metrics of the start, if there is one, and of `fit_best_epoch`.

        Only the frames are read.
        """
        frames = thin_out(videos.frames, self.frames_per_video).to(self.scale.device)
        self.encoder.observe(frames)
        started = {} if self.start is None else self.start(self.encoder, frames, rng=self.rng)
        self.encoder.settle()
        prepared = prepare_videos(self.encoder, frames)

        def scores(rows: Tensor) -> tuple[Tensor, Tensor]:
            left, right = embed_videos(self.encoder, prepared, rows).sum((2, 3)).unbind(1)
            return left, right

        prefers_right = answers.prefers_right.to(frames.device)
        metrics = self._optimise(self.encoder, scores, answers.rows, prefers_right)
        self._set_scale(videos.frames)
        return started | metrics

    @torch.no_grad()
    def reward(self, frames: Tensor) -> Tensor:
        """Return scale * (output - offset) / T of each frame (T,), so that T does not matter for the sum."""
        outputs = self.encoder(frames.to(self.scale.device)).squeeze(-1)
        return (self.scale * (outputs - self.offset) / len(frames)).to(frames.device)

    def _set_scale(self, videos: Tensor) -> None:
        """Give the videos (N, F, H, W, C) mean reward 0, and 1 as the mean absolute sum over a video."""
        with torch.no_grad():
            outputs = torch.stack(
                [self.encoder(frames.to(self.scale.device)).squeeze(-1) for frames in videos]
            )  # (N, F)
        self.offset.fill_(outputs.mean())
        self.scale.fill_(1 / (outputs - self.offset).mean(1).abs().mean().clamp_min(1e-6))
