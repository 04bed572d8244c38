"""Python functions as values of a config: by the name under which they can be imported, or else kept here.

A function that cannot be imported (of a notebook, a lambda, a closure) is kept here as `pbrl.given.NAME`, which a
config finds in this process; in another one it is said how to give it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pbrl.errors import UserError, one_line

_kept: dict[str, Callable[..., Any]] = {}


def reference(function: Callable[..., Any]) -> str:
    """Return a config's name of this function: `module.name` as Python imports it, or a name here, where it is kept."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", type(function).__name__)
    if module and module != "__main__" and getattr(sys.modules.get(module), name, None) is function:
        return f"{module}.{name}"
    return f"{__name__}.{keep(function, _plain(name))}"


def find(function: Callable[..., Any] | str | None, key: str) -> Callable[..., Any]:
    """Return the function that a config names, as my_module.better; UserError where there is none."""
    if callable(function):
        return function
    if function is None:
        raise UserError(f"{key} must be given, as {key}=my_module.my_function")
    if (kept := function.removeprefix(f"{__name__}.")) != function:
        if kept in _kept:
            return _kept[kept]
        again = f"give it again: pbrl.resume(RUN_DIR, {key.split('.')[0]}={kept})"
        raise UserError(f"{key}={function} was a function of another Python process; go on there, or {again}")
    from hydra.utils import get_object

    try:
        found = get_object(str(function))
    except Exception as error:
        raise UserError(f"{key}={function}: {one_line(error.__cause__ or error)}") from error
    if not callable(found):
        raise UserError(f"{key}={function} is {type(found).__name__}, expected a function, as my_module.better")
    return found


def keep(function: Callable[..., Any], name: str) -> str:
    """Keeps a function under this name, or under NAME_2, ... where another one has it; returns the name."""
    number, free = 1, name
    while _kept.get(free, function) is not function:
        number += 1
        free = f"{name}_{number}"
    _kept[free] = function
    return free


def give_again(where: str, function: Callable[..., Any], key: str) -> None:
    """Put a function in the place of one that a config knows by `where`, in a process that does not have it yet.

    UserError where the config imports its own by name, so that there is none to give.
    """
    if not where.startswith(f"{__name__}."):
        raise UserError(f"{key}={where} is imported by its name; leave {key.split('.')[0]}= out")
    _kept[where.removeprefix(f"{__name__}.")] = function


def _plain(name: str) -> str:
    """Return a name without <locals>, <lambda> and dots."""
    last = name.rsplit(".", 1)[-1].strip("<>")
    return last if last.isidentifier() else "function"
