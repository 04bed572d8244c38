"""Comparisons over episodes of a data set, as segments with answers: of any lengths, by several people."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.data.columns import Columns
from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.formats.reader import Answered
from pbrl.errors import UserError
from pbrl.files import no_folder
from pbrl.labels.recorded import describe_source
from pbrl.question_kinds import SegmentPair
from pbrl.types import OVERALL, Segments

TO_THE_END = -1
BLOCK = 1 << 13  # comparisons that are cut at once


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
        """Add an answer. told: left and right as (episode, start, length), value, annotator, query and response_s."""
        for side, numbers in self.sides.items():
            episode, start, length = told[side]
            place = self.episodes.setdefault(episode, len(self.episodes))
            numbers.extend((place, start or 0, TO_THE_END if length is None else length))
        self.value.append(told["value"])
        self.response_s.append(told["response_s"])
        self.annotator.append(self.names.setdefault(told["annotator"] or annotator, len(self.names)))
        name = told["query"]
        self.query.append(len(self) if name is None else self.queries.setdefault(name, len(self.queries) + 1))


def read_comparisons(rows: Rows, data: Path, where: Path, scratch: Path, *, criterion: str | None = None) -> Answered:
    """Cut the segments that the rows name from a data set; return them with the answers.

    where: the table, for what is wrong with it. scratch: a folder for the arrays, which memory may be too small for.
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
    cut = [_cut(dataset, side, steps, scratch, name) for name, side in zip(rows.sides, sides, strict=True)]
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


def _numbers(rows: Rows, side: str, dataset: Dataset, where: Path) -> np.ndarray:
    """Read episode in the data set, start and length (N, 3), all of which are there."""
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


def _cut(
    dataset: Dataset, numbers: np.ndarray, steps: int, scratch: Path, side: str
) -> tuple[Segments, np.ndarray | None]:
    """Segments of these steps at most, padded where they are shorter, and what they are drawn from; on the disk."""
    store, n = dataset.store, len(numbers)
    lengths = np.array([len(e) for e in dataset.episodes])
    first = np.cumsum(lengths + 1) - (lengths + 1)
    ended = np.array([e.terminated for e in dataset.episodes])
    columns = Columns(scratch)
    for begin in range(0, n, BLOCK):
        episode, start, length = numbers[begin : begin + BLOCK].T
        ids = first[episode] + start
        nodes = ids[:, None] + np.minimum(np.arange(steps + 1), length[:, None])
        mask = (np.arange(steps) < length[:, None]).astype(np.float32)
        last = np.arange(steps) == length[:, None] - 1
        of_steps = np.minimum(nodes[:, :-1], nodes[:, -1:] - 1)  # the last node of a side is no step of it
        rows = {
            "obs": store.take("obs", nodes),
            "actions": store.take("actions", of_steps) * mask[..., None],
            "true_reward": np.where(mask > 0, store.take("true_reward", of_steps), 0).astype(np.float32),
            "terminated": (last & (ended[episode] & (start + length == lengths[episode]))[:, None]).astype(np.float32),
            "mask": mask,
            "ids": ids,
        }
        states = store.states(ids[:0], 1)
        rows |= {} if states is None else {"states": store.take("states", nodes)}
        columns.add(side, {f"{side}_{name}": array for name, array in rows.items()})
    arrays = {name.removeprefix(f"{side}_"): array for name, array in columns.map().items()}
    kept = arrays.pop("states", None)
    return Segments(**{name: torch.from_numpy(array) for name, array in arrays.items()}), kept
