"""Label sets: the standing answers of a run as a self-contained directory, to be read by any other run."""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pbrl
from pbrl.errors import UserError
from pbrl.files import new_folder, require_new
from pbrl.labels.choice_pairs import pairs_of_choices
from pbrl.labels.recorded import keep_source, read_source, require_same_videos
from pbrl.labels.rows import StandingAnswer
from pbrl.labels.segment_files import Arrays, publish, stage, to_arrays
from pbrl.labels.set_checks import (
    ARRAYS_FILE,
    COLUMNS,
    FORMAT,
    META_FILE,
    VERSION,
    check_label_set,
    check_meta,
    count_rows,
    count_twins,
    format_of,
    read_meta,
)
from pbrl.labels.store import FILE_NAME as STORE_FILE
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, SegmentPair
from pbrl.questions import Form, Question
from pbrl.reading import read_arrays, read_yaml, sha256_of
from pbrl.types import OVERALL, Comparisons


@dataclass(frozen=True)
class LabelSet:
    """R rows, one per standing answer; a query that several people answered has several rows."""

    questions: Question  # R; true_reward is NaN where the set leaves it out
    value: np.ndarray  # (R,) float64, NaN where skipped; of choices (R, w) int64, -1 where skipped
    answered: np.ndarray  # (R,) bool, False = skipped
    annotator: np.ndarray  # (R,) int64, index into meta["annotators"]
    query: np.ndarray  # (R,) int64, query id in the run it came from, as are the next two
    session: np.ndarray  # (R,) int64
    env_steps: np.ndarray  # (R,) int64
    response_s: np.ndarray  # (R,) float64, NaN where unknown
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def last_obs(self) -> bool:
        """Whether the observation after the last action is known; else it may be a repeat, and must not be used."""
        return self.meta.get("last_obs", True)

    @property
    def twins(self) -> int:
        """The number of rows of which two items are the same clip, so that their answer says little or nothing."""
        return count_twins(self.questions.hashes())

    @property
    def pairs(self) -> SegmentPair:
        """The questions of a set of pairs."""
        if not isinstance(self.questions, SegmentPair):
            raise UserError(f"a label set of kind {self.questions.kind} was given; valid here is one of pairs")
        return self.questions

    @property
    def prefers_right(self) -> np.ndarray:
        """Return the answers (R,) of a set of pairs as float64, NaN where skipped."""
        return self.value[: len(self.pairs)]

    @property
    def comparisons(self) -> Comparisons:
        """The rows that are not skips, of a set of pairs."""
        rows = np.flatnonzero(self.answered)
        prefers_right = torch.from_numpy(self.prefers_right[rows]).float()
        pairs, who = self.pairs[rows.tolist()], torch.from_numpy(self.annotator[rows])
        return Comparisons(pairs.left, pairs.right, prefers_right, who, pairs.criterion)


def export_labels(
    run_dir: Path,
    out: Path,
    *,
    kind: type[Question] = SegmentPair,
    criterion: str = OVERALL,
    true_reward: bool = True,
    states: bool = True,
    as_pairs: bool = False,
) -> dict[str, Any]:
    """Writes the standing answers of a run to the new directory `out`, skips included; returns its meta.json.

    People who are left out are not in it (`LabelStore.leave_out`).

    kind, criterion: of the questions; a label set has answers to one kind, by one criterion.
    as_pairs: of choices, as what they say of every two items: the set is of pairs then.
    """
    out = Path(out)
    require_new(out)
    with LabelStore(run_dir, create=False) as store:
        rows = store.standing_answers(kind=kind, criterion=criterion, to_learn=True)
        if not rows:
            raise UserError(_nothing_to_export(store, kind, criterion))
        questions = store.questions([row.query for row in rows])
        arrays, names = _rows_to_arrays(store, rows, kind)
    if as_pairs:
        if not isinstance(questions, Choice):
            raise UserError(f"answers of kind={kind.kind} do not become pairs; valid is kind={Choice.kind}")
        (questions, arrays), kind = pairs_of_choices(questions, arrays), SegmentPair
    known = all(bool(segments.true_reward.isfinite().all()) for segments in questions.items)
    true_reward, arrays = true_reward and known, to_arrays(questions) | arrays
    left_out = ([] if true_reward else ["true_reward"]) + ([] if states else ["states"])
    arrays = {name: array for name, array in arrays.items() if name.split("/")[-1] not in left_out}
    meta = {
        "format": FORMAT,
        "version": VERSION,
        **describe(questions.form),
        "created_by": f"pbrl {pbrl.__version__}",
        **_environment(Path(run_dir)),
        **read_source(Path(run_dir)),
    }
    meta |= {"annotators": names, "counts": count_rows(arrays, kind), "true_reward": true_reward}
    return write_label_set(out, arrays, meta, store.path)


