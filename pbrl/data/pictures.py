"""Compressed pictures that stand in files of recordings, as PNG or JPEG."""

from __future__ import annotations

import io

import numpy as np

from pbrl.errors import UserError, one_line


def decode_picture(data: bytes, where: str, size: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8, or (size, size, 3)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            rgb = picture.convert("RGB")
            return np.asarray(rgb if size is None else rgb.resize((size, size)))
    except Exception as error:  # decoders fail in ways that they do not document
        raise UserError(f"{where} is no picture in PNG or JPEG ({one_line(error)})") from error


def looks_compressed(array: np.ndarray) -> bool:
    """Whether bytes begin as PNG or JPEG do."""
    start = np.asarray(array[:8], np.uint8).tobytes()
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
