"""`pbrl data import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.collect_command import CUT_KEYS, check_keys, compose, cut_plan, describe_counts, say, words
from pbrl.commands.values import required, whole_number, yes_or_no
from pbrl.errors import UserError, choices, typed

if TYPE_CHECKING:
    from pbrl.labels.segment_files import Shape

KEYS = {
    "pairs": ("annotator", "clip"),
    "preference_transformer": ("annotator", "clip", "drop", "indices", "indices_2", "labels", "segment_length"),
    "minari": ("clip", *CUT_KEYS),
}


def import_file(name: str, parsed: Arguments, command: str) -> None:
    """Reads the file or folder that the command names into a new label set or data set."""
    out, kind = Path(required(parsed, "out", "a new folder, as out=data/people")), parsed.values.get("format", "")
    if kind not in KEYS:
        raise UserError(f"format={kind}: {choices(kind, KEYS)}")
    parsed.words = []  # what they name is `name`
    check_keys(parsed, ("out", "format", *KEYS[kind]))
    config: Any = compose(parsed)
    about: dict[str, Any] = {"env_name": None, "env": None, "command": command}
    if "env" in parsed.values and config.env.make is not None:
        from pbrl.collection.collect import describe_env

        about |= describe_env(config.env)
    if kind == "minari":
        meta = _minari(name, out, parsed, about, config)
        print(f"{describe_counts(meta)}; see: {typed('data', 'info', str(out))}")
    else:
        meta = (_pairs if kind == "pairs" else _indices)(name, out, parsed, about)
        print(describe_labels(meta))


def describe_labels(meta: dict[str, Any]) -> str:
    """One line about a label set."""
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


def _pairs(name: str, out: Path, parsed: Arguments, about: dict[str, Any]) -> dict[str, Any]:
    from pbrl.labels.import_pairs import import_pairs

    annotator, clip = parsed.values.get("annotator", "imported"), yes_or_no(parsed, "clip", False)
    return import_pairs(Path(name), out, about, annotator=annotator, clip=clip, sizes=_sizes(about))


def _indices(name: str, out: Path, parsed: Arguments, about: dict[str, Any]) -> dict[str, Any]:
    from pbrl.labels.import_indices import import_indices

    first, second, labels = (
        Path(required(parsed, key, f"a file of plain arrays, as {key}={key}.npy"))
        for key in ("indices", "indices_2", "labels")
    )
    required(parsed, "segment_length", "steps of a segment, as segment_length=100")
    return import_indices(
        Path(name),
        out,
        about,
        indices=(first, second),
        labels=labels,
        length=whole_number(parsed, "segment_length", 0, 1),
        annotator=parsed.values.get("annotator", "imported"),
        clip=yes_or_no(parsed, "clip", False),
        drop=yes_or_no(parsed, "drop", False),
        sizes=_sizes(about),
    )


def _minari(name: str, out: Path, parsed: Arguments, about: dict[str, Any], config: Any) -> dict[str, Any]:
    import numpy as np

    from pbrl.collection.collect import assemble
    from pbrl.data.minari_files import read_minari
    from pbrl.files import require_new
    from pbrl.labels.import_pairs import check_sizes

    require_new(out)
    labels = words(parsed, "labels") or ()
    if labels not in ((), ("return",)):
        raise UserError(f"labels={','.join(labels)}: valid for a Minari data set is return")
    plan = cut_plan(parsed)
    episodes, named = read_minari(name, clip=yes_or_no(parsed, "clip", False))
    shapes = episodes[0].obs.shape[1:], episodes[0].actions.shape[1:]
    if "env" in parsed.values:
        check_sizes(*shapes, _sizes(about), name)
    else:
        about |= _own_env(name, shapes)
    about |= {"sources": sorted(set(named), key=named.index)}
    source = np.array([about["sources"].index(n) for n in named])
    return assemble(out, about, episodes, source, plan, labels, {}, config.teacher, say)


def _own_env(name: str, shapes: tuple[Shape, Shape]) -> dict[str, Any]:
    """What a Minari data set says of its environment, as far as it fits; what does not is said."""
    from pbrl.collection.collect import describe_env
    from pbrl.config import compose_config
    from pbrl.data.minari_files import env_overrides
    from pbrl.labels.import_pairs import check_sizes

    if not (overrides := env_overrides(name)):
        say(f"{name} names no environment; env=NAME notes one")
        return {}
    about = describe_env(compose_config(overrides).env)
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

    from pbrl.config import build

    env = build(OmegaConf.create(about["env"]["make"]))
    sizes = env.observation_space.shape, env.action_space.shape
    env.close()
    return sizes
