"""HDF5 with a group per demo (robomimic, MimicGen, LIBERO, Isaac Lab) or a file per episode (ALOHA).

Which arrays are observed is the user's choice; without it, all in `obs` that are lists of numbers per step, in the
order of their names. Demos are read in the order of their numbers: demo_2 before demo_10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording, join_columns, natural, split_words
from pbrl.data.pictures import decode_picture, looks_compressed
from pbrl.errors import UserError, choices
from pbrl.hdf5 import SUFFIXES, find_array, list_arrays, open_hdf5, read_rows

ACTIONS = ("actions", "action")
REWARDS = ("rewards", "reward")
GROUPS = ("obs", "observations", "observation")  # where observations lie
AFTER = ("next_obs", "next_observations")  # and those after the last action
BLOCK = 64  # pictures read at once


@dataclass(frozen=True)
class Layout:
    """Paths of the arrays below a demo."""

    obs: tuple[str, ...]
    cameras: Mapping[str, str]  # name: path
    actions: str
    rewards: str | None


def is_demos(path: Path) -> bool:
    """A file with demos in it, or a folder of files that are one each."""
    if path.is_dir():
        files = episode_files(path)
        return bool(files) and all(f.suffix.lower() in SUFFIXES for f in files) and _looks(files[0], one_each=True)
    return path.is_file() and path.suffix.lower() in SUFFIXES and _looks(path, one_each=False)


def episode_files(path: Path) -> list[Path]:
    return sorted((f for f in path.iterdir() if f.suffix.lower() in SUFFIXES), key=lambda f: natural(f.name))


def read(path: Path, options: Options) -> Recording:
    """Episodes of a file of demos, or of a folder with one in each file."""
    files = episode_files(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} has no {' or '.join(SUFFIXES)} files")
    with open_hdf5(files[0]) as content:
        demos = list(_demos(content, files[0], options))
        if not demos:
            raise UserError(f"{files[0]} has no demos; demos=GROUP names the group that they are in")
        layout = find_layout(demos[0][1], options, files[0])
        where = demos[0][1].attrs.get("env_args") or demos[0][1].parent.attrs.get("env_args")
    notes = {"obs": list(layout.obs), "env_args": where if isinstance(where, str) and len(where) < 10_000 else None}
    say = () if "obs" in options else (f"observed are {', '.join(layout.obs)}; obs=NAME,NAME chooses others",)
    cameras = tuple(layout.cameras)
    return Recording(_episodes(files, layout, options), cameras=cameras, fps=_fps(options), notes=notes, say=say)


def find_layout(demo: Any, options: Options, where: Path) -> Layout:
    """Return what the user named, or what most files of the field call it."""
    there = list_arrays(demo)
    actions = options.get("action") or next((name for name in ACTIONS if name in there), None)
    if actions is None or actions not in there:
        raise UserError(
            f"{where}: {demo.name} has no {actions or 'actions'}; action=NAME, {choices(actions or '', there)}"
        )
    rewards = options.get("reward") or next((name for name in REWARDS if name in there), None)
    if rewards is not None and rewards not in there:
        raise UserError(f"{where}: {demo.name} has no {rewards}; reward=NAME, {choices(rewards, there)}")
    steps = len(demo[actions])
    pictures = {name for name in there if _is_film(demo[name], steps)}
    default = [n for n in there if n.split("/")[0] in GROUPS and n not in pictures and _is_numbers(demo[n], steps)]
    obs = [_path(name, there, demo, where, "obs") for name in split_words(options, "obs") or []] or default
    if not obs:
        raise UserError(f"{where}: {demo.name} has no observations; obs=NAME,NAME names them, {choices('', there)}")
    named = split_words(options, "cameras")
    chosen = sorted(pictures) if named is None else [_path(n, there, demo, where, "cameras") for n in named]
    return Layout(tuple(obs), {path.split("/")[-1]: path for path in chosen}, actions, rewards)


def _looks(file: Path, one_each: bool) -> bool:
    try:
        with open_hdf5(file) as content:
            if one_each:
                return any(name in content for name in ACTIONS)
            group = content.get("data")
            return group is not None and any(name in group[key] for key in list(group)[:1] for name in ACTIONS)
    except (UserError, TypeError, KeyError):
        return False


def _path(name: str, there: list[str], demo: Any, where: Path, key: str) -> str:
    """The array of this name, which may leave the group of observations out."""
    for found in (name, *(f"{group}/{name}" for group in GROUPS)):
        if found in there:
            return found
    raise UserError(f"{where}: {demo.name} has no {name}; {key}=: {choices(name, there)}")


def _is_film(array: Any, steps: int) -> bool:
    """Pictures (L, H, W, C), or compressed ones (L, bytes)."""
    if array.ndim == 2 and array.dtype == np.uint8 and len(array) >= steps > 0:
        return looks_compressed(array[0])
    return array.ndim == 4 and array.dtype == np.uint8 and len(array) >= steps and array.shape[-1] in (1, 3, 4)


def _is_numbers(array: Any, steps: int) -> bool:
    return array.ndim in (1, 2) and array.dtype.kind in "fiub" and len(array) in (steps, steps + 1)


def _demos(content: Any, file: Path, options: Options) -> Iterator[tuple[str, Any]]:
    """Names and groups of the demos in an open file, in order; those of a mask alone if one is named."""
    import h5py

    name = options.get("demos", "data" if "data" in content else "/")
    group = content.get(name)
    if not isinstance(group, h5py.Group):
        there = ", ".join(content) or "nothing"
        raise UserError(f"{file} has no group {name}; demos=GROUP names the one with a group per demo, it has {there}")
    if any(key in group for key in (*ACTIONS, options.get("action", ACTIONS[0]))):
        yield file.stem, group
        return
    wanted = _mask(content, file, options.get("mask"))
    for demo in sorted(group, key=natural):
        inner = group.get(demo, getlink=True)
        if isinstance(inner, h5py.HardLink) and isinstance(group[demo], h5py.Group) and (not wanted or demo in wanted):
            yield demo, group[demo]


def _mask(content: Any, file: Path, name: str | None) -> set[str]:
    """Names of the demos in mask/NAME; empty where none was asked for."""
    if name is None:
        return set()
    masks = content.get("mask")
    if masks is None or name not in masks:
        raise UserError(f"{file} has no mask/{name}; valid are {', '.join(masks or ()) or 'none, leave mask= out'}")
    return {text.decode() if isinstance(text, bytes) else str(text) for text in masks[name][()]}


def _episodes(files: list[Path], layout: Layout, options: Options) -> Iterator[Recorded]:
    for file in files:
        with open_hdf5(file) as content:
            for name, demo in _demos(content, file, options):
                yield _recorded(demo, name, file, layout)


def _recorded(demo: Any, name: str, file: Path, layout: Layout) -> Recorded:
    where = f"{file}: {name}"
    actions = read_rows(demo, layout.actions, file)
    steps = len(actions)
    parts = {path: _with_last(demo, path, steps, file) for path in layout.obs}
    length = min(
        (len(part) for part in parts.values()), default=steps
    )  # with the observation after the end, or without
    obs = join_columns({path: part[:length] for path, part in parts.items()}, length, where)
    rewards = None if layout.rewards is None else read_rows(demo, layout.rewards, file)
    if rewards is not None and rewards.ndim > 1:
        rewards = rewards.reshape(len(rewards), -1)[:, 0]
    success = demo.attrs.get("success")
    return Recorded(
        name=name,
        obs=obs,
        actions=actions.astype(np.int64) if actions.ndim == 1 and actions.dtype.kind in "iu" else actions,
        rewards=rewards,
        success=None if success is None else float(np.max(success)),
        frames={camera: _film(demo, path, length, file) for camera, path in layout.cameras.items()} or None,
    )


def _with_last(demo: Any, path: str, steps: int, file: Path) -> np.ndarray:
    """Return all L+1 rows if the file has the observation after the last action, at the end or in `next_obs`."""
    rows = read_rows(demo, path, file)
    if rows.ndim == 2 and rows.dtype == np.uint8 and len(rows) and looks_compressed(rows[0]):
        rows = np.stack(list(_unpacked(rows, f"{file}: {path}")))
    if len(rows) != steps:
        return rows
    for group in AFTER:
        after = f"{group}/{path.split('/', 1)[-1]}"
        if path.split("/")[0] in GROUPS and after in demo:
            return np.concatenate([rows, read_rows(demo, after, file, slice(steps - 1, steps))])
    return rows


def _film(demo: Any, path: str, length: int, file: Path) -> Callable[[], Iterator[np.ndarray]]:
    """The pictures at the observations, read a few at a time."""

    def pictures() -> Iterator[np.ndarray]:
        there = len(find_array(demo, path, file))
        for begin in range(0, min(length, there), BLOCK):
            yield from _unpacked(
                read_rows(demo, path, file, slice(begin, min(begin + BLOCK, length))), f"{file}: {path}"
            )
        after = [f"{group}/{path.split('/', 1)[-1]}" for group in AFTER]
        if length == there + 1:
            found = next((name for name in after if name in demo), None)
            last = there - 1
            rows = read_rows(demo, path if found is None else found, file, slice(last, last + 1))
            yield from _unpacked(rows, f"{file}: {path}")

    return pictures


def _unpacked(rows: np.ndarray, where: str) -> Iterator[np.ndarray]:
    """Pictures (H, W, C) of rows that are such, or bytes of a PNG or JPEG."""
    return iter(rows) if rows.ndim == 4 else (decode_picture(row.tobytes(), where) for row in rows)


def _fps(options: Options) -> float | None:
    text = options.get("fps")
    if text is None:
        return None
    try:
        if 0 < (value := float(text)) <= 10_000:
            return value
    except ValueError:
        pass
    raise UserError(f"fps={text}: expected steps per second, as fps=20")


FORMAT = Format(
    name="hdf5",
    about="HDF5 with a group per demo (robomimic, LIBERO, Isaac Lab), or a folder of files of one episode (ALOHA)",
    is_one=is_demos,
    read=read,
    options=(
        Option("obs", "what is observed, arrays with commas between (all lists of numbers in obs/)"),
        Option("action", "the array of the actions (actions, or action)"),
        Option("reward", "that of the rewards, if there is one (rewards)"),
        Option("cameras", "arrays of pictures to keep for clips (all)"),
        Option("demos", "the group that holds the demos (data)"),
        Option("mask", "only the demos in mask/NAME, as mask=train"),
        Option("fps", "steps per second, for clips (30)"),
    ),
)
