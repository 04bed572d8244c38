"""A teacher from a config, told what it needs to know of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from pbrl.building import explaining, maker_of


def make_teacher(node: DictConfig, *, factor_names: Sequence[str] | None = None, **given: Any) -> Any:
    """factor_names: of the columns of `Segments.factors`, for teachers with a method `use_factors`."""
    maker = maker_of(node, "teacher")
    teacher = maker.make(**given)
    if factor_names is not None and hasattr(teacher, "use_factors"):
        with explaining(maker.key, maker.settings):
            teacher.use_factors(factor_names)
    return teacher
