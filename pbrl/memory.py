"""How much memory this process may still take."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

GIB = 2**30
_CONTAINER = Path("/sys/fs/cgroup/memory.max")  # "max" where a container has no limit of its own


def free_memory() -> float:
    """Bytes, as far as the system tells; infinite where it does not."""
    free = math.inf
    with contextlib.suppress(OSError, StopIteration, ValueError):  # not Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        free = min(free, int(_CONTAINER.read_text()))
    return free
