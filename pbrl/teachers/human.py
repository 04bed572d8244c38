"""People as the teacher: how a run goes on while they answer. The answers come through the label store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from pbrl.checks import one_of, whole
from pbrl.data.episodes import Episode
from pbrl.feedback.desk import Desk
from pbrl.feedback.people import PeopleDesk
from pbrl.feedback.video_people import VideoPeopleDesk
from pbrl.questions import Question
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments

MODES = ("async", "block", "mixed")
NO_TRAINING = {"name": "human", "_target_": "pbrl.teachers.human.HumanTeacher", "mode": "labels only"}
"""What the config of a folder says as teacher whose people answer while nothing trains."""


class HumanTeacher(Teacher):
    """Says when to wait for whom.

    Args:
        mode: `async` trains on and learns from answers as they come; `block` waits until a session is answered;
            `mixed` waits `timeout_s` and then lets a script answer the rest.
        poll: environment steps between looks for answers (async).
        learn_every: new answers before the reward learns again (async).
        max_age_steps: questions older than this are taken back unanswered (async); None keeps them.
        timeout_s: how long a session waits; None: as long as it takes, which `mixed` cannot.
        script: makes the teacher that stands in (mixed), who judges true rewards at once; called with `rng`.
    """

    desk: ClassVar[type[Desk]] = PeopleDesk
    video_desk: ClassVar[type[Desk] | None] = VideoPeopleDesk
    at_once = False

    def __init__(
        self,
        rng: torch.Generator,
        mode: str,
        poll: int,
        learn_every: int,
        max_age_steps: int | None,
        timeout_s: float | None,
        script: Callable[..., Teacher],
    ) -> None:
        one_of(MODES, mode=mode)
        whole(1, poll=poll, learn_every=learn_every)
        if max_age_steps is not None:
            whole(1, max_age_steps=max_age_steps)
        number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
        if timeout_s is not None and not (number and 0 < timeout_s < math.inf):
            raise ValueError(f"timeout_s={timeout_s}: expected seconds above 0, or null to wait without end")
        if mode == "mixed" and timeout_s is None:
            raise ValueError("mode=mixed needs teacher.timeout_s, as 300: after it the script answers")
        self.mode, self.poll, self.learn_every = mode, poll, learn_every
        self.max_age_steps, self.timeout_s = max_age_steps, timeout_s
        self.script = script(rng=rng) if mode == "mixed" else None
        if self.script is not None and not (self.script.at_once and self.script.reads == Teacher.reads):
            said = f"script={type(self.script).__name__}"
            raise ValueError(f"{said}: expected a script that judges true rewards at once, as oracle or human_like")

    def require(self, asks: Sequence[type[Question]]) -> None:
        """Raise ValueError where the script that stands in could not answer such questions."""
        answers = () if self.script is None else self.script.kinds or self.script.desk.kinds
        if self.script is not None and (wrong := [kind.kind for kind in asks if kind not in answers]):
            who = type(self.script).__name__
            raise ValueError(f"script={who} answers no questions of kind {wrong[0]}; choose mode=block or mode=async")

    def observe(self, episodes: Sequence[Episode]) -> None:
        if self.script is not None:
            self.script.observe(episodes)

    def answer(self, left: Segments, right: Segments) -> Answers:
        """Answer by the script that stands in; people answer through the label store."""
        if self.script is None:
            raise ValueError(f"nobody stands in for people where teacher.mode={self.mode}")
        return self.script.answer(left, right)

    def judge(self, questions: Question) -> Any:
        """Answer other kinds of questions as `answer` does pairs."""
        if self.script is None:
            raise ValueError(f"nobody stands in for people where teacher.mode={self.mode}")
        return self.script.judge(questions)

    def state_dict(self) -> dict[str, Any]:
        return {"script": self.script.state_dict() if self.script is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.script is not None:
            self.script.load_state_dict(state["script"])
