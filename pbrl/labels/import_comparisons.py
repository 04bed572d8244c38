"""Comparisons over episodes of a data set, as segments with answers: of any lengths, by several people."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.formats.reader import Answered
from pbrl.data.stored_videos import FOLDER
from pbrl.errors import UserError
from pbrl.files import no_folder
from pbrl.labels.import_pairs import make_segments
from pbrl.question_kinds import SegmentPair
from pbrl.types import OVERALL, Segments

TO_THE_END = -1


class Rows:
    """N answers, in arrays of numbers: a million of them take some ten megabytes."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}  # of annotators
        self.episodes: dict[str, int] = {}  # as the table calls them
        self.queries: dict[str, int] = {}
        self.annotator, self.query = array("q"), array("q")
        self.value, self.response_s = array("d"), array("d")
        self.sides = {"left": array("q"), "right": array("q")}  # three numbers each: episode, start, length

    def __len__(self) -> int:
        return len(self.value)

    def add(self, told: dict[str, Any], annotator: str) -> None:
        """told: left and right as (episode, start, length), value, annotator, query and response_s."""
        for side, numbers in self.sides.items():
            episode, start, length = told[side]
            place = self.episodes.setdefault(episode, len(self.episodes))
            numbers.extend((place, start or 0, TO_THE_END if length is None else length))
        self.value.append(told["value"])
        self.response_s.append(told["response_s"])
        self.annotator.append(self.names.setdefault(told["annotator"] or annotator, len(self.names)))
        name = told["query"]
        self.query.append(len(self) if name is None else self.queries.setdefault(name, len(self.queries) + 1))


def read_comparisons(rows: Rows, data: Path, where: Path, *, criterion: str | None = None) -> Answered:
    """The segments that the rows name, cut from a data set, with the answers.

    where: the table, for what is wrong with it.
    """
    if not data.is_dir() or not is_dataset(data):
        problem = no_folder(data) if not data.is_dir() else "it is no data set"
        raise UserError(f"data={data}: {problem}; valid is a folder that `pbrl data import` or `pbrl collect` made")
    if not len(rows):
        raise UserError(f"{where} has no comparisons")
    if rows.queries and len(set(rows.query)) - len(rows.queries):
        raise UserError(f"{where} has a query in some rows and none in others; valid are all or none")
    dataset = load_dataset(data)
    sides = [_numbers(rows, side, dataset, where) for side in rows.sides]
    steps = max(int(side[:, 2].max()) for side in sides)
    cut = [_cut(dataset, side, steps) for side in sides]
    states = [c[1] for c in cut]
    pairs = SegmentPair(cut[0][0], cut[1][0], *([] if states[0] is None else states), criterion=criterion or OVERALL)
    return Answered(
        pairs,
        np.array(rows.value),
        names=tuple(rows.names),
        annotator=np.array(rows.annotator),
        query=np.array(rows.query),
        response_s=np.array(rows.response_s),
        last_obs=dataset.meta["last_obs"],
        notes=describe_source(dataset),
    )


def describe_source(dataset: Dataset) -> dict[str, Any]:
    """What meta.json of labels says of the data set that they are about: with it episodes and clips are found again."""
    notes: dict[str, Any] = {"data": {"path": str(dataset.path.resolve()), "sha256": dataset.meta["sha256"]}}
    if (videos := dataset.meta.get("videos")) is not None:
        notes["videos"] = {**videos, "root": videos["root"] or str((dataset.path / FOLDER).resolve())}
    for name in ("env_name", "env"):
        if dataset.meta[name] is not None:
            notes[name] = dataset.meta[name]
    return notes


def _numbers(rows: Rows, side: str, dataset: Dataset, where: Path) -> np.ndarray:
    """(N, 3) episode in the data set, start and length, all of which are there."""
    numbers = np.array(rows.sides[side]).reshape(-1, 3)
    known, lengths = dataset.episode_numbers, np.array([len(e) for e in dataset.episodes])
    unknown = next((name for name in rows.episodes if name not in known), None)
    if unknown is not None:
        some = ", ".join(list(known)[:5])
        raise UserError(
            f"{where}: there is no episode {unknown!r}; {dataset.path} has {some}{', ...' * (len(known) > 5)}"
        )
    numbers[:, 0] = np.array([known[name] for name in rows.episodes])[numbers[:, 0]]
    there = lengths[numbers[:, 0]]
    numbers[:, 2] = np.where(numbers[:, 2] == TO_THE_END, there - numbers[:, 1], numbers[:, 2])
    wrong = (numbers[:, 2] < 1) | (numbers[:, 1] + numbers[:, 2] > there)
    if wrong.any():
        n = int(np.argmax(wrong))
        name, (_, start, length) = list(known)[numbers[n, 0]], numbers[n].tolist()
        raise UserError(
            f"{where}: {side} of comparison {n + 1} is {length} steps from {start} of episode {name}, "
            f"which has {there[n]}"
        )
    return numbers


def _cut(dataset: Dataset, numbers: np.ndarray, steps: int) -> tuple[Segments, np.ndarray | None]:
    """Segments of these steps at most, padded where they are shorter, and what they are drawn from."""
    first = np.cumsum([0, *(len(e) + 1 for e in dataset.episodes)])
    n, example = len(numbers), dataset.episodes[0]
    obs = np.zeros((n, steps + 1, *example.obs.shape[1:]), example.obs.dtype)
    actions = np.zeros((n, steps, example.actions.shape[1]), np.float32)
    rewards, ended = np.zeros((n, steps), np.float32), np.zeros((n, steps), np.float32)
    mask = (np.arange(steps) < numbers[:, 2:]).astype(np.float32)
    with_states = all(e.states is not None for e in dataset.episodes)
    states = np.zeros((n, steps + 1, example.states.shape[1])) if with_states else None  # type: ignore[union-attr]
    for row, (k, start, length) in enumerate(numbers.tolist()):
        e, nodes = dataset.episodes[k], np.minimum(start + np.arange(steps + 1), start + length)
        obs[row] = e.obs[nodes]
        actions[row, :length], rewards[row, :length] = (x[start : start + length] for x in (e.actions, e.true_reward))
        ended[row, length - 1] = e.terminated and start + length == len(e)
        if states is not None and e.states is not None:
            states[row] = e.states[nodes]
    ids = first[numbers[:, 0]] + numbers[:, 1]
    whole = None if mask.all() else mask
    return make_segments(obs, actions, ids=ids, true_reward=rewards, terminated=ended, mask=whole), states