def describe(form: Form) -> dict[str, Any]:
    """Return what was asked, as meta.json says it."""
    return form._asdict() | {"details": json.loads(form.details)}


def load_label_set(path: Path) -> LabelSet:
    """Reads a label set; anything wrong with it is one line."""
    path = Path(path)
    meta = read_meta(path / META_FILE)
    file = path / ARRAYS_FILE
    if (found := sha256_of(file)) != meta["sha256"]:
        raise UserError(f"{file} has sha256 {found}, {META_FILE} says {meta['sha256']}; fetch or export it again")
    arrays = read_arrays(file)
    questions = check_label_set(arrays, meta, file)
    return LabelSet(questions, arrays[questions.value_name()], **{name: arrays[name] for name in COLUMNS}, meta=meta)


def load_answers(path: Path) -> LabelSet:
    """Read a label set; or the answers about pairs of segments in a folder of `pbrl label`, as one."""
    if not (path / STORE_FILE).is_file():
        return load_label_set(path)
    with tempfile.TemporaryDirectory(prefix="pbrl_labels_") as folder:
        export_labels(path, Path(folder) / "set")
        return load_label_set(Path(folder) / "set")


def import_labels(run_dir: Path, path: Path) -> dict[str, int]:
    """Adds a label set to the store of a run, all or nothing, and says what was new.

    A query whose segments the store has already is that query, so importing twice adds nothing. An annotator who has
    answered a query here before, even if it was retracted or said otherwise, keeps what is here.
    """
    labels, run_dir = load_label_set(path), Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is no directory; valid is the directory of a run")
    if not labels.last_obs:
        raise UserError(
            f"{path} does not know the last observation of its segments, which the store of a run cannot say; "
            "valid is to learn from the label set itself"
        )
    if labels.questions.item_states is not None:
        require_same_videos(labels.meta, run_dir)
    with LabelStore(run_dir) as store:
        return _add(store, labels)


@contextmanager
def as_store(path: Path) -> Iterator[Path]:
    """Yield the folder of a label store: `path` itself, or a copy of the label set in it that is gone afterwards."""
    if format_of(path) != FORMAT:
        yield path
        return
    labels = load_label_set(path)
    with tempfile.TemporaryDirectory(prefix="pbrl_labels_") as folder:
        keep_source(Path(folder), labels.meta)
        with LabelStore(Path(folder)) as store:
            _add(store, labels)
        yield Path(folder)


def _add(store: LabelStore, labels: LabelSet) -> dict[str, int]:
    with store.transaction():
        before = store.counts(kind=None, criterion=None)["queries"]
        _check_alike(store, labels.questions)
        query = _import_queries(store, labels)
        added = _import_answers(store, labels, query)
        queries = store.counts(kind=None, criterion=None)["queries"] - before
    return {"queries_added": queries, "answers_added": added, "answers_known": len(labels) - added}


def _nothing_to_export(store: LabelStore, kind: type[Question], criterion: str) -> str:
    others = [f"kind={k} criterion={c} ({n})" for (k, c), n in store.forms().items()]
    if not others:
        return f"{store.path} has no answers yet, so there is nothing to export"
    wanted = f"to questions of kind={kind.kind} criterion={criterion}"
    return f"{store.path} has no answers {wanted}; it has {', '.join(others)}"


def _rows_to_arrays(store: LabelStore, rows: list[StandingAnswer], kind: type[Question]) -> tuple[Arrays, list[str]]:
    queries = store.queries([row.query for row in rows])
    names = sorted({row.annotator for row in rows})
    shape = kind.answer_shape(queries[0].form)
    blank = (kind.blank,) * math.prod(shape)
    value: np.ndarray = np.array([blank if row.value is None else row.value for row in rows], kind.dtype)
    columns: dict[str, list[Any]] = {
        "answered": [row.value is not None for row in rows],
        "annotator": [names.index(row.annotator) for row in rows],
        "query": [row.query for row in rows],
        "session": [query.session for query in queries],
        "env_steps": [query.env_steps for query in queries],
        "response_s": [math.nan if row.response_s is None else row.response_s for row in rows],
    }
    arrays: Arrays = {name: np.array(column, COLUMNS[name]) for name, column in columns.items()}
    return arrays | {kind.value_name(): value.reshape(len(rows), *shape)}, names


