"""The server's hold on the label store, whatever befalls the file: locks, full disks, damage, replacement."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pbrl.errors import StorageError, UserError, as_line
from pbrl.labels.database import StoreLocked
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.storage import storage_problem

T = TypeVar("T")
BUSY_S = 0.02  # that one try waits for another process that writes; all other requests wait with it
PATIENCE_S = 4.0  # that a request waits for it; others go on meanwhile
AGAIN_S = 0.05
REOPEN_S = 1.0  # between tries to open a store that could not be opened


class Keeper:
    """Opens the store of a run when it is needed, and anew where its file was replaced or had a fault.

    What was written into a file that is no longer there would be lost without a word, so every use looks which file has
    the name. opened: called with each store that was opened. Use it from one thread.
    """

    def __init__(self, run_dir: Path, opened: Callable[[LabelStore], None]) -> None:
        self.run_dir, self.path, self._opened = run_dir, run_dir / FILE_NAME, opened
        self._store: LabelStore | None = None
        self._file: tuple[int, int] | None = None
        self._failed: tuple[StorageError, float] | None = None

    async def use(self, act: Callable[[LabelStore], T]) -> T:
        """Return what `act` does, tried for a while if another process writes. StorageError: not now, maybe later."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._use(act)
            except StoreLocked:  # noqa: PERF203
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(AGAIN_S)

    def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _use(self, act: Callable[[LabelStore], T]) -> T:
        store = self._open()
        try:
            done = act(store)
        except StoreLocked:
            raise
        except (sqlite3.Error, StorageError, OSError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise StoreLocked(f"{self.path}: another process holds it") from error
            raise self._fault(StorageError(self.problem(error))) from error
        if self._present() != self._file:
            raise self._fault(StorageError(f"{self.path} was replaced"))
        return done

    def _fault(self, error: StorageError) -> StorageError:
        """Close a connection that may know the file wrongly now, unless the disk is merely full; return the error."""
        if "full" not in str(error):
            self.close()
            self._failed = error, time.monotonic()
        return error

    def _open(self) -> LabelStore:
        if self._store is not None and self._present() == self._file:
            return self._store
        if self._failed is not None and time.monotonic() - self._failed[1] < REOPEN_S:
            raise self._failed[0]
        self.close()
        try:
            self._file = self._present()
            store = LabelStore(self.run_dir, create=False, busy_s=BUSY_S)
            self._opened(store)
        except StoreLocked:
            raise
        except (UserError, sqlite3.Error, OSError) as error:
            raise self._fault(StorageError(self.problem(error))) from error
        self._store, self._failed = store, None
        return store

    def problem(self, error: Exception) -> str:
        """Say in one line what went wrong, whoever said it."""
        if isinstance(error, UserError):
            return as_line(error)
        return storage_problem(error, self.path) or f"{self.path}: {as_line(error)}"

    def _present(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
