"""Encoders of single frames: (M, H, W, C) of 0 to 255 -> (M, d).

An encoder works in two stages, so that what does not learn is computed once: `prepare` turns frames into what the
trained part reads, and `embed` is the trained part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import finite, whole
from pbrl.errors import UserError, choices, one_line
from pbrl.install import install_extra
from pbrl.nets.encoders import GREY, ImageEncoder, random_shift
from pbrl.nets.networks import linear
from pbrl.reading import read_object, require_file

BLOCK = 64  # frames per pass through a frozen backbone
POOLED = ("dinov2", "resnet")  # model types whose `pooler_output` is a trained summary of the picture
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # He et al. 2016, as in torchvision


class FrameEncoder(nn.Module):
    """A backbone, then a linear layer to d numbers, which are not normalised.

    Args:
        shape: (H, W, C) of the frames.
        features: what the backbone gives.
        dim: d; None leaves the linear layer out.
        rng: initial weights of the linear layer.
    """

    def __init__(self, shape: Sequence[int], features: int, dim: int | None, rng: torch.Generator) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.dim = features if dim is None else dim
        self.head = nn.Identity() if dim is None else linear(features, dim, rng)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed pictures: (M, H, W, C) -> (M, d)."""
        return self.embed(self.prepare(frames))

    def observe(self, frames: Tensor) -> None:
        """Takes what it should know of the frames (..., H, W, C) before it learns from them; nothing by default."""

    def settle(self) -> None:
        """Takes itself as the start has left it: what does not learn from answers stays so from here on."""

    def prepare(self, frames: Tensor) -> Tensor:
        """Prepare pictures for `embed`: (M, H, W, C) -> (M, ...). Has no gradient, and does not change in learning."""
        if tuple(frames.shape[1:]) != self.shape:
            expected = f"(M, {', '.join(map(str, self.shape))})"
            raise ValueError(f"frames have shape {tuple(frames.shape)}, expected {expected}")
        return self._prepare(frames)

    def embed(self, prepared: Tensor) -> Tensor:
        """Embed what `prepare` made: (M, ...) -> (M, d)."""
        raise NotImplementedError

    def augment(self, clips: Tensor) -> Tensor:
        """Change what `prepare` made of clips (N, F, ...) into what training should see; nothing by default."""
        return clips

    def _prepare(self, frames: Tensor) -> Tensor:
        return frames

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that learn, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


class SmallCNN(FrameEncoder):
    """DrQ-v2's convolutions (`ImageEncoder`) with longer strides, all trained, on what differs from the mean frame.

    What one camera sees differs in few pixels: with the background left in, all frames look alike to a new encoder, and
    from cosines that are all near 1 it may never learn.

    Args:
        shape, dim: see `FrameEncoder`.
        rng: initial weights, and shifts.
        strides: of each convolution. With DrQ-v2's, (2, 1, 1, 1), it takes several times as long.
        shift: pixels by which clips are moved at most while it learns from answers, as in DrQ; without, it soon knows
            some hundred videos by heart. Less than a side of the frame.
        width: channels of each convolution.
        head_only: only the linear layer learns from answers, as with a pre-trained backbone; the convolutions stay as
            the start has left them.
    """

    mean: Tensor

    def __init__(
        self,
        *,
        shape: Sequence[int],
        dim: int | None,
        rng: torch.Generator,
        strides: Sequence[int] = (2, 2, 2, 1),
        shift: int = 4,
        width: int = 32,
        head_only: bool = False,
    ) -> None:
        if not isinstance(width, int) or width < 1:
            raise UserError(f"width={width}: expected a whole number of channels of at least 1")
        if head_only and dim is None:
            raise UserError("head_only=true with dim=null leaves nothing to learn from answers; give a number for dim")
        if not isinstance(shift, int) or not 0 <= shift < min(shape[:2]):
            raise UserError(
                f"shift={shift}: expected a whole number of pixels below the {min(shape[:2])} of a frame, 0 for none"
            )
        super().__init__(shape, ImageEncoder.features, dim, rng)
        self.shift, self.rng, self.head_only = shift, rng, head_only
        self.backbone = ImageEncoder(shape, rng, strides, width)
        self.register_buffer("mean", torch.full(self.shape, GREY))

    def observe(self, frames: Tensor) -> None:
        self.mean.copy_(frames.flatten(0, -4).mean(0, dtype=torch.float32))
        self.backbone.requires_grad_(True)  # all of it learns in a start

    def settle(self) -> None:
        self.backbone.requires_grad_(not self.head_only)

    def augment(self, clips: Tensor) -> Tensor:
        """Move what differs from the mean frame, and not the background that does not."""
        return random_shift(clips - self.mean, self.shift, self.rng) + self.mean

    def embed(self, prepared: Tensor) -> Tensor:
        return self.head(self.backbone(prepared, self.mean))


