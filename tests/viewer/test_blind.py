"""What people see of how the run does: nothing, unless viewer.show says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shop import CHANGES, HOST, TOKEN, DrawnClips, fill, viewer
from starlette.testclient import TestClient

from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.feedback.status import write_status
from pbrl.files import write_json
from pbrl.labels.questions import run_id
from pbrl.labels.store import LabelStore
from pbrl.viewer.settings import SHOW, viewer_section

STEPS, BUDGET, SCORE = 31_337, 4_242, 0.123456
TELLS = {  # what can be found in what the server sends, by the word that shows it
    "learned": str(SCORE),
    "run": "secret_variant_b",
    "step": str(STEPS),
    "budget": str(BUDGET),
}


def everything(folder: Path, spent: int = 3, **changes: Any) -> str:
    """All that the server says to a page."""
    with LabelStore(folder) as store:
        fill(store, 2)
        run = run_id(store.db)
    write_status(folder, "training", env_steps=STEPS, steps=STEPS, next_questions_at=STEPS, budget=BUDGET, spent=spent)
    ranked = [{"query": 1, "side": "left", "score": SCORE}]
    foreseen = {"share": SCORE, "low": 0.1, "high": 0.9, "of": 5}
    write_json(folder / "learned.json", {"answers": 9, "foreseen": foreseen, "best": ranked, "worst": ranked})
    clips = DrawnClips(folder)
    clips.state = lambda: {"state": "failed", "message": f"see {folder}/clips/renderer.log"}  # type: ignore[method-assign]
    with TestClient(viewer(folder, clips, **changes), base_url=f"http://{HOST}") as client:
        client.post("/api/session", json={"token": TOKEN}, headers=CHANGES)
        about = {"run": run, "annotator": "ann"}
        given = {"id": "a", "query": 1, "choice": "left", "strength": "clear", "swapped": False, "shown_at": 1.0}
        given |= {"response_ms": 900, "plays_left": 1, "plays_right": 1}
        said = [client.post("/api/next", json={**about, "n": 2, "holding": []}, headers=CHANGES)]
        said += [client.post("/api/answer", json={**about, **given}, headers=CHANGES)]
        said += [client.get(f"/api/{path}") for path in ("status?annotator=ann", "learned", "history?annotator=ann")]
        assert [reply.status_code for reply in said] == [200] * 5
        return "\n".join(reply.text for reply in said)


@pytest.mark.parametrize("shown", [(), *((part,) for part in SHOW), SHOW])
def test_only_what_is_to_be_shown_leaves_the_server(tmp_path: Path, shown: tuple[str, ...]) -> None:
    folder = tmp_path / TELLS["run"]
    said = everything(folder, show=frozenset(shown))
    assert {part for part, sign in TELLS.items() if sign in said} == set(shown)
    assert str(tmp_path) not in said  # where the run lies is of the machine, and nobody's business


def test_people_see_nothing_unless_it_is_said() -> None:
    config = compose_config(["env=point_reach", "method=pebble"])
    assert list(viewer_section(config).show) == []
    assert viewer_section(config, {"show": "learned,step"}).show == ["learned", "step"]
    with pytest.raises(UserError, match=r"viewer.show names 'steps': valid are learned, run, step, budget"):
        viewer_section(config, {"show": "steps"})


def test_that_nothing_more_will_be_asked_is_told_without_the_budget(tmp_path: Path) -> None:
    for spent in (BUDGET - 1, BUDGET):
        said = json.loads(everything(tmp_path / f"run_{spent}", spent).splitlines()[2])
        assert (said["done"], said["spent"], said["budget"]) == (spent == BUDGET, None, None)
