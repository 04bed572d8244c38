"""The words of questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbrl.labels.rows import PAIRS
from pbrl.question_kinds import Choice, Outcome, Rating, Triplet
from pbrl.questions import Form
from pbrl.types import OVERALL

if TYPE_CHECKING:
    from pbrl.viewer.settings import ViewerConfig

CHOICES = {
    "best": "Which one is the best?",
    "worst": "Which one is the worst?",
    "best_and_worst": "Which one is the best, and which the worst?",
    "ranking": "Rank them, the best first.",
}


def asked(form: Form, config: ViewerConfig) -> str:
    """Word a question by `viewer.criteria` where that has words for its criterion."""
    if form.criterion in config.criteria:
        return config.criteria[form.criterion]
    by = "" if form.criterion == OVERALL else f"By {form.criterion}: "
    return by + _plain(form, config.question)


def _plain(form: Form, pairs: str) -> str:
    if form.kind in PAIRS:
        return pairs
    if form.kind == Triplet.kind:
        return "Which of the two is closer to the one in the middle?"
    if form.kind == Choice.kind:
        return CHOICES[form.detail("wanted")]
    if form.kind == Rating.kind:
        low, high, scale = (form.detail(name) for name in ("low", "high", "scale"))
        return f"How good is it, from {low:g} to {high:g} {scale}?"
    return "Does it succeed?" if form.kind == Outcome.kind else f"{form.kind}?"
