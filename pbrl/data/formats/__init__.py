"""The formats of the field, one module each: any of them that has a `FORMAT` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.errors import UserError, choices

if TYPE_CHECKING:
    from pbrl.data.formats.reader import Format


@cache
def all_formats() -> dict[str, Format]:
    """Return formats by name, in the order of their modules; a format imports its library when it reads."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    formats = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {found.name: found for found in formats}


def find_format(path: Path, name: str | None) -> Format:
    """Find the format of this name, or without one the only one that the path looks like."""
    formats = all_formats()
    if name is not None:
        if name not in formats:
            raise UserError(f"format={name}: {choices(name, formats)}")
        return formats[name]
    fitting = [known for known in formats.values() if known.is_one(path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{path} may be {' or '.join(f.name for f in fitting)}; say which as format={fitting[0].name}")
    if not path.exists():
        raise UserError(f"{path} is missing; valid is a file or folder of a format that `pbrl data formats` names")
    raise UserError(f"{path} looks like none of the known formats; say which as format=NAME, {choices('', formats)}")
