"""What people are asked while an agent trains, beside pairs: rankings and thumbs, by a criterion, with reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from person import Person
from tiny import TINY, train

from pbrl.cli import main
from pbrl.config import load_config
from pbrl.feedback.status import read_status
from pbrl.labels.store import LabelStore
from pbrl.labels.views import find_tags
from pbrl.question_kinds import Choice, Rating, SegmentPair
from pbrl.teachers.human import HumanTeacher
from pbrl.teachers.teacher import Teacher
from pbrl.viewer.settings import viewer_section

PEOPLE = ["teacher=human", "teacher.mode=block", "viewer.start=false", "feedback.budget=12"]
RANKING = ["queries=uniform", "fit.loss=plackett_luce", "fit.loss.items=3"]
ASKED = "viewer.criteria={safety: Which one is safer?}"
THUMBS = ["queries=uniform", "fit.loss=thumbs"]


def standing(folder: Path, kind: type, criterion: str = "overall") -> dict:
    with LabelStore(folder, create=False) as store:
        rows = store.standing_answers(kind=kind, criterion=criterion)
    return {a.query: a.value if kind is not SegmentPair else a.prefers_right for a in rows}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("method", "kind", "more"),
    [
        ("heron", Choice, RANKING),
        ("pebble", Rating, THUMBS),
        ("pebble", SegmentPair, []),
        ("spo_judge", SegmentPair, []),
    ],
)
def test_a_run_waits_for_answers_of_any_kind_by_a_criterion_and_learns_from_them(tmp_path, method, kind, more):
    folder, about = tmp_path / "run", ["feedback.criterion=safety", "viewer.tags=[falls]", ASKED]
    more = [text for text in TINY[method] if text != "teacher.window=2"] + [*more, *about]
    with Person(folder, tags=("falls",)) as person:
        code, _, err = train(folder, *more, *PEOPLE, method=None)
    assert code == 0, err
    assert len(person.given) == 12
    assert standing(folder, kind, "safety") == person.given
    assert read_status(folder)["state"] == "finished"
    assert summary(folder)["labels"] == 12
    assert viewer_section(load_config(folder / "config.yaml")).criteria == {"safety": "Which one is safer?"}
    with LabelStore(folder, create=False) as store:
        assert store.forms() == {(kind.kind, "safety"): 12}
        assert list(find_tags(store.db).values()) == [["falls"]] * 12
    rows = (folder / "progress.csv").read_text().splitlines()
    updates = rows[0].split(",").index("reward/updates")
    assert any(float(row.split(",")[updates] or 0) > 0 for row in rows[1:])


def test_rankings_given_while_a_killed_run_is_away_are_learned_from_and_none_is_asked_twice(tmp_path, run):
    from killed import Kill

    folder = tmp_path / "run"
    args = [
        "train",
        *TINY["pebble"],
        "checkpoint.every=110",
        *RANKING,
        *PEOPLE,
        "feedback.budget=24",
        f"run_dir={folder}",
    ]
    with Person(folder) as person:
        assert run(args, Kill("pbrl.training.checkpoint:Checkpoints.save", 2)) == -9
    before = standing(folder, Choice)
    assert before == person.given
    assert 6 < len(before) < 24
    with LabelStore(folder, create=False) as store:
        assert {q.id for q in store.open_queries(kind=Choice)}.isdisjoint(before)
    with Person(folder) as person:
        assert main(["train", f"resume={folder}"]) == 0
    after = standing(folder, Choice)
    assert after == before | person.given
    assert not before.keys() & person.given.keys()
    assert len(after) == summary(folder)["labels"] == 24


def test_a_script_that_stands_in_ranks_what_nobody_ranked(tmp_path):
    folder = tmp_path / "run"
    with Person(folder, patience=2):
        assert train(folder, *PEOPLE, *RANKING, "teacher.mode=mixed", "teacher.timeout_s=0.5")[0] == 0
    with LabelStore(folder, create=False) as store:
        by = store.counts(kind=Choice)["annotators"]
        told = store.answered(kind=Choice)
    assert {name: row["answers"] for name, row in by.items()} == {"ann": 2, "scripted:stand-in": 10}
    returns = torch.stack([segments.true_reward.sum(1) for segments in told.questions.items], 1)
    assert torch.equal(told.answers.order, returns.argsort(1, descending=True))


def test_an_asynchronous_run_keeps_a_session_of_rankings_open_and_takes_old_ones_back(tmp_path):
    folder = tmp_path / "run"
    more = ["teacher.mode=async", "teacher.poll=40", "teacher.max_age_steps=60"]
    assert train(folder, *PEOPLE, *RANKING, *more)[0] == 0  # nobody is there
    with LabelStore(folder, create=False) as store:
        waiting, asked = store.open_queries(kind=Choice), store.queries(kind=Choice)
    assert len(waiting) == 6 < len(asked)
    assert min(q.env_steps for q in waiting) >= 320 - 60 - 40


def test_a_criterion_is_a_word(tmp_path):
    code, _, err = train(tmp_path / "run", *PEOPLE, "feedback.criterion=' '")
    assert code == 2
    assert "feedback.criterion=' ': expected a word" in err
    assert not (tmp_path / "run").exists()


def test_a_script_that_could_not_stand_in_is_refused():
    class PairsAlone(Teacher):
        kinds = (SegmentPair,)

    about = {"poll": 1, "learn_every": 1, "max_age_steps": None, "timeout_s": 1.0, "script": lambda rng: PairsAlone()}
    teacher = HumanTeacher(torch.Generator(), "mixed", **about)
    teacher.require((SegmentPair,))
    with pytest.raises(ValueError, match="script=PairsAlone answers no questions of kind choice; choose mode=block"):
        teacher.require((Choice,))


@pytest.mark.parametrize(
    ("method", "teacher", "valid"),
    [("video_return", "oracle", "video_people"), ("rapl", "human", "teacher.mode=block")],
)
def test_questions_about_videos_have_teachers_of_their_own(tmp_path, method, teacher, valid):
    code, _, err = train(tmp_path / "run", f"method={method}", "env=sweep_grouping", f"teacher={teacher}", method=None)
    assert code == 2
    assert valid in err
