"""Minari data sets: read as episodes, and written from those of a data set of ours."""

from __future__ import annotations

import inspect
import json
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
from pbrl.data.env_of_data import as_word, is_plain
from pbrl.data.episodes import Episode
from pbrl.errors import UserError, one_line
from pbrl.files import new_folder
from pbrl.install import install_extra
from pbrl.labels.import_pairs import unit_actions
from pbrl.reading import read_object, require_file
from pbrl_envs.action_box import ActionBox
from pbrl_envs.flat_obs import note_rounding

ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+", re.ASCII)


def read_minari(name: str, *, clip: bool) -> tuple[list[Episode], list[str]]:
    """The episodes of a Minari data set, and where each came from: its id, or what an export of ours noted.

    Observations are flattened as in pbrl's environments, images stay images; actions are scaled from the bounds of
    their space to [-1, 1]. Nothing is downloaded.

    Args:
        name: an id that Minari has on this machine, or the folder of one.
        clip: cut actions off that are outside their bounds, instead of refusing them.
    """
    minari = _minari()
    folder = _folder(minari, name)
    _check_spaces(folder / "data" / "metadata.json")
    try:
        data = minari.MinariDataset(folder / "data")
        episodes = [_episode(episode, data, folder, clip) for episode in data.iterate_episodes()]
        notes = [dict(note) for note in data.storage.get_episode_metadata(data.episode_indices)]
        if not episodes:
            raise UserError(f"{folder} has no episodes")
        named = [str(note.get("source", data.spec.dataset_id)) for note in notes]
        return [_with_note(e, note) for e, note in zip(episodes, notes, strict=True)], named
    except UserError:
        raise
    except Exception as error:  # HDF5, Arrow and Minari's own checks each fail in their own way
        raise UserError(f"{folder} cannot be read as a Minari data set: {one_line(error)}") from error


def env_overrides(name: str) -> list[str]:
    """The environment that a Minari data set says it is of, as overrides of a config; empty where it says none.

    Only its id and plain values are taken, and nothing that its specification names is run.
    """
    file = _folder(_minari(), name) / "data" / "metadata.json"
    meta = read_object(file)
    try:
        spec = json.loads(meta["env_spec"]) if meta.get("env_spec") else None
        if spec is None:
            return []
        steps, kwargs = spec.get("max_episode_steps"), dict(spec.get("kwargs") or {})
        kwargs.pop("render_mode", None)
        if not isinstance(spec["id"], str) or not is_plain([steps, kwargs]):
            raise UserError(f"{file} has an env_spec of more than plain values; give env=NAME, or env=none")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} has no env_spec that can be read ({one_line(error)}); give env=NAME") from None
    options = [f"++env.make.kwargs.{key}={as_word(value)}" for key, value in kwargs.items()]
    return ["env=gym", f"env.id={as_word(spec['id'])}", f"env.max_episode_steps={as_word(steps)}", *options]


