"""The schedules that say how many questions each feedback session gets."""

from __future__ import annotations

from pbrl.errors import choices

SCHEDULES = ("uniform", "decay", "increase")


def session_size(schedule: str, per_session: int, step: int, steps: int) -> int:
    """Return the questions of a session at `step` of `steps` (Lee et al. 2021, B-Pref, section 3; T = steps, t = step).

    uniform: per_session. decay: 2 per_session (T - t) / T. increase: per_session / 2 * T / (T - t + 1). The factors 2
    and 1/2 make the totals comparable. At least 1.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"feedback.schedule={schedule!r}: {choices(schedule, SCHEDULES)}")
    size = {
        "uniform": per_session,
        "decay": 2 * per_session * (steps - step) / steps,
        "increase": per_session / 2 * steps / (steps - step + 1),
    }[schedule]
    return max(round(size), 1)


def next_time(due: int, every: int, here: int) -> int:
    """Return the first of due, due + every, ... after `here`: rounds of an agent may jump over several."""
    return due if due > here else due + every * ((here - due) // every + 1)
