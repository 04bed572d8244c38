"""A policy that is watched live: what is done, what is said of it, and that all of it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from page_driver import out_of_sight, scrolls_sideways, until
from point_run import make_run
from shop import CHANGES, HOST, DrawnClips, viewer
from starlette.testclient import TestClient

from pbrl.building import build
from pbrl.cli import main
from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.labels.questions import run_id
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Intervention
from pbrl.teachers.stored_interventions import blamed_steps, watched_episodes
from pbrl.watching.live import Live, Said
from pbrl.watching.open import keep_in

GOES_ON, OVER = Said(False, False, None), Said(True, False, None)
HORIZON = 11


def always(*action: float) -> Any:
    return lambda obs: np.tile(np.float32(action), (len(obs), 1))


EXPERT = always(-1, 0)


def make_live(number: int = 1, expert: Any = EXPERT) -> Live:
    make_env = partial(build, compose_config(["env=point_reach"]).env.make)
    return Live(make_env, always(1, 0), expert, horizon=HORIZON, size=(64, 64), seed=5, number=number)


@pytest.fixture
def live() -> Iterator[Live]:
    live = make_live()
    yield live
    live.close()


def test_who_takes_over_acts_and_it_can_be_replayed(live: Live) -> None:
    for said in (GOES_ON, OVER, Said(True, False, (0.0, 1.0)), Said(False, True, None)):
        live.advance(said)
    per = live.every
    question, answers = live.taken()
    actions = question.episodes.actions[0].numpy()
    expected = np.repeat([[1, 0], [-1, 0], [0, 1], [1, 0]], per, 0)
    assert np.array_equal(actions[: 4 * per], expected[:HORIZON])
    signals = np.repeat([0, 1, 1, 0], per)
    signals[3 * per - 1] += 2  # it goes wrong: what was seen when that was said
    assert np.array_equal(answers.signals[0, : 4 * per], signals[:HORIZON])
    assert question.episodes.mask[0].sum() == min(4 * per, HORIZON)
    env = build(compose_config(["env=point_reach"]).env.make)
    obs, _ = env.reset(seed=0)
    env.get_wrapper_attr("load_state")(question.item_states[0][0, 0])
    for step in range(int(question.episodes.mask[0].sum())):  # the same actions from the same state lead to the same
        obs, *_ = env.step(actions[step])
        assert np.allclose(obs, question.episodes.obs[0, step + 1], atol=1e-6)
        assert np.allclose(env.get_wrapper_attr("save_state")(), question.item_states[0][0, step + 1])
    env.close()


def test_an_episode_ends_at_the_horizon_and_the_next_one_is_another(live: Live) -> None:
    first = live.picture()
    while not live.ended:
        live.advance(GOES_ON)
    assert live.step == HORIZON
    live.advance(GOES_ON)
    assert live.step == HORIZON
    assert live.picture() != first
    before = live.taken()[0].episodes.obs[0, 0].clone()
    live.begin(2)
    live.advance(GOES_ON)
    assert not np.array_equal(live.taken()[0].episodes.obs[0, 0], before)


def test_without_an_expert_nobody_can_be_handed_over_to() -> None:
    live = make_live(expert=None)
    live.advance(OVER)
    assert live.taken()[1].signals.sum() == 0
    live.close()


def test_a_step_is_blamed_where_somebody_answers_it() -> None:
    #                   own  taken over   own  wrong  both       own, the end
    signals = np.array([0, 0, 1, 1, 0, 2, 0, 3, 0, 0, 1])
    # before each takeover the policy's last step; where somebody only said it, that step; never the person's own
    assert blamed_steps(signals).tolist() == [False, True, False, False, False, True, True, False, False, True, False]
    assert not blamed_steps(np.array([1, 1, 0])).any()


@pytest.fixture
def page_of(tmp_path: Path) -> Iterator[Any]:
    """Calls of a page that watches: page(path, **body)."""
    make_run(tmp_path)
    with LabelStore(tmp_path) as store:
        run = run_id(store.db)
    app = viewer(tmp_path, DrawnClips(tmp_path), watch=make_live)
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.post("/api/session", json={"token": "t" * 32}, headers=CHANGES)

        def call(path: str, **body: Any) -> Any:
            about = {"run": run, "annotator": "ann", **body}
            return client.post(f"/api/watch/{path}", json=about, headers=CHANGES)

        call.client = client  # type: ignore[attr-defined]
        yield call


def step(call: Any, frame: dict[str, Any], **said: Any) -> dict[str, Any]:
    about = {"over": False, "wrong": False, "push": None} | said
    return call("step", episode=frame["episode"], at=frame["step"], **about).json()


def test_episodes_are_kept_as_answers_exported_and_taken_to_learn_from(page_of: Any, tmp_path: Path) -> None:
    frame = page_of("begin").json()
    assert (frame["step"], frame["horizon"], frame["expert"], frame["keys"]) == (0, HORIZON, True, 2)
    assert frame["picture"].startswith("data:image/jpeg;base64,")
    first = step(page_of, frame, over=True)
    assert first["step"] > 0
    assert step(page_of, frame, over=True) == first  # a page that did not hear the answer asks again
    frame = first
    while frame["episode"] == 1:
        frame = step(page_of, frame, wrong=frame["step"] > 4)
    assert (frame["kept"], frame["episodes"], frame["step"]) == (HORIZON, 1, 0)
    frame = step(page_of, frame)
    assert page_of("end", episode=2).json()["episodes"] == 2
    step(page_of, page_of("begin").json())
    assert page_of("begin").json()["episodes"] == 2  # discarded
    with LabelStore(tmp_path) as store:
        asked = store.queries(kind=Intervention)
        assert [q.form.detail("horizon") for q in asked] == [HORIZON] * 2
        assert [a.annotator for a in store.standing_answers(kind=Intervention)] == ["ann", "ann"]
        assert store.queries() == []  # no pairs came of it
    export_labels(tmp_path, tmp_path / "set", kind=Intervention)
    assert load_label_set(tmp_path / "set").meta["counts"]["answers"] == 2
    for source in (tmp_path, tmp_path / "set"):
        one, two = watched_episodes(source)
        assert (len(one), one.tags.shape, one.terminated) == (HORIZON, (HORIZON, 2), False)
        assert one.tags[: first["step"], 1].all()
        assert one.tags[:, 0].sum() > 0
        assert len(two) == first["step"]
        assert not two.tags.any()


@pytest.mark.parametrize(
    "wrong", [{"push": [2, 0]}, {"push": [0, 0, 0]}, {"push": "up"}, {"over": 1}, {"at": -1}, {"push": [float("inf")]}]
)
def test_what_no_page_says_is_refused(page_of: Any, wrong: dict[str, Any]) -> None:
    page_of("begin")
    body = {"episode": 1, "at": 0, "over": False, "wrong": False, "push": None} | wrong
    try:
        assert page_of("step", **body).status_code == 400
    except ValueError:  # no JSON
        assert "inf" in str(wrong)


def test_who_watches_nothing_is_told_and_an_unfinished_episode_is_kept_at_the_end(page_of: Any, tmp_path: Path) -> None:
    assert "ann watches nothing now" in page_of("end", episode=0).json()["error"]
    step(page_of, page_of("begin").json())
    page_of.client.__exit__(None, None, None)  # the server ends
    page_of.client.__enter__()
    with LabelStore(tmp_path) as store:
        assert len(store.standing_answers(kind=Intervention)) == 1


def test_no_two_episodes_of_a_folder_are_the_same_whoever_watches_and_however_often_it_is_opened(
    page_of: Any, tmp_path: Path
) -> None:
    for again in range(2):
        for name in ("ann", "bob"):
            frame = page_of("begin", annotator=name).json()
            frame = page_of("begin", annotator=name).json() if again else frame
            about = {"over": False, "wrong": False, "push": None, "at": 0, "episode": frame["episode"]}
            page_of("step", annotator=name, **about)
            page_of("end", annotator=name, episode=frame["episode"])
        page_of.client.__exit__(None, None, None)  # the server ends
        page_of.client.__enter__()
    with LabelStore(tmp_path) as store:
        kept = store.answered(kind=Intervention).questions.episodes
    assert len(set(kept.ids.tolist())) == len(kept) == 4
    assert len({tuple(start.tolist()) for start in kept.obs[:, 0]}) == 4


def test_a_person_watches_and_takes_over_by_keys(page: Any, real: Any, server: Any) -> None:
    viewer = real(0, watch=make_live)
    server.origin = viewer.url().split("/#")[0]
    page.goto(viewer.url())
    page.locator("#name").fill("ann")
    page.keyboard.press("Enter")
    until(lambda: page.locator("#watch-picture").get_attribute("data-step") not in (None, "0"))
    page.keyboard.press("t")
    until(lambda: page.locator("#watch-picture").get_attribute("data-who") == "person")
    assert page.inner_text("#watch-who") == "the expert"
    page.keyboard.press("w")
    until(lambda: int(page.inner_text("#watch-episodes")) >= 1)
    page.keyboard.press(" ")
    assert page.inner_text("#watch-pause").startswith("Go on")
    (first, *_) = viewer.answers()
    assert first.annotator == "ann"
    assert {1, 3} & set(first.value)
    page.goto("about:blank")
    viewer.server.should_exit = True  # in order, so that the simulator is closed in its own thread
    viewer.thread.join(20)


OVERLAP = """() => {
  const boxes = [...document.querySelectorAll(".strip dt, .strip dd")].filter((e) => e.offsetWidth).map((e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    return range.getBoundingClientRect();
  });
  return boxes.some((a, i) => boxes.some((b, j) => i < j
    && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
}"""


def test_what_is_watched_and_its_buttons_are_in_sight_on_small_screens(page: Any, real: Any, server: Any) -> None:
    viewer = real(0, watch=make_live)
    server.origin = viewer.url().split("/#")[0]
    page.goto(viewer.url())
    page.locator("#name").fill("ann")
    page.keyboard.press("Enter")
    until(lambda: page.locator("#watch-picture").get_attribute("data-step") not in (None, "0"))
    page.keyboard.press("t")
    until(lambda: page.inner_text("#watch-who") == "the expert")
    wrong = {}
    for width, height in ((390, 844), (360, 640), (844, 390), (1366, 625), (640, 400), (683, 312)):
        page.set_viewport_size({"width": width, "height": height})
        hidden = out_of_sight(page, "#watch-picture", ".answers button:not([hidden])")
        found = [*hidden, scrolls_sideways(page), page.evaluate(OVERLAP)]
        wrong |= {(width, height): found} if any(found) else {}
    assert not wrong
    page.goto("about:blank")
    viewer.server.should_exit = True
    viewer.thread.join(20)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "expected one run directory, none given"),
        (["nowhere"], "nowhere is not a run directory"),
        (["RUN", "seed=x"], "seed=x: expected a whole number"),
        (["RUN"], "has no policy yet"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, capsys: Any, args: list[str], message: str) -> None:
    make_run(tmp_path)
    assert main(["watch", *(str(tmp_path) if arg == "RUN" else arg for arg in args)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not (tmp_path / "watched").exists()


def test_episodes_are_kept_apart_from_the_answers_of_the_run(tmp_path: Path) -> None:
    config = compose_config(["env=point_reach"])
    (tmp_path / "run").mkdir()
    OmegaConf.save(config, tmp_path / "run" / "config.yaml")
    saved: Any = SimpleNamespace(config=config, path=tmp_path / "run")
    with pytest.raises(UserError, match="no watched episodes of this task are kept there; valid is a new folder"):
        keep_in(tmp_path / "run", saved)
    assert [keep_in(tmp_path / "watched", saved) for _ in range(2)] == [True, False]
    saved.config = compose_config(["env=pendulum"])
    with pytest.raises(UserError, match="no watched episodes of this task"):
        keep_in(tmp_path / "watched", saved)