def write_minari(data: Dataset, dataset_id: str, root: Path | None) -> Path:
    """Writes the episodes as a Minari data set, whole or not at all; returns its folder.

    Each episode's metadata gets `source`, `split` and, where it is known, `success`. The states of the simulator stay
    behind. Actions are those in [-1, 1].

    root: the folder of Minari's data sets; None for its own.
    """
    minari = _minari()
    if not ID.fullmatch(dataset_id):
        raise UserError(f"id={dataset_id}: expected [NAMESPACE/]NAME-vNUMBER, as point/mixed-v0")
    # Absolute: Minari's folder is pointed elsewhere below while it writes.
    out = (root or minari.storage.get_dataset_path()).resolve() / dataset_id
    with new_folder(out) as folder:
        with _storage_in(folder / "made"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about authors and links that were not given
            _create(minari, data, dataset_id)
        (folder / "made" / dataset_id / "data").rename(folder / "data")
        shutil.rmtree(folder / "made")
    return out


def keeps_images(minari: ModuleType) -> bool:
    """Whether this version can store images as they are; older ones make JPEGs of them."""
    return "jpeg_encoding" in inspect.signature(minari.create_dataset_from_buffers).parameters


def _minari() -> ModuleType:
    try:
        import minari
        import minari.storage

        return minari
    except ImportError as error:
        raise UserError(
            f"Minari data sets need the package minari ({error}); install it with: {install_extra('data')}"
        ) from error


def _folder(minari: ModuleType, name: str) -> Path:
    """The folder of a data set that is named by its id or its folder."""
    folder = Path(name)
    if not (folder / "data").is_dir():
        folder = minari.storage.get_dataset_path(name) if ID.fullmatch(name) else folder
    if not (folder / "data").is_dir():
        raise UserError(f"{name} is no Minari data set here, neither an id nor a folder; minari download gets it")
    return folder


def _check_spaces(file: Path) -> None:
    """Refuses a data set without its own spaces: Minari would run the code that it names to find them."""
    for part in file.parent.rglob("*"):
        if not part.is_dir():
            require_file(part)
    meta = read_object(file)
    if not {"observation_space", "action_space"} <= set(meta):
        raise UserError(f"{file} does not hold observation_space and action_space; valid is a data set that does")


def _episode(episode: Any, data: Any, where: Path, clip: bool) -> Episode:
    name = f"actions of episode {episode.id}"
    actions = _unit(np.asarray(episode.actions), data.spec.action_space, name, where, clip)
    obs = _flat(data.spec.observation_space, episode.observations, where)
    if not len(actions) or len(obs) != len(actions) + 1 or len(episode.rewards) != len(actions):
        sizes = f"{len(obs)} observations, {len(actions)} actions and {len(episode.rewards)} rewards"
        raise UserError(f"{where}: episode {episode.id} has {sizes}, expected one more observation than actions")
    wanted = _flat_shape(data.spec.observation_space), data.spec.action_space.shape
    if (obs.shape[1:], actions.shape[1:]) != wanted:
        found = f"observations of shape {obs.shape[1:]} and actions of shape {actions.shape[1:]}"
        raise UserError(f"{where}: episode {episode.id} has {found}, its data set has {wanted[0]} and {wanted[1]}")
    success = (episode.infos or {}).get("success")
    return Episode(
        obs=obs,
        actions=actions,
        true_reward=np.asarray(episode.rewards, np.float32),
        terminated=bool(episode.terminations[-1]),
        success=None if success is None else float(np.max(success)),
    )


def _with_note(episode: Episode, note: dict[str, Any]) -> Episode:
    if episode.success is not None or "success" not in note:
        return episode
    e = episode
    return Episode(e.obs, e.actions, e.true_reward, e.terminated, e.states, float(note["success"]))


def _unit(actions: np.ndarray, space: Any, name: str, where: Path, clip: bool) -> np.ndarray:
    scaled = ActionBox(space, where).unit(actions)
    scaled = np.where(np.abs(scaled) < 1 + 1e-6, np.clip(scaled, -1, 1), scaled)  # what rounding did
    return unit_actions(scaled, name, where, clip).astype(np.float32)


def _flat(space: Any, value: Any, where: Path) -> np.ndarray:
    """Observations (L+1, O) float32, parts in the order of the space; images (L+1, H, W, C) stay as they are."""
    if isinstance(space, spaces.Box):
        array = np.asarray(value)
        is_image = array.dtype == np.uint8 and array.ndim == 4
        if is_image:
            return array
        flat = array.reshape(len(array), -1).astype(np.float32)
        note_rounding(array, flat, where)
        return flat
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(part, value[key], where) for key, part in space.spaces.items()], 1)
    if isinstance(space, spaces.Tuple):
        return np.concatenate([_flat(part, item, where) for part, item in zip(space, value, strict=True)], 1)
    raise UserError(f"{where} has observations {space}; pbrl needs numbers: a Box, or a Dict or Tuple of them")


def _flat_shape(space: Any) -> tuple[int, ...]:
    """Shape of one observation as `_flat` makes it."""
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return space.shape
    return (spaces.flatdim(space),)


@contextmanager
def _storage_in(root: Path) -> Iterator[None]:
    """Minari's functions write below this folder instead of their own."""
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
