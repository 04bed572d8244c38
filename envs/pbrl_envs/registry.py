"""The environment suites that are installed, and how to get the others."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from contextlib import redirect_stderr
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import NamedTuple

from pbrl.errors import UserError, closest
from pbrl.install import install_extra, pip_install


class Suite(NamedTuple):
    version: str | None  # None: not installed
    install: str  # what installs it: a command, or another Python


_PACKAGES = {  # suite, which is also the name of its extra: (import name, distribution)
    "gym": ("gymnasium", "gymnasium"),
    "dmc": ("dm_control", "dm_control"),
    "metaworld": ("metaworld", "metaworld"),
    "robotics": ("gymnasium_robotics", "gymnasium-robotics"),
    "objectives": ("mo_gymnasium", "mo-gymnasium"),
}
_CHOSEN_BY = {  # suite: the overrides that choose any of its tasks
    "gym": "env=gym env.id=",
    "dmc": "env=dmc env.task=",
    "metaworld": "env=metaworld env.task=",
    "robotics": "env=fetch env.task=",
    "objectives": "env=mo_gym env.id=",
}
_NEWEST_PYTHON = {"dmc": (3, 12)}  # labmaze, a part of dm_control, has no build for a newer one


def suites() -> dict[str, Suite]:
    """Every suite with its installed version, found without importing it."""
    return {name: Suite(_version(package), _install(name)) for name, (_, package) in _PACKAGES.items()}


def tasks(suite: str) -> list[str]:
    """The task names of an installed suite, as `env.task=` or `env.id=` takes them."""
    require(suite, suite)
    return import_module(f"pbrl_envs.suites.{suite}").tasks()


def require(suite: str, env: str) -> None:
    """Raise the one-line reason if `env` belongs to a suite that is not installed."""
    module, package = _PACKAGES[suite]
    if find_spec(module) is None:
        raise UserError(f"env={env} needs {package}; install it with: {_install(suite)}")


def how_to_choose(name: str) -> str | None:
    """The overrides that choose a task by its name in a suite, as env=gym env.id=Ant-v5; None if no suite has it."""
    if ":" in name:
        return f"{_CHOSEN_BY['gym']}{name}"
    if "-" not in name:  # all names of tasks have one, and suites take seconds to import
        return None
    there = (suite for suite, (module, _) in _PACKAGES.items() if find_spec(module) is not None)
    with redirect_stderr(io.StringIO()):  # what suites say of themselves when they are imported
        return next((f"{_CHOSEN_BY[suite]}{name}" for suite in there if name in tasks(suite)), None)


def unknown(what: str, name: str, valid: Iterable[str], hint: str) -> UserError:
    """The error for a name that does not exist: the closest valid ones and where to find the rest."""
    close = closest(name, valid, n=4)
    suggestion = f"did you mean {', '.join(close)}? " if close else ""
    return UserError(f"{what}={name} does not exist; {suggestion}{hint}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _install(suite: str) -> str:
    here, newest = sys.version_info[:2], _NEWEST_PYTHON.get(suite)
    if newest is not None and here > newest:
        return f"Python {newest[0]}.{newest[1]} or older, as a part of it has no build for {here[0]}.{here[1]}"
    return pip_install("gymnasium") if suite == "gym" else install_extra(suite)
