"""Pages that need nothing else, neither files beside them nor a network, from the templates of this folder."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


class Tile(NamedTuple):
    """A number that a page begins with."""

    name: str
    value: str
    detail: str


class Section(NamedTuple):
    """A card of a page: a heading, a sentence, and a figure or more."""

    title: str
    note: str
    content: Markup = Markup("")


def render(template: str, **facts: Any) -> str:
    """Fill in `templates/<template>.html`. Every text is escaped, save figures and other `Markup`."""
    return _templates().get_template(f"{template}.html").render(kind=template, **facts) + "\n"


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("pbrl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
