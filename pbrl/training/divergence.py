"""The end of a run that somebody gave NaN or infinity, in words."""

from __future__ import annotations

from pathlib import Path

from pbrl.errors import UserError, typed_value
from pbrl.finite import NotFinite
from pbrl.training.checkpoint import Checkpoints


def explain_divergence(error: NotFinite, step: int, learned: bool, checkpoints: Checkpoints, run: Path) -> UserError:
    """Return an error that says who, when, what is kept, and what may help. learned: who gave it had been trained."""
    last = checkpoints.last()
    kept = "there is no checkpoint yet" if last is None else f"the checkpoint of step {last.name} is kept"
    if not learned:
        return UserError(f"{error} at step {step}, before it has learned anything: are observations very large? {kept}")
    begin = "" if last is None else f", begun with {typed_value('init', run)}"
    advice = f"in a new run{begin}, a lower learning rate of {error.who} may help"
    return UserError(f"{error} at step {step}: the run has diverged; {kept}; {advice}")
