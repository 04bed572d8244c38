"""What the numbers of a cell hang on besides our code: its resolved config and its data, each as 8 hex digits."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pbrl.bench.grid import Cell, EnvEntry
from pbrl.bench.sources import digest, own_code, yamls_version
from pbrl.config import config_dir
from pbrl.errors import UserError

# Keys that say where to write or what to show; and the seed, which the name of a cell has.
OUTSIDE = ("seed", "run_dir", "data", "report", "viewer")


def config_version(config: DictConfig, data: str) -> str:
    """Of a resolved config and the user's own code that it names; data: what stands for its data set."""
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return digest([{k: v for k, v in tree.items() if k not in OUTSIDE}, data, own_code(config)])


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
    return digest([cell.arguments, data, *map(yamls_version, yaml_folders(extra_dir))])


def yaml_folders(extra_dir: Path | None) -> list[Path]:
    """extra_dir: of YAMLs of the user's own."""
    return [config_dir()] if extra_dir is None else [config_dir(), extra_dir]
