"""What a grid must know of a method before anything is composed, from its YAML alone: a thousand cells list at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pbrl.config import config_dir, options
from pbrl.errors import UserError, choices
from pbrl.reading import read_yaml

DEFAULT = "pebble"  # of configs/config.yaml


@dataclass(frozen=True)
class MethodFacts:
    labels: bool  # reads labels
    offline: bool  # a learner of configs/offline.yaml
    data: bool  # learns from a data set, alone or before it acts


def method_facts(overrides: Sequence[str], extra_dir: Path | None) -> MethodFacts:
    """Of the method that these overrides choose, directly or by an experiment."""
    chosen = dict(text.split("=", 1) for text in overrides if "=" in text)
    name = chosen.get("method") or _of_experiment(chosen.get("experiment"), extra_dir) or DEFAULT
    tree = _tree(name, extra_dir)
    offline = "/offline" in tree["defaults"]
    return MethodFacts(tree.get("reads_labels", True), offline, offline or "video" in tree)


def _tree(name: str, extra_dir: Path | None) -> dict[str, Any]:
    """The method's own keys over those of the methods it builds on, and the defaults of all of them."""
    if (path := find_yaml("method", name, extra_dir)) is None:
        raise UserError(f"method={name}: {choices(name, options('method'))}")
    tree = _read(path)
    whole: dict[str, Any] = {"defaults": list(tree.get("defaults", []))}
    for entry in tree.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_" and not entry.startswith("/"):
            base = _tree(entry, extra_dir)
            whole = {**base, "defaults": [*whole["defaults"], *base["defaults"]]}
    return whole | {k: v for k, v in tree.get("method", tree).items() if k != "defaults"}


def find_yaml(group: str, name: str, extra_dir: Path | None) -> Path | None:
    """A YAML of a group, the user's own first."""
    folders = [config_dir()] if extra_dir is None else [extra_dir, config_dir()]
    files = [folder / group / f"{name}.yaml" for folder in folders]
    return next((file for file in files if file.is_file()), None)


def _of_experiment(name: str | None, extra_dir: Path | None) -> str | None:
    if name is None or (path := find_yaml("experiment", name, extra_dir)) is None:
        return None
    chosen = [entry for entry in _read(path).get("defaults", []) if isinstance(entry, dict)]
    return next((entry[k] for entry in chosen for k in entry if k.split()[-1] == "/method"), None)


def _read(path: Path) -> dict[str, Any]:
    tree = OmegaConf.to_container(read_yaml(path), resolve=False)
    return {str(k): v for k, v in tree.items()} if isinstance(tree, dict) else {}
