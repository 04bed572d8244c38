"""The structures and functions of sac.c through ctypes, which lets go of the interpreter's lock while they run."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pbrl.native.build import find

MAX_LAYERS = 8
SPIN_FLOATS = 72
HIDDEN_UNIT = 16  # hidden layers are multiples of it


Fields = Sequence[tuple[str, Any]]


class Adam(ctypes.Structure):
    """`struct adam` of sac.c, which says what each field of each structure is."""

    _fields_: ClassVar[Fields] = [(name, c_double) for name in ("steps", "lr", "beta1", "beta2", "eps", "weight_decay")]


class Net(ctypes.Structure):
    _fields_: ClassVar[Fields] = [
        *[(name, c_int64) for name in ("copies", "layers")],
        ("sizes", c_int64 * (MAX_LAYERS + 1)),
        *[(name, c_void_p) for name in ("values", "grads", "exp_avg", "exp_avg_sq")],
        ("adam", Adam),
    ]


class Source(ctypes.Structure):
    _fields_: ClassVar[Fields] = [
        *[(name, c_void_p) for name in ("obs", "actions", "rewards", "terminated", "last_index", "last_obs", "newest")],
        *[(name, c_void_p) for name in ("rows", "envs")],
        *[(name, c_int64) for name in ("size", "n_envs", "pos")],
        *[(name, c_void_p) for name in ("next_obs", "dones")],
    ]


class Problem(ctypes.Structure):
    _fields_: ClassVar[Fields] = [
        *[(name, Net) for name in ("actor", "critic", "target")],
        ("source", Source),
        *[(name, c_int64) for name in ("obs", "actions", "batch", "updates", "half")],
        *[(name, c_int64) for name in ("done_updates", "target_interval")],
        *[(name, c_double) for name in ("gamma", "tau", "target_entropy", "fixed_alpha")],
        *[(name, c_void_p) for name in ("log_alpha", "alpha_exp_avg", "alpha_exp_avg_sq")],
        ("alpha_adam", Adam),
        ("noise", c_void_p),
        ("seed", c_uint64),
        ("sums", c_double * 4),
    ]


class Library:
    """A compiled sac.c; kind: of `build.KINDS`."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind, self.path = kind, path
        library = ctypes.CDLL(str(path))
        self._workspace, self._update = library.sac_workspace, library.sac_update
        self._workspace.argtypes, self._workspace.restype = [ctypes.POINTER(Problem)], c_int64
        self._update.argtypes, self._update.restype = [ctypes.POINTER(Problem), c_void_p], None
        self._act = library.sac_act
        self._act.argtypes = [ctypes.POINTER(Net), c_int64, c_void_p, c_void_p, c_void_p, c_void_p]
        self._act.restype = None
        self._normals = library.sac_normals
        self._normals.argtypes, self._normals.restype = [c_uint64, c_void_p, c_int64], None
        self._spin = library.sac_spin
        self._spin.argtypes, self._spin.restype = [c_int64, c_void_p, c_int64], c_int64
        library.sac_has_half.restype = c_int64
        self.has_half = bool(library.sac_has_half())

    def workspace(self, problem: Problem) -> int:
        """Return the bytes of memory that updates of a problem of this size need."""
        return self._workspace(ctypes.byref(problem))

    def update(self, problem: Problem, workspace: int) -> None:
        """Make the updates; workspace: the address of as many bytes, zeros before the first call."""
        self._update(ctypes.byref(problem), workspace)

    def act(self, actor: Net, rows: int, obs: int, noise: int | None, scratch: int, actions: int) -> None:
        """Act at addresses of float32 arrays: obs (rows, O), noise and actions (rows, A), `act_scratch` floats."""
        self._act(ctypes.byref(actor), rows, obs, noise, scratch, actions)

    def spin(self, rounds: int, half: bool) -> int:
        """Multiply and add in registers, as fast as the processor can; return how many operations were made."""
        data = np.zeros(SPIN_FLOATS, np.float32)
        return self._spin(rounds, data.ctypes.data, half)

    def normals(self, seed: int, count: int) -> np.ndarray:
        """Draw the noise (count,) that this seed gives; count: a multiple of 16."""
        out = np.empty(count, np.float32)
        self._normals(seed, out.ctypes.data, count)
        return out


def act_scratch(actor: Net) -> int:
    """Return how many floats `Library.act` needs."""
    sizes = actor.sizes[: actor.layers + 1]
    return 2 * max(sizes) + 2 * sizes[-1] + 64


@cache
def load() -> tuple[Library | None, str | None]:
    """Load the library for this processor; None and why there is none."""
    found = find()
    if found.path is None or found.kind is None:
        return None, found.reason
    try:
        return Library(found.kind, found.path), None
    except (OSError, AttributeError) as error:
        return None, f"{found.path} cannot be loaded ({error})"
