"""What a template does with what it is given, whatever the page."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from pbrl.reports.pages import render
from pbrl.reports.tables import Table

TABLE = Table("", "", ["<column>"], [["<cell>"]])
FACTS = {"title": "<t>", "facts": "&", "arms": TABLE, "listed": TABLE, "differences": ["a < b"], "notes": ["<n>"]}
CURVES = {"envs": ["<e>", "<f>"], "curve": lambda env, number: Markup("<svg></svg>")}


def test_texts_are_escaped_and_figures_are_not():
    page = render("compared", **FACTS, **CURVES)
    for text in ("t", "n", "e", "f", "column", "cell"):
        assert f"<{text}>" not in page
        assert f"&lt;{text}&gt;" in page
    assert "a &lt; b" in page
    assert "<svg></svg>" in page


def test_a_fact_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="notes"):
        render("compared", **{k: v for k, v in FACTS.items() if k != "notes"}, **CURVES)
