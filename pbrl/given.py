"""Python functions as values of a config: by the name under which they can be imported, or else kept here.

A function that cannot be imported (of a notebook, a lambda, a closure) is kept here as `pbrl.given.NAME`, which a
config finds in this process; in another one it is said how to give it again.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from pbrl.errors import EnvError, UserError, choices, one_line, raised

_kept: dict[str, Callable[..., Any]] = {}


def reference(function: Callable[..., Any]) -> str:
    """Return a config's name of this function: `module.name` as Python imports it, or a name here, where it is kept."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", type(function).__name__)
    if module and module != "__main__" and getattr(sys.modules.get(module), name, None) is function:
        return f"{module}.{name}"
    return f"{__name__}.{keep(function, _plain(name))}"


def find(function: Callable[..., Any] | str | None, key: str, takes: tuple[str, ...]) -> Callable[..., Any]:
    """Return the function that a config names, as my_module.better; UserError where there is none.

    takes: the arguments that it will be called with.
    """
    found = _find(function, key)
    if not callable(found):
        raise UserError(f"{key}={function} is {type(found).__name__}, expected a function, as my_module.better")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # of C
        return found
    try:
        signature.bind(*takes)
    except TypeError:
        raise UserError(f"{key}={name_of(found)} takes {signature}, expected ({', '.join(takes)})") from None
    return found


def call(function: Callable[..., Any], key: str, *given: Any) -> Any:
    """Return what a function of the user's own returns; EnvError where it raises anything."""
    try:
        return function(*given)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise EnvError(f"{key}={name_of(function)} {raised(error)}") from error


def name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def locate(name: str, said: str) -> Any:
    """Return what Python has under a dotted name, as my_module.better; UserError with what there is instead.

    said: where the name stands, for messages.
    """
    first, *rest = name.split(".")
    if not all((first, *rest)):
        raise UserError(f"{said}: expected a name as my_module.better")
    found, where = _import(first, said), first
    for part in rest:
        inside = f"{where}.{part}"
        if not hasattr(found, part) and hasattr(found, "__path__") and find_spec(inside):
            _import(inside, said)
        if not hasattr(found, part):
            there = _names(found)
            raise UserError(f"{said}: {where} has no {part!r}" + (f"; {choices(part, there)}" if there else ""))
        found, where = getattr(found, part), inside
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


def _find(function: Callable[..., Any] | str | None, key: str) -> Any:
    if callable(function):
        return function
    if function is None:
        raise UserError(f"{key} must be given, as {key}=my_module.my_function")
    if (kept := function.removeprefix(f"{__name__}.")) != function:
        if kept in _kept:
            return _kept[kept]
        again = f"give it again: pbrl.resume(RUN_DIR, {key.split('.')[0]}={kept})"
        raise UserError(f"{key}={function} was a function of another Python process; go on there, or {again}")
    return locate(str(function), f"{key}={function}")


def _import(module: str, said: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            lies = "a module of your own lies in the folder where pbrl is called, or on PYTHONPATH"
            raise UserError(f"{said}: {one_line(error)}; {lies}") from error
        raise UserError(f"{said}: importing {module} {raised(error)}") from error


def _names(found: Any) -> list[str]:
    """Return the classes and functions that a module or class defines, and the modules of a package."""
    home = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None)
    inside = getattr(found, "__dict__", {}).items()
    own = [n for n, v in inside if callable(v) and getattr(v, "__module__", None) == home and not n.startswith("_")]
    return [*own, *(module.name for module in pkgutil.iter_modules(getattr(found, "__path__", ())))]


def _plain(name: str) -> str:
    """Return a name without <locals>, <lambda> and dots."""
    last = name.rsplit(".", 1)[-1].strip("<>")
    return last if last.isidentifier() else "function"
