"""Pages that need nothing else, neither files beside them nor a network, from the templates of this folder."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pbrl.reports.tables import number


def render(template: str, **facts: Any) -> str:
    """Fill in `templates/<template>.html`. Every text is escaped, save figures and other `Markup`."""
    return _templates().get_template(f"{template}.html").render(kind=template, **facts) + "\n"


@functools.cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("pbrl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "thousands": "{:,}".format, "percent": "{:.0%}".format}
    return made
