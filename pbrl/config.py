"""Configs: finding, composing, checking and building. The only place that knows Hydra."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pbrl.errors import UserError, one_line


@cache
def config_dir() -> Path:
    """configs/ inside the installed package, else that of the checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(f"no configs found beside {package}; install pbrl again")


def compose_config(overrides: Sequence[str], extra_dir: str | None = None) -> DictConfig:
    """The config of `key=value` overrides; extra_dir is searched for groups of the user's own."""
    search = [f"hydra.searchpath=[file://{Path(extra_dir).resolve()}]"] if extra_dir else []
    if extra_dir and not Path(extra_dir).is_dir():
        raise UserError(f"--config-dir {extra_dir}: no such folder")
    _check_syntax(overrides)
    config = _compose([*overrides, *search])
    _check_types(config, _compose([*_chosen(overrides, env=True), *search]), overrides)
    return config


def build(node: DictConfig, **arguments: Any) -> Any:
    """Makes the object that a config names in `_target_`; every instantiation goes through here."""
    target = OmegaConf.to_container(node).get("_target_", "?")  # type: ignore[union-attr]
    try:
        # In two steps: Hydra would copy dataclasses among the arguments into its own config objects.
        make = instantiate(node, _convert_="all", _partial_=True)
        return partial(make, **arguments) if node.get("_partial_") else make(**arguments)
    except OmegaConfBaseException as error:
        raise UserError(f"config of {target}: {one_line(error)}") from error
    except Exception as error:  # whatever a constructor says about what it was given
        raise UserError(_cause(error, target)) from error


def options(group: str) -> list[str]:
    """Names of the YAML files of a group."""
    return sorted(p.stem for p in (config_dir() / group).glob("*.yaml"))


def load_config(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent} is not a run directory: it has no {path.name}") from None
    except Exception as error:  # YAML errors come in many classes
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error
    for key in ("steps", "env", "agent", "method"):
        if not isinstance(config, DictConfig) or key not in config:
            raise UserError(f"{path} is not the config of a run: it has no {key}")
    return config  # type: ignore[return-value]


def _compose(overrides: Sequence[str], complete: bool = True) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("config", list(overrides))
        if complete:
            _check_complete(config)
            OmegaConf.resolve(config)
        return config
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_explain(error, overrides)) from error


def _check_complete(config: DictConfig) -> None:
    given = dict(_leaves(OmegaConf.to_container(config, resolve=False)))
    for key, value in given.items():
        if value == "???":
            raise UserError(f"{key} must be given, as {key}=VALUE")


def _check_syntax(overrides: Sequence[str]) -> None:
    for text in overrides:
        if text.startswith("~"):
            raise UserError(f"{text!r}: no key can be taken out; null switches a part off, as in method.explore=null")
        if "=" not in text:
            raise UserError(f"{text!r}: expected key=value")
        if text.startswith("hydra"):
            raise UserError(f"unknown key {text.split('=')[0]!r}: Hydra's own settings do nothing here")
        try:
            OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(f"{text!r} cannot be read: {one_line(error)}; quote special characters") from error


def _chosen(overrides: Sequence[str], env: bool = False) -> list[str]:
    """The overrides that choose a file of a group, and with `env` those without which an env is incomplete."""
    parsed = [(OverridesParser.create().parse_override(text).key_or_group, text) for text in overrides]
    groups = {p.name for p in config_dir().iterdir() if p.is_dir()} | {"hydra.searchpath"}
    return [text for key, text in parsed if key in groups or (env and key.startswith("env."))]


def _check_types(config: DictConfig, defaults: DictConfig, overrides: Sequence[str]) -> None:
    """A value must be of the kind of its default: number for number, list for list; where that is none, a folder."""
    for key in FOLDERS:
        if not isinstance(value := OmegaConf.select(config, key), str | None):
            raise UserError(f"{key}={value}: expected a folder; one whose name is a number is given as ./NAME")
    for text in overrides:
        key = OverridesParser.create().parse_override(text).key_or_group
        default, value = OmegaConf.select(defaults, key), OmegaConf.select(config, key)
        if default is None or value is None or isinstance(default, DictConfig):
            continue
        kind = _kind(default)
        if kind == "a word" and default.startswith("auto") and _kind(value) in NUMBERS:
            continue  # auto: chosen for the user, who may choose too
        if _kind(value) != kind and not (kind == "a number" and _kind(value) in NUMBERS):
            raise UserError(f"{key}={value}: expected {kind}, such as {default}")


NUMBERS = ("a whole number", "a number")
FOLDERS = ("data", "method.video.learned", "method.video.demos_data")  # that are read; by default none


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    for types, name in ((int, "a whole number"), (float, "a number"), (str, "a word"), (Sequence, "a list")):
        if isinstance(value, types):
            return name
    return type(value).__name__


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        return f"unknown key {match[1]!r}{_near(match[1], overrides)}"
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        return f"{match[1]}={match[2]}: valid are {', '.join(options(match[1]))}"
    return one_line(error)


def _near(key: str, overrides: Sequence[str]) -> str:
    """Keys like this one in the files that were chosen."""
    if _chosen(overrides) == list(overrides):
        return ""  # a file asks for what is not there; the files alone cannot be composed
    config = _compose(_chosen(overrides), complete=False)
    known = [k for k, _ in _leaves(OmegaConf.to_container(config, resolve=False))]
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    top = ", ".join(str(k) for k in config)
    return f"; did you mean {' or '.join(close)}?" if close else f"; valid at the top are {top}"


def _leaves(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(node, dict):
        return [(prefix, node)]
    return [leaf for k, v in node.items() for leaf in _leaves(v, f"{prefix}.{k}" if prefix else str(k))]


def _cause(error: Exception, target: str) -> str:
    """The message of what the constructor itself raised."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return str(cause) if isinstance(cause, UserError) else f"{target}: {one_line(cause)}"
