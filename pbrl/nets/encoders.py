"""A small convolutional encoder for image observations, and the shifts that augment them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 32
STRIDES = (2, 1, 1, 1)  # DrQ-v2's
GREY = 127.5


class ImageEncoder(nn.Module):
    """DrQ-v2's encoder (Yarats et al. 2021): 3x3 convolutions, then 50 features through LayerNorm and tanh.

    (M, H, W, C) of 0 to 255, whole numbers or not -> (M, 50). strides: of each convolution. width: its channels.
    """

    features = 50

    def __init__(
        self, shape: Sequence[int], rng: torch.Generator, strides: Sequence[int] = STRIDES, width: int = CHANNELS
    ) -> None:
        super().__init__()
        if not strides or not all(isinstance(stride, int) and stride >= 1 for stride in strides):
            raise ValueError(f"strides={list(strides)}: expected whole numbers of at least 1, one for each convolution")
        rows, columns, channels = shape
        sizes = [channels, *[width] * len(strides)]
        self.convolutions = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, sizes[i], sizes[i + 1], 3, stride) for i, stride in enumerate(strides)
        )
        for stride in strides:
            rows, columns = ((side - 3) // stride + 1 for side in (rows, columns))
        if rows < 1 or columns < 1:
            least = smallest(strides)
            raise ValueError(
                f"images of {tuple(shape)} are too small for the encoder, expected at least {least} x {least}"
            )
        self.trunk = nn.utils.skip_init(nn.Linear, width * rows * columns, self.features)
        self.layer_norm = nn.LayerNorm(self.features)
        for layer in (*self.convolutions, self.trunk):
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"), generator=rng)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, background: Tensor | float = GREY) -> Tensor:
        """Encode images. background: what becomes 0, such as (H, W, C) that all images share."""
        h = ((images.float() - background) / 255).movedim(-1, 1)
        for convolution in self.convolutions:
            h = convolution(h).relu_()
        return self.layer_norm(self.trunk(h.flatten(1))).tanh()


def smallest(strides: Sequence[int]) -> int:
    """Return the side of which 3x3 convolutions with these strides leave one pixel."""
    side = 1
    for stride in reversed(strides):
        side = (side - 1) * stride + 3
    return side


def random_shift(images: Tensor, pad: int, rng: torch.Generator) -> Tensor:
    """Move each clip (N, T, H, W, C) by up to `pad` pixels, all frames of a clip alike; edges are repeated."""
    n, t, height, width, channels = images.shape
    flat = images.movedim(-1, 2).reshape(n, t * channels, height, width).float()
    padded = F.pad(flat, (pad,) * 4, mode="replicate").to(images.dtype)
    down, right = torch.randint(2 * pad + 1, (2, n), generator=rng).to(images.device)
    rows = down[:, None] + torch.arange(height, device=images.device)
    columns = right[:, None] + torch.arange(width, device=images.device)
    shifted = padded.movedim(1, -1)[
        torch.arange(n, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return shifted.view(n, height, width, t, channels).movedim(3, 1)
