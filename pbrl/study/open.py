"""The opening of a study: its folder with the questions, its pairs with known answers, and the viewer around them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from pbrl.config import compose_config
from pbrl.errors import UserError, choices
from pbrl.files import expand_home, new_folder, write_json
from pbrl.labels.recorded import FILE as SOURCE_FILE
from pbrl.labels.recorded import KEYS as SOURCE_KEYS
from pbrl.labels.rows import ALL, PAIRS, find_queries
from pbrl.labels.sets import load_label_set
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.labels.true_returns import true_advantages
from pbrl.reading import find_object, read_object
from pbrl.study.settings import KnownPair, KnownPairs, Study, read_study

NOTES_FILE = "study.json"  # in the folder: where its questions are from, and which pairs were chosen


def open_study(file: Path, out: Path | None, overrides: dict[str, str]) -> int:
    """Run the viewer of a study until Ctrl-C; return the exit code."""
    from pbrl.viewer.opened import remove_if_refused
    from pbrl.viewer.serve import serve

    study, made = read_study(file), False
    check_viewer(study, file)
    if study.run is not None:
        if out is not None:
            raise UserError(f"out={out}: {file} asks the questions of a run, in whose folder the answers are kept")
        folder = Path(expand_home(study.run))
        if not (folder / FILE_NAME).is_file():
            raise UserError(f"{file}: run={folder} has no {FILE_NAME}; valid is the folder of a run that asks people")
    else:
        folder = out or file.with_suffix("")
        made = take_label_set(Path(expand_home(str(study.labels))), folder)
    with remove_if_refused(folder, made):
        return serve(folder, overrides, study=with_pairs(study, folder, file), study_file=file)


def check_viewer(study: Study, file: Path) -> None:
    """Check that there are such settings of the viewer; the viewer itself checks what they are set to."""
    known = compose_config([]).viewer
    if unknown := [key for key in study.viewer if key not in known]:
        raise UserError(f"{file}: viewer.{unknown[0]} is unknown: {choices(str(unknown[0]), list(map(str, known)))}")


def take_label_set(path: Path, folder: Path) -> bool:
    """Make a folder with the questions of a label set and none of its answers; return whether it is new."""
    labels = load_label_set(path)
    if folder.exists():
        found = (find_object(folder / NOTES_FILE) or {}).get("sha256")
        if found != labels.meta["sha256"]:
            raise UserError(
                f"{folder} exists and is no study of {path}; valid is out=FOLDER where there is nothing yet"
            )
        return False
    if labels.questions.item_states is None:
        raise UserError(f"{path} has no simulator states, which clips are drawn from; export it with states=true")
    videos = "videos" in labels.meta
    if labels.meta["env"] is None and not videos:
        raise UserError(f"{path} does not say which environment its clips are drawn with; export it from a run")
    config = compose_config(["env=none"] if videos else [])
    config.env = config.env if videos else OmegaConf.create(labels.meta["env"])
    rows = np.unique(labels.query, return_index=True)[1].tolist()
    notes = {"labels": str(path.resolve()), "sha256": labels.meta["sha256"]}
    with new_folder(folder, private=True) as new:
        OmegaConf.save(config, new / "config.yaml")
        if source := {key: labels.meta[key] for key in SOURCE_KEYS if key in labels.meta}:
            write_json(new / SOURCE_FILE, source)
        with LabelStore(new) as store:
            asked = store.ask(0, 0, labels.questions[rows], sampler="study")
            store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that all of it is in the file that is kept
        queries = {str(known): query for known, query in zip(labels.query[rows].tolist(), asked, strict=True)}
        write_json(new / NOTES_FILE, notes | {"queries": queries})
    return True


def with_pairs(study: Study, folder: Path, file: Path) -> Study:
    """Return the study with practice and gold pairs as numbered in the store, chosen once if only counted."""
    notes = find_object(folder / NOTES_FILE) or {}
    with LabelStore(folder, create=False) as store:
        chosen = _chosen(study, store, notes, file)
        _check_pairs(chosen, store, notes, file)
    kept = {name: _listed(getattr(chosen, name)) for name in ("practice", "gold") if getattr(study, name).count}
    if notes | kept != notes:
        write_json(folder / NOTES_FILE, notes | kept)
    return chosen


def _chosen(study: Study, store: LabelStore, notes: dict[str, Any], file: Path) -> Study:
    numbers = notes.get("queries")
    named: dict[str, KnownPairs] = {}
    for name in ("practice", "gold"):
        known: KnownPairs = getattr(study, name)
        pairs = known.pairs
        if pairs and numbers is not None:  # of a label set, which numbers its questions in its own way
            if lost := [pair.query for pair in pairs if str(pair.query) not in numbers]:
                raise UserError(f"{file}: {name} names query {lost[0]}, which the label set does not have")
            pairs = tuple(replace(pair, query=numbers[str(pair.query)]) for pair in pairs)
        elif known.count and len(notes.get(name, ())) == known.count:
            pairs = tuple(KnownPair(query, answer) for query, answer in notes[name])
        named[name] = replace(known, pairs=pairs)
    taken = [pair.query for known in named.values() for pair in known.pairs]
    missing = {name: known.count for name, known in named.items() if known.count and not known.pairs}
    if missing:
        clear = clear_pairs(store, sum(missing.values()), taken, file)
        for name, count in missing.items():
            named[name] = replace(named[name], pairs=tuple(clear[:count]))
            clear = clear[count:]
    return replace(study, practice=named["practice"], gold=named["gold"])


def clear_pairs(store: LabelStore, n: int, not_these: Sequence[int], file: Path) -> list[KnownPair]:
    """Choose the n pairs whose true returns differ most, the clearest first, each with its right answer."""
    ids = [query.id for query in store.queries() if query.id not in not_these and query.session >= 0]
    gains = true_advantages(store, ids)
    known = [query for query, gain in gains.items() if not math.isnan(gain) and gain != 0]
    if len(known) < n:
        raise UserError(
            f"{file}: {n} pairs with a known answer are wanted, and the true return tells {len(known)} apart here; "
            "name them instead, as pairs: [{query: 3, answer: left}]"
        )
    first = sorted(known, key=lambda query: (-abs(gains[query]), query))[:n]
    return [KnownPair(query, "right" if gains[query] > 0 else "left") for query in first]


def _check_pairs(study: Study, store: LabelStore, notes: dict[str, Any], file: Path) -> None:
    queries = {query.id: query for query in find_queries(store.db, None, ALL)}
    for name in ("practice", "gold"):
        for pair in getattr(study, name).pairs:
            if (found := queries.get(pair.query)) is None:
                has = f"{store.path} has 1 to {max(queries, default=0)}"
                raise UserError(f"{file}: {name} names query {pair.query}; {has}")
            if found.form.kind not in PAIRS:
                raise UserError(f"{file}: {name} names query {pair.query} of kind {found.form.kind}; valid are pairs")
    left = sum(query.session >= 0 for query in queries.values()) - len(study.reserved)
    if study.quota is not None and study.labels is not None and left < study.quota:
        raise UserError(f"{file}: quota={study.quota}; besides practice and gold there are {left} questions")


def source_queries(folder: Path) -> dict[int, int]:
    """Return, for a study of a label set, the set's number of each question, by that of the store."""
    if not (folder / NOTES_FILE).is_file():
        return {}
    return {here: int(there) for there, here in read_object(folder / NOTES_FILE).get("queries", {}).items()}


def _listed(known: KnownPairs) -> list[list[Any]]:
    return json.loads(json.dumps([[pair.query, pair.answer] for pair in known.pairs]))
