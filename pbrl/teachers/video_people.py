"""People as the teacher of videos: what they said of a data set's episodes (`pbrl label data=... kind=triplet`)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError
from pbrl.feedback.videos import VideoDesk
from pbrl.labels.import_set import as_store
from pbrl.labels.recorded import read_source
from pbrl.labels.store import Answered, LabelStore
from pbrl.question_kinds import Choice, EpisodePair, Triplet
from pbrl.questions import Question
from pbrl.teachers.teacher import Teacher

LABEL = "`pbrl label data=DATASET out=FOLDER kind={}` asks people"


class VideoPeople(Teacher):
    """Answers with what is stored, about those videos that are learned from: answers about others are left out.

    Args:
        triplets: where people said which of two episodes is closer to a third; a folder of `pbrl label data=...`, or a
            label set of it.
        preferred: where they compared episodes (kind=episode_pair or ranking): what is learned from by methods of
            pairs, and which are demonstrations; None: demonstrations are those of the highest true return.
    """

    desk = VideoDesk
    kinds = (Triplet, EpisodePair)
    reads = "videos"
    at_once = False

    def __init__(self, *, triplets: str | None, preferred: str | None, rng: torch.Generator) -> None:
        if triplets is None and preferred is None:
            raise UserError(f"triplets=None: what people said is needed; {LABEL.format('triplet')}")
        self._triplets = None if triplets is None else _read(Path(triplets), "triplets", (Triplet,))
        self._preferred = None if preferred is None else _read(Path(preferred), "preferred", (EpisodePair, Choice))

    def answer_triplets(self, videos: Videos, rows: Tensor) -> Triplets:
        """Return as many of people's triplets as are asked for, oldest first. rows: (B, 3), which are not asked."""
        if self._triplets is None:
            raise UserError(f"teacher.triplets is null, and triplets are asked; {LABEL.format('triplet')}")
        told, sha256 = self._triplets
        known = _rows_of(videos, told.questions, sha256, "teacher.triplets")  # (Q, 3)
        able = (known >= 0).all(1)
        _require(int(able.sum()), len(rows), "triplets", len(videos))
        anchor, first, second = known[able][: len(rows)].unbind(1)
        return Triplets(anchor, first, second, told.answers.closer_second[able][: len(rows)])

    def answer_pairs(self, videos: Videos, rows: Tensor) -> VideoPairs:
        """Return as many of people's comparisons as are asked for, oldest first. rows: (B, 2), which are not asked."""
        left, right, prefers_right = self._compared(videos)
        _require(len(left), len(rows), "comparisons", len(videos))
        n = len(rows)
        return VideoPairs(left[:n], right[:n], prefers_right[:n])

    def rank(self, videos: Videos) -> Tensor:
        """Return all rows (N,), those first that won the largest share of comparisons; without any, by true return."""
        if self._preferred is None:
            return videos.by_true_return()
        left, right, prefers_right = self._compared(videos)
        won, met = torch.zeros(len(videos)), torch.zeros(len(videos))
        won.index_add_(0, left, 1 - prefers_right).index_add_(0, right, prefers_right)
        met.index_add_(0, left, torch.ones(len(left))).index_add_(0, right, torch.ones(len(right)))
        share = torch.where(met > 0, won / met.clamp(min=1), -1.0)  # nobody said anything about these: last
        return share.sort(descending=True, stable=True).indices

    def _compared(self, videos: Videos) -> tuple[Tensor, Tensor, Tensor]:
        """Return left, right, and whether the right one is preferred, (P,) each, of what people compared."""
        if self._preferred is None:
            raise UserError(f"teacher.preferred is null, and pairs are asked; {LABEL.format('episode_pair')}")
        told, sha256 = self._preferred
        known = _rows_of(videos, told.questions, sha256, "teacher.preferred")
        if isinstance(told.questions, EpisodePair):
            left, right, prefers_right = *known.unbind(1), told.answers.prefers_right
        else:
            left, right, prefers_right = ranked_pairs(known, told.answers.order)
        able = (left >= 0) & (right >= 0)
        return left[able], right[able], prefers_right[able]


def ranked_pairs(items: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each two items of a ranking as a comparison; the better one is on the right in every other pair.

    items: (Q, k); order: (Q, k) places of them from the best to the worst. Returns left, right, prefers_right (P,).
    """
    ranked = items.gather(1, order)  # (Q, k), the best first
    pairs = torch.tensor(list(itertools.combinations(range(items.shape[1]), 2)))  # (p, 2)
    better, worse = ranked[:, pairs[:, 0]].flatten(), ranked[:, pairs[:, 1]].flatten()
    swap = torch.arange(len(better)) % 2 == 1
    return torch.where(swap, worse, better), torch.where(swap, better, worse), swap.float()


def _read(source: Path, key: str, kinds: tuple[type[Question], ...]) -> tuple[Answered, Any]:
    """Return what was said, and the hash of the data set that it is about."""
    if not source.is_dir():
        raise UserError(f"{key}={source}: there is no such folder; {LABEL.format(kinds[0].kind)}")
    with as_store(source) as folder:
        about = (read_source(folder).get("data") or {}).get("sha256")
        with LabelStore(folder, create=False) as store:
            found = next((told for kind in kinds if (told := _answered(store, kind)) is not None), None)
    if found is None:
        raise UserError(f"{key}={source} has no answers of kind {' or '.join(k.kind for k in kinds)}")
    if about is None:
        raise UserError(f"{key}={source} does not say which data set it is about; {LABEL.format(kinds[0].kind)}")
    return found, about


def _answered(store: LabelStore, kind: type[Question]) -> Answered | None:
    found = store.answered(kind=kind)
    if found is not None and isinstance(found.questions, Choice) and found.questions.wanted != "ranking":
        raise UserError(f"{store.path} asked for the {found.questions.wanted}; valid are rankings")
    return found


def _rows_of(videos: Videos, questions: Question, sha256: Any, key: str) -> Tensor:
    """Return the rows (Q, k) of these videos that the items are; -1 for episodes that are not among them."""
    if videos.ids is None or videos.source != sha256:
        raise UserError(f"{key} is about another data set than data=; valid are answers about that one")
    row_of: dict[int, int] = {int(number): row for row, number in enumerate(videos.ids.tolist())}
    ids: list[list[Any]] = torch.stack([item.ids for item in questions.items], 1).tolist()
    return torch.tensor([[row_of.get(int(number), -1) for number in row] for row in ids]).reshape(len(ids), -1)


def _require(found: int, wanted: int, what: str, videos: int) -> None:
    if found < wanted:
        raise UserError(
            f"feedback.budget={wanted}: people said {found} {what} about the {videos} videos that are learned from; "
            "valid is that many at most, and method.heldout= makes them more"
        )
