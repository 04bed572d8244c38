"""IPL's npz of pairs: observations and actions of both sides and a label."""

from __future__ import annotations

from pathlib import Path

from pbrl.data.formats.npz import npz_names
from pbrl.data.formats.reader import Answered, Format, Options


def is_pairs(path: Path) -> bool:
    return {"obs_1", "obs_2", "action_1", "action_2", "label"} <= npz_names(path)


def read(path: Path, options: Options, scratch: Path) -> Answered:
    from pbrl.labels.import_pairs import read_pairs

    return read_pairs(path, annotator=options.get("annotator", "imported"), clip=options.get("clip") == "true")


FORMAT = Format(
    name="pairs",
    about="an npz of obs_1, obs_2, action_1, action_2 and label (1: the second is preferred); "
    "of unequal length with length_1, length_2 or mask_1, mask_2",
    is_one=is_pairs,
    read_answers=read,
)