class Frozen(FrameEncoder):
    """A frozen image model, of which only the linear layer after it learns.

    Frames are resized to a square (a frame that is not square is squeezed), scaled to [0, 1] and normalised.

    Args:
        backbone: pictures (M, 3, size, size) -> features (M, n), or maps of them (M, n, h, w), which are averaged.
        size: side of the resized frame in pixels.
        mean, std: of each colour, for pixels in [0, 1]; ImageNet's unless said.
        call: the backbone's method that gives the features.
        shape: (H, W, 3) of the frames.
        dim, rng: see `FrameEncoder`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        size: int,
        shape: Sequence[int],
        dim: int | None,
        rng: torch.Generator,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        call: str = "forward",
    ) -> None:
        if shape[-1] != 3:
            raise ValueError(f"frames have shape {tuple(shape)}, expected (H, W, 3) for a pre-trained encoder")
        whole(1, size=size)
        finite(3, "the colours", mean=mean, std=std)
        if not callable(getattr(backbone, call, None)):
            raise UserError(f"encoder.call={call}: {type(backbone).__name__} has no such method")
        backbone.requires_grad_(False).eval()
        with torch.no_grad():
            found = _averaged(getattr(backbone, call)(torch.zeros(1, 3, size, size)))
        super().__init__(shape, found.shape[1], dim, rng)
        self.backbone, self.size, self.call = backbone, size, call
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values)).view(3, 1, 1))

    def train(self, mode: bool = True) -> Frozen:
        """Keep the backbone as it is in evaluation: its batch statistics are those it came with."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def _prepare(self, frames: Tensor) -> Tensor:
        """Prepare pictures: (M, H, W, 3) -> (M, features of the backbone)."""
        return torch.cat([self._features(block) for block in frames.split(BLOCK)])

    def embed(self, prepared: Tensor) -> Tensor:
        return self.head(prepared)

    def _features(self, frames: Tensor) -> Tensor:
        images = frames.movedim(-1, 1).to(self.mean) / 255
        images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        return _averaged(getattr(self.backbone, self.call)((images - self.mean) / self.std))


class Pretrained(Frozen):
    """A frozen image model of the `transformers` library.

    Args:
        folder: config.json and model.safetensors, as `save_pretrained` writes them and the Hub keeps them; ResNet or
            DINOv2. Nothing is downloaded. Colours are normalised with the statistics in its preprocessor_config.json,
            or ImageNet's where there is none.
        size: see `Frozen`; for DINOv2 a multiple of its patch.
        others: see `Frozen`.
    """

    def __init__(self, *, folder: str | Path, size: int, **others: Any) -> None:
        backbone = load_backbone(Path(folder))
        patch = getattr(backbone.config, "patch_size", 1)
        if size < 1 or size % patch:
            raise UserError(f"encoder.size={size}: expected a multiple of the patch of {folder}, {patch} pixels")
        mean, std = _statistics(Path(folder))
        super().__init__(backbone=backbone, size=size, mean=mean, std=std, **others)


def _averaged(features: Any) -> Tensor:
    """Return features (M, n) of a backbone's output: a tensor (M, n) or (M, n, h, w), or what has a `pooler_output`."""
    found = getattr(features, "pooler_output", features)
    if not isinstance(found, Tensor) or found.dim() < 2:
        raise UserError(f"encoder.backbone gives {type(found).__name__}, expected features (M, n) or maps (M, n, h, w)")
    return found.flatten(2).mean(2) if found.dim() > 2 else found


def load_backbone(folder: Path) -> Any:
    """Load the image model of a local folder, in float32; raise UserError for whatever is wrong with it."""
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ImportError:
        raise UserError(f"a pre-trained encoder needs transformers; get it with: {install_extra('vision')}") from None
    kind = _read_json(folder / "config.json").get("model_type")
    if kind not in POOLED:
        raise UserError(f"{folder / 'config.json'} has model_type {kind!r}; {choices(kind, POOLED)}")
    if (weights := folder / "model.safetensors").exists():
        require_file(weights)
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it warns of the classifier that is left out, which is meant
    try:
        model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # a missing file, a broken one, and shapes that differ fail in different ways
        raise UserError(f"{folder} cannot be read as a {kind} with model.safetensors: {one_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
    if missing := sorted(report["missing_keys"]):  # transformers would leave them random
        raise UserError(f"{folder / 'model.safetensors'} lacks {len(missing)} weights, such as {missing[0]}")
    return model


def _statistics(folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of each colour, for pixels in [0, 1]."""
    file = folder / "preprocessor_config.json"
    told = _read_json(file) if file.is_file() else {}
    mean, std = told.get("image_mean", IMAGENET_MEAN), told.get("image_std", IMAGENET_STD)
    for name, values in (("image_mean", mean), ("image_std", std)):
        if not (isinstance(values, (list, tuple)) and len(values) == 3 and all(map(_is_number, values))):
            raise UserError(f"{file}: {name} is {values!r}, expected three numbers")
    if min(std) <= 0:
        raise UserError(f"{file}: image_std is {std!r}, expected three numbers above 0")
    return mean, std


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file} is missing; expected the folder of a model, saved by save_pretrained")
    return read_object(file)
