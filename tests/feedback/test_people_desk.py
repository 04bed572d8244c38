"""Runs that people teach; see `person.Person`."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from person import Person
from stored import answers_to
from tiny import TINY, train

from pbrl.cli import main
from pbrl.feedback.status import read_learned, read_status
from pbrl.labels.questions import retired
from pbrl.labels.questions import signal as leave_signal
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Triplet
from pbrl.types import Answers

HUMAN = ["teacher=human", "viewer.start=false", "feedback.budget=24", "teacher.poll=40", "teacher.learn_every=4"]


def standing(folder: Path) -> dict[int, float | None]:
    with LabelStore(folder, create=False) as store:
        return {a.query: a.prefers_right for a in store.standing_answers()}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("changes_mind", [False, True])
def test_a_run_waits_for_each_session_and_learns_from_it(tmp_path, changes_mind):
    folder = tmp_path / "run"
    with Person(folder, changes_mind=changes_mind) as person:
        code, _, err = train(folder, *HUMAN, "teacher.mode=block")
    assert code == 0
    assert "waiting for answers to 6 questions" in err
    assert standing(folder) == person.given
    assert len(person.given) == summary(folder)["labels"] == 24
    assert summary(folder)["reward_updates"] > 0
    assert read_learned(folder)["foreseen"]["of"] == 18  # all but the first session
    assert read_status(folder)["state"] == "finished"


def test_an_asynchronous_run_uses_what_is_answered_and_never_waits(tmp_path):
    folder = tmp_path / "run"
    code, _, _ = train(folder, *HUMAN)  # nobody is there
    assert code == 0
    assert summary(folder)["labels"] == 0
    assert summary(folder)["reward_updates"] == 0
    with LabelStore(folder, create=False) as store:
        assert len(store.open_queries()) == 6  # one session waits, no more are piled up


def test_an_asynchronous_run_learns_while_it_trains(tmp_path):
    folder = tmp_path / "run"
    with Person(folder, changes_mind=True):
        assert train(folder, *HUMAN, "steps=1500")[0] == 0
    found = summary(folder)
    assert found["reward_updates"] > 0
    assert 0 < found["labels"] <= len(standing(folder)) <= 24


def test_old_questions_are_taken_back_and_cost_nothing(tmp_path):
    folder = tmp_path / "run"
    assert train(folder, *HUMAN, "teacher.max_age_steps=60", "feedback.budget=7")[0] == 0
    with LabelStore(folder, create=False) as store:
        gone, waiting = retired(store.db), store.open_queries()
    assert len(gone) >= 6
    assert len(waiting) == 6  # the budget of 7 was not eaten up by those
    assert min(q.env_steps for q in waiting) >= 320 - 60 - 40


def test_half_answered_questions_grow_old_too(tmp_path):
    """One person where two are wanted: their answers are used, and questions go on coming."""
    folder = tmp_path / "run"
    with Person(folder):
        assert train(folder, *HUMAN, "viewer.overlap=2", "teacher.max_age_steps=60", "steps=2000")[0] == 0
    with LabelStore(folder, create=False) as store:
        assert len(store.queries()) > 6
        assert summary(folder)["labels"] > 6
        assert len(store.open_queries(2)) <= 6


@pytest.mark.parametrize(("counts", "questions"), [("asked", 12), ("answered", 6), ("decisive", 6)])
def test_two_answers_to_a_question_cost_two_where_answers_are_counted(tmp_path, counts, questions):
    folder, run = tmp_path / "run", [*HUMAN, "teacher.mode=block", "viewer.overlap=2", f"feedback.counts={counts}"]
    with Person(folder), Person(folder, name="bob"):
        assert train(folder, *run, "feedback.budget=12")[0] == 0
    with LabelStore(folder, create=False) as store:
        assert len(store.queries()) == questions
        assert len(store.standing_answers()) == 2 * questions


@pytest.mark.parametrize("mode", ["block", "async"])
@pytest.mark.parametrize("budget", [6, 10])
def test_questions_of_a_killed_process_are_answered_and_learned_from(tmp_path, run, mode, budget):
    """Killed while it waits, before any checkpoint: the answers come when nobody listens, or after."""
    from killed import Kill

    folder = tmp_path / "run"
    more = [*HUMAN, f"teacher.mode={mode}", f"feedback.budget={budget}", "checkpoint.every=1000", "steps=400"]
    args = ["train", *TINY["pebble"], f"run_dir={folder}", *more]
    assert run(args, Kill("pbrl.feedback.people:PeopleDesk.ask", 1, "after")) == -9
    with LabelStore(folder, create=False) as store:
        before = [q.id for q in store.open_queries()]
    assert len(before) == 6
    with Person(folder) as person:
        assert main(["train", f"resume={folder}"]) == 0
    assert set(before) <= set(person.given)
    with LabelStore(folder, create=False) as store:
        assert len(store.queries()) <= budget
    assert summary(folder)["reward_updates"] > 0


def test_after_its_time_a_mixed_session_is_answered_by_the_script(tmp_path):
    folder = tmp_path / "run"
    with Person(folder, patience=2):
        assert train(folder, *HUMAN, "teacher.mode=mixed", "teacher.timeout_s=0.5", "feedback.budget=12")[0] == 0
    with LabelStore(folder, create=False) as store:
        by = store.counts()["annotators"]
        answers = store.standing_answers()
        left, right = store.segments([a.query for a in answers])
    assert {name: row["answers"] for name, row in by.items()} == {"ann": 2, "scripted:stand-in": 10}
    assert {a.kind for a in answers} == {"human", "scripted"}
    better = (right.true_reward.sum(1) > left.true_reward.sum(1)).float()
    assert torch.equal(better, torch.tensor([a.prefers_right for a in answers]))


def test_a_word_to_go_on_that_came_too_early_means_nothing(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()

    def too_early() -> None:
        while not (folder / "labels.sqlite").exists():
            time.sleep(0.01)
        with LabelStore(folder) as store:
            leave_signal(store.db, "continue")

    threading.Thread(target=too_early, daemon=True).start()
    with Person(folder, slow_s=0.1) as person:
        assert train(folder, *HUMAN, "teacher.mode=block", "feedback.budget=6")[0] == 0
    assert len(person.given) == 6


def test_a_blocked_run_goes_on_when_told_to(tmp_path):
    folder = tmp_path / "run"

    def go_on() -> None:
        while read_status(folder)["state"] != "waiting":
            time.sleep(0.02)
        with LabelStore(folder) as store:
            leave_signal(store.db, "continue")

    told = threading.Thread(target=go_on, daemon=True)
    told.start()
    with Person(folder, patience=3):
        assert train(folder, *HUMAN, "teacher.mode=block", "feedback.budget=6", "feedback.first=300")[0] == 0
    with LabelStore(folder, create=False) as store:
        assert len(retired(store.db)) + len(store.standing_answers()) == 6


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_while_waiting_saves_and_the_same_questions_wait_after_a_resume(tmp_path):
    folder = tmp_path / "run"

    def interrupt() -> None:
        while read_status(folder)["state"] != "waiting":
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert train(folder, *HUMAN, "teacher.mode=block")[0] == 130
    with LabelStore(folder, create=False) as store:
        asked = [q.id for q in store.open_queries()]
    assert len(asked) == 6
    with Person(folder) as person:
        assert main(["train", f"resume={folder}"]) == 0
    assert set(asked) <= set(person.given)
    assert standing(folder) == person.given
    assert summary(folder)["labels"] == 24


def test_answers_given_after_the_last_checkpoint_are_found_again(tmp_path, run):
    """Killed: the trainer forgets what came after its checkpoint, the store does not."""
    from killed import Kill

    folder = tmp_path / "run"
    args = ["train", *TINY["pebble"], f"run_dir={folder}", *HUMAN, "teacher.mode=block", "checkpoint.every=150"]
    with Person(folder) as person:
        assert run(args, Kill("pbrl.training.checkpoint:Checkpoints.save", 2)) == -9
    before = standing(folder)
    assert len(before) > 6
    with Person(folder) as person:
        assert main(["train", f"resume={folder}"]) == 0
    after = standing(folder)
    assert before.items() <= after.items()
    assert len(after) == summary(folder)["labels"] == 24
    assert not set(person.given) & set(before)  # nobody was asked twice


def test_a_label_set_of_other_segments_is_refused_before_the_run(tmp_path, finished):
    out = tmp_path / "labels"
    assert main(["labels", "export", str(finished("feedback.budget=18")), f"out={out}"]) == 0
    replay = ["teacher=replay", f"teacher.labels={out}", "feedback.segment_length=9"]
    code, _, err = train(tmp_path / "run", *replay)
    assert (code, err.count("\n")) == (2, 1)
    assert "the labels of teacher.labels have segments of 10 steps, " in err
    assert not (tmp_path / "run").exists()


def test_a_label_set_teaches_another_run(tmp_path, finished):
    source, out, folder = finished("feedback.budget=18"), tmp_path / "labels", tmp_path / "run"
    assert main(["labels", "export", str(source), f"out={out}"]) == 0
    code, _, _ = train(folder, "teacher=replay", f"teacher.labels={out}", "feedback.budget=100", "seed=5")
    assert code == 0
    assert list(standing(folder).values()) == list(standing(source).values())
    assert summary(folder)["labels"] == 18
    with LabelStore(folder, create=False) as mine, LabelStore(source, create=False) as theirs:
        assert [q[-2:] for q in mine.queries()] == [q[-2:] for q in theirs.queries()]
        assert list(mine.annotators().values()) == ["replay:scripted:oracle"]


def test_a_set_by_another_criterion_teaches_under_its_name_beside_questions_of_other_kinds(tmp_path, finished):
    from pbrl.labels.sets import export_labels

    source, folder = finished("feedback.budget=18"), tmp_path / "run"
    with LabelStore(source, create=False) as old, LabelStore(tmp_path / "asked") as new:
        ids = [q.id for q in old.queries()]
        pairs, told = old.pairs(ids), answers_to(old, ids)
        new.answer(new.ask(1, 0, replace(pairs, criterion="speed"), sampler="s"), told, "anna")
        new.ask(1, 0, Triplet(pairs.left, pairs.right, pairs.left), sampler="s")
    export_labels(tmp_path / "asked", tmp_path / "set", criterion="speed")
    code, _, _ = train(folder, "teacher=replay", f"teacher.labels={tmp_path / 'set'}", "feedback.budget=18")
    assert code == 0
    assert summary(folder)["labels"] == 18
    assert summary(folder)["reward_updates"] > 0
    with LabelStore(folder, create=False) as store:
        assert store.forms() == {("segment_pair", "speed"): 18}
        assert torch.equal(store.comparisons(criterion="speed").prefers_right, told.prefers_right)


def test_both_sides_of_a_changed_mind_never_count(tmp_path):
    """What is learned from equals what stands, after any order of answers, undone and changed ones."""
    from pbrl.config import compose_config
    from pbrl.training.build import build_run
    from pbrl.training.run_dir import RunDir

    config = compose_config([*TINY["pebble"], *HUMAN, f"run_dir={tmp_path / 'run'}"])
    run = build_run(config, RunDir.create(config, []))
    desk, method = run.parts.desk, run.method
    run.parts.episodes.add(run.agent.learn(130))
    method.step()
    queries, rng = desk.open, random.Random(1)
    for turn in range(30):
        query, value = rng.choice(queries), rng.choice([0.0, 0.25, 0.5, 1.0, None])
        one = Answers(torch.tensor([0.5 if value is None else value]), torch.tensor([value is not None]))
        (number,) = desk.store.answer([query], one, rng.choice(["a", "b"]), kind="human", client_id=str(turn))
        if rng.random() < 0.3:
            desk.store.retract(number)
        desk.look(130)
        method.preferences.follow(desk)
        expected = sorted(a.prefers_right for a in desk.store.standing_answers() if a.prefers_right is not None)
        learned = method.preferences.all
        assert sorted(learned.prefers_right.tolist() if learned is not None else []) == expected
        assert desk.counts.labels == len(expected)
    desk.store.leave_out("a", "was asleep")  # no answer comes with it, and still it is seen at the next look
    desk.look(130)
    method.preferences.follow(desk)
    of_b = [a.prefers_right for a in desk.store.standing_answers(to_learn=True) if a.prefers_right is not None]
    assert sorted(method.preferences.all.prefers_right.tolist()) == sorted(of_b)


def test_a_method_that_asks_nobody_needs_no_people(tmp_path):
    code, _, err = train(tmp_path / "run", "env=point_reach", "method=true_reward", "teacher=human", method=None)
    assert code == 2
    assert "teacher=human: method=true_reward asks nobody" in err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher.mode=later", "teacher.mode=later: valid are async, block, mixed"),
        ("teacher.mode=mixed", "teacher.mode=mixed needs teacher.timeout_s"),
        ("teacher.poll=0", "teacher.poll=0: expected a whole number of at least 1"),
        ("teacher.timeout_s=-1", "teacher.timeout_s=-1: expected seconds above 0"),
        ("viewer.slight=0.3", "viewer.slight=0.3; valid is above 0.5 and at most 1"),
        ("viewer.overlap=0", "viewer.overlap=0: expected a whole number from 1 to 100"),
        ("viewer.width=33", "viewer.width=33: expected an even number"),
        ("viewer.host=0.0.0.0", "viewer.host=0.0.0.0 lets other machines in"),
        ("teacher.timeout_s=true", "teacher.timeout_s=True: expected seconds above 0"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, override, message):
    code, _, err = train(tmp_path / "run", *HUMAN, override)
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()
