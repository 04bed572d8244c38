"""Minari data sets: an id that Minari has on this machine, or the folder of one. Nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces

from pbrl.data.env_of_data import as_word, is_plain
from pbrl.data.formats.reader import Format, Options, Recorded, Recording
from pbrl.data.minari_files import ID, import_minari
from pbrl.data.unit_actions import ActionRange
from pbrl.errors import UserError, one_line
from pbrl.reading import read_object, require_file
from pbrl_envs.action_box import ActionBox
from pbrl_envs.flat_obs import note_rounding


def is_minari(path: Path) -> bool:
    return (path / "data" / "metadata.json").is_file()


def read(path: Path, options: Options) -> Recording:
    """Read a data set: observations become flat as in our environments, images stay images, a choice of n a choice."""
    minari = import_minari()
    folder = _folder(minari, str(path))
    _check_spaces(folder / "data" / "metadata.json")
    try:
        data = minari.MinariDataset(folder / "data")
        space = data.spec.action_space
    except Exception as error:  # HDF5, Arrow and Minari's own checks each fail in their own way
        raise UserError(f"{folder} cannot be read as a Minari data set: {one_line(error)}") from error
    overrides = env_overrides(str(path))
    say = () if overrides else (f"{path} names no environment; env=NAME notes one",)
    return Recording(_episodes(data, folder), actions=_range(space, folder), env=tuple(overrides), say=say)


def env_overrides(name: str) -> list[str]:
    """The environment that a Minari data set says it is of, as overrides of a config; empty where it says none.

    Only its id and plain values are taken, and nothing that its specification names is run.
    """
    file = _folder(import_minari(), name) / "data" / "metadata.json"
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


def _folder(minari: ModuleType, name: str) -> Path:
    """The folder of a data set that is named by its id or its folder."""
    folder = Path(name)
    if not (folder / "data").is_dir():
        folder = minari.storage.get_dataset_path(name) if ID.fullmatch(name) else folder
    if not (folder / "data").is_dir():
        raise UserError(f"{name} is no Minari data set here, neither an id nor a folder; minari download gets it")
    return folder


def _check_spaces(file: Path) -> None:
    """Refuse a data set without its own spaces: Minari would run the code that it names to find them."""
    for part in file.parent.rglob("*"):
        if not part.is_dir():
            require_file(part)
    meta = read_object(file)
    if not {"observation_space", "action_space"} <= set(meta):
        raise UserError(f"{file} does not hold observation_space and action_space; valid is a data set that does")


def _range(space: Any, where: Path) -> ActionRange | None:
    """Return the bounds of the actions; None where they are choices, or have none and must be told."""
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and not space.is_bounded()):
        return None
    ActionBox(space, where)  # says what else pbrl cannot scale
    return ActionRange(np.asarray(space.low, np.float64), np.asarray(space.high, np.float64))


def _episodes(data: Any, folder: Path) -> Iterator[Recorded]:
    try:
        notes = iter(data.storage.get_episode_metadata(data.episode_indices))
        for episode in data.iterate_episodes():
            yield _recorded(episode, data, folder, dict(next(notes)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{folder} cannot be read as a Minari data set: {one_line(error)}") from error


def _recorded(episode: Any, data: Any, where: Path, note: dict[str, Any]) -> Recorded:
    space = data.spec.action_space
    actions = np.asarray(episode.actions)
    if isinstance(space, spaces.Discrete):
        actions = actions.astype(np.int64) - int(space.start)
    obs = _flat(data.spec.observation_space, episode.observations, where)
    if not len(actions) or len(obs) != len(actions) + 1 or len(episode.rewards) != len(actions):
        sizes = f"{len(obs)} observations, {len(actions)} actions and {len(episode.rewards)} rewards"
        raise UserError(f"{where}: episode {episode.id} has {sizes}, expected one more observation than actions")
    wanted = _flat_shape(data.spec.observation_space), space.shape
    if (obs.shape[1:], actions.shape[1:]) != wanted:
        found = f"observations of shape {obs.shape[1:]} and actions of shape {actions.shape[1:]}"
        raise UserError(f"{where}: episode {episode.id} has {found}, its data set has {wanted[0]} and {wanted[1]}")
    success = (episode.infos or {}).get("success", note.get("success"))
    return Recorded(
        name=str(episode.id),
        obs=obs,
        actions=actions,
        rewards=np.asarray(episode.rewards, np.float32),
        terminated=bool(episode.terminations[-1]),
        success=None if success is None else float(np.max(success)),
        source=str(note.get("source", data.spec.dataset_id)),
    )


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


FORMAT = Format(
    name="minari",
    about="a Minari data set: its id on this machine, or its folder",
    is_one=is_minari,
    read=read,
)
