"""The common part of methods that learn from videos: two scores per question, held-out videos, the best epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pbrl.errors import UserError
from pbrl.losses import bradley_terry_loss, preference_accuracy
from pbrl.nets.networks import descend
from pbrl.rewards.video_encoders import FrameEncoder

MEASURED = 8  # questions per block where nothing is learned: activations of all their frames are held
ScoreFn = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Scores (b,) of both answers, left or first and right or second, to questions about the videos in rows (b, k)."""


def check_fit_settings(
    *, frames_per_video: int | None, lr: float, batch_size: int, epochs: int, validation: float
) -> None:
    """Raises UserError for numbers that no fit can use."""
    frames = 2 if frames_per_video is None else frames_per_video
    for name, value, low in (("frames_per_video", frames, 2), ("batch_size", batch_size, 1), ("epochs", epochs, 0)):
        if not isinstance(value, int) or value < low:
            raise UserError(f"{name}={value}: expected a whole number of at least {low}")
    if not lr > 0:
        raise UserError(f"lr={lr}: expected a number above 0")
    if not 0 <= validation < 1:
        raise UserError(f"validation={validation}: expected a share in [0, 1)")


def fit_best_epoch(
    encoder: FrameEncoder,
    scores: ScoreFn,
    rows: Tensor,
    answers: Tensor,
    *,
    lr: float,
    batch_size: int,
    epochs: int,
    validation: float,
    rng: torch.Generator,
) -> dict[str, float]:
    """Fit Bradley-Terry to the scores by Adam; the encoder ends as it was when held-out questions cost least.

    The start counts as an epoch, so that held-out loss never rises. With validation 0 the last epoch is kept.

    Args:
        rows: (B, k) videos of each question. answers: (B,) probability of "second" or "right".
        validation: share of the questions to hold out; see `split_by_video`.

    Returns `loss` and `accuracy` on the questions trained on and, where some are held out, `heldout_loss`,
    `heldout_accuracy` and `best_epoch`, all of the encoder that is kept.
    """
    train, heldout = split_by_video(rows, validation, rng)
    optimizer = torch.optim.Adam(encoder.trained.values(), lr=lr)
    best_loss, best_epoch, best = float("inf"), epochs, copy_of(encoder)
    for epoch in range(epochs + 1):
        encoder.eval()
        if len(heldout) and (loss := measure(scores, rows[heldout], answers[heldout])["loss"]) < best_loss:
            best_loss, best_epoch, best = loss, epoch, copy_of(encoder)
        if epoch == epochs:
            break
        encoder.train()
        for batch in train[torch.randperm(len(train), generator=rng)].split(batch_size):
            left, right = scores(rows[batch])
            descend(optimizer, bradley_terry_loss(left[None], right[None], answers[batch]))
    if len(heldout) == 0:
        return measure(scores, rows[train], answers[train])
    put_back(encoder, best)
    held = {f"heldout_{k}": v for k, v in measure(scores, rows[heldout], answers[heldout]).items()}
    return measure(scores, rows[train], answers[train]) | held | {"best_epoch": best_epoch}


def split_by_video(rows: Tensor, share: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which questions (B, k) to train on, and which to hold out: indices, together all of them.

    Videos are held out one by one, in random order, until at least this share of the questions is about one of them;
    those are the held-out questions. So each of them has a video that training never saw, and none is wasted; its
    other videos may be known, so held-out figures are somewhat optimistic.
    """
    held = torch.zeros(len(rows), dtype=torch.bool)
    videos = rows.unique()
    for video in videos[torch.randperm(len(videos), generator=rng)]:
        if held.float().mean() >= share:
            break
        held |= (rows == video).any(1)
    if held.all():
        raise UserError(
            f"{len(rows)} answers about {len(videos)} videos leave none to train on when {share:.0%} are held out by "
            "video; give more, or a smaller method.model.validation"
        )
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


@torch.no_grad()
def measure(scores: ScoreFn, rows: Tensor, answers: Tensor) -> dict[str, float]:
    """Return `loss` and `accuracy` on questions (B, k) with answers (B,), without learning."""
    blocks = [scores(block) for block in rows.split(MEASURED)]
    left, right = (torch.cat(side)[None] for side in zip(*blocks, strict=True))
    loss, accuracy = bradley_terry_loss(left, right, answers), preference_accuracy(left, right, answers)
    return {"loss": float(loss), "accuracy": float(accuracy)}


def thin_out(frames: Tensor, wanted: int | None) -> Tensor:
    """Keep `wanted` frames of (N, F, ...) at even distances, with the first and the last; None or too few: all."""
    f = frames.shape[1]
    if wanted is None or wanted >= f:
        return frames
    return frames[:, torch.linspace(0, f - 1, wanted, dtype=torch.float64).round().long()]


def prepare_videos(encoder: FrameEncoder, frames: Tensor) -> Tensor:
    """Prepare frames (N, F, H, W, C) as what the encoder's trained part reads of each: (N, F, ...)."""
    return encoder.prepare(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


def embed_videos(encoder: FrameEncoder, prepared: Tensor, rows: Tensor) -> Tensor:
    """Embed the videos in rows (b, k) as (b, k, F, d), each computed once, and augmented in training mode.

    prepared: (N, F, ...).
    """
    unique, where = rows.unique(return_inverse=True)
    clips = encoder.augment(prepared[unique]) if encoder.training else prepared[unique]
    return encoder.embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])[where]


def copy_of(encoder: FrameEncoder) -> dict[str, Tensor]:
    """Return the weights that learn, as they are now."""
    return {name: p.detach().clone() for name, p in encoder.trained.items()}


@torch.no_grad()
def put_back(encoder: FrameEncoder, weights: dict[str, Tensor]) -> None:
    for name, parameter in encoder.trained.items():
        parameter.copy_(weights[name])
