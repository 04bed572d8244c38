"""The code and the YAMLs that decide numbers, each as 8 hex digits. Comments, docstrings and layout do not count."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pbrl.config import config_dir, groups

OURS = ("pbrl", "pbrl_envs")
# The parts of pbrl that decide no number of a run: what other commands do, and what draws or shows.
APART = {
    *("bench", "viewer", "commands", "tabular", "speed", "reports", "statistics"),
    *("cli.py", "training/progress.py"),
}
NO_RUN = {"bench", "tune"}  # groups of YAMLs that no run reads
NAMING = {  # keys of a config that name code, and how
    "_target_": re.compile(r"(\w+)\."),
    "path": re.compile(r"(\w+)\.[\w.]+$"),  # of hydra.utils.get_class
    "id": re.compile(r"(\w+)[\w.]*:"),
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def code_version() -> str:
    """Return the version of our sources as they are when this process first asks."""
    return digest(_sources(name) for name in OURS)


@cache
def module_version(name: str) -> str:
    """Return the version of a module or package of the user's own, as it is when this process first asks."""
    return digest(_sources(name))


@cache
def yamls_version(folder: Path) -> str:
    """Return the version of the configs in the folder's groups, as they are when this process first asks.

    A folder of the user's own may hold runs and benches as well.
    """
    files = [*folder.glob("*.yaml")] if folder == config_dir() else []
    for group in groups() - NO_RUN:
        files += (folder / group).rglob("*.yaml")
    return digest([file.relative_to(folder).as_posix(), file.read_text()] for file in sorted(files))


def changed(modules: Iterable[str], folders: Iterable[Path]) -> bool:
    """Return whether our sources, these modules or YAMLs are others by now than when this process first asked."""
    try:
        return (
            code_version() != code_version.__wrapped__()
            or any(module_version(name) != module_version.__wrapped__(name) for name in modules)
            or any(yamls_version(folder) != yamls_version.__wrapped__(folder) for folder in folders)
        )
    except FileNotFoundError:  # a file that went while they were read
        return True


def own_code(config: DictConfig) -> dict[str, str]:
    """Return versions of the modules besides ours that a config names: in `_target_`, or as `module:Env-v0`."""
    names = set(_named(OmegaConf.to_container(config, resolve=True), ""))
    return {name: module_version(name) for name in sorted(names - {*OURS, "hydra", *sys.stdlib_module_names})}


def same_modules(versions: dict[str, str]) -> bool:
    """Return whether modules still have these versions."""
    return all(module_version(name) == known for name, known in versions.items())


def digest(content: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(content), sort_keys=True, default=str).encode()).hexdigest()[:8]


def _named(node: Any, key: str) -> Iterator[str]:
    """Yield the top-level modules that a config names."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _named(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, key)
    elif key in NAMING and isinstance(node, str) and (match := NAMING[key].match(node)):
        yield match[1]


def _sources(name: str) -> list[list[str]]:
    """The files of a module or package, each with a digest; what is installed goes by its version."""
    if (spec := importlib.util.find_spec(name)) is None:
        return []  # whoever builds what the config names says so
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    place = folders[0] if folders else Path(str(spec.origin))
    site = any(Path(sysconfig.get_path(kind)) in place.parents for kind in ("purelib", "platlib"))
    if name not in OURS and site and (found := packages_distributions().get(name)):
        return [[package, version(package)] for package in found]
    files = {f.relative_to(folder).as_posix(): f for folder in folders for f in folder.rglob("*.py")} or {name: place}
    kept = [n for n in sorted(files) if name != "pbrl" or not {n, n.split("/")[0]} & APART]
    return [[n, _of_file(files[n], files[n].stat().st_mtime_ns, files[n].stat().st_size)] for n in kept]


@cache
def _of_file(file: Path, changed_ns: int, size: int) -> str:
    """Hash a file. changed_ns, size: a file that keeps both is not read again."""
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # half written, or no Python
        return hashlib.sha256(content).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
