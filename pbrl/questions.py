"""Questions about segments, whatever their kind: n questions of a batch, k items of each.

All items of a batch have one length T; where less was shown, `mask` says so. The kinds are in
`pbrl.question_kinds`; one of your own is a subclass of `Question`, which the label store and label sets take as well.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch

from pbrl.errors import UserError, choices, is_name
from pbrl.types import OVERALL, Segments

if TYPE_CHECKING:
    from typing_extensions import Self

Value = tuple[float, ...]  # the answer to one question, as it is stored
States: TypeAlias = "tuple[np.ndarray, ...] | None"  # k of (n, T+1, D) float64, from which clips are drawn


class Form(NamedTuple):
    """The form of a question: all that is asked except the clips; questions of one form can be one batch."""

    kind: str
    items: int  # k
    criterion: str
    details: str = "{}"  # JSON of what else the kind has to say, keys in order

    @property
    def type(self) -> type[Question]:
        if self.kind not in Question.kinds:
            raise UserError(f"questions of kind {self.kind!r} are unknown here; {choices(self.kind, Question.kinds)}")
        return Question.kinds[self.kind]

    def detail(self, name: str) -> Any:
        if name not in (details := json.loads(self.details)):
            raise UserError(f"details of a question of kind {self.kind} are {self.details}, expected {name!r} in them")
        return details[name]


class Question:
    """n questions of one kind. A subclass is a frozen dataclass whose fields are its items and what else it says."""

    kinds: ClassVar[dict[str, type[Question]]] = {}
    kind: ClassVar[str]
    answers: ClassVar[Any]  # how it is answered: a NamedTuple of the values (n,) or (n, w), and `answered` (n,)
    skipped: ClassVar[float]  # what stands in the values of `answers` where it was skipped
    tie: ClassVar[float | None] = None  # the answer that prefers none
    dtype: ClassVar[type] = np.float64  # of values in files; or np.int64
    blank: ClassVar[float] = math.nan  # what stands in files where it was skipped
    parts: ClassVar[dict[str, str]] = {}  # fields that hold the items, in order, and what each is called in files
    details: ClassVar[tuple[str, ...]] = ()  # fields that say what is asked
    whole: ClassVar[bool] = False  # items are whole episodes, whose padding says nothing

    criterion: str
    states: States  # of the items; a kind that keeps them elsewhere says so in `item_states` and `of`

    def __init_subclass__(cls) -> None:
        taken = Question.kinds.setdefault(cls.kind, cls)
        if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"two classes are questions of kind {cls.kind!r}, expected a kind of its own for each")
        Question.kinds[cls.kind] = cls

    @property
    def items(self) -> tuple[Segments, ...]:
        """Return the items, k times n segments."""
        return tuple(getattr(self, name) for name in self.parts)

    @property
    def item_states(self) -> States:
        """Return simulator states of the items, None where they are unknown."""
        return self.states

    @classmethod
    def of(cls, items: Sequence[Segments], states: States, **about: Any) -> Self:
        """Make questions of items. about: `criterion` and the fields named in `details`."""
        make: Any = cls
        questions: Self = make(*items, states=states, **about)
        return questions

    @classmethod
    def places(cls, items: int) -> tuple[str, ...]:
        """Return what each of the k items is called in files."""
        return tuple(cls.parts.values())

    @classmethod
    def answer_shape(cls, form: Form) -> tuple[int, ...]:
        """Return the shape of the answer to one question: () for a number, (w,) for several."""
        return ()

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        """Return which of the values (n, w), w = 1 for a number, are no answers: (n, w) or (n, 1) bool."""
        raise NotImplementedError

    @classmethod
    def valid(cls, form: Form) -> str:
        """Return what an answer may be, in words."""
        raise NotImplementedError

    @classmethod
    def make_answers(cls, values: Sequence[Value | None], form: Form) -> Any:
        """Read stored answers as `answers`; None is a skip."""
        shape = cls.answer_shape(form)
        rows = [(cls.skipped,) * math.prod(shape) if v is None else v for v in values]
        told = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), *shape)
        answered = torch.tensor([v is not None for v in values], dtype=torch.bool)
        return cls.answers(told.to(torch.float32 if cls.dtype is np.float64 else torch.long), answered)

    @classmethod
    def value_name(cls) -> str:
        """Return what an answer is called in files."""
        return cls.answers._fields[0]

    def __post_init__(self) -> None:
        if not is_name(self.criterion):
            raise UserError(f"criterion={self.criterion!r}; valid is text without control characters, not blank")
        items, states = self.items, self.item_states
        n, t = len(items[0]), items[0].steps
        for place, segments in zip(self.places(len(items)), items, strict=True):
            if len(segments) != n or segments.steps != t:
                raise ValueError(f"{place} has {len(segments)} segments of {segments.steps} steps, expected {n} of {t}")
        if states is None:
            return
        if (known := sum(s is not None for s in states)) != len(items):
            raise ValueError(f"simulator states are given for {known} of {len(items)} items, expected all or none")
        for place, state in zip(self.places(len(items)), states, strict=True):
            if state.ndim != 3 or state.shape[:2] != (n, t + 1):
                raise ValueError(f"{place}_states has shape {state.shape}, expected ({n}, {t + 1}, D)")

    def __len__(self) -> int:
        return len(self.items[0])

    def put_to(self, teacher: Any) -> Any:
        """Return a script's `answers` to these questions; a teacher of other kinds than pairs has `judge`."""
        return teacher.judge(self)

    def __getitem__(self, rows: Sequence[int]) -> Self:
        index = torch.as_tensor(rows, dtype=torch.long)
        states = self.item_states and tuple(state[index.numpy()] for state in self.item_states)
        return self.of([segments[index] for segments in self.items], states, **self.about)

    @property
    def about(self) -> dict[str, Any]:
        """Return what is asked, as `of` takes it."""
        return {name: getattr(self, name) for name in ("criterion", *self.details)}

    def about_criterion(self, criterion: str) -> Self:
        """Return the same questions by this criterion, where they have none of their own."""
        if self.criterion != OVERALL or criterion == OVERALL:
            return self
        return self.of(self.items, self.item_states, **self.about | {"criterion": criterion})

    @property
    def form(self) -> Form:
        details = json.dumps({name: getattr(self, name) for name in sorted(self.details)})
        return Form(self.kind, len(self.items), self.criterion, details)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (T, *O, A): what questions must have in common to be one batch."""
        return (self.items[0].steps, *self.items[0].obs.shape[2:], self.items[0].actions.shape[-1])

    def hashes(self) -> list[tuple[str, ...]]:
        """Return what tells the content of each question: a hash of every item."""
        return list(zip(*(_hashes(segments, self.whole) for segments in self.items), strict=True))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Join batches, one after another; states only where all parts have them, of one size.

        UserError where the parts differ in form, or in the shapes of their segments.
        """
        if len(forms := {part.form for part in parts}) > 1:
            raise UserError(f"questions of {len(forms)} forms cannot be one batch: {sorted(forms)}; take those of one")
        parts = cls.aligned(parts)
        if len(shapes := {part.shape for part in parts}) > 1:
            raise UserError(
                f"segments of different shapes (steps, observation, action) cannot be one batch: {sorted(shapes)}; "
                "take those of one shape"
            )
        items = [Segments.cat(place) for place in zip(*(part.items for part in parts), strict=True)]
        known = [part.item_states for part in parts if part.item_states is not None]
        sizes = [{state.shape[2] for state in place} for place in zip(*known, strict=True)]
        alike = len(known) == len(parts) and all(len(size) == 1 for size in sizes)
        states = tuple(np.concatenate(place) for place in zip(*known, strict=True)) if alike else None
        return cls.of(items, states, **parts[0].about)

    @classmethod
    def aligned(cls, parts: Sequence[Self]) -> Sequence[Self]:
        """Return the parts as they can become one batch, where a kind has a way."""
        return parts


def _hashes(segments: Segments, whole: bool) -> list[str]:
    columns = [getattr(segments, name).detach().cpu().numpy() for name in ("obs", "actions", "mask")]
    found = []
    for obs, actions, mask in zip(*map(np.ascontiguousarray, columns), strict=True):
        steps = np.count_nonzero(mask) if whole else len(mask)
        arrays = obs[: steps + 1], actions[:steps], mask[:steps]
        shapes = " ".join(f"{array.dtype.str}{array.shape}" for array in arrays)
        digest = hashlib.blake2b(shapes.encode(), digest_size=16)
        for array in arrays:
            digest.update(array.data)
        found.append(digest.hexdigest())
    return found