def _environment(run_dir: Path) -> dict[str, Any]:
    """Return name and config of the environment, as far as the run directory tells."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = run_dir / "config.yaml"
    config = read_yaml(file) if file.exists() else OmegaConf.create()
    try:
        env = config.get("env") if isinstance(config, DictConfig) else None
        plain = OmegaConf.to_container(env, resolve=True) if OmegaConf.is_dict(env) else None
        if file.exists() and plain is None:
            raise UserError(f"{file} is not a config of a run: it has no env")
    except OmegaConfBaseException as error:
        raise UserError(f"{file} is not a config of a run ({str(error).splitlines()[0]})") from None
    if not isinstance(plain, dict) or plain.get("make", plain) is None:  # recordings have none
        return {"env_name": None, "env": None}
    return {"env_name": plain.get("name"), "env": plain}


def write_label_set(out: Path, arrays: Arrays, meta: dict[str, Any], source: Path) -> dict[str, Any]:
    """Writes the new directory `out`, whole or not at all, and only what can be loaded again; returns its meta.json.

    source: where the arrays come from, for what is wrong with them.
    """
    check_meta(meta | {"sha256": ""}, source)
    check_label_set(arrays, meta, source)
    with new_folder(out, private=True) as folder:
        publish(stage(folder, arrays), folder / ARRAYS_FILE)
        meta = meta | {"sha256": sha256_of(folder / ARRAYS_FILE)}
        (folder / META_FILE).write_text(json.dumps(meta, indent=2), encoding="utf-8")
    return meta


def _check_alike(store: LabelStore, questions: Question) -> None:
    """Refuse questions of another form or shape: those of this run could not be read as one batch with them."""
    known = store.queries(kind=type(questions), criterion=questions.criterion)
    if not known:
        return
    if (form := known[0].form) != questions.form:
        raise UserError(
            f"the label set asks {describe(questions.form)}, {store.path} has {describe(form)}; "
            "valid is a label set that asks the same"
        )
    ours, theirs = store.questions([known[0].id]).shape, questions.shape
    if (ours[1:] if questions.whole else ours) != (theirs[1:] if questions.whole else theirs):
        raise UserError(
            f"the label set has segments of shape (steps, observation, action) {theirs}, "
            f"{store.path} has {ours}; valid is a label set of the same shape"
        )


def _import_queries(store: LabelStore, labels: LabelSet) -> dict[int, int]:
    """Return the store's query for each query of the set; those it lacks become sessions with negative numbers."""
    here = defaultdict(list)  # a question that was asked twice matches a question that was asked twice
    for known in reversed(store.queries(kind=type(labels.questions), criterion=labels.questions.criterion)):
        here[known.hashes].append(known.id)
    hashes = labels.questions.hashes()
    found: dict[int, int] = {}
    new: dict[tuple[int, int], list[int]] = defaultdict(list)  # rows by the session they were asked in
    for query, row in zip(*(x.tolist() for x in np.unique(labels.query, return_index=True)), strict=True):
        if here[hashes[row]]:
            found[query] = here[hashes[row]].pop()
        else:
            new[int(labels.session[row]), int(labels.env_steps[row])].append(row)
    number = min([0, *(q.session for q in store.queries(kind=None, criterion=None))])
    for (_, env_steps), rows in new.items():
        number -= 1
        sampler = f"imported from label set {labels.meta['sha256'][:12]}"
        ids = store.ask(number, env_steps, labels.questions[rows], sampler=sampler)
        found |= zip(labels.query[rows].tolist(), ids, strict=True)
    return found


def _import_answers(store: LabelStore, labels: LabelSet, query: dict[int, int]) -> int:
    before = store.ever_answered()
    added = 0
    for number, name in enumerate(labels.meta["annotators"]):
        mine = np.flatnonzero(labels.annotator == number).tolist()
        rows = [row for row in mine if (query[int(labels.query[row])], name) not in before]
        if not rows:
            continue
        told = torch.from_numpy(labels.value[rows]), torch.from_numpy(labels.answered[rows])
        times = [None if math.isnan(t) else t for t in labels.response_s[rows].tolist()]
        asked = [query[int(labels.query[row])] for row in rows]
        store.answer(asked, labels.questions.answers(*told), name, times, kind="imported")
        added += len(rows)
    return added
