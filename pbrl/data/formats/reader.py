"""The contract of a format of the field: how one tells a file of it, and what a reader yields.

L steps, O observation, A action, C cameras, D simulator state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pbrl.data.unit_actions import ActionRange
from pbrl.errors import UserError
from pbrl.question_kinds import SegmentPair

Options = Mapping[str, str]  # key=value as given


class Option(NamedTuple):
    """A key=value that a format has of its own."""

    name: str
    about: str  # a few words, for the help
    needed: bool = False


@dataclass(frozen=True)
class Recorded:
    """One episode as a file has it: actions in the file's own units, observations before each step at least.

    Where the file has no observation after the last action, `obs` has as many rows as there are actions.
    """

    name: str  # what the file calls it
    obs: np.ndarray  # (L+1, O) or (L, O); images (.., H, W, C) uint8
    actions: np.ndarray  # (L, A) numbers, or (L,) whole numbers from 0: a choice
    rewards: np.ndarray | None = None  # (L,); None: unknown
    terminated: bool = False
    success: float | None = None
    source: str = "recorded"  # who acted
    task: str = ""  # in words, where the file has some
    states: np.ndarray | None = None  # (len(obs), D) of a simulator
    qpos_qvel: tuple[np.ndarray, np.ndarray] | None = None  # (len(obs), ..) of MuJoCo, from which env=NAME makes states
    videos: np.ndarray | None = None  # (len(obs), 2C): which of `Recording.videos` and at how many seconds, per camera
    frames: Mapping[str, Callable[[], Iterator[np.ndarray]]] | None = None  # by camera: len(obs) pictures, (H, W, 3)


@dataclass(frozen=True)
class Recording:
    """The finding of a reader: episodes, read one after another and once, and what is known of all of them."""

    episodes: Iterator[Recorded]
    actions: ActionRange | None = None  # what the file says of their range
    cameras: tuple[str, ...] = ()
    videos: tuple[Path, ...] = ()  # files of `Recorded.videos`
    fps: float | None = None
    last_obs: bool = True  # False: whole segments without the observation after their end, which are kept as they are
    score: str | None = None  # what `scores` are, as a name of `SCORES`
    scores: np.ndarray | None = None  # (K,) of the episodes, which are segments then
    notes: dict[str, Any] = field(default_factory=dict)  # for meta.json: robot, fps, ...
    env: tuple[str, ...] = ()  # overrides that make the environment, where the file says which
    say: tuple[str, ...] = ()  # what the user should know


@dataclass(frozen=True)
class Answered:
    """Answers to pairs of segments as a file has them. N of them."""

    pairs: SegmentPair  # N
    prefers_right: np.ndarray  # (N,) 0 to 1; NaN: skipped
    names: tuple[str, ...] = ("imported",)  # of annotators
    annotator: np.ndarray | None = None  # (N,) into names; None: all of the first
    query: np.ndarray | None = None  # (N,) which question; None: each its own
    response_s: np.ndarray | None = None  # (N,)
    last_obs: bool = True
    criterion: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)  # for meta.json: dropped, unanswered, ...


@dataclass(frozen=True)
class Format:
    """A format of the field; a module of this package that has one as `FORMAT` is found by itself."""

    name: str  # format=NAME
    about: str  # what it is, for the help
    is_one: Callable[[Path], bool]  # whether a path looks like one; it may still be damaged
    options: tuple[Option, ...] = ()
    read: Callable[[Path, Options], Recording] | None = None  # episodes: they become a data set
    # Reads answers, which become a label set. The last argument is a folder for arrays that memory cannot hold.
    read_answers: Callable[[Path, Options, Path], Answered] | None = None


def split_words(options: Options, key: str) -> list[str] | None:
    """Words with commas between them; None where the key is not given."""
    if (text := options.get(key)) is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < len(words):
        raise UserError(f"{key}={text}: expected different names with commas between")
    return words


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts demo_2 before demo_10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def whole_number(options: Options, key: str, low: int, default: int | None = None) -> int:
    text = options.get(key, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < low:
        raise UserError(f"{key}={text[:40]}: expected a whole number of at least {low}")
    return int(text)


def join_columns(parts: Mapping[str, np.ndarray], steps: int, where: str) -> np.ndarray:
    """Arrays (L, ...) one after another as (L, O) float32; a single one of images (L, H, W, C) uint8 stays as it is."""
    if not parts:
        raise UserError(f"{where}: obs= names nothing to observe")
    for name, part in parts.items():
        if len(part) != steps:
            raise UserError(f"{where}: {name} has {len(part)} rows, expected {steps}")
        if part.dtype.kind not in "fiub":
            raise UserError(f"{where}: {name} has dtype {part.dtype}, expected numbers")
    if any(is_images(part) for part in parts.values()):
        if len(parts) > 1:
            raise UserError(f"{where}: obs={','.join(parts)} mixes pictures with others; valid is one camera alone")
        return next(iter(parts.values()))
    flat = [part.reshape(steps, -1).astype(np.float32) for part in parts.values()]
    return np.concatenate(flat, 1)


def is_images(array: np.ndarray) -> bool:
    """Return whether it is pictures (L, H, W, C) of bytes."""
    return array.ndim == 4 and array.dtype == np.uint8 and array.shape[-1] in (1, 3, 4)
