"""Temporal cycle consistency: a start for a frame encoder from videos that nobody labelled.

Chosen over time-contrastive learning (Sermanet et al. 2018) because it compares different videos, which is what the
transport between videos does later, and needs no margin and no rule for which frames count as near.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.errors import UserError
from pbrl.nets.networks import descend
from pbrl.rewards.video_encoders import FrameEncoder


def cycle_back_loss(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Return the mean squared error of the time at which a frame comes back; TCC (Dwibedi et al. 2019, section 3.2).

    A frame of x goes to the softmax mean of its neighbours in y, and that goes back to a softmax over the frames of x,
    whose mean time should be the frame's own; the paper's division by the variance is left out. Times run from 0 to 1,
    so embeddings that do not tell time cost about 1/12.

    x, y: (B, F, d) and (B, F', d). temperature: of both softmaxes over -|difference|^2 / d.
    """
    frames, dim = x.shape[1:]
    there = _neighbours(x, y, temperature * dim) @ y  # (B, F, d)
    back = _neighbours(there, x, temperature * dim)  # (B, F, F)
    times = torch.linspace(0, 1, frames, dtype=x.dtype, device=x.device)
    return (back @ times - times).square().mean()


def _neighbours(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """Return softmax over y of -|x - y|^2 / scale: (B, F, d), (B, F', d) -> (B, F, F')."""
    squares = x.square().sum(-1)[:, :, None] - 2 * x @ y.mT + y.square().sum(-1)[:, None, :]
    return (-squares / scale).softmax(-1)


def pretrain(
    encoder: FrameEncoder,
    frames: Tensor,
    *,
    updates: int,
    batch_size: int,
    sampled_frames: int,
    temperature: float,
    lr: float,
    weight_decay: float,
    rng: torch.Generator,
) -> dict[str, float]:
    """Train an encoder so that frames of one video find their way back through others.

    Each update takes `batch_size` videos at random times, each with every other one. Returns `cycle_back_loss`, the
    mean over the last tenth of the updates.

    Args:
        frames: (N, F, H, W, C) uint8 of at least two videos.
        sampled_frames: frames taken from each video; all of them where a video has fewer.
        temperature: see `cycle_back_loss`.
        lr, weight_decay: of Adam.
    """
    n, length = frames.shape[:2]
    if n < 2 or batch_size < 2 or sampled_frames < 2 or updates < 1:
        raise UserError(
            f"cycle consistency of {n} videos with batch_size={batch_size}, sampled_frames={sampled_frames}, "
            f"updates={updates}: expected at least 2, 2, 2 and 1"
        )
    prepared = encoder.prepare(frames.flatten(0, 1)).unflatten(0, (n, length))
    optimizer = torch.optim.Adam(encoder.trained.values(), lr=lr, weight_decay=weight_decay)
    losses = []
    for _ in range(updates):
        rows = torch.randperm(n, generator=rng)[:batch_size]
        times = torch.rand(len(rows), length, generator=rng).argsort(1)[:, :sampled_frames].sort(1).values
        embeddings = encoder.embed(prepared[rows[:, None], times].flatten(0, 1)).unflatten(0, times.shape)
        one, other = (~torch.eye(len(rows), dtype=torch.bool)).nonzero().T  # all pairs, both ways
        loss = cycle_back_loss(embeddings[one], embeddings[other], temperature)
        losses.append(descend(optimizer, loss))
    last = losses[-max(1, updates // 10) :]
    return {"cycle_back_loss": sum(last) / len(last)}
