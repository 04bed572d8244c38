"""Which environment suites are installed, and how to get the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import NamedTuple

from pbrl.errors import UserError


class Suite(NamedTuple):
    version: str | None  # None: not installed
    install: str  # the command that installs it


_PACKAGES = {  # suite: (import name, distribution, what pip installs)
    "gym": ("gymnasium", "gymnasium", "pbrl"),
    "dmc": ("dm_control", "dm_control", "pbrl[dmc]"),
    "metaworld": ("metaworld", "metaworld", "pbrl[metaworld]"),
    "robotics": ("gymnasium_robotics", "gymnasium-robotics", "pbrl[robotics]"),
}


def suites() -> dict[str, Suite]:
    """Every suite with its installed version, found without importing it."""
    return {name: Suite(_version(package), _install(extra)) for name, (_, package, extra) in _PACKAGES.items()}


def tasks(suite: str) -> list[str]:
    """The task names of an installed suite, as `env.task=` or `env.id=` takes them."""
    require(suite, suite)
    return import_module(f"pbrl_envs.suites.{suite}").tasks()


def require(suite: str, env: str) -> None:
    """Raise the one-line reason if `env` belongs to a suite that is not installed."""
    module, package, extra = _PACKAGES[suite]
    if find_spec(module) is None:
        raise UserError(f"env={env} needs {package}; install it with: {_install(extra)}")


def unknown(what: str, name: str, valid: Iterable[str], hint: str) -> UserError:
    """The error for a name that does not exist: the closest valid ones and where to find the rest."""
    close = difflib.get_close_matches(name, list(valid), n=4, cutoff=0.5)
    suggestion = f"did you mean {', '.join(close)}? " if close else ""
    return UserError(f"{what}={name} does not exist; {suggestion}{hint}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _install(extra: str) -> str:
    return f"pip install '{extra}'"
