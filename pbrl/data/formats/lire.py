"""LiRE's text files of people's answers: ranked lists (`_RLT_0.txt`), and pairs (`_Independent.txt`, `_SeqRank.txt`).

A list has a line for each rank, the worst first, as `3 [24418, 50066]`: clips of one rank are equally good. It becomes
all its pairs. A pair is `231412 115749 1`: 1 for the first, 3 for the second, 2 for a tie. Numbers are start rows in
the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from pbrl.data.formats.reader import Answered, Format, Option, Options, whole_number
from pbrl.errors import UserError
from pbrl.reading import read_text

RANK = re.compile(r"\s*(\d{1,9})\s+\[\s*(\d{1,15}(?:\s*,\s*\d{1,15})*)\s*\]\s*", re.ASCII)
PAIR = re.compile(r"\s*(\d{1,15})\s+(\d{1,15})\s+([123])\s*", re.ASCII)
Told = tuple[int, int, float]  # start rows of both, and the probability that the second is preferred


def is_lire(path: Path) -> bool:
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    try:
        first = next(iter(read_text(path).splitlines()), "")
    except UserError:
        return False
    return bool(RANK.fullmatch(first) or PAIR.fullmatch(first))


def read_told(path: Path) -> list[Told]:
    """All answers of a file; of a ranked list those that follow from it."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    pattern = RANK if lines and RANK.fullmatch(lines[0]) else PAIR
    found = [pattern.fullmatch(line) for line in lines]
    for n, match in enumerate(found, 1):
        if match is None:
            valid = "a rank as 3 [24418, 50066]" if pattern is RANK else "a pair as 231412 115749 1"
            raise UserError(f"{path}: line {n} is {lines[n - 1][:60]!r}, expected {valid}")
    matches = [match for match in found if match is not None]
    if pattern is PAIR:
        return [(int(m[1]), int(m[2]), (int(m[3]) - 1) / 2) for m in matches]
    return list(_pairs([(int(m[1]), [int(n) for n in m[2].split(",")]) for m in matches], path))


def read(path: Path, options: Options, scratch: Path) -> Answered:
    from pbrl.labels.import_indices import pairs_at
    from pbrl.labels.index_rows import read_steps

    told, data = read_told(path), Path(options["data"])
    steps, length = read_steps(data), whole_number(options, "segment_length", 1)
    if not told:
        raise UserError(f"{path} has no answers")
    starts = [np.array([t[side] for t in told], np.int64) for side in (0, 1)]
    if (most := max(s.max() for s in starts)) > len(steps) - length:
        raise UserError(
            f"{path} names row {most}, {data} has {len(steps)} steps: the last whole segment starts at "
            f"{len(steps) - length}"
        )
    clip, drop = options.get("clip") == "true", options.get("drop") == "true"
    pairs, kept, last_obs = pairs_at(steps, starts, length, clip=clip, drop=drop, indices=path, file=data)
    value = np.array([t[2] for t in told])[kept]
    notes = {"dropped": int((~kept).sum()), "data": str(data.resolve())}
    return Answered(pairs, value, names=(options.get("annotator", "imported"),), last_obs=last_obs, notes=notes)


def _pairs(ranks: list[tuple[int, list[int]]], path: Path) -> Iterator[Told]:
    """All pairs of a list, each clip as often on either side as chance has it."""
    if [rank for rank, _ in ranks] != list(range(len(ranks))):
        raise UserError(f"{path} has the ranks {[r for r, _ in ranks][:10]}, expected 0, 1, 2, ... from worst to best")
    clips = [(rank, clip) for rank, group in ranks for clip in group]
    if len({clip for _, clip in clips}) < len(clips):
        raise UserError(f"{path} ranks a clip twice, expected each once")
    rng = np.random.default_rng(0)
    for one, other in combinations(clips, 2):
        left, right = (one, other) if rng.random() < 0.5 else (other, one)
        yield left[1], right[1], 0.5 if left[0] == right[0] else float(right[0] > left[0])


FORMAT = Format(
    name="lire",
    about="LiRE's ranked lists and pairs in text files; data= are the steps whose rows they name",
    is_one=is_lire,
    read_answers=read,
    options=(
        Option("data", "D4RL's HDF5, an npz of its arrays, or of what qlearning_dataset returned", needed=True),
        Option("segment_length", "steps of a segment, as segment_length=25", needed=True),
        Option("drop", "drop=true leaves out comparisons that cross an episode"),
    ),
)
