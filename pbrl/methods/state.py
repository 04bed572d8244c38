"""The part of an object's attributes that decides its future, found by what they are, and put back."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError

PLAIN = (bool, int, float, str, type(None), np.ndarray, np.generic, torch.Tensor)
SERIES = (list, tuple, deque)


def found_state(owner: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of each attribute that has one.

    That is modules, optimizers, generators and whatever else has `state_dict`, numbers, words and arrays, and series
    and mappings of all these. Left out are `settings`, `run`, and names that begin with an underscore. UserError: an
    attribute is none of these, or one of the settings has changed: either would be lost.
    """
    stateful = _stateful(owner, settings)
    for name, value in settings.items():
        if _is_plain(value) and not _same(vars(owner)[name], value):
            what = f"{type(owner).__name__}.{name} was set by __init__ and has changed since"
            raise UserError(f"{what}: what changes is set in begin, or a resumed run would begin with it anew")
    for name, value in vars(owner).items():
        if name not in stateful and name not in settings and name != "run" and not name.startswith("_"):
            what = f"{type(owner).__name__}.{name} is a {type(value).__name__}, which no checkpoint can hold"
            raise UserError(f"{what}; if it follows from the rest after a resume, begin its name with an underscore")
    return {name: _state(value) for name, value in stateful.items()}


def restore_state(owner: object, state: Mapping[str, Any], settings: Collection[str]) -> None:
    """Put back what `found_state` found; an attribute that one side lacks raises KeyError."""
    there = _stateful(owner, settings)
    if different := there.keys() ^ state.keys():
        names = ", ".join(sorted(different))
        raise KeyError(f"{type(owner).__name__} has other attributes than its checkpoint: {names}")
    for name, saved in state.items():
        if there[name] is None and isinstance(saved, dict) and any(isinstance(v, torch.Tensor) for v in saved.values()):
            raise KeyError(f"{type(owner).__name__}.{name} has a saved state and nothing to take it: make it in begin")
        setattr(owner, name, _restored(there[name], saved))


def attributes_without_state(owner: object) -> dict[str, Any]:
    """Return the attributes that are as they were made, such as numbers and functions; copies of the plain ones."""
    found = {name: value for name, value in vars(owner).items() if not _has_state(value) or value == {}}
    return {name: copy.deepcopy(value) if _is_plain(value) else value for name, value in found.items()}


def _stateful(owner: object, settings: Collection[str]) -> dict[str, Any]:
    shown = {k: v for k, v in vars(owner).items() if not k.startswith("_") and k != "run" and k not in settings}
    return {k: v for k, v in shown.items() if _is_plain(v) or _has_state(v)}


def _has_state(value: Any) -> bool:
    if isinstance(value, torch.Generator) or (hasattr(value, "state_dict") and hasattr(value, "load_state_dict")):
        return True
    return isinstance(value, dict) and all(_has_state(v) for v in value.values())


def _is_plain(value: Any) -> bool:
    if isinstance(value, SERIES):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(_is_plain(v) for v in value.values())
    return isinstance(value, PLAIN)


def _state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if isinstance(value, dict):
        return {k: _state(v) for k, v in value.items()}
    return list(value) if isinstance(value, deque) else copy.copy(value)


def _restored(value: Any, saved: Any) -> Any:
    """Put the state of an attribute back into it, or return what was saved in its place."""
    if isinstance(value, torch.Generator):
        value.set_state(saved)
        return value
    if hasattr(value, "load_state_dict"):
        value.load_state_dict(saved)
        return value
    if isinstance(value, dict) and value and _has_state(value):
        return {k: _restored(part, saved[k]) for k, part in value.items()}
    return deque(saved, value.maxlen) if isinstance(value, deque) else saved


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, SERIES) and isinstance(other, SERIES):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, (np.ndarray, torch.Tensor)) or isinstance(other, (np.ndarray, torch.Tensor)):
        return one is other or np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    return bool(one == other) or (one != one and other != other)
