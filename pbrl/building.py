"""Build objects from a config, once: every instantiation goes through here; nothing below knows a config's keys."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pbrl.errors import EnvError, UserError, one_line
from pbrl.given import locate
from pbrl.overrides import PLACED

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # what it would print, our one line says
OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")  # what a node says of how it is made


@dataclass(frozen=True)
class Maker:
    """Makes what a node of a config describes, from what it says and from what is given then.

    What a constructor says about a number, as `lr=2: expected ...`, gets the key of the config in front.
    """

    key: str  # of the node, as method.model
    target: Any  # class or function
    settings: Mapping[str, Any]  # what the node says; what lies inside and names a target is a Maker or `_Inner`

    def __call__(self, *args: Any, **given: Any) -> Any:
        if isinstance(self.target, type):
            return self.make(*args, **given)
        return self.target(*args, **self._ready() | given)  # a function of the run: its own errors are the news

    def make(self, *args: Any, **given: Any) -> Any:
        with explaining(self.key, self.settings):
            return self.target(*args, **self._ready() | given)

    @property
    def plain(self) -> dict[str, Any]:
        """The settings as plain values, by dotted key; of what lies inside too."""
        found: dict[str, Any] = {}
        for name, value in self.settings.items():
            if isinstance(inner := value.maker if isinstance(value, _Inner) else value, Maker):
                found[f"{name}._target_"] = f"{inner.target.__module__}.{inner.target.__qualname__}"
                found |= {f"{name}.{key}": v for key, v in inner.plain.items()}
            else:
                found[name] = value
        return found

    def _ready(self) -> dict[str, Any]:
        return {k: value.maker.make() if isinstance(value, _Inner) else value for k, value in self.settings.items()}


@dataclass(frozen=True)
class _Inner:
    """An object inside a node, made anew whenever the whole is."""

    maker: Maker


def build(node: DictConfig | None, **given: Any) -> Any:
    """The object that a node names in `_target_`; with `_partial_: true` what makes it, given the rest."""
    if node is None:
        raise UserError("env=none is no environment: it is for offline methods, which learn from data; give env=NAME")
    maker = maker_of(node)
    if node.get("_partial_"):
        return partial(maker, **given) if given else maker
    return maker.make(**given)


def maker_of(node: DictConfig, key: str | None = None) -> Maker:
    """Return the maker of a node that names a target, partial or not; UserError where it names none that is there.

    key: of the node, for messages; None: where it lies in its config.
    """
    where = key or str(node._get_full_key(None) or "") or str(node.get("_target_", "?")).rsplit(".", 1)[-1]
    if "_target_" not in node:
        has = ", ".join(map(str, node))
        raise UserError(f"{where} has no _target_, the class or function that makes it; it has {has}")
    with explaining(where, {}):
        target = locate(str(node._target_), f"{where}._target_={node._target_}")
        is_file = "." not in where or where in PLACED
        about = {*OF_HYDRA, *(("name",) if is_file else ())}  # the name of a YAML is for its readers
        settings = {str(name): _value(node, str(name), where) for name in node if name not in about}
    return Maker(where, target, settings)


def _value(node: DictConfig, name: str, where: str) -> Any:
    value = node[name]
    if not isinstance(value, DictConfig) or "_target_" not in value:
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if str(value._target_).startswith("hydra.utils."):  # hydra.utils.get_class names a class
        return instantiate(value)
    inner = maker_of(value, f"{where}.{name}")
    return inner if value.get("_partial_") else _Inner(inner)


@contextmanager
def explaining(where: str, names: Mapping[str, Any], of: type[Exception] = Exception) -> Iterator[None]:
    """Wrap what reads the settings of a key: whatever goes wrong becomes one line that begins with the key.

    names: settings that live below the key; `name=value: ...` is then said of `where.name`.
    of: what is explained; whatever else is raised is a fault of the code.
    """
    try:
        yield
    except EnvError:
        raise
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {one_line(error)}") from error
    except UserError as error:
        if type(error) is not UserError or (said := _placed(str(error), where, names)) == str(error):
            raise
        raise UserError(said) from error.__cause__
    except of as error:  # whatever a constructor says about what it was given
        raise UserError(_cause(error, where, names)) from error


def _placed(said: str, where: str, names: Mapping[str, Any]) -> str:
    """`name=value: ...` of a setting of this key, with the key in front."""
    match = re.match(r"([A-Za-z_]\w*)[\w.\[\]]*(=| is | and |, |:)", said)
    return f"{where}.{said}" if match and match[1] in names else said


def _cause(error: Exception, where: str, names: Mapping[str, Any]) -> str:
    """The message of what the constructor itself raised, with the key of the config in front."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    said = one_line(cause)
    if isinstance(cause, UserError) or said.startswith(f"{where}."):
        return said
    if (placed := _placed(said, where, names)) != said:
        return placed
    if match := re.search(r"unexpected keyword argument '(\w+)'", said):
        return f"unknown key '{where}.{match[1]}'"
    if match := re.search(r"missing \d+ required .*arguments?: (.*)", said):
        return f"{where} needs {match[1]}"
    return f"{where}: {said.split(', set env var', 1)[0]}"
