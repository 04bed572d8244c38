"""Which numbers large matrix products are computed in: float32, or bfloat16 where the processor has it."""

from __future__ import annotations

import torch

from pbrl.native.build import processor_features

PRECISIONS = ("auto", "float32", "bfloat16")
BFLOAT16_WIDTH = 128  # below it the casts cost more than the faster products save


def matmul_dtype(precision: str, width: int = BFLOAT16_WIDTH) -> torch.dtype:
    """The type of the large products for hidden layers of this width.

    "auto" is bfloat16 only where it pays: a processor that multiplies it in hardware, and layers that are not small.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bfloat16" if width >= BFLOAT16_WIDTH and has_bfloat16_hardware() else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_bfloat16_hardware() -> bool:
    return not processor_features().isdisjoint({"avx512_bf16", "amx_bf16"})
