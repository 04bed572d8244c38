"""Pictures: those that stand compressed in files of recordings, as PNG or JPEG, and their sizes."""

from __future__ import annotations

import io

import numpy as np

from pbrl.errors import UserError, one_line


def decode_picture(data: bytes, where: str, size: int | None = None) -> np.ndarray:
    """Decode a picture as (H, W, 3) uint8, or scale it to (size, size, 3)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            rgb = picture.convert("RGB")
            return np.asarray(rgb if size is None else rgb.resize((size, size)))
    except Exception as error:  # decoders fail in ways that they do not document
        raise UserError(f"{where} is no picture in PNG, JPEG or WEBP ({one_line(error)})") from error


def looks_compressed(array: np.ndarray) -> bool:
    """Return whether bytes begin as PNG or JPEG do."""
    start = np.asarray(array[:8], np.uint8).tobytes()
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def fit_into(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture in its own shape, as large as fits into width x height pixels, each side even."""
    from PIL import Image

    share = min(width / picture.shape[1], height / picture.shape[0])
    size = [max(round(side * share / 2) * 2, 2) for side in (picture.shape[1], picture.shape[0])]
    if [picture.shape[1], picture.shape[0]] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BILINEAR))
