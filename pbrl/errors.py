"""The errors of users, environments, viewers and disks, each said in one line."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

SEVERAL = "`pbrl bench` runs several seeds, methods and environments, see: pbrl bench --help"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
LONGEST = 2000  # characters of a message; a damaged file may have any name and value in it


class UserError(Exception):
    """A mistake in a config, a file or an answer: what, where, what would be valid. The command exits with code 2."""


class EnvError(UserError):
    """A mistake of an environment, or of a function of the user's own, in the middle of things.

    An exception that it raised is the `__cause__`.
    """


class ViewerError(UserError):
    """People cannot be asked here: the viewer does not start, or draws nothing."""


class StorageError(UserError):
    """The disk is full, read-only or broken. What was asked for is right, so the command exits with code 1."""


def as_line(error: BaseException) -> str:
    """Return what an error says, on one line of any terminal, however it came about."""
    text = CONTROL.sub(" ", str(error)).strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def is_name(text: object) -> bool:
    """Return whether this can name something in a table: text that is not blank and has no control characters."""
    return isinstance(text, str) and bool(text.strip()) and not CONTROL.search(text)


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing; of a YAML, what is wrong in which line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark is not None:
        return f"{problem}, line {mark.line + 1}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def raised(error: BaseException) -> str:
    """Return what the user's own code raised, and where, as `raised KeyError at my_teacher.py:5: 'speed'`."""
    here, libraries = Path(__file__).parent, [Path(sysconfig.get_path(key)) for key in ("stdlib", "purelib", "platlib")]
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    own = [
        f"{os.path.relpath(file) if file.is_relative_to(Path.cwd()) else file}:{line}"
        for file, line in frames
        if not file.name.startswith("<frozen") and not {here, *libraries} & set(file.parents)
    ]
    return f"raised {type(error).__name__}{f' at {own[-1]}' if own else ''}: {one_line(error)}"


def choices(name: object, valid: Iterable[object], also: str = "") -> str:
    """Return what a name that does not exist could mean: `valid are mean, sum; did you mean sum?`

    also: what else is valid, in words.
    """
    names = list(map(str, valid))
    close = closest(str(name), names)
    known = ", ".join(names) + (f", or {also}" if also else "")
    return f"valid are {known}" + (f"; did you mean {' or '.join(close)}?" if close else "")


def closest(name: str, valid: Iterable[str], n: int = 2) -> list[str]:
    """Return the names that look like a misspelt one, the likeliest first; capitals, - and _ do not count."""
    plain: dict[str, str] = {}
    for other in valid:
        plain.setdefault(_plain(other), other)
    return [plain[found] for found in difflib.get_close_matches(_plain(name), plain, n=n, cutoff=0.6)]


def typed(*words: str) -> str:
    """A command of pbrl as one types it in a shell, with quotes where a path needs them."""
    return shlex.join(["pbrl", *words])


def typed_value(key: str, value: object) -> str:
    """A value as one types it in a shell, with quotes where it needs them."""
    return shlex.quote(f"{key}={value}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
