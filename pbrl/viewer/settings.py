"""The `viewer` section of a config, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pbrl.config import compose_config
from pbrl.errors import UserError, choices, one_line
from pbrl.overrides import parse
from pbrl.teachers.make import asks_people
from pbrl.viewer.cards import DeskSettings
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.people import check_people

if TYPE_CHECKING:
    from pbrl.study.settings import Study
    from pbrl.watching.live import Live

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WHOLE = {"port": (0, 65535), "overlap": (1, 100), "ahead": (1, 1000), "width": (16, 4096), "height": (16, 4096)}
NUMBERS = ("repeats", "lease_s", "hold_s", "max_fps", "slight")
TEXTS = ("host", "question", "instructions", "tls", "camera")
NAMES = ("people", "show", "tags")  # lists
MOST_TAGS = 9  # one for each number key
SHOW = ("learned", "run", "step", "budget")
SWITCHES = ("start", "open_browser", "allow_remote")
MAY_BE_NULL = ("slight", "instructions", "tls", "people")
GENERAL = (
    "Two clips of the same task play side by side. Say which one does better.\n"
    "If both are as good (or as bad) as each other, say equal; if they cannot be compared, say can't tell."
)


@dataclass(frozen=True)
class ViewerConfig:
    """The settings of a viewer: what it shows and to whom."""

    run_dir: Path
    env: str
    mode: str  # of the teacher; "labels only" where no training waits for people
    instructions: str
    question: str
    desk: DeskSettings
    hold_s: float
    token: str
    port: int
    hosts: frozenset[str] | None  # Host headers that mean this server; None: any
    encrypted: bool = False  # served by https
    tags: tuple[str, ...] = ()  # reasons that people may give for an answer
    criteria: Mapping[str, str] = field(default_factory=dict)  # the question to ask, by criterion
    show: frozenset[str] = frozenset()  # of SHOW: what people see of how the run does
    links: Mapping[str, str] = field(default_factory=dict)  # the token of each person; empty: all share an address
    study: Study | None = None  # that people come through
    watch: Callable[[int], Live] | None = None  # where policies are watched: makes a simulator from its first number

    @property
    def cookie(self) -> str:
        return f"pbrl_{self.port}"  # cookies do not tell ports apart, several viewers may run


def viewer_section(config: DictConfig, overrides: dict[str, str] | None = None) -> DictConfig:
    """Return the section with its defaults, for runs that are older than some of its keys, and with `overrides`."""
    known = compose_config([]).viewer
    section = _over_defaults(config)
    for key, text in (overrides or {}).items():
        if key not in known:
            raise UserError(f"unknown key {key!r}: {choices(key, ['run', *known])}")
        section[key] = _value(key, text)
    _check(section)
    desk_settings(config, section)
    clip_style(section)
    return section


def study_viewer(config: DictConfig, study: Any) -> DictConfig:
    """Return the section of the run with what a study sets. study: a `pbrl.study` one."""
    return _over_defaults(config, dict(study.viewer))


def _over_defaults(config: DictConfig, *more: Any) -> DictConfig:
    known = compose_config([]).viewer.copy()
    OmegaConf.set_struct(known, False)  # criteria are named by whoever asks
    section = OmegaConf.merge(known, config.get("viewer") or {}, *more)
    assert isinstance(section, DictConfig)
    return section


def desk_settings(config: DictConfig, section: DictConfig) -> DeskSettings:
    """Return how pairs are handed out in the run of this config."""
    # Where a script is the teacher, people's answers are a second opinion: they are asked in spite of its answers.
    people = asks_people(config.teacher)
    s = section
    return DeskSettings(overlap=s.overlap, repeats=s.repeats, lease_s=s.lease_s, slight=s.slight, scripts_count=people)


def clip_style(section: DictConfig) -> ClipStyle:
    return ClipStyle(width=section.width, height=section.height, max_fps=section.max_fps, camera=section.camera)


def listed(value: Any) -> list[Any]:
    """Return a list, also where it was written as words with commas between."""
    if isinstance(value, str):
        return [word.strip() for word in value.strip("[]").split(",") if word.strip()]
    return list(value or [])


def instructions(section: DictConfig) -> str:
    return str(section.instructions or GENERAL)


def _value(key: str, text: str) -> Any:
    """Return what a word of the command line means; text is taken as it is."""
    if key in TEXTS:
        return None if text == "null" and key in MAY_BE_NULL else text
    if key in NAMES:
        return None if text == "null" else listed(text)
    try:
        if key == "criteria":  # YAML takes no question mark in braces
            return parse(f"{key}={text}").value()
        return yaml.safe_load(text)
    except (yaml.YAMLError, HydraException) as error:
        raise UserError(f"viewer.{key}={text} cannot be read: {one_line(error)}") from None


def _check(section: DictConfig) -> None:
    for key in map(str, section):
        value = section[key]
        if value is None and key in MAY_BE_NULL:
            continue
        if (wanted := _wanted(key, value)) is not None:
            raise UserError(f"viewer.{key}={value}: expected {wanted}")
    check_people(listed(section.people))
    if len(tags := listed(section.tags)) > MOST_TAGS or len(set(tags)) < len(tags):
        raise UserError(f"viewer.tags={','.join(map(str, tags))}: expected at most {MOST_TAGS} different words")
    if unknown := [name for name in listed(section.show) if name not in SHOW]:
        raise UserError(f"viewer.show names {unknown[0]!r}: {choices(unknown[0], SHOW)}")
    if section.host not in LOOPBACK and not section.allow_remote:
        valid = ", ".join(LOOPBACK)
        raise UserError(
            f"viewer.host={section.host} lets other machines in; valid are {valid}, or add viewer.allow_remote=true, "
            "for pbrl label allow_remote=true"
        )


def _wanted(key: str, value: Any) -> str | None:
    """Return what a value of this key must be, if it is not."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key in WHOLE:
        low, high = WHOLE[key]
        fits = isinstance(value, int) and number and low <= value <= high
        return None if fits else f"a whole number from {low} to {high}"
    if key in NUMBERS:
        return None if number and 0 <= value < math.inf else "a number from 0"
    if key in NAMES:
        return None if isinstance(value, str) or OmegaConf.is_list(value) else "names with commas between"
    if key == "criteria":
        fits = OmegaConf.is_dict(value) and all(isinstance(text, str) and text.strip() for text in value.values())
        return None if fits else "a question for each criterion, as {safety: Which one is safer?}"
    if key in SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    return None if isinstance(value, str) and value.strip() else "some text"
