"""A model that looks at pictures answers what it is sure of; what it is not waits for people."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.feedback.people import PeopleDesk
from pbrl.feedback.schedule import next_time
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question
from pbrl.types import Answers


class VlmDesk(PeopleDesk):
    """Questions go to the model as soon as they are asked, and to people where it gives no answer.

    Args:
        teacher: the model, a `pbrl.teachers.vlm.VlmTeacher`.
        source: makes the `ClipSource` of the run's clips, once there are some.
        others: see `PeopleDesk`.
    """

    kinds: tuple[type[Question], ...] = (SegmentPair,)

    def __init__(self, teacher: Any, *, source: Callable[[], Any], **others: Any) -> None:
        super().__init__(teacher, **others)
        self.shown: set[int] = set()  # queries that the model has seen
        self.looked_at, self._asks_now = -1, False  # the step of the last look, and whether a session is due at it
        self._source = source
        self._drawer: Any = None

    def ask(self, questions: Question, *, step: int, sampler: str) -> None:
        super().ask(questions, step=step, sampler=sampler)
        self._show()

    def look(self, step: int) -> None:
        self._show()  # what was left where the run was stopped
        self._asks_now = step >= next_time(self.feedback.first, self.feedback.every, self.looked_at)
        self.looked_at = step
        super().look(step)

    def next_look(self, due: int, every: int, step: int) -> int:
        """Return the next session, or a look before it for what people said."""
        return min(super().next_look(due, every, step), next_time(self.feedback.first, every, step))

    def room(self, wanted: int) -> int:
        """Let sessions come as those of a script, however many questions wait for people: a model answers at once."""
        if self.poll is None:
            return super().room(wanted)
        self._retire_old()
        return max(min(wanted, self.affordable), 0) if self._asks_now else 0

    def _show(self) -> None:
        """Shows the model the open questions that it has not seen."""
        for query in sorted(set(self.open) - self.shown):
            if self.stopped():
                break
            try:
                value = self.teacher.look(*self._clips(self.store.questions([query])))
            except UserError as error:
                if not self.teacher.heard:
                    raise  # a wrong address or key, rather than a hiccup
                print(f"pbrl: question {query} goes to people: {error}", file=sys.stderr)
                value = None
            self.shown.add(query)
            if value is not None:
                told = Answers(torch.tensor([value]), torch.ones(1, dtype=torch.bool))
                self.store.answer([query], told, self.teacher.annotator)
        self._count_all()

    def metrics(self) -> dict[str, float]:
        return super().metrics() | self.teacher.metrics()

    def close(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
        super().close()

    def _clips(self, question: Question) -> list[list[np.ndarray]]:
        """Draw the left and the right segment of one question, at even distances."""
        if (all_states := question.item_states) is None:
            raise UserError("these segments have no simulator states and no videos, which pictures are drawn from")
        if self._drawer is None:
            self._drawer = self._source().drawer(self.teacher.style)
        drawer, clips = self._drawer, []
        for segments, states in zip(question.items, all_states, strict=True):
            last = int(segments.mask[0].sum())
            steps = np.linspace(0, last, min(self.teacher.frames, last + 1)).round().astype(int)
            clips.append(list(drawer.pictures(states[0][steps], drawer.cameras[0])))
        return clips

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"shown": sorted(self.shown), "looked_at": self.looked_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.shown, self.looked_at = set(state["shown"]), state["looked_at"]
