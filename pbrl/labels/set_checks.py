"""The format of label sets, version 2, and the checks before one is used; see docs/data-format.md."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices, is_name
from pbrl.labels.segment_files import Arrays, from_arrays, require
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Form, Question
from pbrl.reading import find_object, read_object
from pbrl.types import OVERALL

FORMAT = "pbrl-labels"
VERSION = 2
ARRAYS_FILE = "comparisons.npz"
META_FILE = "meta.json"
MOST_ITEMS = 1000
ROWS = 1 << 16  # that are looked at in one go
META: dict[str, tuple[type, ...]] = {
    "env_name": (str, NoneType),
    "env": (dict, NoneType),
    "annotators": (list,),
    "counts": (dict,),
    "sha256": (str,),
    "true_reward": (bool,),
    "created_by": (str,),
}
ASKED: dict[str, Any] = {"kind": SegmentPair.kind, "items": 2, "criterion": OVERALL, "details": {}}  # since version 2
OPTIONAL_META: dict[str, tuple[type, ...]] = {"last_obs": (bool,), "videos": (dict,), "actions": (dict,)}
COLUMNS: dict[str, type] = {  # and the answers, see `columns_of`
    "answered": np.bool_,
    "annotator": np.int64,
    "query": np.int64,
    "session": np.int64,
    "env_steps": np.int64,
    "response_s": np.float64,
}


def format_of(folder: Path) -> str | None:
    """Read what the directory is by its meta.json: "pbrl-labels", "pbrl-dataset", or None. It may still be damaged."""
    found = find_object(Path(folder) / META_FILE) or {}
    return found["format"] if isinstance(found.get("format"), str) else None


def read_meta(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file} is missing; valid is a directory that `pbrl labels export` wrote")
    meta = read_object(file)
    if meta.get("version") == 1:  # of pairs alone
        meta |= ASKED
    check_meta(meta, file)
    return meta


def columns_of(kind: type[Question]) -> dict[str, type]:
    """Return the arrays with a row for each answer, and their types."""
    return {kind.value_name(): kind.dtype, **COLUMNS}


def check_meta(meta: dict[str, Any], file: Path) -> None:
    if meta.get("format") != FORMAT:
        raise UserError(f'{file} is not of a label set; valid has "format": "{FORMAT}"')
    if meta.get("version") not in (1, VERSION) or isinstance(meta["version"], bool):
        raise UserError(f"{file} has version {meta.get('version')!r}, this pbrl reads 1 to {VERSION}; update pbrl")
    optional = {name: types for name, types in OPTIONAL_META.items() if name in meta}
    asked = {name: (type(value),) for name, value in ASKED.items()}
    for name, types in (META | asked | optional).items():
        if name not in meta or not isinstance(meta[name], types):
            valid = " or ".join("null" if t is NoneType else t.__name__ for t in types)
            raise UserError(f"{file}: {name} is {meta.get(name, 'missing')!r}, expected {valid}")
    check_names(meta["annotators"], "annotators", file)
    if meta["env_name"] is not None:
        check_names([meta["env_name"]], "env_name", file)
    check_names([meta["criterion"]], "criterion", file)
    kind = Question.kinds.get(meta["kind"])
    if kind is None:
        raise UserError(f"{file}: kind is {meta['kind']!r}; {choices(meta['kind'], Question.kinds)}")
    if not 1 <= meta["items"] <= MOST_ITEMS or len(kind.places(meta["items"])) != meta["items"]:
        raise UserError(f"{file}: items is {meta['items']}, which a question of kind {kind.kind} cannot have")


def check_names(names: list[Any], key: str, file: Path) -> None:
    """Refuse names that a table cannot show: blank ones, and the same one twice."""
    if not names or not all(map(is_name, names)) or len(set(names)) < len(names):
        raise UserError(f"{file}: {key} is {names!r}, expected different names without control characters")


def check_label_set(arrays: Arrays, meta: dict[str, Any], where: Path) -> Question:
    """Check all that a label set must fulfil, whether it is read or about to be written; return its questions."""
    form = Form(meta["kind"], meta["items"], meta["criterion"], json.dumps(meta["details"], sort_keys=True))
    places = form.type.places(form.items)
    require(arrays, list(columns_of(form.type)), where)
    if not meta["true_reward"]:
        require(arrays, [f"{place}/mask" for place in places], where)
        unknown = {f"{place}/true_reward": np.full(arrays[f"{place}/mask"].shape, np.nan, "f4") for place in places}
        arrays = arrays | unknown
    questions = from_arrays(arrays, form, where)
    check_types(arrays, len(questions), questions.form, where)
    check_values(arrays, meta, questions.form, where)
    for place in places:
        check_segments(arrays, place, meta["true_reward"], where)
    if (counts := count_rows(arrays, form.type)) != meta["counts"]:
        raise UserError(f"{where}: rows are {counts}, {META_FILE} says {meta['counts']}")
    check_queries(arrays["query"], arrays["annotator"], questions, where)
    return questions


def check_types(arrays: Arrays, rows: int, form: Form, where: Path) -> None:
    """Refuse arrays that have not as many rows as there are questions, or no numbers of their kind."""
    for name, dtype in columns_of(form.type).items():
        shape = (rows, *form.type.answer_shape(form)) if name == form.type.value_name() else (rows,)
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            found = f"{arrays[name].dtype}{arrays[name].shape}"
            raise UserError(f"{where}: {name} is {found}, expected {np.dtype(dtype)}{shape}")
    first, *others = form.type.places(form.items)
    for place, name in itertools.product(others, ("obs", "actions")):
        one, other = (arrays[f"{p}/{name}"].shape for p in (first, place))
        if one != other:
            raise UserError(
                f"{where}: {name} has shape {one} on the {first} and {other} on the {place}, expected the same"
            )


def check_values(arrays: Arrays, meta: dict[str, Any], form: Form, where: Path) -> None:
    """Refuse an answer that contradicts its kind or meta.json."""
    kind, name = form.type, form.type.value_name()
    value, answered, who = arrays[name], arrays["answered"], arrays["annotator"]
    told = value.reshape(len(value), math.prod(value.shape[1:]))  # (R, w)
    wrong = np.broadcast_to(kind.wrong(told, form), told.shape).reshape(value.shape)
    was_told = answered.reshape(-1, *[1] * (value.ndim - 1))
    refuse(was_told & wrong, value, name, f"{kind.valid(form)}, where answered", where)
    is_blank = np.isnan(value) if math.isnan(kind.blank) else value == kind.blank
    blank = "NaN" if math.isnan(kind.blank) else f"{kind.blank:g}"
    refuse(~was_told & ~is_blank, value, name, f"{blank} where skipped", where)
    seconds = arrays["response_s"]
    refuse((who < 0) | (who >= len(meta["annotators"])), who, "annotator", "an index into annotators", where)
    refuse(~((seconds >= 0) & np.isfinite(seconds) | np.isnan(seconds)), seconds, "response_s", "from 0 or NaN", where)


def check_segments(arrays: Arrays, side: str, true_reward: bool, where: Path) -> None:
    """Refuse numbers of one item that an algorithm would choke on."""
    for name in ("mask", "terminated"):
        array = arrays[f"{side}/{name}"]
        refuse((array != 0) & (array != 1), array, f"{side}/{name}", "0 or 1", where)
    mask, actions = arrays[f"{side}/mask"], arrays[f"{side}/actions"]
    if not mask.shape[1]:
        raise UserError(f"{where}: {side}/mask has shape {mask.shape}, expected segments of at least one step")
    refuse(mask[:, :1] != 1, mask, f"{side}/mask", "1 on the first step: a segment has at least one", where)
    refuse(np.diff(mask, axis=1, prepend=1) > 0, mask, f"{side}/mask", "0 after a 0: padding is at the end", where)
    refuse_rows(lambda rows: ~(np.abs(rows) <= 1), actions, f"{side}/actions", "-1 to 1", where)
    require_width(arrays, (f"{side}/obs", f"{side}/actions"), where)
    for name in ("obs", *(["true_reward"] if true_reward else [])):
        array = arrays[f"{side}/{name}"]
        refuse_rows(lambda rows: ~np.isfinite(rows), array, f"{side}/{name}", "finite numbers", where)
    if (states := arrays.get(f"{side}/states")) is not None:
        check_states(states, f"{side}/states", where)


def check_states(states: np.ndarray, name: str, where: Path) -> None:
    """Refuse infinite states; NaN stands for what a task does not know yet, as the pendulum's torque before a step."""
    refuse_rows(np.isinf, states, name, "finite numbers, or NaN where the task knows none yet", where)


