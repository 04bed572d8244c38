"""The file of a study, checked: what people are told, what they practise on, what is checked, and when it is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pbrl.errors import UserError, choices, one_line
from pbrl.reading import read_yaml

ANSWERS = ("left", "right", "equal")
LONGEST = 20_000  # characters of a text


@dataclass(frozen=True)
class KnownPair:
    """A pair whose answer is known."""

    query: int  # of the run, or of the label set
    answer: str  # of ANSWERS, between the segments
    feedback: str = ""  # said after it was practised


@dataclass(frozen=True)
class KnownPairs:
    """Pairs that are named, or `count` of those whose true returns differ most."""

    pairs: tuple[KnownPair, ...] = ()
    count: int = 0
    every: int = 10  # gold: one among so many questions

    @property
    def wanted(self) -> int:
        return self.count or len(self.pairs)


@dataclass(frozen=True)
class Attention:
    """A check of attention: now and then the page asks for a certain key."""

    every: int  # one among so many questions


@dataclass(frozen=True)
class Breaks:
    every: int  # questions
    seconds: float = 30.0  # that a break lasts at least


@dataclass(frozen=True)
class Completion:
    code: str
    url: str | None = None  # where the code is to be handed in


@dataclass(frozen=True)
class Study:
    """The content of a study file; docs/study.md explains each key."""

    run: str | None = None  # asks the questions of this run
    labels: str | None = None  # or those of this label set
    consent: str | None = None
    instructions: str | None = None
    practice: KnownPairs = KnownPairs()
    gold: KnownPairs = KnownPairs()
    attention: Attention | None = None
    quota: int | None = None  # questions for each person; None: all there are
    breaks: Breaks | None = None
    full_play: bool = True  # keys count once both clips have played to their end
    skip: bool = False  # whether questions may be skipped
    seed: int = 0  # of the order in which each person gets the questions
    prolific: bool = False  # who comes is known by the PROLIFIC_PID of the address
    completion: Completion | None = None
    viewer: Mapping[str, Any] = field(default_factory=dict)  # settings of the viewer

    @property
    def reserved(self) -> frozenset[int]:
        """Return the queries that are practised on or checked with, so that nobody is asked them as questions."""
        return frozenset(pair.query for pair in (*self.practice.pairs, *self.gold.pairs))


SECTIONS: dict[str, Any] = {
    "practice": KnownPairs,
    "gold": KnownPairs,
    "attention": Attention,
    "breaks": Breaks,
    "completion": Completion,
}
TEXTS = ("run", "labels", "consent", "instructions", "code", "url", "feedback")
NUMBERS = {"quota": (1, 10**6), "every": (1, 10**6), "count": (0, 1000), "seed": (0, 2**53), "query": (1, 2**53)}
SWITCHES = ("full_play", "skip", "prolific")


def read_study(path: Path) -> Study:
    """Read a study file; UserError names what is wrong in it, and what would be valid."""
    if not path.is_file():
        raise UserError(f"{path} is no file; expected the YAML of a study, as docs/study.md shows one")
    config = read_yaml(path)
    try:
        found = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {one_line(error)}; valid in a text is \\${{ for ${{") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} has no keys; expected those of a study: {', '.join(_names(Study))}")
    study: Study = _read(Study, found, f"{path}: ")
    if (study.run is None) == (study.labels is None):
        raise UserError(f"{path}: expected either run: RUN_DIR or labels: LABEL_SET, whose questions are asked")
    for name in ("practice", "gold"):
        known: KnownPairs = getattr(study, name)
        if known.pairs and known.count:
            raise UserError(f"{path}: {name} has pairs and count; valid is one of them")
    queries = [pair.query for known in (study.practice, study.gold) for pair in known.pairs]
    if twice := [query for query in queries if queries.count(query) > 1]:
        raise UserError(f"{path}: query {twice[0]} is named twice among practice and gold; valid is once")
    return study


def _read(kind: type[Any], found: Any, where: str) -> Any:
    """Read an object of a dataclass out of a mapping. where: `FILE: ` or `FILE: section.`"""
    here = where.rstrip(".: ")
    if not isinstance(found, dict):
        raise UserError(f"{here} is {found!r}; expected keys of {', '.join(_names(kind))}")
    for key in found:
        if key not in _names(kind):
            raise UserError(f"{where}{key} is unknown: {choices(str(key), _names(kind))}")
    for needed in (f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING):
        if found.get(needed) is None:
            raise UserError(f"{where}{needed} is missing")
    return kind(**{key: _value(key, value, where) for key, value in found.items() if value is not None})


def _value(key: str, value: Any, where: str) -> Any:
    if key in SECTIONS:
        return _read(SECTIONS[key], value, f"{where}{key}.")
    if key == "pairs":
        if not isinstance(value, list):
            raise UserError(f"{where}pairs is {value!r}; expected a list, as [{{query: 3, answer: left}}]")
        return tuple(_read(KnownPair, pair, f"{where}pairs[{i}].") for i, pair in enumerate(value))
    if (wanted := _wanted(key, value)) is not None:
        raise UserError(f"{where}{key}={value!r}: expected {wanted}")
    return value.strip() if isinstance(value, str) else value


def _wanted(key: str, value: Any) -> str | None:
    """Return what the value of this key must be, if it is not."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key in NUMBERS:
        low, high = NUMBERS[key]
        return None if number and isinstance(value, int) and low <= value <= high else f"a whole number from {low}"
    if key == "seconds":
        return None if number and 0 <= value <= 3600 else "seconds from 0 to 3600"
    if key in SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    if key == "answer":
        return None if value in ANSWERS else f"one of {', '.join(ANSWERS)}"
    if key == "viewer":
        return None if isinstance(value, dict) else "settings of the viewer, as {overlap: 2}"
    assert key in TEXTS, key
    if key == "url":
        return None if isinstance(value, str) and value.startswith("https://") else "an address, as https://..."
    return None if isinstance(value, str) and 0 < len(value.strip()) <= LONGEST else "some text"


def _names(kind: type[Any]) -> list[str]:
    return [f.name for f in fields(kind)]
