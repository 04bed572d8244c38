"""Configs: finding, composing and checking. This, `overrides` and `building` are the only places that know Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from pbrl.errors import UserError, choices, closest, one_line
from pbrl.files import expand_home, no_folder
from pbrl.overrides import PATHS, PLACED, SHORT, parse, read_overrides
from pbrl.reading import read_yaml


@cache
def config_dir() -> Path:
    """Return configs/ inside the installed package, else that of the checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(f"no configs found beside {package}; install pbrl again")


def compose_config(overrides: Sequence[str], extra_dir: str | None = None, also: Sequence[str] = ()) -> DictConfig:
    """Compose the config of `key=value` overrides; extra_dir is searched for groups of the user's own.

    also: keys that the command knows beside those of the config, for who misspells one.
    """
    if extra_dir and not Path(extra_dir).is_dir():
        raise UserError(f"--config-dir {extra_dir}: {no_folder(Path(extra_dir))}")
    given = read_overrides(overrides)
    given = [*_env_of_data(given, extra_dir), *given]
    given = _open_emptied(given, extra_dir)
    config = _compose(given, extra_dir, also=also)
    _check_new_keys(given, extra_dir)
    _check_types(config, _compose(_chosen(given, env=True), extra_dir), given)
    return config


def compose_any(overrides: Sequence[str], extra_dir: str | None = None) -> DictConfig:
    """Compose a config that need not be complete or make sense: what chooses what is seen in it."""
    return _compose(overrides, extra_dir, complete=False)


def find_yaml(group: str, name: str, extra_dir: Path | None) -> Path | None:
    """Return the file of a YAML of a group, the user's own first; None where there is none."""
    folders = [config_dir()] if extra_dir is None else [extra_dir, config_dir()]
    files = [folder / group / f"{name}.yaml" for folder in folders]
    return next((file for file in files if file.is_file()), None)


def options(group: str, extra_dir: str | None = None) -> list[str]:
    """Names of the YAML files of a group, those in a folder of the user's own included."""
    folders = [config_dir(), *([Path(extra_dir)] if extra_dir else [])]
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def env_overrides(name: str) -> str:
    """Return what to give for the environment of a config whose env.name this is, as env=gym env.id=mybots:Walk-v0."""
    from pbrl_envs.registry import how_to_choose

    return f"env={name}" if name in options("env") else how_to_choose(name) or f"env={name}"


def load_config(path: Path) -> DictConfig:
    """Read the config.yaml of a run and resolve it. UserError where it is missing, or is the config of no run."""
    if not path.exists():
        found = f"it has no {path.name}" if path.parent.is_dir() else no_folder(path.parent)
        raise UserError(f"{path.parent} is not a run directory: {found}")
    config = read_yaml(path)
    with explaining(path):
        for key, kind in RUN_KEYS.items():
            if not isinstance(config, DictConfig) or key not in config:
                raise UserError(f"{path} is not the config of a run: it has no {key}")
            if not isinstance(config[key], kind) or isinstance(config[key], bool):
                words = "settings" if kind is DictConfig else "a whole number"
                raise UserError(f"{path}: {key} is {str(config[key])[:40]!r}, expected {words}")
        OmegaConf.resolve(config)
    return config


RUN_KEYS: dict[str, type] = {"steps": int, "env": DictConfig, "agent": DictConfig, "method": DictConfig, "threads": int}


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Wrap what uses a config that was read: a key that is missing, or no mapping, is one line about its file."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise UserError(f"{path} is not the config of a run: {one_line(error)}") from error


def _compose(
    overrides: Sequence[str], extra_dir: str | None, complete: bool = True, also: Sequence[str] = ()
) -> DictConfig:
    GlobalHydra.instance().clear()
    search = [f"hydra.searchpath=['file://{Path(extra_dir).resolve()}']"] if extra_dir else []
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("config", [*overrides, *search], return_hydra_config=True)
        _name(config, overrides)
        if complete:
            _check_complete(config)
            OmegaConf.resolve(config)
        return config
    except MarkedYAMLError as error:
        file = getattr(error.problem_mark, "name", "a file of the configs")
        raise UserError(f"{file} is damaged or not a YAML file ({one_line(error)})") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_explain(error, overrides, extra_dir, also)) from error


