"""bench.json: what a bench was, its tasks, its methods and the numbers that papers have for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.reading import read_json, read_object

BENCH_FILE = "bench.json"
WANTED: dict[str, type] = {
    "name": str,
    "commands": list,
    "code": str,
    "versions": dict,
    "seeds": list,
    "cells": int,
    "finished": int,
    "failed": list,
    "envs": dict,
    "methods": dict,
    "published": list,
}
JSON_NAMES: dict[type, str] = {
    str: "a text",
    list: "a list",
    dict: "an object",
    int: "a whole number",
    bool: "true or false",
}
SCORES = ("return", "success")
CIRCUMSTANCES = ("schedule", "networks", "picked")  # of a published number, where they are told


@dataclass(frozen=True)
class Env:
    """A task, and the two scores between which it is normalised."""

    score: str  # return | success
    low: float | None  # of uniformly random actions
    high: float | None  # of the finished seeds of high_method; None while there are none
    high_method: str

    @property
    def scale(self) -> tuple[float, float] | None:
        """The ends low and high, where they are a scale: known, and high above low."""
        return None if self.low is None or self.high is None or self.high <= self.low else (self.low, self.high)

    def normalised(self, score: float) -> float | None:
        """Put a score on the scale where random actions are 0 and `high_method` is 1; None where there is no scale."""
        return None if self.scale is None else (score - self.scale[0]) / (self.scale[1] - self.scale[0])


@dataclass(frozen=True)
class Published:
    """A number from a paper; shown beside ours, never part of an aggregate."""

    env: str
    method: str
    labels: float | None
    steps: float | None
    value: float
    low: float | None
    high: float | None
    measure: str
    source: str
    sure: str
    schedule: str = ""  # when labels were asked
    networks: str = ""  # of actor and critic
    picked: str = ""  # whether its settings were chosen on the runs that it is of


@dataclass(frozen=True)
class Bench:
    """The content of bench.json."""

    name: str
    about: str
    commands: list[str]
    code: str
    versions: dict[str, Any]
    seeds: list[int]
    cells: int
    finished: int
    failed: list[str]
    envs: dict[str, Env]
    methods: dict[str, bool]  # whether it learns from labels
    published: list[Published]


def read_bench_file(file: Path) -> Bench:
    """Read a bench.json; UserError for what `pbrl bench` would not write."""
    if not file.exists():
        raise UserError(f"{file} does not exist; valid is a folder that pbrl bench wrote")
    top = _Object(str(file), read_json(file))
    plain = {key: top.of(key, kind) for key, kind in WANTED.items()}
    plain["envs"] = {name: _env(_Object(f"{file}, env {name}", env)) for name, env in plain["envs"].items()}
    plain["methods"] = {
        name: _Object(f"{file}, method {name}", method).of("labels", bool) for name, method in plain["methods"].items()
    }
    plain["published"] = [
        read_published(f"{file}, published number {i + 1}", one) for i, one in enumerate(plain["published"])
    ]
    return Bench(**plain, about=str(top.get("about") or ""))


def check_name(out: Path, name: str) -> None:
    """Raise UserError where the folder is the bench of another grid, whose tables these would replace."""
    file = out / BENCH_FILE
    if file.exists() and (found := read_object(file).get("name")) != name:
        raise UserError(f"out={out} is the bench of grid {found}, not of {name}; choose another folder")


def read_published(where: str, one: Any) -> Published:
    found = _Object(where, one)
    value = found.number("value")
    if value is None:
        raise UserError(f"{found.where}: value is null; valid is a number")
    env, method, measure, source, sure = (found.of(k, str) for k in ("env", "method", "measure", "source", "sure"))
    labels, steps, low, high = (found.number(key) for key in ("labels", "steps", "low", "high"))
    told = {key: found.of(key, str) for key in CIRCUMSTANCES if key in one}
    return Published(env, method, labels, steps, value, low, high, measure, source, sure, **told)


class _Object:
    """A JSON object and where it is."""

    def __init__(self, where: str, found: Any) -> None:
        if not isinstance(found, dict):
            raise UserError(f"{where} is {found!r:.40}; valid is an object")
        self.where, self.found = where, found

    def get(self, key: str) -> Any:
        if key not in self.found:
            raise UserError(f"{self.where} has no {key!r}")
        return self.found[key]

    def of(self, key: str, kind: type) -> Any:
        value = self.get(key)
        if type(value) is not kind:
            raise UserError(f"{self.where}: {key} is {value!r:.40}; valid is {JSON_NAMES[kind]}")
        return value

    def number(self, key: str) -> float | None:
        value = self.get(key)
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            raise UserError(f"{self.where}: {key} is {value!r:.40}; valid is a number or null")
        return None if value is None else float(value)

    def score(self) -> str:
        if self.get("score") not in SCORES:
            raise UserError(f"{self.where}: score is {self.get('score')!r:.40}; valid are {', '.join(SCORES)}")
        return str(self.get("score"))


def _env(found: _Object) -> Env:
    return Env(found.score(), found.number("low"), found.number("high"), found.of("high_method", str))
