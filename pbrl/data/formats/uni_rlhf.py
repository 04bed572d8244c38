"""Exports of the Uni-RLHF platform (`meta_data.json` and `label.csv`), of Mini-Uni-RLHF, and their queries as JSON.

A query names rows of both segments (`start_indices_1`, `end_indices_1`, `start_indices_2`, `end_indices_2`); a label
is, by person and question, the number of the option that was chosen, or its text. Comparisons become a label set;
marks, ratings and attributes are refused by name.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pbrl.data.formats.reader import Answered, Format, Option, Options, split_words, whole_number
from pbrl.errors import UserError, choices
from pbrl.reading import find_object, read_json, read_object, read_text

META, LABELS = "meta_data.json", "label.csv"
ROWS = ("start_indices_1", "end_indices_1", "start_indices_2", "end_indices_2")
VALUES = {"left": 0.0, "equal": 0.5, "right": 1.0, "skip": np.nan}
WORDS = {  # of an option, and what it says
    "left": ("left", "first", "1", "video 1", "clip 1", "a"),
    "right": ("right", "second", "2", "video 2", "clip 2", "b"),
    "equal": ("equal", "equally", "same", "tie", "0.5", "equivalent"),
    "skip": ("skip", "unsure", "incomparable", "cannot tell", "not sure", "-1"),
}


class Told(NamedTuple):
    """One person's answer to one query."""

    query: int
    annotator: str
    rows: tuple[int, int, int, int]  # as ROWS
    value: float  # that the second is preferred; NaN: skipped


def is_uni_rlhf(path: Path) -> bool:
    if path.is_dir():
        return (path / META).is_file() and (path / LABELS).is_file()
    if path.suffix.lower() == ".json" and path.is_file():
        found: Any = find_object(path)
        if found is None:
            try:
                found = read_json(path)
            except UserError:
                return False
        rows = found if isinstance(found, list) else found.get("queries")
        return "video_info" in (found if isinstance(found, dict) else {}) or (
            isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and "video_info" in rows[0]
        )
    return False


def read(path: Path, options: Options, scratch: Path) -> Answered:
    from pbrl.labels.import_indices import pairs_at
    from pbrl.labels.index_rows import read_steps

    meta, queries = _open(path)
    told = list(_answers(queries, meta, options, path))
    if not told:
        raise UserError(f"{path} has no answered comparisons")
    lengths = {end - start for t in told for start, end in (t.rows[:2], t.rows[2:])}
    if len(lengths) > 1 or min(lengths) < 1:
        raise UserError(f"{path} has segments of {sorted(lengths)[:4]} steps, expected one length")
    data, length = Path(options["data"]), lengths.pop()
    steps = read_steps(data)
    starts = [np.array([t.rows[side] for t in told], np.int64) for side in (0, 2)]
    if (most := max(s.max() for s in starts)) > len(steps) - length or min(s.min() for s in starts) < 0:
        last = len(steps) - length
        raise UserError(f"{path} names row {most}, the last whole segment of {data} starts at {last}; is it that data?")
    clip, drop = options.get("clip") == "true", options.get("drop") == "true"
    pairs, kept, last_obs = pairs_at(steps, starts, length, clip=clip, drop=drop, indices=path, file=data)
    names = list(dict.fromkeys(t.annotator for t in told))
    return Answered(
        pairs,
        np.array([t.value for t in told])[kept],
        names=tuple(names),
        annotator=np.array([names.index(t.annotator) for t in told])[kept],
        query=np.array([t.query for t in told])[kept],
        last_obs=last_obs,
        notes={"dropped": int((~kept).sum()), "data": str(data.resolve())},
    )


