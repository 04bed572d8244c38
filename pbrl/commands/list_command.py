"""`pbrl list`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError, choices
from pbrl.files import no_folder

HELP = """usage: pbrl list [envs|methods|agents|teachers|samplers|losses|pessimism|experiments|
                  loggers|benches|spaces] [--config-dir DIR]
       pbrl list envs gym|dmc|metaworld|robotics|objectives

Without a name it lists everything. The second form lists the tasks of an installed suite.

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


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(())
    extra = parsed.options.get("--config-dir")
    if extra is not None and not Path(extra).is_dir():
        raise UserError(f"--config-dir {extra}: {no_folder(Path(extra))}")
    words = parsed.words
    if words and words[0] not in GROUPS:
        raise UserError(f"unknown list {words[0]!r}: {choices(words[0], GROUPS)}")
    if len(words) > 1:
        if words[0] != "envs" or len(words) > 2:
            raise UserError(f"pbrl list takes one name, {len(words)} given; {HELP.splitlines()[0]}")
        print("\n".join(_tasks(words[1])))
        return 0
    print("\n\n".join(_describe_group(name, extra) for name in words or GROUPS))
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


def _describe_group(name: str, extra: str | None) -> str:
    from pbrl.config import config_dir

    group, choice = GROUPS[name]
    files: dict[str, Path] = {}
    for folder in (config_dir(), *([Path(extra)] if extra else [])):
        files |= {file.stem: file for file in (folder / group).glob("*.yaml")}
    width = max(map(len, files), default=0)
    rows = [f"  {stem:<{width}}  {first_comment(files[stem])}".rstrip() for stem in sorted(files)]
    if name == "envs":
        rows += ["", *_suites()]
    return "\n".join([f"{name} ({choice})", *rows])


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
