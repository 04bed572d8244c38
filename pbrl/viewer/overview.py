"""The figures around the clips: how far everything is. No reward of the environment is in them."""

from __future__ import annotations

import time
from typing import Any

from pbrl.feedback.status import read_learned, read_status
from pbrl.labels.questions import HUMAN, run_id
from pbrl.reading import find_object
from pbrl.viewer.desk import Desk
from pbrl.viewer.gallery import Gallery
from pbrl.viewer.settings import ViewerConfig

GOING_ON = ("starting", "collecting", "training", "waiting")  # states of a trainer
PARTS = {  # of the status, by the word of viewer.show that shows them
    "learned": ("learned",),
    "run": ("name",),
    "step": ("env_steps", "steps", "next_questions_at"),
    "budget": ("budget", "spent", "labels"),
}


def overview(config: ViewerConfig, desk: Desk, gallery: Gallery, annotator: str) -> dict[str, Any]:
    """Return the answer to /api/status."""
    desk.board.refresh()
    told = {
        "run": run_id(desk.store.db),
        "name": config.run_dir.name,
        "env": config.env,
        "instructions": config.instructions,
        "question": config.question,
        "mode": config.mode,
        "labels": count_labels(desk),
        "open": len(desk.board),
        "ready": sum(map(gallery.ready, desk.board.first(gallery.ahead))),
        "mine": desk.counts(annotator),
        **_training(config),
        "renderer": gallery.state(),
        "learned": _in_short(config),
        "cameras": gallery.cameras,
        "tags": config.tags,
        "slight": config.desk.slight is not None,
        "repeats": config.desk.repeats,
        "hold_s": config.hold_s,
        **desk.tell(annotator),
    }
    return _blind(told, config)


def count_labels(desk: Desk) -> int:
    """Count the answers that training counts, of whomever."""
    return sum(n for kind, n in desk.board.labels.items() if kind == HUMAN or desk.settings.scripts_count)


def asks_more(config: ViewerConfig) -> bool:
    """Return whether a training goes on that may ask more than there is now."""
    return config.mode != "labels only" and read_status(config.run_dir)["state"] in GOING_ON


def _blind(told: dict[str, Any], config: ViewerConfig) -> dict[str, Any]:
    """Leave out what people should not see of how the run does, since it may sway them, and where the run lies."""
    hidden = [field for part, fields in PARTS.items() if part not in config.show for field in fields]
    if (message := told["renderer"]["message"]) is not None:
        folder = config.run_dir.name if "run" in config.show else "the run's folder"
        told["renderer"] |= {"message": message.replace(str(config.run_dir), folder)}
    return told | dict.fromkeys(hidden)


def _training(config: ViewerConfig) -> dict[str, Any]:
    status = read_status(config.run_dir)
    if config.mode == "labels only":  # nothing waits for these answers
        status |= {"state": _ended(config) or "stopped"}
    waits, budget = status["state"] == "waiting", status.get("budget")
    since = status.get("written_at", 0.0) - status.get("waiting_s", 0.0)
    return {
        "trainer": status["state"],
        "env_steps": status.get("env_steps", 0),
        "steps": status.get("steps"),
        "next_questions_at": status.get("next_questions_at"),
        "budget": budget,
        "spent": status.get("spent"),
        "done": budget is not None and (status.get("spent") or 0) >= budget,  # nothing more will be asked
        "can_continue": waits,
        "waiting_s": round(time.time() - since, 1) if waits else None,
        "timeout_s": status.get("timeout_s"),
    }


def _ended(config: ViewerConfig) -> str | None:
    return (find_object(config.run_dir / "summary.json") or {}).get("status")


def _in_short(config: ViewerConfig) -> dict[str, Any] | None:
    if (learned := read_learned(config.run_dir)) is None:
        return None
    foreseen = learned["foreseen"] or {"share": None, "of": 0}
    return {"answers": learned["answers"], "foreseen": foreseen["share"], "of": foreseen["of"]}
