"""The `viewer` section of a config, checked."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.viewer.desk import DeskSettings

WHOLE = {"port": (0, 65535), "overlap": (1, 100), "ahead": (1, 1000)}
WORDS = ("host", "question")
GENERAL = (
    "Two clips of the same task play side by side. Say which one does better.\n"
    "If both are as good (or as bad) as each other, say equal; if they cannot be compared, say can't tell."
)


def desk_settings(config: DictConfig) -> DeskSettings:
    """How pairs are handed out in the run of this config; refuses what makes no sense."""
    v = viewer_section(config)
    # Where a script is the teacher, people's answers are a second opinion: they are asked in spite of its answers.
    people = config.teacher.get("name") == "human"
    return DeskSettings(overlap=v.overlap, repeats=v.repeats, lease_s=v.lease_s, slight=v.slight, scripts_count=people)


def viewer_section(config: DictConfig, overrides: dict[str, str] | None = None) -> DictConfig:
    """The section with its defaults, for runs that are older than some of its keys, and with `overrides`."""
    known = compose_config([]).viewer
    section = OmegaConf.merge(known, config.get("viewer") or {})
    for key, text in (overrides or {}).items():
        if key not in known:
            raise UserError(f"unknown key {key!r}: valid are run, {', '.join(known)}")
        section = OmegaConf.merge(section, OmegaConf.from_dotlist([f"{key}={text}"]))
    assert isinstance(section, DictConfig)
    _check(section)
    return section


def instructions(section: DictConfig) -> str:
    return str(section.instructions or GENERAL)


def _check(section: DictConfig) -> None:
    for key, (low, high) in WHOLE.items():
        value = section[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise UserError(f"viewer.{key}={value}: expected a whole number from {low} to {high}")
    for key in WORDS:
        if not isinstance(section[key], str) or not section[key].strip():
            raise UserError(f"viewer.{key}={section[key]}: expected some text")
    for key in ("repeats", "lease_s", "hold_s"):
        number: Any = section[key]
        if not isinstance(number, (int, float)) or isinstance(number, bool) or number < 0:
            raise UserError(f"viewer.{key}={number}: expected a number from 0")
    for key in ("start", "open_browser", "allow_remote"):
        if not isinstance(section[key], bool):
            raise UserError(f"viewer.{key}={section[key]}: expected true or false")
