"""The kinds of questions, and how each is answered. n questions of a batch, k items of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from pbrl.errors import UserError, choices, is_name
from pbrl.questions import Form, Question, States
from pbrl.types import OVERALL, Answers, Segments

if TYPE_CHECKING:
    from typing_extensions import Self

Wanted = Literal["best", "worst", "best_and_worst", "ranking"]


class TripletAnswers(NamedTuple):
    closer_second: Tensor  # (n,) in [0, 1]; 0.5: both are equally close
    answered: Tensor  # (n,) bool; False = skipped


class ChoiceAnswers(NamedTuple):
    order: Tensor  # (n, w) long, the places of the chosen items, see `Choice.wanted`; -1 where skipped
    answered: Tensor  # (n,) bool


class RatingAnswers(NamedTuple):
    rating: Tensor  # (n,) in [low, high]; NaN where skipped
    answered: Tensor  # (n,) bool


class OutcomeAnswers(NamedTuple):
    outcome: Tensor  # (n, 2) long: 1 success or 0 failure, and the step that decided it or -1; -1 twice where skipped
    answered: Tensor  # (n,) bool


class InterventionAnswers(NamedTuple):
    signals: Tensor  # (n, T) long, of each step, see `Intervention`; -1 where skipped
    answered: Tensor  # (n,) bool


@dataclass(frozen=True)
class SegmentPair(Question):
    """Asks which of two segments is better: `Answers.prefers_right`."""

    kind = "segment_pair"
    answers, skipped, tie = Answers, 0.5, 0.5
    parts: ClassVar[dict[str, str]] = {"left": "left", "right": "right"}

    left: Segments
    right: Segments
    left_states: np.ndarray | None = None  # (n, T+1, D) float64
    right_states: np.ndarray | None = None  # (n, T+1, D) float64
    criterion: str = field(default=OVERALL, kw_only=True)

    def put_to(self, teacher: Any) -> Answers:
        told: Answers = teacher.answer(self.left, self.right)
        return told

    @property
    def item_states(self) -> States:
        states: Any = self.left_states, self.right_states
        return None if self.left_states is None and self.right_states is None else states

    @classmethod
    def of(cls, items: Sequence[Segments], states: States, **about: Any) -> Self:
        left, right = items
        return cls(left, right, *(states or (None, None)), **about)

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        return ~((values >= 0) & (values <= 1))

    @classmethod
    def valid(cls, form: Form) -> str:
        return "0 to 1, where 0 is the left one, 1 the right one and 0.5 neither"


@dataclass(frozen=True)
class EpisodePair(SegmentPair):
    """Asks which of two whole episodes is better; `mask` tells how long each is. Batches are padded to the longest."""

    kind = "episode_pair"
    whole = True

    @classmethod
    def aligned(cls, parts: Sequence[Self]) -> Sequence[Self]:
        longest = max(part.left.steps for part in parts)
        return [part.padded(longest) for part in parts]

    def padded(self, steps: int) -> Self:
        """Return the same episodes with T = steps."""
        more = steps - self.left.steps
        states = self.item_states
        longer = states and tuple(np.pad(s, ((0, 0), (0, more), (0, 0)), mode="edge") for s in states)
        return self.of([_pad(segments, more) for segments in self.items], longer, **self.about)


@dataclass(frozen=True)
class Triplet(Question):
    """Asks which of two segments is closer to a third: `TripletAnswers.closer_second`."""

    kind = "triplet"
    answers, skipped, tie = TripletAnswers, 0.5, 0.5
    parts: ClassVar[dict[str, str]] = {"reference": "reference", "first": "first", "second": "second"}

    reference: Segments
    first: Segments
    second: Segments
    states: States = None  # in this order
    criterion: str = field(default=OVERALL, kw_only=True)

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        return ~((values >= 0) & (values <= 1))

    @classmethod
    def valid(cls, form: Form) -> str:
        return "0 to 1, where 0 is the first one, 1 the second one and 0.5 neither"


@dataclass(frozen=True)
class Choice(Question):
    """Asks for the best or the worst of k segments, or both, or their ranking: `ChoiceAnswers.order`."""

    kind = "choice"
    answers, skipped, dtype, blank = ChoiceAnswers, -1, np.int64, -1
    details = ("wanted",)

    segments: tuple[Segments, ...]  # k
    wanted: Wanted = "ranking"  # order is the best; the worst; the best and the worst; all from best to worst
    states: States = None
    criterion: str = field(default=OVERALL, kw_only=True)

    def __post_init__(self) -> None:
        if self.wanted not in (valid := get_args(Wanted)):
            raise UserError(f"wanted={self.wanted!r}; {choices(self.wanted, valid)}")
        if len(self.segments) < 2:
            raise ValueError(f"Choice.segments has {len(self.segments)} items, expected at least 2")
        super().__post_init__()

    @property
    def items(self) -> tuple[Segments, ...]:
        return tuple(self.segments)

    @classmethod
    def of(cls, items: Sequence[Segments], states: States, **about: Any) -> Self:
        return cls(tuple(items), states=states, **about)

    @classmethod
    def places(cls, items: int) -> tuple[str, ...]:
        return tuple(f"item_{i}" for i in range(items))

    @classmethod
    def answer_shape(cls, form: Form) -> tuple[int, ...]:
        return ({"best": 1, "worst": 1, "best_and_worst": 2}.get(form.detail("wanted"), form.items),)

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        outside = (values < 0) | (values >= form.items) | (values != np.floor(values))
        repeated = np.diff(np.sort(values, 1), axis=1) == 0
        return (outside.any(1) | repeated.any(1))[:, None]

    @classmethod
    def valid(cls, form: Form) -> str:
        return f"different whole numbers from 0 to {form.items - 1}, the places of the items"


@dataclass(frozen=True)
class Rating(Question):
    """Asks how good a segment is, as a number on a named scale: `RatingAnswers.rating`."""

    kind = "rating"
    answers, skipped = RatingAnswers, float("nan")
    parts: ClassVar[dict[str, str]] = {"segments": "segment"}
    details = ("scale", "low", "high")

    segments: Segments
    scale: str  # what people see it called, as "stars"
    low: float  # the worst
    high: float  # the best
    states: States = None  # of the one item
    criterion: str = field(default=OVERALL, kw_only=True)

    def __post_init__(self) -> None:
        if not is_name(self.scale):
            raise UserError(f"scale={self.scale!r}; valid is text without control characters, not blank")
        if not -np.inf < self.low < self.high < np.inf:
            raise UserError(f"scale {self.scale!r} is from {self.low} to {self.high}; valid are finite low < high")
        for name in ("low", "high"):  # 1 and 1.0 are one scale
            object.__setattr__(self, name, float(getattr(self, name)))
        super().__post_init__()

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        return ~((values >= form.detail("low")) & (values <= form.detail("high")))

    @classmethod
    def valid(cls, form: Form) -> str:
        return f"{form.detail('low'):g} to {form.detail('high'):g} {form.detail('scale')}"


@dataclass(frozen=True)
class Outcome(Question):
    """Asks whether a segment succeeds, and at which step that is decided: `OutcomeAnswers.outcome`."""

    kind = "outcome"
    answers, skipped, dtype, blank = OutcomeAnswers, -1, np.int64, -1
    parts: ClassVar[dict[str, str]] = {"segments": "segment"}

    segments: Segments
    states: States = None  # of the one item
    criterion: str = field(default=OVERALL, kw_only=True)

    @classmethod
    def answer_shape(cls, form: Form) -> tuple[int, ...]:
        return (2,)

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        success, step = values.T
        return (~np.isin(success, (0, 1)) | (step < -1) | (step != np.floor(step)))[:, None]

    @classmethod
    def valid(cls, form: Form) -> str:
        return "1 (success) or 0 (failure), and the step that decided it, or -1"


@dataclass(frozen=True)
class Intervention(Question):
    """Episodes that a person watched live, who took over or said that it goes wrong.

    The answer is a signal at each of the `horizon` steps, the sum of what was said: 1 the person acted, or let an
    expert act, so that this action is not the agent's; 2 the person said "this is going wrong". 0: neither, also after
    the end of the episode, which `mask` tells.
    """

    kind = "intervention"
    answers, skipped, dtype, blank = InterventionAnswers, -1, np.int64, -1
    parts: ClassVar[dict[str, str]] = {"episodes": "episode"}
    details, whole = ("horizon",), True
    TOOK_OVER: ClassVar[int] = 1
    WRONG: ClassVar[int] = 2

    episodes: Segments  # padded to `horizon`; actions are those that were done, whoever chose them
    horizon: int  # steps after which an episode is cut off: T
    states: States = None
    criterion: str = field(default=OVERALL, kw_only=True)

    def __post_init__(self) -> None:
        if self.episodes.steps != self.horizon:
            raise ValueError(f"Intervention.episodes has T = {self.episodes.steps}, expected horizon = {self.horizon}")
        super().__post_init__()

    @classmethod
    def watched(cls, episodes: Segments, states: np.ndarray | None, horizon: int, criterion: str = OVERALL) -> Self:
        """Make questions of episodes (n, T <= horizon) as this asks about them. states: (n, T+1, D), or None."""
        more = horizon - episodes.steps
        longer = None if states is None else (np.pad(states, ((0, 0), (0, more), (0, 0)), mode="edge"),)
        return cls(_pad(episodes, more), horizon, longer, criterion=criterion)

    @classmethod
    def answer_shape(cls, form: Form) -> tuple[int, ...]:
        return (form.detail("horizon"),)

    @classmethod
    def wrong(cls, values: np.ndarray, form: Form) -> np.ndarray:
        return ~np.isin(values, (0, cls.TOOK_OVER, cls.WRONG, cls.TOOK_OVER + cls.WRONG))

    @classmethod
    def valid(cls, form: Form) -> str:
        return "at each step 0 (nothing), 1 (took over), 2 (said that it goes wrong) or 3 (both)"


def _pad(segments: Segments, more: int) -> Segments:
    """Add `more` steps of padding: the last observation again, zeros in all else."""

    def longer(x: Tensor | None) -> Tensor | None:
        return x if x is None else torch.cat([x, x.new_zeros(len(x), more, *x.shape[2:])], 1)

    last = segments.obs[:, -1:].expand(-1, more, *segments.obs.shape[2:])
    per_step = {name: longer(getattr(segments, name)) for name in ("actions", "mask", "terminated", "true_reward")}
    longer_ones: dict[str, Any] = per_step | {"factors": longer(segments.factors)}
    return dataclasses.replace(segments, obs=torch.cat([segments.obs, last], 1), **longer_ones)
