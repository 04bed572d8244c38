"""A Python function as the teacher: `teacher=function teacher.function=my_module.better`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.given import call, find, name_of
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class FunctionTeacher(Teacher):
    """Asks a function which of two segments is better.

    Args:
        function: (left, right) of n `Segments` each -> (n,) numbers in [0, 1]: 1 where the right one is better, 0.5
            where they are equal, NaN where the pair is skipped. An array, a tensor or a list. A config has the name by
            which Python imports it.
        rng: unused; a function that draws has a generator of its own, whose state is not saved with the run.
    """

    reads: ClassVar[str] = "what its function reads"

    def __init__(
        self, *, function: Callable[[Segments, Segments], Any] | str, rng: torch.Generator | None = None
    ) -> None:
        self.function = find(function, "teacher.function", ("left", "right"))

    def answer(self, left: Segments, right: Segments) -> Answers:
        said = call(self.function, "teacher.function", left, right)
        try:
            values = torch.as_tensor(np.asarray(said, np.float64))
        except (TypeError, ValueError) as error:
            raise UserError(f"{self._name} returned {said!r:.60}, expected {len(left)} numbers") from error
        if tuple(values.shape) != (len(left),):
            raise UserError(f"{self._name} returned shape {tuple(values.shape)}, expected ({len(left)},)")
        skipped = values.isnan()
        if not ((values >= 0) & (values <= 1) | skipped).all():
            raise UserError(f"{self._name} returned numbers outside [0, 1]; 1 is right, 0.5 equal, NaN a skip")
        return Answers(torch.where(skipped, 0.5, values).float(), ~skipped)

    @property
    def _name(self) -> str:
        return f"teacher.function={name_of(self.function)}"