NAMED = ("method", "teacher")  # groups whose choice is told by its name, in summaries and folders


def _name(config: DictConfig, overrides: Sequence[str]) -> None:
    """Take Hydra's own section out; what was chosen has the name of its YAML, whatever that inherits from."""
    chosen, told = config.hydra.runtime.choices, {parse(text).key_or_group for text in overrides}
    with open_dict(config):
        for group in NAMED:
            if isinstance(config.get(group), DictConfig) and f"{group}.name" not in told and chosen.get(group):
                config[group].name = chosen[group]
        del config["hydra"]


def _env_of_data(overrides: Sequence[str], extra_dir: str | None) -> list[str]:
    """Return what chooses the environment of the data that is learned from, where no other is chosen."""
    given = {parse(text).key_or_group: text for text in overrides}
    if "data" not in given or "env" in given:
        return []
    config = _compose([*_chosen(overrides), given["data"]], extra_dir, complete=False)
    if "env" in config or not isinstance(config.data, str):
        return []
    from pbrl.data.env_of_data import env_overrides as overrides_of

    folders = [*([Path(extra_dir).resolve()] if extra_dir else []), config_dir()]
    return overrides_of(Path(expand_home(config.data)), folders)


def _check_complete(config: DictConfig) -> None:
    given = dict(leaves(OmegaConf.to_container(config, resolve=False)))
    for key, value in given.items():
        if value == "???":
            raise UserError(f"{key} must be given, as {key}=VALUE")


def _chosen(overrides: Sequence[str], env: bool = False) -> list[str]:
    """The overrides that choose a file of a group, and with `env` those without which an env is incomplete."""
    parsed = [(parse(text).key_or_group, text) for text in overrides]
    return [text for key, text in parsed if key in groups() or (env and key.startswith("env."))]


@cache
def groups() -> set[str]:
    return {p.name for p in config_dir().iterdir() if p.is_dir()}


def _open_emptied(overrides: Sequence[str], extra_dir: str | None) -> list[str]:
    """The overrides, each mapping after a null where it is one that the files of its part leave to the user.

    Hydra merges mappings, which is right for the settings of a part. Mappings such as weights of factors are replaced
    instead, whether the command line or an experiment had others.
    """
    parsed = [parse(text) for text in overrides]
    if not any(isinstance(override.value(), dict) for override in parsed):
        return list(overrides)
    files = _compose([t for t in _chosen(overrides) if not t.startswith("experiment=")], extra_dir, complete=False)
    found = []
    for text, override in zip(overrides, parsed, strict=True):
        is_mapping = isinstance(override.value(), dict) and (not override.is_add() or override.is_force_add())
        if is_mapping and OmegaConf.select(files, override.key_or_group, default="none") in (None, {}):
            found.append(f"++{override.key_or_group}=null")
        found.append(text)
    return found


OPTIONAL = {"method.reward_std"}  # what is read where a file or the command line has it


def _check_new_keys(overrides: Sequence[str], extra_dir: str | None) -> None:
    """Refuse +key=value where nobody would read it; a constructor itself refuses what it does not know."""
    new = [o.key_or_group for o in map(parse, overrides) if o.is_add() or o.is_force_add()]
    if new:
        files = OmegaConf.to_container(_compose(_chosen(overrides), extra_dir, complete=False), resolve=False)
        values = [*overrides, *(str(value) for _, value in leaves(files))]
        asked = " ".join(value for value in values if "${" in value)  # as ${oc.select:env.levels,null} asks for a key
        for key in new:
            if (
                key not in groups() | OPTIONAL
                and not _is_read(key, files)
                and not re.search(rf"\b{re.escape(key)}\b", asked)
            ):
                raise UserError(f"unknown key {key!r}{_near(key, overrides, extra_dir)}")


