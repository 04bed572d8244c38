"""`pbrl data import`: files of the field as data sets and label sets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.collect_command import CUT_KEYS, check_keys, compose, cut_plan, describe_counts, say, words
from pbrl.commands.values import required, yes_or_no
from pbrl.errors import UserError, typed

if TYPE_CHECKING:
    from pbrl.data.formats.reader import Format
    from pbrl.data.importing import Imported
    from pbrl.labels.segment_files import Shape

EPISODES = ("clip", "actions", "frames", *CUT_KEYS)
ANSWERS = ("clip", "annotator", "criterion")


def import_file(name: str, parsed: Arguments, command: str) -> None:
    """Read the file or folder that the command names into a new label set or data set; check=true does not keep it."""
    from pbrl.data.formats import find_format
    from pbrl.files import require_new

    check = yes_or_no(parsed, "check", False)
    out = None if check else Path(required(parsed, "out", "a new folder, as out=data/people"))
    kind = find_format(Path(name), parsed.values.get("format"))
    parsed.words = []  # what they name is `name`
    own = tuple(option.name for option in kind.options)
    check_keys(parsed, ("out", "format", "from", "check", *(EPISODES if kind.read else ANSWERS), *own))
    for option in kind.options:
        if option.needed:
            required(parsed, option.name, option.about)
    for key in {"clip", "drop"} & set(parsed.values):
        yes_or_no(parsed, key, False)
    if out is not None:
        require_new(out)
    config: Any = compose(parsed)
    about: dict[str, Any] = {"env_name": None, "env": None, "command": command}
    if "env" in parsed.values and config.env.make is not None:
        from pbrl.collection.collect import describe_env

        about |= describe_env(config.env)
    done = "nothing was written" if out is None else f"see: {typed('data', 'info', str(out))}"
    with _workplace(out) as folder:
        if kind.read:
            meta = _import_episodes(kind, name, out or folder / "checked", parsed, about, config, folder)
            print(f"{_describe_import(kind, meta)}; {done}")
        else:
            meta = _import_answers(kind, name, out or folder / "checked", parsed, about, folder)
            print(describe_labels(meta) if out is not None else f"{describe_labels(meta)}; {done}")


def _workplace(out: Path | None) -> AbstractContextManager[Path]:
    """Return a folder for what is read, beside what is written; where nothing is to be kept, wherever there is room."""
    from pbrl.files import folder_beside

    return folder_beside(out) if out is not None else _make_temporary_folder()


@contextmanager
def _make_temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pbrl_check_") as folder:
        yield Path(folder)


def describe_formats() -> str:
    """The lines of the help that the formats themselves tell."""
    from pbrl.data.formats import all_formats

    lines = []
    for kind in all_formats().values():
        lines.append(f"    format={kind.name:<22} {kind.about}")
        lines += [f"      {o.name + '=':<27}{o.about}{', needed' if o.needed else ''}" for o in kind.options]
    return "\n".join(lines)


def describe_labels(meta: dict[str, Any]) -> str:
    """Describe a label set in one line."""
    from pbrl.labels.set_checks import ASKED

    c = meta["counts"]
    parts = [f"{c['answers']} answers of {', '.join(meta['annotators'])}: {c['decisive']} decisive, {c['equal']} equal"]
    if any(meta[name] != ASKED[name] for name in ("kind", "criterion")):
        parts.insert(0, f"questions of kind {meta['kind']} by {meta['criterion']}")
    if c["skipped"]:
        parts.append(f"{c['skipped']} skipped")
    if meta.get("dropped"):
        parts.append(f"{meta['dropped']} left out that cross an episode")
    if meta.get("unanswered"):
        parts.append(f"{meta['unanswered']} indices without a label not used")
    if meta.get("twins"):
        parts.append(f"{meta['twins']} of pairs whose two sides are the same clip")
    parts.append("true rewards known" if meta["true_reward"] else "true rewards unknown")
    if not meta.get("last_obs", True):
        parts.append("observation after the last action unknown")
    return "; ".join(parts)


def _describe_import(kind: Format, meta: dict[str, Any]) -> str:
    """Describe an imported data set in one line."""
    parts = [describe_counts(meta)]
    if "videos" in meta:
        parts.append(f"cameras {', '.join(meta['videos']['cameras'])}")
    if (scale := meta.get("actions")) is not None:
        parts.append(f"actions one of {scale['discrete']}" if "discrete" in scale else "actions scaled to -1..1")
    if left_out := meta["imported_from"].get("left_out"):
        parts.append(f"{left_out} last steps left out, whose next observation is unknown")
    if not meta.get("true_reward", True):
        parts.append("rewards unknown")
    return f"{kind.name}: {'; '.join(parts)}"


def _import_answers(
    kind: Format, name: str, out: Path, parsed: Arguments, about: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    from pbrl.labels.import_pairs import write_answers

    assert kind.read_answers is not None
    found = kind.read_answers(Path(name), parsed.values, scratch)
    return write_answers(out, found, about, Path(name), _sizes(about))


def _import_episodes(
    kind: Format, name: str, out: Path, parsed: Arguments, about: dict[str, Any], config: Any, folder: Path
) -> dict[str, Any]:
    import numpy as np

    from pbrl.collection.collect import assemble
    from pbrl.collection.qpos_states import state_maker
    from pbrl.data.importing import import_recording
    from pbrl.data.unit_actions import parse_actions
    from pbrl.labels.import_pairs import check_sizes

    assert kind.read is not None
    labels, plan = words(parsed, "labels") or (), cut_plan(parsed)
    if labels not in ((), ("return",)):
        raise UserError(f"labels={','.join(labels)}: valid for an import is return")
    actions, clip = parse_actions(parsed.values.get("actions")), yes_or_no(parsed, "clip", False)
    frames = yes_or_no(parsed, "frames", True)
    recording = kind.read(Path(name), parsed.values)
    for message in recording.say:
        say(message)
    with state_maker(about["env"]) as make_state:
        options: dict[str, Any] = {"actions": actions, "clip": clip, "frames": frames, "make_state": make_state}
        found = import_recording(recording, folder, Path(name), **options)
        shapes = found.rows["obs"].shape[1:], found.rows["actions"].shape[1:]
        if "env" in parsed.values:
            check_sizes(*shapes, _sizes(about), name)
        elif recording.env:
            about |= _own_env(name, recording.env, shapes)
        about |= found.about | {"imported_from": _origin(kind, name, found) | recording.notes}
        scores = {score: lambda cut, values=values: values[cut.episode] for score, values in found.scores.items()}
        if not found.about["last_obs"] and scores:  # segments of their own, each judged as a whole
            plan = replace(plan, segment_length=int(np.min(found.rows["length"])))
        return assemble(
            out, about, found.rows, found.source, plan, labels, scores, config.teacher, say, files=found.files
        )


def _origin(kind: Format, name: str, found: Imported) -> dict[str, Any]:
    """Return what meta.json says of where the data came from."""
    return {"format": kind.name, "path": str(Path(name).resolve()), "left_out": found.left_out}


def _own_env(name: str, overrides: tuple[str, ...], shapes: tuple[Shape, Shape]) -> dict[str, Any]:
    """Return what a file says of its environment, as far as it fits; what does not is said."""
    from pbrl.collection.collect import describe_env
    from pbrl.config import compose_config
    from pbrl.labels.import_pairs import check_sizes

    about = describe_env(compose_config(list(overrides)).env)
    try:
        sizes = _sizes(about)
    except UserError as error:
        say(f"env={about['env_name']} is noted, and cannot be made here: {error}")
        return about
    try:
        check_sizes(*shapes, sizes, name)
    except UserError as error:
        say(f"env={about['env_name']} is not noted: {error}")
        return {}
    return about


def _sizes(about: dict[str, Any]) -> tuple[Shape, Shape] | None:
    """Shapes of an observation and of an action of the environment, where one was named."""
    if about["env"] is None:
        return None
    from omegaconf import OmegaConf

    from pbrl.building import build

    env = build(OmegaConf.create(about["env"]["make"]))
    sizes = env.observation_space.shape, env.action_space.shape
    env.close()
    return sizes
