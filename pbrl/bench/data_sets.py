"""The data sets that a bench's offline cells learn from: made by `pbrl collect`, and again when they would differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pbrl.bench.child import Child
from pbrl.bench.grid import Cell, EnvEntry, Grid
from pbrl.bench.identity import yaml_folders
from pbrl.bench.jobs import POLL_S, Stop, last_words, set_aside, side_by_side
from pbrl.bench.sources import code_version, digest, module_version, own_code, same_modules, yamls_version
from pbrl.errors import UserError
from pbrl.files import write_json
from pbrl.reading import find_object, sha256_of

COMMAND = "pbrl.commands.collect_command"  # has the defaults of what is not said


def data_version(env: EnvEntry, out: Path, extra_dir: Path | None) -> str:
    """Return what stands for a data set: how it is made, our code apart, or the sums of what lies there."""
    if env.collect is not None:
        return str(_recipe(env, out, extra_dir)["version"])
    assert env.data is not None
    try:
        return sha256_of(Path(env.data) / "meta.json")[:8]
    except UserError:
        raise UserError(
            f"envs.{env.name}.data: {env.data} is no data set: it has no meta.json; `pbrl collect` makes such"
        ) from None


def make_data_sets(
    grid: Grid,
    todo: Sequence[Cell],
    out: Path,
    extra_dir: Path | None,
    any_code: bool,
    slots: int,
    say: Callable[[str], None],
) -> None:
    """Make what these cells still need and what is missing or outdated, `slots` at once. any_code: as for cells."""
    names = dict.fromkeys(cell.env for cell in todo if cell.reads_data)
    collected = [env for env in map(grid.envs.__getitem__, names) if env.collect is not None]
    recipes = [(env, _recipe(env, out, extra_dir)) for env in collected]
    missing = [(env, recipe) for env, recipe in recipes if not _keep_or_set_aside(env, out, recipe, any_code)]
    for env, _ in missing:
        say(f"{env.name}: collecting its data set")
    side_by_side(partial(_collect, out, extra_dir), missing, slots)


def _recipe(env: EnvEntry, out: Path, extra_dir: Path | None) -> dict[str, Any]:
    """Return what decides a data set. Equal stamps mean equal versions, which spares composing."""
    made, runs = _made(env, out), _runs_in(env.collecting)
    stamp = digest([env.collecting, module_version(COMMAND), *map(yamls_version, yaml_folders(extra_dir)), *runs])
    if made.get("stamp") == stamp and same_modules(made["own"]):
        return made | {"code": code_version()}
    try:
        version, own = _resolved(tuple(_arguments(env, out, extra_dir)))
    except UserError as error:
        raise UserError(f"envs.{env.name}.collect: {error}") from error
    return {
        "stamp": stamp,
        "version": digest([version, *runs]) if runs else version,
        "own": own,
        "code": code_version(),
    }


def _runs_in(collecting: Sequence[str]) -> list[str]:
    """Stand for the runs that act or judge in a data set, as policies=run:DIR and critic=run:DIR@STEP name them."""
    folders = [Path(name.partition("@")[0]) for name in re.findall(r"run:([^,]+)", " ".join(collecting))]
    summaries = (folder / "summary.json" for folder in folders)
    return [sha256_of(file) if file.is_file() else "" for file in summaries]


@cache
def _resolved(arguments: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Return what stands for the outcome of these arguments of `pbrl collect`, and the user's own code in it."""
    from pbrl.commands.collect_command import parse, read

    config, plan = read(parse(list(arguments)))
    config = OmegaConf.masked_copy(config, ["env", "teacher"])
    own = own_code(config)
    return digest([OmegaConf.to_container(config, resolve=True), asdict(plan), own]), own


def _made(env: EnvEntry, out: Path) -> dict[str, Any]:
    """The recipe that its data set was made by; empty where none is known."""
    return find_object(out / "data" / f"{env.name}.made") or {}


def _keep_or_set_aside(env: EnvEntry, out: Path, recipe: dict[str, Any], any_code: bool) -> bool:
    """Return whether the set is there, made by this recipe; move aside one that this bench made by another."""
    folder = out / "data" / env.name
    if not folder.exists():
        return False
    files = [folder.with_name(f"{env.name}.made"), folder.with_name(f"{env.name}.log")]
    if not files[0].exists():
        raise UserError(f"{folder} was not made by this bench; take it away, or choose another out=")
    made = _made(env, out)
    counted = ("version",) if any_code else ("version", "code")
    if all(made.get(key) == recipe[key] for key in counted):
        return True
    set_aside([folder, *files], out / "old" / "data" / f"{env.name}_{made.get('code', 'unknown')}")
    return False


def _collect(out: Path, extra_dir: Path | None, wanted: tuple[EnvEntry, dict[str, Any]], stopped: Stop) -> None:
    env, recipe = wanted
    folder = out / "data" / env.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The recipe is written first, since the data set itself appears whole, or not at all.
    write_json(folder.with_name(f"{env.name}.made"), recipe)
    log = folder.with_name(f"{env.name}.log")
    with Child(["collect", *_arguments(env, out, extra_dir)], log) as child:
        while (code := child.wait(POLL_S)) is None:
            if stopped.is_set():
                child.stop()
    if code and not stopped.is_set():
        raise UserError(f"envs.{env.name}.collect: {last_words(code, log)}; see {log}")


def _arguments(env: EnvEntry, out: Path, extra_dir: Path | None) -> list[str]:
    """Return the arguments of `pbrl collect`."""
    own = [] if extra_dir is None else ["--config-dir", str(extra_dir)]
    return [*env.collecting, f"out={out / 'data' / env.name}", *own]
