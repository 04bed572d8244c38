"""The contract of a teacher, who answers questions: a script, a person or a file of earlier answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pbrl.feedback.desk import Desk
from pbrl.feedback.scripted import ScriptedDesk
from pbrl.questions import Question
from pbrl.types import Answers, Episode, Segments


class Teacher:
    """Answers questions. A teacher of one's own derives from this and has `answer`, or `judge` for other kinds.

    desk: the class of desk at which it answers.
    video_desk: the same for methods that ask about recorded videos; None: `desk`.
    kinds: of questions that it answers; (): those of its desk.
    reads: what it judges by.
    at_once: it answers whatever it is asked, at once; people answer later, and a file knows its own questions alone.
    """

    desk: ClassVar[type[Desk]] = ScriptedDesk
    video_desk: ClassVar[type[Desk] | None] = None
    kinds: ClassVar[tuple[type[Question], ...]] = ()
    reads: ClassVar[str] = "true rewards"
    at_once: ClassVar[bool] = True

    def use_factors(self, names: Sequence[str]) -> None:
        """Take the names of the columns of Segments.factors in this run."""

    def observe(self, episodes: Sequence[Episode]) -> None:
        """Hear what the agent did since the last question."""

    def answer(self, left: Segments, right: Segments) -> Answers:
        """Return which of two segments is better."""
        raise ValueError(f"{type(self).__name__} answers no questions about pairs of segments")

    def judge(self, questions: Question) -> Any:
        """Return the `answers` of this kind of question."""
        raise ValueError(f"{type(self).__name__} answers no questions of kind {questions.kind}")

    def metrics(self) -> dict[str, float]:
        """Return feedback/* figures of its own, always the same names; NaN: not yet."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; generators that were given are saved already."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
