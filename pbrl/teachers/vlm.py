"""A vision-language model as the teacher: it sees pictures of both clips and says which shows the task done better."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pbrl.checks import between, one_of, whole
from pbrl.endpoint import Endpoint
from pbrl.feedback.vlm import VlmDesk
from pbrl.teachers.human import HumanTeacher
from pbrl.teachers.teacher import Teacher
from pbrl.viewer.clips import ClipStyle

MODES = ("async", "block")
BETTER = {"first": 0.0, "second": 1.0, "equal": 0.5}
SYSTEM = """You compare two clips of a robot, each shown as pictures in the order of time. Say which clip shows the task
done better. Reply with a line of JSON: {"better": "first", "second" or "equal", "confidence": a number from 0 to 1}"""


class Opinion(NamedTuple):
    better: float  # 0 the first clip, 1 the second, 0.5 neither
    confidence: float  # from 0 to 1


class VlmTeacher(HumanTeacher):
    """Asks an OpenAI-compatible endpoint about each pair, in both orders; people answer what it leaves open.

    Where the two orders disagree the clips count as equal: models often favour one place. Where its mean confidence is
    below `confidence`, or a reply cannot be read, the question waits for people in the viewer, as with `teacher=human`.

    Args:
        endpoint: makes the `Endpoint`.
        task: what the agent should do, in words.
        frames: pictures of each clip, at even distances.
        size: pixels a side, even.
        confidence: of its two replies on average, below which people are asked; 0: of all that could be read none are.
        tries: requests for each reply that cannot be read, at most.
        mode, others: how the run goes on while people answer, see `HumanTeacher`; mixed has no meaning here.
    """

    desk = VlmDesk

    def __init__(
        self,
        rng: torch.Generator,
        *,
        endpoint: Callable[[], Endpoint],
        task: str | None,
        frames: int,
        size: int,
        confidence: float,
        tries: int,
        mode: str,
        **others: Any,
    ) -> None:
        one_of(MODES, mode=mode)
        super().__init__(rng, mode=mode, script=_nobody, **others)
        if not task:
            raise ValueError("task=: say in words what the agent should do, as task='walk forward without falling'")
        whole(1, frames=frames, tries=tries)
        between(0, 1, confidence=confidence)
        if not isinstance(size, int) or size % 2 or not 16 <= size <= 4096:
            raise ValueError(f"size={size}: expected an even number of pixels from 16 to 4096")
        self.endpoint, self.task, self.frames = endpoint(), task, frames
        self.confidence, self.tries = confidence, tries
        self.style = ClipStyle(width=size, height=size)
        self.counts = {"answered": 0, "orders_disagree": 0, "to_people": 0}
        self.heard = False  # the endpoint has replied before

    @property
    def annotator(self) -> str:
        """The name of whose answers these are."""
        return f"model:{self.endpoint.model}"

    def look(self, left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float | None:
        """Return `prefers_right` of a pair of clips, each some pictures (H, W, 3); None: people should say."""
        opinions = self._opinion(left, right), self._opinion(right, left)
        one, other = opinions
        if one is None or other is None or (one.confidence + other.confidence) / 2 < self.confidence:
            self.counts["to_people"] += 1
            return None
        self.counts["answered"] += 1
        if one.better != 1 - other.better:
            self.counts["orders_disagree"] += 1
            return 0.5
        return one.better

    def metrics(self) -> dict[str, float]:
        return {f"feedback/model_{name}": n for name, n in self.counts.items()}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.counts = dict(state["counts"])

    def _opinion(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Opinion | None:
        content: list[dict[str, Any]] = [{"type": "text", "text": f"Task: {self.task}"}]
        for name, pictures in (("First", first), ("Second", second)):
            content.append({"type": "text", "text": f"{name} clip:"})
            content += [{"type": "image_url", "image_url": {"url": as_url(picture)}} for picture in pictures]
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": content},
        ]
        for _ in range(self.tries):
            reply = self.endpoint.chat(messages)
            self.heard = True
            if (opinion := opinion_in(reply)) is not None:
                return opinion
        return None


def opinion_in(reply: str) -> Opinion | None:
    """Return the last JSON object of a reply, where it says what it should."""
    for text in reversed(re.findall(r"\{[^{}]*\}", reply)):
        try:
            said = json.loads(text)
            better, confidence = BETTER[said["better"]], said["confidence"]
        except (ValueError, KeyError, TypeError):
            continue
        number = isinstance(confidence, (int, float)) and not isinstance(confidence, bool)
        if number and math.isfinite(confidence) and 0 <= confidence <= 1:
            return Opinion(better, float(confidence))
    return None


def as_url(picture: np.ndarray) -> str:
    """Return a picture (H, W, 3) uint8 as a data URL with a PNG in it."""
    from PIL import Image

    Image.fromarray(picture).save(file := io.BytesIO(), "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _nobody(rng: torch.Generator) -> Teacher:
    raise NotImplementedError("nobody stands in for people here")
