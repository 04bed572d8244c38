"""Compared runs as HTML: the table in a notebook, and a page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.25rem .7rem;border-bottom:1px solid #ccc;text-align:left}"
    "img{max-width:100%}"
)


def table_html(arms: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The arms as a <table>, and below it lines about them, such as what is known of their differences."""
    rows = []
    for row in arms:
        spread = "" if row["low"] is None else f"{row['low']:.1f} to {row['high']:.1f}"
        success = "" if row["success"] is None else f"{row['success']:.0%}"
        cells = (row["env"], row["arm"], row["n"], f"{row['return']:.1f}", spread, success)
        more = (f"{row['labels']:.0f}", f"{row['steps']:.0f}")
        rows.append("".join(f"<td>{escape(str(cell))}</td>" for cell in (*cells, *more)))
    head = ("env", "arm", "n", "return", "95 % interval", "success", "labels", "steps")
    lines = ["".join(f"<th>{name}</th>" for name in head), *rows]
    table = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{table}</table>" + "".join(f"<p>{escape(line)}</p>" for line in notes)
