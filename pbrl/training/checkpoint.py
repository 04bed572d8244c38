"""Checkpoints that are either whole or absent, and are checked before use. Nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pbrl.append_only import AppendOnly
from pbrl.data.recorder import NotRepeated
from pbrl.errors import UserError, one_line, typed
from pbrl.files import sync
from pbrl.reading import PICKLE, read_object, reading, require_archive, require_file
from pbrl.storage import storing
from pbrl.training.shards import Shards, described

MANIFEST, CONFIG = "manifest.json", "config.json"
FILES = ("state.json", "tensors.pt")


class Checkpoints:
    """`checkpoints/<step>/` with a `last` pointer. Written beside, synced, renamed: a kill leaves the old in force.

    `AppendOnly` rows in a state cost only what is new of them, see `Shards`; all else is written each time.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._shards = Shards()

    def save(self, step: int, state: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        """Save a checkpoint. state: nested dicts and lists of tensors, arrays, plain values; config: as it ran."""
        try:
            with storing(self.folder):
                self._save(step, state, config)
        except BaseException:
            shutil.rmtree(self.folder / f"{step}.partial", ignore_errors=True)
            raise

    def _save(self, step: int, state: dict[str, Any], config: dict[str, Any] | None) -> None:
        self.folder.mkdir(0o700, exist_ok=True)  # the answers so far are in it
        partial = self.folder / f"{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        tensors: dict[str, torch.Tensor] = {}
        columns: dict[str, AppendOnly] = {}
        tree = _take_out(state, tensors, columns, "")
        (partial / "state.json").write_text(json.dumps(tree))
        with (partial / "tensors.pt").open("wb") as stream:  # given a path, torch would not say why it cannot write
            torch.save(tensors, stream)
        if config is not None:
            (partial / CONFIG).write_text(json.dumps(config))
        stored = self._shards.write(partial, columns)
        manifest = described(stored)
        others = sorted(p for p in partial.iterdir() if p.name not in manifest)
        manifest |= {p.name: {"bytes": p.stat().st_size, "crc32": _crc32(p)} for p in others}
        (partial / MANIFEST).write_text(json.dumps(manifest))
        for file in [*partial.iterdir(), partial]:
            sync(file)
        final = self.folder / str(step)
        if final.exists():
            shutil.rmtree(_replaced(final), ignore_errors=True)
            final.rename(_replaced(final))  # which stays in force until the new one is there
        partial.rename(final)
        self._shards.follow(final, stored)
        sync(self.folder)
        pointer = self.folder / "last.partial"
        pointer.write_text(f"{step}\n")
        sync(pointer)
        pointer.rename(self.folder / "last")
        self._prune(step)

    def last(self) -> Path | None:
        """Return the newest whole checkpoint, or None before the first."""
        pointer = self.folder / "last"
        if not pointer.exists():  # killed just before the first was pointed to, or the pointer was lost
            names = self._names() if self.folder.is_dir() else []
            return self.folder / names[-1] if names else None
        require_file(pointer)
        path = self.folder / pointer.read_text(errors="replace").strip()
        if path.name.isdigit() and not path.exists() and _replaced(path).is_dir():
            with storing(path):
                _replaced(path).rename(path)  # killed before the other one was there
        if not path.name.isdigit() or not path.is_dir():
            raise UserError(f"{pointer} names {path.name!r}, which is not a checkpoint; valid: {self._names()}")
        return path

    def describe_loss(self) -> str:
        """Return what a run that ends now, with nothing saved, loses."""
        names = self._names() if self.folder.is_dir() else []
        return f"what came after step {names[-1]} is lost" if names else "all is lost, since there is no checkpoint yet"

    def load(self, path: Path) -> dict[str, Any]:
        self._require_intact(path)
        tree = read_object(path / "state.json")
        require_archive(path / "tensors.pt")
        with reading(path / "tensors.pt", "a file of tensors"):
            try:
                tensors = torch.load(path / "tensors.pt", weights_only=True, map_location="cpu")
            except pickle.UnpicklingError:  # whose message tells how to run what is in it
                raise UserError(f"{path / 'tensors.pt'} holds something else than tensors; {PICKLE}") from None
        columns = self._shards.read(path)
        with reading(path / "state.json", "the state of a run"):
            return _put_back(tree, tensors, columns)

    def config(self, path: Path) -> dict[str, Any] | None:
        """Return what ran, as it was saved; None in a checkpoint of an older layout."""
        self._require_intact(path, only=CONFIG)
        return read_object(path / CONFIG) if (path / CONFIG).is_file() else None

    def _require_intact(self, path: Path, only: str | None = None) -> None:
        if damaged := _damaged(path, only):
            # Neighbouring checkpoints share files, and so their damage.
            others = [n for n in self._names() if n != path.name and not _damaged(self.folder / n)]
            way_out = f"write {others[-1]} into {self.folder / 'last'} to go on from there" if others else "start anew"
            raise UserError(f"checkpoint {path} is damaged ({', '.join(damaged)}); {way_out}")

    def _names(self) -> list[str]:
        return sorted((p.name for p in self.folder.iterdir() if p.name.isdigit()), key=int)

    def _prune(self, current: int) -> None:
        """Keeps the newest few up to `current`; later ones belong to a future that this run left behind."""
        past = [n for n in self._names() if int(n) <= current]
        for name in set(self._names()) - set(past[-self.keep :]):
            shutil.rmtree(self.folder / name)
        for left in self.folder.glob(_replaced(self.folder / "*").name):
            shutil.rmtree(left)


class Resumable(Protocol):
    checkpoints: Checkpoints

    def open_log(self, *, purge_step: int) -> None: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def restore_last(run: Resumable, path: Path) -> None:
    """Put a run where its last checkpoint left it; at its start if it has none yet."""
    last = run.checkpoints.last()
    if last is None:
        run.open_log(purge_step=0)
        return
    try:
        run.load_state_dict(run.checkpoints.load(last))
    except NotRepeated as error:
        fresh = typed("train", f"resume={path}", "fresh_episode=true")
        raise UserError(f"{error}; to go on with a fresh episode instead: {fresh}") from error
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"checkpoint {last} does not fit {path / 'config.yaml'}: {one_line(error)}") from error


