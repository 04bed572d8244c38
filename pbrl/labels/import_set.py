"""Reading a label set into the label store of a run."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.labels.recorded import keep_source, require_same_videos
from pbrl.labels.set_checks import FORMAT, format_of
from pbrl.labels.sets import LabelSet, describe, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.questions import Question


def import_labels(run_dir: Path, path: Path) -> dict[str, int]:
    """Add a label set to the store of a run, all or nothing; return the counts of what was new and what was known.

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
