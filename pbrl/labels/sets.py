"""Label sets: the standing answers of a run as a self-contained directory, to be read by any other run."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pbrl
from pbrl.errors import UserError
from pbrl.files import new_folder, require_new
from pbrl.labels.choice_pairs import pairs_of_choices
from pbrl.labels.recorded import read_source
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
        """The questions of a set of pairs; UserError where it is of another kind."""
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
    """Write the standing answers of a run to the new directory `out`, skips included; return its meta.json.

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
    """Read a label set; UserError, in one line, for anything wrong with it."""
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
    """Write the new directory `out`, whole or not at all, and only what can be loaded again; return its meta.json.

    source: where the arrays come from, for what is wrong with them.
    """
    check_meta(meta | {"sha256": ""}, source)
    check_label_set(arrays, meta, source)
    with new_folder(out, private=True) as folder:
        publish(stage(folder, arrays), folder / ARRAYS_FILE)
        meta = meta | {"sha256": sha256_of(folder / ARRAYS_FILE)}
        (folder / META_FILE).write_text(json.dumps(meta, indent=2), encoding="utf-8")
    return meta
