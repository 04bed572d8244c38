"""`pbrl list`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError, choices
from pbrl.files import no_folder

HELP = """usage: pbrl list [envs|methods|agents|teachers|samplers|losses|pessimism|experiments|
                  loggers|benches|spaces|tabular|boards|executors] [--config-dir DIR]
       pbrl list envs gym|dmc|metaworld|robotics|objectives

Without a name it lists everything. The second form lists the tasks of an installed suite. The key that chooses from a
list names it too: pbrl list queries is pbrl list samplers. Formats of recordings: pbrl data formats.

  --config-dir DIR   also the YAMLs in DIR/env, DIR/method, ..."""

GROUPS = {  # what it is called here: its config group, and how a run chooses from it
    "envs": ("env", "env=NAME"),
    "methods": ("method", "method=NAME"),
    "agents": ("agent", "agent=NAME"),
    "teachers": ("teacher", "teacher=NAME"),
    "samplers": ("queries", "queries=NAME"),
    "losses": ("loss", "fit.loss=NAME"),
    "pessimism": ("pessimism", "fit.pessimism=NAME"),
    "experiments": ("experiment", "experiment=NAME"),
    "loggers": ("logger", "logger=NAME"),
    "benches": ("bench", "pbrl bench grid=NAME"),
    "spaces": ("tune", "pbrl tune space=NAME"),
}


def _beds() -> Mapping[str, str]:
    from pbrl.commands.tabular_beds import BEDS

    return {name: what for name, (_, what) in BEDS.items()}


def _boards() -> Mapping[str, str]:
    from pbrl.tabular.boards import board_names, load_board

    return {name: load_board(name).name for name in board_names()}


def _executors() -> Mapping[str, str]:
    from pbrl.bench.executors.choose import EXECUTORS

    return EXECUTORS


NAMED: dict[str, tuple[str, Callable[[], Mapping[str, str]]]] = {  # what is chosen by a name and is no YAML
    "tabular": ("pbrl tabular NAME", _beds),
    "boards": ("pbrl tabular board=NAME", _boards),
    "executors": ("pbrl bench executor=NAME", _executors),
}
LISTS = (*GROUPS, *NAMED)
BY_KEY = {
    **{group: name for name, (group, _) in GROUPS.items()},
    **{"grid": "benches", "space": "spaces", "bed": "tabular", "beds": "tabular", "board": "boards"},
    "executor": "executors",
}


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(())
    extra = parsed.options.get("--config-dir")
    if extra is not None and not Path(extra).is_dir():
        raise UserError(f"--config-dir {extra}: {no_folder(Path(extra))}")
    words = [BY_KEY.get(parsed.words[0], parsed.words[0]), *parsed.words[1:]] if parsed.words else []
    if words and words[0] not in LISTS:
        raise UserError(f"unknown list {words[0]!r}: {choices(words[0], LISTS)}")
    if len(words) > 1:
        if words[0] != "envs" or len(words) > 2:
            raise UserError(f"pbrl list takes one name, {len(words)} given; {HELP.splitlines()[0]}")
        print("\n".join(_tasks(words[1])))
        return 0
    print("\n\n".join(_describe(name, extra) for name in words or LISTS))
    return 0


def first_comment(file: Path) -> str:
    """The first comment line of a YAML, or what it builds if it has none."""
    lines = file.read_text(encoding="utf-8").splitlines()
    for line in lines:
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip(" :")
        if text and not text.startswith("@package"):
            return text
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("_target_:")), "")


def _describe(name: str, extra: str | None) -> str:
    choice, found = _of_group(name, extra) if name in GROUPS else (NAMED[name][0], NAMED[name][1]())
    width = max(map(len, found), default=0)
    rows = [f"  {one:<{width}}  {what}".rstrip() for one, what in found.items()]
    if name == "envs":
        rows += ["", *_suites()]
    return "\n".join([f"{name} ({choice})", *rows])


def _of_group(name: str, extra: str | None) -> tuple[str, Mapping[str, str]]:
    from pbrl.config import config_dir

    group, choice = GROUPS[name]
    files: dict[str, Path] = {}
    for folder in (config_dir(), *([Path(extra)] if extra else [])):
        files |= {file.stem: file for file in (folder / group).glob("*.yaml")}
    return choice, {stem: first_comment(files[stem]) for stem in sorted(files)}


def _suites() -> list[str]:
    from pbrl_envs.registry import suites

    found = suites().items()
    there = [f"{name} {suite.version}" for name, suite in found if suite.version]
    missing = [f"  not installed: {name}; get it with: {suite.install}" for name, suite in found if not suite.version]
    return [f"  suites: {', '.join(there)}; all tasks of one: pbrl list envs SUITE", *missing]


def _tasks(suite: str) -> list[str]:
    from pbrl_envs.registry import suites, tasks

    if suite not in suites():
        raise UserError(f"unknown suite {suite!r}: {choices(suite, suites())}")
    return tasks(suite)