def _is_read(key: str, node: Any) -> bool:
    """Return whether a key is one of nested dicts, or belongs to a constructor or an open mapping in them."""
    for part in key.split("."):
        if isinstance(node, dict) and (not node or "_target_" in node):
            return True
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _check_types(config: DictConfig, defaults: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a value of another kind than its default, as a word for a number; expand ~ in the keys of folders."""
    for key in PATHS:
        if (value := OmegaConf.select(config, key)) is None:
            continue
        if not isinstance(value, str):  # of a YAML file
            raise UserError(f"{key}={value}: expected a folder; one whose name is a number is written './NAME'")
        OmegaConf.update(config, key, expand_home(value))
    for text in overrides:
        key = parse(text).key_or_group
        default, value = OmegaConf.select(defaults, key), OmegaConf.select(config, key)
        if default is None or value is None or isinstance(default, DictConfig):
            continue
        kind = _kind(default)
        if kind == "a word" and default.startswith("auto") and _kind(value) in NUMBERS:
            continue  # auto: chosen for the user, who may choose too
        if _kind(value) != kind and not (kind == "a number" and _kind(value) in NUMBERS):
            raise UserError(f"{key}={value}: expected {kind}, such as {default}")


NUMBERS = ("a whole number", "a number")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    for types, name in ((int, "a whole number"), (float, "a number"), (str, "a word"), (Sequence, "a list")):
        if isinstance(value, types):
            return name
    return type(value).__name__


def _explain(error: Exception, overrides: Sequence[str], extra_dir: str | None, also: Sequence[str]) -> str:
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = next((short for short, place in PLACED.items() if place == match[1]), match[1])
        entry = str(getattr(error.__cause__, "full_key", None))
        key = entry if entry.startswith(f"{key}.") else key  # what is not there of a mapping
        return f"unknown key {key!r}{_near(key, overrides, extra_dir, also)}"
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        chosen = (short for short, place in PLACED.items() if f"{place}={match[2]}" in overrides)
        key = next((short for short in chosen if PLACED[short].startswith(f"{match[1]}@")), match[1])
        return f"{key}={match[2]}: {_valid(match[1], match[2], extra_dir)}"
    if "Config group override must be a string" in text:
        told = [(parse(one).key_or_group, parse(one).value()) for one in overrides]
        key, value = next((k, v) for k, v in told if k in groups() and not isinstance(v, (str, list)))
        return f"{key}={'null' if value is None else value}: {choices('', options(key, extra_dir))}"
    return one_line(error)


def _valid(group: str, name: str, extra_dir: str | None) -> str:
    if group == "env" and (chosen := env_overrides(name)) != f"env={name}":
        return f"no YAML has this name; did you mean {chosen}?"
    own = f"; one of your own is env=gym env.id=MODULE:{name}" if group == "env" and re.search(r"-v\d+$", name) else ""
    return choices(name, options(group, extra_dir)) + own


def _near(key: str, overrides: Sequence[str], extra_dir: str | None, also: Sequence[str] = ()) -> str:
    """Name the keys like this one in the files that were chosen."""
    if _chosen(overrides) == list(overrides):
        return ""  # a file asks for what is not there; the files alone cannot be composed
    config = _compose(_chosen(overrides), extra_dir, complete=False)
    known = [k for k, _ in leaves(OmegaConf.to_container(config, resolve=False))]
    if OmegaConf.select(config, key.rpartition(".")[0]) == {}:
        return f"; a key that is new there is given as +{key}=VALUE"
    close = closest(key, [*known, *SHORT, *also], n=3)
    top = ", ".join(str(k) for k in config)
    return f"; did you mean {' or '.join(close)}?" if close else f"; valid at the top are {top}"


def leaves(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The values of nested dicts with their dotted keys."""
    if not isinstance(node, dict):
        return [(prefix, node)]
    return [leaf for k, v in node.items() for leaf in leaves(v, f"{prefix}.{k}" if prefix else str(k))]
