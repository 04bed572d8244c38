"""Text for terminals and logs that know fewer signs than Python: they get a plain one instead of a traceback."""

from __future__ import annotations

import codecs
import io
import sys

PLAIN = {"±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "→": "->", "·": "*"}  # noqa: RUF001


def print_what_it_can() -> None:
    """Whatever the encoding of standard output and error, printing never fails; other signs appear as `\\xe4`."""
    codecs.register_error("pbrl.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pbrl.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in unknown), error.end
