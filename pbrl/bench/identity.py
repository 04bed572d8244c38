"""Versions of what a cell's numbers hang on besides our code: its resolved config and its data, each 8 hex digits."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pbrl.bench.grid import Cell
from pbrl.bench.sources import digest, own_code, yamls_version
from pbrl.config import config_dir

# These keys say where to write or what to show, or are in the name of a cell, as the seed is.
OUTSIDE = ("seed", "run_dir", "data", "report", "viewer", "logger", "tensorboard")


def config_version(config: DictConfig, data: str) -> str:
    """Return the version of a config and the user's own code that it names; data: what stands for its data set."""
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return digest([{k: v for k, v in tree.items() if k not in OUTSIDE}, data, own_code(config)])


def stamp(cell: Cell, data: str, extra_dir: Path | None) -> str:
    """Return a stamp: where two are equal, so are their configs, and a thousand of them need not be composed."""
    return digest([cell.arguments, data, *map(yamls_version, yaml_folders(extra_dir))])


def yaml_folders(extra_dir: Path | None) -> list[Path]:
    """Return the folders of YAMLs that count. extra_dir: of the user's own."""
    return [config_dir()] if extra_dir is None else [config_dir(), extra_dir]
