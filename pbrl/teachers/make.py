"""A teacher from a config, told what it needs to know of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from pbrl.building import explaining, maker_of
from pbrl.errors import UserError
from pbrl.feedback.desk import Desk
from pbrl.teachers.teacher import Teacher


def make_teacher(node: DictConfig, *, factor_names: Sequence[str] | None = None, **given: Any) -> Any:
    """Make a teacher. factor_names: of the columns of `Segments.factors`, where there are such."""
    teacher_class(node)
    maker = maker_of(node, "teacher")
    teacher = maker.make(**given)
    if factor_names is not None:
        with explaining(maker.key, maker.settings):
            teacher.use_factors(factor_names)
    return teacher


def teacher_class(node: DictConfig) -> type[Teacher]:
    """Return the class that a config names as the teacher, which says where it answers and what."""
    found = maker_of(node, "teacher").target
    if not (isinstance(found, type) and issubclass(found, Teacher)):
        base = f"{Teacher.__module__}.{Teacher.__qualname__}"
        raise UserError(f"teacher._target_={node._target_}: expected a class derived from {base}")
    return found


def desk_class(node: DictConfig, of_videos: bool) -> type[Desk]:
    """Return the desk at which the teacher of a config answers. of_videos: the method asks about recorded videos."""
    found = teacher_class(node)
    return found.video_desk if of_videos and found.video_desk is not None else found.desk


def asks_people(node: DictConfig) -> bool:
    """Return whether the teacher of a config is people; false where it names no teacher."""
    return "_target_" in node and teacher_class(node).desk.needs_people