def _take_out(value: Any, tensors: dict[str, torch.Tensor], columns: dict[str, AppendOnly], path: str) -> Any:
    """Return the tree as JSON, with tensors and arrays moved to `tensors` under their path, and rows to `columns`."""

    def inner(value: Any, name: Any) -> Any:
        return _take_out(value, tensors, columns, f"{path}/{name}")

    if isinstance(value, dict):
        # JSON knows only string keys; optimisers number their parameters.
        return {"dict": [[k, inner(v, k)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [inner(v, i) for i, v in enumerate(value)]}
    if isinstance(value, AppendOnly):
        columns[path] = value
        return {"rows": path}
    if isinstance(value, (np.ndarray, np.generic)):
        tensors[path] = torch.from_numpy(np.ascontiguousarray(value))
        return {"array": path, "shape": list(value.shape)}
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach()
        return {"tensor": path}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"checkpoint{path}: cannot store a {type(value).__name__}")


def _put_back(node: dict[str, Any], tensors: dict[str, torch.Tensor], columns: dict[str, AppendOnly]) -> Any:
    ((kind, content),) = [(k, v) for k, v in node.items() if k != "shape"]
    if kind == "dict":
        return {k: _put_back(v, tensors, columns) for k, v in content}
    if kind in ("list", "tuple"):
        items = [_put_back(v, tensors, columns) for v in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "rows":
        return columns[content]
    if kind == "array":
        return tensors[content].numpy().reshape(node["shape"])
    return tensors[content] if kind == "tensor" else content


def _damaged(path: Path, only: str | None = None) -> list[str]:
    """Return the files in a checkpoint that are not as they were written. only: of this one alone."""
    try:
        manifest = read_object(path / MANIFEST)
        damaged = [n for n in FILES if n not in manifest]
        return damaged + [n for n, m in manifest.items() if only in (None, n) and not _intact(path / n, m)]
    except (UserError, KeyError, TypeError):
        return [MANIFEST]


def _replaced(path: Path) -> Path:
    """Return where a checkpoint lies while another of its step takes its place."""
    return path.with_name(f"{path.name}.replaced.partial")


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def _intact(path: Path, expected: dict[str, int]) -> bool:
    return path.is_file() and path.stat().st_size == expected["bytes"] and _crc32(path) == expected["crc32"]
