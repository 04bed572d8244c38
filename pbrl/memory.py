"""The memory that this process may still take."""

from __future__ import annotations

import contextlib
import ctypes
import math
from pathlib import Path
from typing import NamedTuple

GIB = 2**30


class Files(NamedTuple):
    """The files of Linux that say what a control group, as of a container or of a job, may take and has taken."""

    root: Path
    limit: str
    used: str
    cached: tuple[str, str]  # lines of memory.stat: files that give way to what needs the memory


MEMINFO, OWN_GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup")
VERSION_2 = Files(Path("/sys/fs/cgroup"), "memory.max", "memory.current", ("inactive_file", "active_file"))
VERSION_1 = Files(
    Path("/sys/fs/cgroup/memory"),
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def free_memory() -> float:
    """Return bytes: the least that the machine and each group of this process have left; infinite where none tells."""
    free = math.inf
    with contextlib.suppress(OSError, StopIteration, ValueError):  # not Linux
        lines = MEMINFO.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            if not kinds or "memory" in kinds.split(","):
                free = min(free, _free_in(group.strip("/"), VERSION_1 if kinds else VERSION_2))
    return max(free, 0)


def _free_in(group: str, files: Files) -> float:
    """Return what is left in a group and in those it lies in. A container may see itself as the root of all groups."""
    free = math.inf
    for part in (Path(group), *Path(group).parents):
        folder = files.root / part
        with contextlib.suppress(OSError, ValueError):  # no limit there: "max", or no such file
            limit, used = (int((folder / name).read_text()) for name in (files.limit, files.used))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free = min(free, limit - used + sum(int(stat.get(name, 0)) for name in files.cached))
    return free


def give_back() -> None:
    """Returns to the system what malloc holds and nobody uses: fits of many sizes leave it in pieces all over the heap.

    glibc's alone; elsewhere nothing happens.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, TypeError):  # another C library; Windows, where a process has no namespace of its own
        return
    trim(0)
