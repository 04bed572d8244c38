"""Shows what a docstring says of each argument as a list: lines such as `steps: of the whole run` begin an entry."""

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^( *)([a-z_]\w*(?:, [a-z_]\w*)*|[a-z_]\w*\([^)]*\)): ", re.MULTILINE)


class Entries(griffe.Extension):
    """Rewrites docstrings before they are rendered as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(docstring: str) -> str:
    """Write a Markdown list of the entries, with a blank line before the first one after other text."""
    lines: list[str] = []
    for line in docstring.splitlines():
        entry = ENTRY.match(line)
        if entry is not None:
            if lines and lines[-1].strip() and not listed(lines):
                lines.append("")
            line = f"{entry[1]}- `{entry[2]}`: {line[entry.end() :]}"
        lines.append(line)
    return "\n".join(lines)


def listed(lines: list[str]) -> bool:
    """Return whether the last paragraph is a list."""
    for line in reversed(lines):
        if not line.strip():
            return False
        if line.lstrip().startswith("- `"):
            return True
    return False
