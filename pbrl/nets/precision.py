"""Precision of large matrix products: float32, or bfloat16 where the processor has it; and what computes them.

MKL, which computes torch's float32 products, takes a slow path on processors that are not Intel's. oneDNN, which torch
also brings, is twice as fast there, and is asked by a setting that allows it to round to bfloat16: which it does only
where the processor has AMX. So that setting is taken where there is none, and where products that bfloat16 would change
come out exact.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch

from pbrl.native.build import processor_features, processor_vendor
from pbrl.nets.late_compiler import import_compiler_late

PRECISIONS = ("auto", "float32", "bfloat16")
# oneDNN compiles code for each shape of product, half a MiB each, and keeps that of a thousand unless told otherwise,
# while batches that grow with the answers bring ever new shapes. It reads these at its first product.
ONEDNN_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KEPT_PRODUCTS = 64  # more than a run goes on using: with 32, updates in torch would be slower
BFLOAT16_WIDTH = 128  # below it the casts cost more than the faster products save


def matmul_dtype(precision: str, width: int = BFLOAT16_WIDTH) -> torch.dtype:
    """Choose the type of the large products for hidden layers of this width.

    "auto" is bfloat16 only where it pays: a processor that multiplies it in hardware, and layers that are not small.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bfloat16" if width >= BFLOAT16_WIDTH and has_bfloat16_hardware() else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_bfloat16_hardware() -> bool:
    return not processor_features().isdisjoint({"avx512_bf16", "amx_bf16"})


def prepare_torch(threads: int) -> None:
    """Set this process up for runs: so many threads, the fastest exact float32 products, no compiler unasked."""
    for name in ONEDNN_CACHES:  # what a user has set stays
        os.environ.setdefault(name, str(KEPT_PRODUCTS))
    torch.set_num_threads(threads)
    import_compiler_late()
    choose_float32_products()


@cache
def choose_float32_products() -> str:
    """Let oneDNN compute float32 products where it is faster and rounds nothing; say what computes them, and why.

    What a user has set stays.
    """
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    current = getattr(matmul, "fp32_precision", None)
    if current is None or not torch.backends.mkldnn.is_available():
        return "by torch's default, since this torch has no setting for it"
    if current != "none":
        return f"as set: torch.backends.mkldnn.matmul.fp32_precision = {current}"
    if processor_vendor() in ("", "GenuineIntel") or not torch.backends.mkl.is_available():
        return "by torch's default, which takes its fast path on this processor"
    if any(feature.startswith("amx") for feature in processor_features()):
        return "by torch's default, since oneDNN would round on this processor"
    matmul.fp32_precision = "bf16"
    if products_are_exact():
        return "by oneDNN, which takes its fast path on this processor and rounds nothing"
    matmul.fp32_precision = current
    return "by torch's default, since oneDNN rounds on this processor"


def products_are_exact() -> bool:
    """Return whether products of numbers that bfloat16 cannot tell from 1 keep them, in the sizes that are used."""
    for size in (32, 256, 512):
        x, identity = torch.full((2, size, size), 1 + 2.0**-20), torch.eye(size).expand(2, size, size)
        products = (x[0] @ identity[0], torch.bmm(x, identity), torch.nn.functional.linear(x[0], identity[0]))
        if any(bool((product != x[0]).any()) for product in products):
            return False
    return True