def _open(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The project, and its queries."""
    if path.is_dir():
        return read_object(path / META), _table(path / LABELS)
    found = read_json(path)
    if isinstance(found, list):
        return {}, found
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no queries, expected a list of objects with video_info and label_info")
    if isinstance(found.get("queries"), list):
        return found, found["queries"]
    table = path.with_suffix(".csv")  # Mini-Uni-RLHF: NAME@ID.json and .csv
    if not table.exists():
        raise UserError(f"{table} is missing, which has the answers to the queries of {path.name}")
    return found, _table(table)


def _table(file: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in csv.DictReader(read_text(file).splitlines())]


def _answers(queries: Sequence[Any], meta: Mapping[str, Any], options: Options, where: Path) -> Iterator[Told]:
    wanted = whole_number(options, "question", 0, default=0)
    named = split_words(options, "choices")
    for n, query in enumerate(queries, 1):
        if not isinstance(query, dict):
            raise UserError(f"{where}: query {n} is {str(query)[:40]!r}, expected an object")
        info, label = _value(query.get("video_info")), _label(query, where, n)
        info = {**query, **info} if isinstance(info, dict) else query
        if not label:
            continue
        try:
            rows = tuple(int(float(info[name])) for name in ROWS)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: query {n} has no {', '.join(ROWS)} ({type(error).__name__}: {error})") from None
        for person, chosen in label.items():
            value = _chosen(chosen, wanted, named, meta, f"{where}: query {n}")
            if value is not None:
                yield Told(n, person, rows, value)  # type: ignore[arg-type]


def _label(query: Mapping[str, Any], where: Path, n: int) -> dict[str, Any]:
    """Return what each person chose: by the number of the question, or the only answer."""
    info = _value(query.get("label_info"))
    kind = (info if isinstance(info, dict) else query).get("feedback_type")
    if kind not in (None, "", "comparative"):
        raise UserError(f"{where}: query {n} is of feedback_type {kind}; valid here is comparative")
    label = _value((info if isinstance(info, dict) else query).get("label"))
    if label in (None, "", {}) or str(query.get("annotated", "1")) == "0":
        return {}
    if isinstance(label, dict) and all(isinstance(v, dict | list) for v in label.values()):
        return {f"user {person}": chosen for person, chosen in label.items()}
    return {str(query.get("annotator_name") or "imported"): label}


def _chosen(chosen: Any, wanted: int, named: list[str] | None, meta: Mapping[str, Any], where: str) -> float | None:
    """Probability that the second is preferred, NaN for a skip; None where that question was not answered."""
    if isinstance(chosen, str):
        chosen = chosen.split(",")
    if isinstance(chosen, list):
        chosen = dict(enumerate(chosen))
    if isinstance(chosen, dict):
        chosen = chosen.get(wanted, chosen.get(str(wanted)))
    if chosen is None or chosen == "":
        return None
    texts = _options(meta, wanted)
    if isinstance(chosen, bool) or not isinstance(chosen, int | str):
        raise UserError(f"{where} has the answer {chosen!r}, expected the number or the text of an option")
    number = int(chosen) if str(chosen).isdecimal() and not (texts and chosen in texts) else None
    if named is not None:
        if number is None and texts and chosen in texts:
            number = texts.index(str(chosen))
        if number is None or number >= len(named) or named[number] not in VALUES:
            valid = ", ".join(VALUES)
            raise UserError(
                f"{where} has the answer {chosen!r}, choices={','.join(named)}: expected {valid} for each option"
            )
        return VALUES[named[number]]
    text = str(chosen) if number is None else (texts[number] if texts and number < len(texts) else None)
    said = None if text is None else next((k for k, words in WORDS.items() if _means(text, words)), None)
    if said is None:
        about = "its options are not known" if text is None else f"{text!r} is none of {choices('', VALUES)[10:]}"
        raise UserError(
            f"{where} has the answer {chosen!r}, and {about}; choices=left,right,equal says what options 0, 1, 2 are"
        )
    return VALUES[said]


def _means(text: str, words: Sequence[str]) -> bool:
    plain = text.strip().lower()
    return plain in words or plain.split(" ")[0] in words


def _options(meta: Mapping[str, Any], wanted: int) -> list[str] | None:
    """Texts of the options of a question, from the project's {question: [option, ...]}."""
    question = _value(meta.get("question"))
    if not isinstance(question, dict) or wanted >= len(question):
        return None
    found = list(question.values())[wanted]
    return list(map(str, found)) if isinstance(found, list) else None


def _value(text: Any) -> Any:
    """Return what a cell holds: JSON, or as Python prints a dictionary; else its text."""
    if not isinstance(text, str):
        return text
    if text.strip()[:1] not in ("{", "["):
        return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return text


FORMAT = Format(
    name="uni_rlhf",
    about="an export of the Uni-RLHF platform (a folder with meta_data.json and label.csv), of Mini-Uni-RLHF "
    "(NAME@ID.json beside its .csv), or queries in JSON",
    is_one=is_uni_rlhf,
    read_answers=read,
    options=(
        Option("data", "D4RL's HDF5, an npz of its arrays, or of what qlearning_dataset returned", needed=True),
        Option(
            "choices", "what the options 0, 1, ... say, of left, right, equal and skip, as choices=left,right,equal"
        ),
        Option("question", "which question, from 0 (0)"),
        Option("drop", "drop=true leaves out comparisons that cross an episode"),
    ),
)
