"""What a template does with what it is given, whatever the page."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from pbrl.reports.pages import Section, Tile, render

FACTS = {"title": "<t>", "headline": "<h>", "facts": "&", "command": "a < b", "settings": "", "versions": ""}
PARTS = {"tiles": [Tile("<n>", "<v>", "<d>")], "policy": Section("P", "<note>"), "sections": []}


def test_texts_are_escaped_and_figures_are_not():
    figure = Section("S", "N", Markup("<svg></svg>"))
    page = render("run", **FACTS, **PARTS | {"sections": [figure]})
    for text in ("t", "h", "n", "v", "d", "note"):
        assert f"<{text}>" not in page
        assert f"&lt;{text}&gt;" in page
    assert "a &lt; b" in page
    assert "<svg></svg>" in page


def test_a_fact_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="command"):
        render("run", **{k: v for k, v in FACTS.items() if k != "command"}, **PARTS)
