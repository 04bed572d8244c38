"""What the numbers of a cell hang on: its resolved config, its data and the code; each as 8 hex digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pbrl.bench.grid import Cell, EnvEntry
from pbrl.config import config_dir
from pbrl.errors import UserError

# Rooms whose code decides no number of a run.
APART = ("bench", "viewer", "commands", "tabular", "speed")
# Keys that say where to write or what to show; and the seed, which the name of a cell has.
OUTSIDE = ("seed", "run_dir", "data", "report", "viewer")


@cache
def code_version() -> str:
    """Of the source files that a run's numbers hang on."""
    import pbrl_envs

    digest = hashlib.sha256()
    for package in (Path(__file__).resolve().parents[1], Path(pbrl_envs.__file__).resolve().parent):
        files = (file.relative_to(package) for file in package.rglob("*.py"))
        for file in sorted(f for f in files if f.parts[0] not in APART):
            digest.update(f"{file.as_posix()}\0".encode() + (package / file).read_bytes())
    return digest.hexdigest()[:8]


def config_version(config: DictConfig, data: str) -> str:
    """Of a resolved config; data: what stands for its data set."""
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return digest({k: v for k, v in tree.items() if k not in OUTSIDE} | {"data": data})


def data_version(env: EnvEntry, reads: bool) -> str:
    """Stands for a data set: how it is made, or the sums of what lies there; empty where none is read."""
    if not reads:
        return ""
    if env.collect is not None:
        return digest(["collect", *env.collecting])
    assert env.data is not None
    try:
        return hashlib.sha256((Path(env.data) / "meta.json").read_bytes()).hexdigest()[:8]
    except OSError:
        raise UserError(
            f"envs.{env.name}.data: {env.data} is no data set: it has no meta.json; `pbrl collect` makes such"
        ) from None


def stamp(cell: Cell, data: str, extra_dir: Path | None) -> str:
    """Equal stamps mean equal configs, whatever is in them; it spares composing a thousand."""
    return digest([cell.arguments, data, _yamls(config_dir()), _yamls(extra_dir) if extra_dir else ""])


@cache
def _yamls(folder: Path) -> str:
    return digest([[str(f.relative_to(folder)), f.read_text()] for f in sorted(folder.rglob("*.yaml"))])


def digest(content: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]
