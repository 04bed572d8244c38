"""The environment that a data set or label set says it was made in, as overrides of a config."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pbrl.data.dataset_checks import META_FILE, read_meta
from pbrl.data.datasets import is_dataset
from pbrl.errors import UserError
from pbrl.files import no_folder
from pbrl.labels.set_checks import read_meta as read_label_meta

VALID = "give env=NAME, or env=none to train without one"
Leaves = dict[tuple[str, ...], Any]


def data_meta(path: Path) -> dict[str, Any]:
    """Read the meta.json of a data set or of a label set; UserError where the folder is neither."""
    if not path.is_dir():
        raise UserError(f"data={path}: {no_folder(path)}; make one with `pbrl collect` or `pbrl labels export`")
    return (read_meta if is_dataset(path) else read_label_meta)(path / META_FILE)


def env_overrides(path: Path, config_dirs: Sequence[Path]) -> list[str]:
    """Overrides such as `env=point_reach` that give the environment of the data in `path`.

    Only the name of a YAML in one of `config_dirs` and plain values are taken from the data: what a config makes could
    be any function. UserError: the data does not say, or names what no YAML here makes.
    """
    meta = data_meta(path)
    name, theirs = meta["env_name"], meta["env"]
    if name is None:
        raise UserError(f"data={path} does not say which environment it is of; {VALID}")
    wanted = _leaves(theirs if isinstance(theirs, dict) else {})
    files = [f for folder in config_dirs for f in sorted((folder / "env").glob("*.yaml"))]
    found = _of_name(files, name) or _of_maker(files, wanted)
    if found is None:
        raise UserError(f"data={path} is of env={name}, which no YAML here makes; {VALID}")
    file, ours = found
    different = [(key, value) for key, value in wanted.items() if key not in ours or ours[key] != value]
    for key, value in different:
        if any(part.startswith("_") or not part.isidentifier() for part in key) or not is_plain(value):
            raise UserError(f"data={path} has env.{'.'.join(key)}={value}, expected plain numbers and words; {VALID}")
    return [f"env={file.stem}", *(f"++env.{'.'.join(key)}={as_word(value)}" for key, value in different)]


def _of_name(files: Sequence[Path], name: str) -> tuple[Path, Leaves] | None:
    """Find the YAML of this very environment, and what it comes to."""
    return next(((file, _resolved(raw, {})) for file in files if (raw := _read(file)).get("name") == name), None)


def _of_maker(files: Sequence[Path], wanted: Leaves) -> tuple[Path, Leaves] | None:
    """Find the YAML of any task of the same maker, such as env=gym, and what it comes to with what must be given."""
    target = wanted.get(("make", "_target_"))
    for file in files:
        raw = _read(file)
        leaves = _leaves(raw)
        general = str(raw.get("name")).startswith("${") and target and leaves.get(("make", "_target_")) == target
        if general and all(key in wanted for key, value in leaves.items() if value == "???"):
            return file, _resolved(raw, wanted)
    return None


def _read(file: Path) -> dict[str, Any]:
    raw: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return raw if isinstance(raw, dict) else {}


def _resolved(raw: dict[str, Any], wanted: Leaves) -> Leaves:
    """Resolve a config without the values that must be given, so that what is wanted differs from it."""
    given = OmegaConf.create({"env": raw})
    missing = [key for key, value in _leaves(raw).items() if value == "???"]
    for key in missing:
        OmegaConf.update(given, ".".join(("env", *key)), wanted.get(key))
    leaves = _leaves(OmegaConf.to_container(given, resolve=True)["env"])  # type: ignore[index, call-overload]
    return {key: value for key, value in leaves.items() if key not in missing}


def _leaves(node: Any, prefix: tuple[str, ...] = ()) -> Leaves:
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: leaf for k, v in node.items() for key, leaf in _leaves(v, (*prefix, str(k))).items()}


def is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(str(k).isidentifier() and not str(k).startswith("_") and is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)


def as_word(value: Any) -> str:
    """Write a plain value in the words of Hydra's command line."""
    if isinstance(value, list):
        return f"[{','.join(map(as_word, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{as_word(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        escaped = value.replace("\\'", "\\\\'").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)
