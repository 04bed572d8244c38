"""`key=value` before Hydra composes a config: one value each, and folders and words as they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from pbrl.errors import SEVERAL, UserError, one_line
from pbrl.files import expand_home

LONG_NUMBER = r"\d{301}"  # which Python would refuse to write out
KEY = re.compile(r"\+{0,2}[A-Za-z_][\w.@/$:-]*", re.ASCII)
SHORT = {"init": "init.run"}
PLACED = {  # keys whose values name a YAML
    "fit.loss": "loss@fit.loss",
    "fit.pessimism": "pessimism@fit.pessimism",
    "teacher.script": "teacher@teacher.script",
}
OPEN = ("viewer.criteria", "env.make.kwargs")  # mappings that are empty until somebody says what is in them
MAPPINGS = (  # whose names are the user's own, so that one is given whole, never name by name
    "method.objectives",
    "method.primary",
    "method.helper",
    "method.weights",
    "teacher.weights",
    *OPEN,
)
PATHS = (
    "run_dir",
    "data",
    "labels",
    "init.run",
    "teacher.labels",
    "method.learned",
    "method.demos_data",
    "method.source",
)


def read_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the same overrides in Hydra's grammar; a mistake in any of them is a UserError."""
    return [_read(text) for text in overrides]


def parse(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _read(text: str) -> str:
    if text.startswith("~"):
        raise UserError(f"{text!r}: no key can be taken out; null switches a part off, as in method.explore=null")
    if re.search(LONG_NUMBER, text):
        raise UserError(f"{text[:40]}...: a number of more than 300 digits")
    key, equals, value = text.partition("=")
    if key in SHORT:
        key, text = SHORT[key], f"{SHORT[key]}={value}"
    if not equals:
        raise UserError(f"{text!r}: expected key=value")
    if not KEY.fullmatch(key):
        raise UserError(f"{text!r}: {key!r} is no key; expected names with dots between them, as feedback.budget")
    if key in PLACED and re.fullmatch(r"[A-Za-z_]\w*", value) and value != "null":
        return f"{PLACED[key]}={value}"
    if key.startswith("hydra"):
        raise UserError(f"unknown key {key!r}: Hydra's own settings do nothing here")
    if key.lstrip("+") in PATHS:
        return text if value == "null" else f"{key}={_quoted(expand_home(_bare(value)))}"
    try:
        parsed = parse(text)
    except HydraException as error:
        return f"{key}={_word(text, value, error)}"
    if parsed.is_sweep_override():
        raise UserError(f"{text!r}: expected one value; a list has brackets, as [1,2], and {SEVERAL}")
    return f"++{text}" if key in OPEN else text  # which Hydra takes for new keys


def _word(text: str, value: str, error: Exception) -> str:
    """Return a word with letters that Hydra's grammar has no place for, such as ä, in quotes."""
    if value[:1] in tuple("[{('\"") or value[-1:] in tuple("]})'\""):
        raise UserError(f"{text!r} cannot be read: {one_line(error)}; quote special characters") from error
    parse(f"key={_quoted(value)}")
    return _quoted(value)


def _bare(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()