def check_queries(query: np.ndarray, annotator: np.ndarray, questions: Question, where: Path) -> None:
    """Refuse a query with other segments in some of its rows, or with two answers of one annotator."""
    if len(np.unique(np.stack([query, annotator]), axis=1)[0]) < len(query):
        raise UserError(f"{where}: an annotator has two answers to one query, expected the one that stands")
    if len(np.unique(query)) == len(query):
        return
    content: dict[int, tuple[str, ...]] = {}
    for number, hashes in zip(query.tolist(), questions.hashes(), strict=True):
        if content.setdefault(number, hashes) != hashes:
            raise UserError(f"{where}: query {number} has different segments in different rows, expected the same")


def count_rows(arrays: Arrays, kind: type[Question] = SegmentPair) -> dict[str, int]:
    answered, value = arrays["answered"], arrays[kind.value_name()]
    equal = answered & (value == kind.tie) if kind.tie is not None else np.zeros_like(answered)
    return {
        "answers": len(value),
        "decisive": int((answered & ~equal).sum()),
        "equal": int(equal.sum()),
        "skipped": int((~answered).sum()),
        "queries": len(np.unique(arrays["query"])),
    }


def count_twins(hashes: Iterable[Sequence[str]]) -> int:
    """Return how many questions show the same clip more than once, from what `hashes` tells of each."""
    return sum(len(set(items)) < len(items) for items in hashes)


def require_width(arrays: Arrays, names: Sequence[str], where: Path) -> None:
    """Refuse steps of no numbers: there is nothing to learn from them."""
    for name in names:
        if 0 in arrays[name].shape[1:]:
            raise UserError(f"{where}: {name} has shape {arrays[name].shape}, expected at least one number per step")


def refuse(wrong: np.ndarray, values: np.ndarray, name: str, valid: str, where: Path | str) -> None:
    """Raise UserError that names the first value that is wrong, if any is."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UserError(f"{where}: {name}{list(place)} is {values[place]}, expected {valid}")


def refuse_rows(
    is_wrong: Callable[[np.ndarray], np.ndarray], values: np.ndarray, name: str, valid: str, where: Path
) -> None:
    """Do what `refuse` does block by block: of rows mapped from a disk only a few are in memory at a time."""
    for begin in range(0, len(values), ROWS):
        if (wrong := is_wrong(values[begin : begin + ROWS])).any():
            first, *rest = (int(i) for i in np.argwhere(wrong)[0])
            place = (begin + first, *rest)
            raise UserError(f"{where}: {name}{list(place)} is {values[place]}, expected {valid}")
