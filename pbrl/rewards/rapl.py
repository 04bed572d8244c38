"""RAPL: align a picture encoder with what people find alike, then reward likeness to preferred videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pbrl.data.videos import Triplets, Videos
from pbrl.errors import UserError
from pbrl.rewards.optimal_transport import cosine_cost, sinkhorn, transport_cost
from pbrl.rewards.video_encoders import FrameEncoder
from pbrl.rewards.video_fit import check_fit_settings, embed_videos, fit_best_epoch, measure, prepare_videos, thin_out


class RAPL(nn.Module):
    """Representation-aligned preference-based learning (Tian et al. 2024).

    The distance of two videos is the entropic transport cost between their frames, with 1 - cos of the embeddings as
    the cost of a frame. `fit` trains the encoder so that P(second is closer) = sigmoid((d1 - d2) / temperature)
    explains the answers; `set_demos` then says what to be like, and `reward` is minus the cost of each frame's share in
    the plan.

    Args:
        frame_shape: (H, W, C).
        encoder: makes a `FrameEncoder` from shape, dim and rng.
        dim: size of the embedding; None compares what the backbone gives.
        start: trains the encoder on the unlabelled frames first, called as start(encoder, frames, rng=rng), such as
            `pbrl.rewards.self_supervised.pretrain`; None leaves it as made.
        align: False leaves the encoder as it starts, and triplets are only measured: transport without alignment.
        epsilon, iterations, tolerance: see `sinkhorn`.
        temperature: in units of the distance, which is at most 2; 1 in the paper.
        lr: of Adam.
        batch_size: triplets.
        epochs: passes over the training triplets, of which the one with the least held-out loss is kept.
        frames_per_video: frames at even distances that `fit` reads of each video, which its time grows with; None: all.
        validation: share of the triplets that is held out, by video.
        rng: weights, the split, batches and what `augment` draws.
    """

    demos: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        frame_shape: Sequence[int],
        encoder: Callable[..., FrameEncoder],
        dim: int | None,
        start: Callable[..., dict[str, float]] | None,
        align: bool,
        epsilon: float,
        iterations: int,
        tolerance: float,
        temperature: float,
        frames_per_video: int | None,
        lr: float,
        batch_size: int,
        epochs: int,
        validation: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        check_fit_settings(
            frames_per_video=frames_per_video, lr=lr, batch_size=batch_size, epochs=epochs, validation=validation
        )
        if dim is not None and (not isinstance(dim, int) or dim < 1):
            raise UserError(f"dim={dim}: expected a whole number of at least 1, or null")
        if not epsilon > 0 or iterations < 1 or tolerance < 0:
            raise UserError(
                f"epsilon={epsilon}, iterations={iterations}, tolerance={tolerance}: expected > 0, >= 1 and >= 0"
            )
        if not temperature > 0:
            raise UserError(f"temperature={temperature}: expected a number above 0")
        self.encoder = encoder(shape=frame_shape, dim=dim, rng=rng).eval()
        if not self.encoder.trained and (align or start is not None):
            raise UserError(
                "dim=null with a frozen encoder leaves nothing to train; give a number, or align: false and start: null"
            )
        self.start, self.align, self.frames_per_video, self.rng = start, align, frames_per_video, rng
        self.temperature = temperature
        self._plan = partial(sinkhorn, epsilon=epsilon, iterations=iterations, tolerance=tolerance)
        self._optimise = partial(
            fit_best_epoch, lr=lr, batch_size=batch_size, epochs=epochs, validation=validation, rng=rng
        )
        self.register_buffer("demos", torch.empty(0, 0, self.encoder.dim))  # (D, S, d) embeddings
        self.register_buffer("scale", torch.ones(()))

    def fit(self, videos: Videos, answers: Triplets) -> dict[str, float]:
        """Learn which videos are alike; demonstrations have to be set after it, since it moves them.

        Returns the metrics of the start, if there is one, and of `fit_best_epoch`; without alignment `loss` and
        `accuracy` of all triplets. Only the frames of the videos are read.
        """
        self.demos = self.demos[:0]
        frames = thin_out(videos.frames, self.frames_per_video).to(self.scale.device)
        self.encoder.observe(frames)
        metrics = {} if self.start is None else self.start(self.encoder, frames, rng=self.rng)
        self.encoder.settle()
        prepared = prepare_videos(self.encoder, frames)

        def scores(rows: Tensor) -> tuple[Tensor, Tensor]:
            anchor, first, second = embed_videos(self.encoder, prepared, rows).unbind(1)
            h = self.temperature
            return -self._distance(anchor, first) / h, -self._distance(anchor, second) / h

        closer_second = answers.closer_second.to(frames.device)
        if not self.align:
            return metrics | measure(scores, answers.rows, closer_second)
        return metrics | self._optimise(self.encoder, scores, answers.rows, closer_second)

    @torch.no_grad()
    def distance(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return how unlike two videos are (B,), in [0, 2]: (B, T, H, W, C), (B, S, H, W, C) -> (B,)."""
        return self._distance(self._embed(frames), self._embed(others))

    @torch.no_grad()
    def set_demos(self, demos: Tensor, reference: Tensor) -> None:
        """Takes videos (D, S, H, W, C) as what to be like, and fixes the scale of the reward.

        reference: (N, F, H, W, C) videos of mixed quality, over which the mean absolute sum of an episode's rewards
        becomes 1. It is not fixed on the first episode, as the released code does, since `reward` would then depend on
        what it was asked before; nor on the demonstrations, which cost nothing or little against themselves.
        """
        if len(demos) == 0:
            raise ValueError(f"demos have shape {tuple(demos.shape)}, expected at least one video")
        self.demos = self._embed(demos)
        self.scale.fill_(1)
        total = torch.stack([self.reward(frames).sum() for frames in reference])
        self.scale.fill_(1 / total.abs().mean().clamp_min(1e-6))  # the same video over and over costs nothing

    @torch.no_grad()
    def reward(self, frames: Tensor) -> Tensor:
        """Return -scale * sum_t' P_tt' C_tt' (T,) of one whole episode (T, H, W, C).

        Plan and cost are those with the demonstration it is most like, which gives the largest sum of rewards.
        """
        if len(self.demos) == 0:
            raise RuntimeError("there are no demonstrations yet: call set_demos after fit")
        x = self._embed(frames[None]).expand(len(self.demos), -1, -1)
        cost = cosine_cost(x, self.demos)
        rewards = -(self._plan(cost) * cost).sum(2)  # (D, T)
        return (self.scale * rewards[rewards.sum(1).argmax()]).to(frames.device)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes any number of demonstrations, of any length."""
        if "demos" in state_dict:
            self.demos = torch.empty_like(state_dict["demos"], device=self.demos.device)
        return super().load_state_dict(state_dict, strict, assign)

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances (B,) of embeddings (B, T, d), (B, S, d)."""
        cost = cosine_cost(x, y)
        return transport_cost(cost, self._plan(cost))

    def _embed(self, frames: Tensor) -> Tensor:
        """Embed frames: (N, F, H, W, C) -> (N, F, d)."""
        return torch.stack([self.encoder(video.to(self.scale.device)) for video in frames])
