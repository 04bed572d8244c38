"""Minari data sets written from data sets of ours; `pbrl.data.formats.minari` reads them."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces

from pbrl.data.datasets import SPLITS, Dataset
from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl.files import new_folder
from pbrl.install import install_extra

ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+", re.ASCII)


def write_minari(data: Dataset, dataset_id: str, root: Path | None) -> Path:
    """Write the episodes as a Minari data set, whole or not at all; return its folder.

    Each episode's metadata gets `source`, `split` and, where it is known, `success`. The states of the simulator stay
    behind. Actions are those in [-1, 1].

    root: the folder of Minari's data sets; None for its own.
    """
    minari = import_minari()
    if not data.meta.get("true_reward", True):
        raise UserError(f"{data.path} has unknown rewards, which Minari cannot say; valid is a data set with rewards")
    if not ID.fullmatch(dataset_id):
        raise UserError(f"id={dataset_id}: expected [NAMESPACE/]NAME-vNUMBER, as point/mixed-v0")
    # The path is made absolute, since Minari's folder is pointed elsewhere below while it writes.
    out = (root or minari.storage.get_dataset_path()).resolve() / dataset_id
    with new_folder(out) as folder:
        with _store_in(folder / "made"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about authors and links that were not given
            _create(minari, data, dataset_id)
        (folder / "made" / dataset_id / "data").rename(folder / "data")
        shutil.rmtree(folder / "made")
    return out


def keeps_images(minari: ModuleType) -> bool:
    """Return whether this version can store images as they are; older ones make JPEGs of them."""
    return "jpeg_encoding" in inspect.signature(minari.create_dataset_from_buffers).parameters


def import_minari() -> ModuleType:
    try:
        import minari
        import minari.storage

        return minari
    except ImportError as error:
        raise UserError(
            f"Minari data sets need the package minari ({error}); install it with: {install_extra('data')}"
        ) from error


@contextmanager
def _store_in(root: Path) -> Iterator[None]:
    """Let Minari's functions write below this folder instead of their own."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        del os.environ["MINARI_DATASETS_PATH"]
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


def _create(minari: ModuleType, data: Dataset, dataset_id: str) -> None:
    from minari.data_collector import EpisodeBuffer

    first = data.episodes[0]
    image = first.obs.dtype == np.uint8
    if image and not keeps_images(minari):
        found = minari.__version__
        raise UserError(f"minari {found} would change images; valid is 0.5.4 or later, which needs Python 3.11")
    low, high = (0, 255) if image else (-np.inf, np.inf)
    options = {"jpeg_encoding": False} if image else {}
    made = minari.create_dataset_from_buffers(
        dataset_id,
        [EpisodeBuffer(**_buffer(e)) for e in data.episodes],
        observation_space=spaces.Box(low, high, first.obs.shape[1:], first.obs.dtype.type),
        action_space=spaces.Box(-1, 1, first.actions.shape[1:], np.float32),
        description=f"{data.meta['env_name']}, made by: {data.meta['command']}",
        algorithm_name=", ".join(data.meta["sources"]),
        **options,
    )
    notes = []
    for e, source, split in zip(data.episodes, data.source, data.episode_split, strict=True):
        note = {"source": data.meta["sources"][source], "split": SPLITS[split]}
        notes.append(note if e.success is None else {**note, "success": e.success})
    made.storage.update_episode_metadata(notes)


def _buffer(episode: Episode) -> dict[str, Any]:
    last = np.arange(len(episode)) == len(episode) - 1
    return {
        "observations": episode.obs,
        "actions": episode.actions,
        "rewards": episode.true_reward,
        "terminations": last & episode.terminated,
        "truncations": last & (not episode.terminated),
        "infos": {},
    }
