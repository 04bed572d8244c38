"""Terminals and logs that know fewer signs than Python, that nobody reads any more, or whose disk is full."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, cast

PLAIN = {"±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "→": "->", "·": "*"}  # noqa: RUF001


def print_what_it_can() -> None:
    """Keep printing from failing, whatever the encoding of output and error; other signs appear as `\\xe4`."""
    codecs.register_error("pbrl.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pbrl.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in unknown), error.end


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Output:
    """A stream like the one it is given, but what cannot be written there is dropped.

    Nobody may read it any more (`| head`, a closed terminal), or its disk is full, as of a log.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.full: OSError | None = None  # the first time that there was no room

    def write(self, text: str) -> int:
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self.stream.flush()

    def close_dead(self) -> None:
        """Flush at the end: what cannot be written any more goes nowhere, or Python would complain."""
        try:
            self.stream.flush()
        except OSError as error:
            self._note(error)
            with contextlib.suppress(OSError), open(os.devnull, "w") as null:
                os.dup2(null.fileno(), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        if error.errno in FULL and self.full is None:
            self.full = error


@contextlib.contextmanager
def protect_output() -> Iterator[Output]:
    """Let a command go on when standard output or error cannot be written; yield what takes the place of the former."""
    # A stream is None where the shell closed it, as with `>&-`.
    out, err = (Output(open(os.devnull, "w") if s is None else s) for s in (sys.stdout, sys.stderr))  # noqa: SIM115
    with contextlib.redirect_stdout(cast(Any, out)), contextlib.redirect_stderr(cast(Any, err)):
        try:
            yield out
        finally:
            out.close_dead()
            err.close_dead()
