"""The global random streams, from which SB3 draws: saved with checkpoints, and kept from what else draws."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def global_random_state() -> dict[str, Any]:
    state: Any = np.random.get_state()  # noqa: NPY002  because SB3 draws from the global streams
    kind, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        **({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}),  # SB3's own SAC and PPO there
    }


def set_global_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
