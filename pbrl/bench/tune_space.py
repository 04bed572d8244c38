"""The space of a tuning: configs/tune/NAME.yaml names a method, its few knobs with their ranges, and what counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pbrl.config import compose_config, config_dir, options
from pbrl.errors import UserError, choices
from pbrl.reading import read_yaml, reading

KINDS = {  # what a knob's YAML gives
    "log": "[low, high] of a number, uniform in its logarithm",
    "float": "[low, high] of a number",
    "int": "[low, high] of a whole number",
    "choice": "a list of values",
}
OBJECTIVES = ("final_return", "final_success", "area_return", "area_success")
DIGITS = 4  # of a number that is tried: more would only be hard to read


@dataclass(frozen=True)
class Knob:
    """One Hydra key with what it may be."""

    key: str
    kind: str  # one of KINDS
    values: tuple[Any, ...]  # low and high, or the choices
    why: str

    def override(self, value: Any) -> str:
        """Write an override in Hydra's syntax, which reads JSON."""
        return f"{self.key}={json.dumps(value)}"

    def rounded(self, value: Any) -> Any:
        """Round a number to DIGITS significant digits, still in its range; other values stay as they are."""
        if self.kind not in ("log", "float"):
            return value
        low, high = self.values
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def admits(self, value: Any) -> bool:
        if self.kind == "choice":
            return self.choice(value) is not None
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (isinstance(value, float) and self.kind != "int")):
            return False
        return self.values[0] <= value <= self.values[1]

    def choice(self, value: Any) -> int | None:
        """Return the place of a value among the choices; 1 and 1.0 are the same, 1 and true are not."""
        same = (i for i, v in enumerate(self.values) if v == value and isinstance(v, bool) == isinstance(value, bool))
        return next(same, None)

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"one of {', '.join(map(json.dumps, self.values))}"
        scale = ", logarithmic" if self.kind == "log" else ""
        return f"{self.values[0]} to {self.values[1]}{scale}"


@dataclass(frozen=True)
class Space:
    name: str  # as given: of configs/tune, or a file
    method: str  # unless the command line gives another
    objective: str  # one of OBJECTIVES
    knobs: tuple[Knob, ...]

    def without(self, keys: Sequence[str]) -> Space:
        """Return the space without these knobs: one that the command line gives keeps that value."""
        left = tuple(knob for knob in self.knobs if knob.key not in keys)
        if not left:
            raise UserError(f"space={self.name}: all its knobs are given, and none is left to tune")
        return replace(self, knobs=left)


def load_space(name: str, extra_dir: str | None) -> Space:
    """Load the space of this name, from the user's own folder first, or that in the YAML of this path."""
    file = _file(name, extra_dir)
    config = read_yaml(file)
    with reading(file, "a space"):
        content = OmegaConf.to_container(config, resolve=True)
    if not isinstance(content, dict) or set(content) != {"method", "objective", "knobs"}:
        raise UserError(f"space={name}: {file} must have the keys method, objective and knobs, and no others")
    if content["objective"] not in OBJECTIVES:
        valid = choices(content["objective"], OBJECTIVES)
        raise UserError(f"space={name}: objective {content['objective']!r}: {valid}")
    if not isinstance(content["knobs"], dict) or not content["knobs"]:
        raise UserError(f"space={name}: knobs must map Hydra keys to ranges")
    knobs = tuple(_knob(name, str(key), entry) for key, entry in content["knobs"].items())
    return Space(name, str(content["method"]), content["objective"], knobs)


def defaults_of(space: Space, overrides: Sequence[str], extra_dir: str | None) -> tuple[DictConfig, dict[str, Any]]:
    """Compose the config without tuning; return it, and each knob's value in it.

    UserError unless every end and choice of the knobs can be composed too, and each of those values is in its range.
    """
    config = compose_config(overrides, extra_dir)
    _check(config)
    widest = max(len(knob.values) for knob in space.knobs)
    for i in range(widest):
        values = [knob.override(knob.values[i % len(knob.values)]) for knob in space.knobs]
        try:
            _check(compose_config([*overrides, *values], extra_dir))
        except UserError as error:
            raise UserError(f"space={space.name}: {error}") from error
    defaults = {knob.key: _default(space, knob, config) for knob in space.knobs}
    return config, defaults


def _file(name: str, extra_dir: str | None) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).exists():
            raise UserError(f"space={name}: there is no such file")
        return Path(name)
    folders = [Path(extra_dir)] if extra_dir else []
    for folder in (*folders, config_dir()):
        if (file := folder / "tune" / f"{name}.yaml").is_file():
            return file
    valid = choices(name, options("tune", extra_dir), also="the path of a YAML file")
    raise UserError(f"space={name}: {valid}")


def _knob(space: str, key: str, entry: Any) -> Knob:
    kinds = [kind for kind in KINDS if isinstance(entry, dict) and kind in entry]
    if len(kinds) != 1 or set(entry) != {*kinds, "why"}:
        valid = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
        raise UserError(f"space={space}: knob {key} needs `why` and one of {valid}")
    kind, values = kinds[0], entry[kinds[0]]
    if not isinstance(values, list) or len(values) < 2 or (kind != "choice" and len(values) != 2):
        raise UserError(f"space={space}: knob {key}: {kind} expects {KINDS[kind]}")
    if not isinstance(entry["why"], str) or not entry["why"].strip():
        raise UserError(f"space={space}: knob {key}: why expects the reason or source of its range")
    if kind != "choice":
        expected: type | tuple[type, ...] = int if kind == "int" else (int, float)
        if not all(isinstance(v, expected) and not isinstance(v, bool) for v in values) or values[0] >= values[1]:
            raise UserError(f"space={space}: knob {key}: {kind}: {values} must be two numbers, the lower one first")
        if kind == "log" and values[0] <= 0:
            raise UserError(f"space={space}: knob {key}: log: {values} must be above 0")
    elif len({json.dumps(v) for v in values}) < len(values):
        raise UserError(f"space={space}: knob {key}: choice: {values} must differ")
    if kind in ("log", "float"):
        values = [float(v) for v in values]
    return Knob(key, kind, tuple(values), entry["why"].strip())


def _default(space: Space, knob: Knob, config: DictConfig) -> Any:
    node = OmegaConf.select(config, knob.key)
    if isinstance(node, DictConfig):
        raise UserError(f"space={space.name}: knob {knob.key} is a group of settings; a knob is one of them")
    value = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    if not knob.admits(value):
        hint = "trial 0 is the default, so it must be in the range"
        raise UserError(f"space={space.name}: knob {knob.key} is {json.dumps(value)} by default, not {knob}; {hint}")
    return value if (i := knob.choice(value)) is None else knob.values[i]


def _check(config: DictConfig) -> None:
    """Refuse what `pbrl train` would, and what measures nothing."""
    if config.evaluation.every is None:
        raise UserError("evaluation.every=null measures no return; tuning compares returns")
    from pbrl.training.check import check

    check(config)
