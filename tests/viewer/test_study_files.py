"""The file of a study and its folder: what is refused in one line, and what is made of a label set."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from page_driver import until
from point_run import ask, make_pairs, make_run
from test_study_desk import FEW, Person, open_desk

from pbrl.cli import main
from pbrl.errors import UserError
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.study.desk import StudyDesk
from pbrl.study.open import source_queries, take_label_set, with_pairs
from pbrl.study.settings import Attention, Breaks, Completion, KnownPair, KnownPairs, Study, read_study
from pbrl.types import Answers
from pbrl.viewer.client import ViewerClient

WHOLE = """
run: RUN
consent: Do you agree?
practice: {pairs: [{query: 1, answer: left, feedback: It moves.}]}
gold: {every: 5, count: 2}
attention: {every: 20}
quota: 3
breaks: {every: 30, seconds: 60}
full_play: true
prolific: true
completion: {code: C1, url: "https://example.org/c"}
viewer: {overlap: 2, question: Which one moves}
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "walking.yaml"
    file.write_text(text)
    return file


def test_a_file_says_all_of_a_study(tmp_path):
    study = read_study(write(tmp_path, WHOLE))
    assert study == Study(
        run="RUN",
        consent="Do you agree?",
        practice=KnownPairs((KnownPair(1, "left", "It moves."),)),
        gold=KnownPairs(count=2, every=5),
        attention=Attention(20),
        quota=3,
        breaks=Breaks(30, 60),
        prolific=True,
        completion=Completion("C1", "https://example.org/c"),
        viewer={"overlap": 2, "question": "Which one moves"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"walking.yaml: expected either run: RUN_DIR or labels: LABEL_SET"),
        ("[1, 2]", r"walking.yaml has no keys; expected those of a study: run, labels"),
        ("consent: yes please", r"expected either run: RUN_DIR or labels: LABEL_SET"),
        ("run: a\nlabels: b", r"expected either run: RUN_DIR or labels"),
        ("run: a\nquotas: 3", r"walking.yaml: quotas is unknown: did you mean 'quota'|quotas is unknown: valid are"),
        ("run: a\nquota: many", r"walking.yaml: quota='many': expected a whole number from 1"),
        ("run: a\nquota: true", r"quota=True: expected a whole number"),
        ("run: a\nbreaks: {seconds: 3}", r"walking.yaml: breaks.every is missing"),
        ("run: a\nbreaks: 3", r"walking.yaml: breaks is 3; expected keys of every, seconds"),
        ("run: a\nbreaks: {every: 3, seconds: .nan}", r"breaks.seconds=nan: expected seconds from 0"),
        (
            "run: a\ngold: {pairs: [{query: 1, answer: up}]}",
            r"gold.pairs\[0\].answer='up': expected one of",
        ),
        ("run: a\ngold: {pairs: 4}", r"gold.pairs is 4; expected a list"),
        ("run: a\ngold: {pairs: [{query: 1, answer: left}], count: 3}", r"gold has pairs and count"),
        (
            "run: a\npractice: {pairs: [{query: 1, answer: left}]}\ngold: {pairs: [{query: 1, answer: left}]}",
            r"query 1 is named twice among practice and gold",
        ),
        ("run: a\ncompletion: {code: C, url: javascript:alert(1)}", r"completion.url='javascript.*expected an address"),
        ("run: a\nskip: maybe", r"skip='maybe': expected true or false"),
        ("run: a\nviewer: {colour: red}", r"viewer.colour is unknown: valid are start"),
        ("run: a\nconsent: '  '", r"consent='  ': expected some text"),
        ("run: [", r"walking.yaml"),
        ("run: nowhere", r"run=nowhere has no labels.sqlite"),
        ("labels: nowhere", r"nowhere.*meta.json is missing"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(tmp_path, capsys, text, message):
    file = write(tmp_path, text)
    assert main(["study", str(file)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err)
    assert [p.name for p in tmp_path.iterdir()] == ["walking.yaml"]


@pytest.fixture
def labels(tmp_path):
    """A label set of six pairs, four of them answered; those of one session are numbered from 3 on."""
    config = make_run(tmp_path / "run")
    ask(tmp_path / "run", make_pairs(config, 2, seed=50))
    queries = ask(tmp_path / "run", make_pairs(config, 6), session=1)
    with LabelStore(tmp_path / "run") as store:
        store.answer(queries, Answers(torch.rand(6).round(), torch.ones(6) > 0), "ann", kind="human")
    export_labels(tmp_path / "run", tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("quota: 400", "quota=400; besides practice and gold there are 6 questions"),
        ("viewer: {width: 3}", "viewer.width=3: expected a whole number"),
        ("viewer: {people: [P01, p01]}", "count as one"),
        ("gold: {pairs: [{query: 99, answer: left}]}", "gold names query 99, which the label set does not have"),
    ],
)
def test_a_study_that_is_refused_leaves_no_folder(labels, tmp_path, capsys, more, message):
    file = write(tmp_path, f"labels: {labels}\n{more}\n")
    assert main(["study", str(file)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "walking").exists()
    file.write_text(f"labels: {labels}\nquota: 400\n")
    take_label_set(labels, tmp_path / "walking")  # one that was begun stays, whatever is refused later
    assert main(["study", str(file)]) == 2
    assert (tmp_path / "walking").exists()


def test_the_questions_of_a_label_set_are_asked_anew(labels, tmp_path):
    folder = tmp_path / "walking"
    take_label_set(labels, folder)
    theirs = load_label_set(labels)
    with LabelStore(folder, create=False) as store:
        assert store.counts()["answers"] == 0
        assert [q.id for q in store.open_queries()] == [1, 2, 3, 4, 5, 6]
        assert torch.equal(store.segments([1, 2, 3, 4, 5, 6])[0].obs, theirs.pairs.left.obs)
        assert np.array_equal(store.pairs([1, 2, 3, 4, 5, 6]).right_states, theirs.pairs.right_states)
    assert source_queries(folder) == dict(zip(range(1, 7), theirs.query.tolist(), strict=True))
    before = (folder / "labels.sqlite").read_bytes()
    take_label_set(labels, folder)  # goes on
    assert (folder / "labels.sqlite").read_bytes() == before
    with pytest.raises(UserError, match="exists and is no study of"):
        take_label_set(labels, tmp_path / "run")


def test_pairs_are_named_as_the_label_set_numbers_them(labels, tmp_path):
    file, folder = tmp_path / "walking.yaml", tmp_path / "walking"
    take_label_set(labels, folder)
    named = Study(labels="set", gold=KnownPairs((KnownPair(3, "left"), KnownPair(8, "right"))))
    assert [p.query for p in with_pairs(named, folder, file).gold.pairs] == [1, 6]
    with pytest.raises(UserError, match="gold names query 1, which the label set does not have"):
        with_pairs(Study(labels="set", gold=KnownPairs((KnownPair(1, "left"),))), folder, file)
    with pytest.raises(UserError, match="quota=5; besides practice and gold there are 4 questions"):
        with_pairs(Study(labels="set", gold=named.gold, quota=5), folder, file)
    with pytest.raises(UserError, match="2 pairs with a known answer are wanted, and the true return tells 0 apart"):
        with_pairs(Study(labels="set", gold=KnownPairs(count=2)), folder, file)


def test_the_clearest_pairs_by_true_return_are_chosen_once(tmp_path):
    make_run(tmp_path)
    pairs = make_pairs(make_run(tmp_path), 5)
    gains = torch.tensor([1.0, -8.0, 0.0, 4.0, 2.0])
    pairs.right.true_reward[:] = gains[:, None] / pairs.right.steps
    ask(tmp_path, pairs)
    study, file = Study(run="x", gold=KnownPairs(count=1), practice=KnownPairs(count=2)), tmp_path / "x.yaml"
    chosen = with_pairs(study, tmp_path, file)
    assert chosen.practice.pairs == (KnownPair(2, "left"), KnownPair(4, "right"))
    assert chosen.gold.pairs == (KnownPair(5, "right"),)
    more = make_pairs(make_run(tmp_path), 1, seed=99)
    more.right.true_reward[:] = 100
    ask(tmp_path, more, session=1)
    assert with_pairs(study, tmp_path, file) == chosen  # new questions change nothing
    with pytest.raises(UserError, match="9 pairs with a known answer are wanted, and the true return tells 5 apart"):
        with_pairs(Study(run="x", gold=KnownPairs(count=9)), tmp_path, file)


def test_every_answer_is_a_row_of_the_table(tmp_path):
    config = make_run(tmp_path)
    ask(tmp_path, make_pairs(config, 5))
    study = Study(gold=KnownPairs((KnownPair(2, "left"),), every=1), quota=3, skip=True)
    desk: StudyDesk = open_desk(tmp_path, study, FEW)
    ann = Person(desk, "ann", prefers="right")
    for choice in (None, None, "incomparable", "skip"):  # gold, a label, can't tell, a skip
        ann.answer(ann.next(), choice, **({"strength": "slight"} if choice is None else {}))
    desk.undo("ann-2", "ann")
    again = ann.next()
    ann.answer(again)
    desk.store.close()
    assert main(["labels", "leave-out", str(tmp_path), "people=ann"]) == 0
    assert main(["labels", "answers", str(tmp_path), f"out={tmp_path / 'a.csv'}"]) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["purpose"] for row in rows] == ["gold", "label", "label", "label", "label"]
    assert [row["choice"] for row in rows] == ["right", "right", "incomparable", "skip", "right"]
    assert (rows[0]["expected"], rows[0]["right"], rows[0]["strength"]) == ("left", "false", "slight")
    assert [row["taken_back_at"] != "" for row in rows] == [False, True, False, False, False]
    assert {row["left_out"] for row in rows} == {"true"}
    assert [row["value"] for row in rows] == ["0.75", "0.75", "", "", "1.0"]
    for row in rows:
        on_screen = {"left": "right", "right": "left"}.get(row["choice"], row["choice"])
        assert row["screen"] == (on_screen if row["swapped"] == "true" else row["choice"])
        assert row["shown_at"] == "1970-01-01T00:00:01.000+00:00"
        assert (row["plays_left"], row["response_s"]) == ("1", "1.0")
    assert main(["labels", "answers", str(tmp_path), f"out={tmp_path / 'a.csv'}"]) == 2  # nothing is overwritten


def test_consent_is_kept_with_its_text(tmp_path):
    make_run(tmp_path)
    ask(tmp_path, make_pairs(make_run(tmp_path), 1))
    desk = open_desk(tmp_path, Study(consent="Do you agree?"))
    desk.take_step("ann", "consent", "browser")
    (detail,) = desk.store.db.execute("SELECT detail FROM study_steps").fetchone()
    assert detail == f"{hashlib.sha256(b'Do you agree?').hexdigest()} browser"


def test_a_dollar_sign_in_a_text_is_no_traceback(tmp_path):
    with pytest.raises(UserError, match=r"walking.yaml: .*'prize' not found.*valid in a text is \\\$\{ for \$\{$"):
        read_study(write(tmp_path, "run: RUN\nconsent: You get ${prize}\n"))
    assert read_study(write(tmp_path, "run: RUN\nconsent: You get \\${prize}\n")).consent == "You get ${prize}"


def test_a_study_is_not_opened_without_its_file(labels, tmp_path, capsys):
    take_label_set(labels, tmp_path / "walking")
    assert main(["label", f"run={tmp_path / 'walking'}"]) == 2
    assert "is a study, which goes on with its file: pbrl study FILE.yaml" in capsys.readouterr().err


def test_the_study_of_the_docs_is_one(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "study.md").read_text()
    study = read_study(write(tmp_path, text.split("```yaml\n")[1].split("```")[0]))
    assert (study.quota, study.gold.count, study.viewer["overlap"]) == (60, 6, 3)


def test_a_killed_study_goes_on_where_everybody_was(labels, tmp_path):
    text = f"labels: {labels}\nconsent: Do you agree?\nquota: 3\ncompletion: {{code: C1}}\n"
    file = write(tmp_path, text + "viewer: {width: 64, height: 64, repeats: 0, open_browser: false}\n")
    command = [sys.executable, "-m", "pbrl", "study", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    client = enter(process)
    assert client.status()["study"]["stage"] == "consent"
    client.post("/api/study", {"annotator": "ann", "step": "consent"})
    client.answer(wait_for_pair(client), "left")
    process.kill()
    process.wait()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    client = enter(process)
    assert (client.status()["study"]["stage"], client.status()["study"]["done"]) == ("questions", 1)
    for _ in range(2):
        client.answer(wait_for_pair(client), "right")
    assert client.status()["study"]["code"] == "C1"
    assert client.next(3) == []
    process.terminate()
    process.wait()
    with LabelStore(tmp_path / "walking", create=False) as store:
        assert [a.annotator for a in store.standing_answers()] == ["ann"] * 3


def enter(process: subprocess.Popen) -> ViewerClient:
    line = process.stdout.readline()
    client = ViewerClient(line.split("label at: ")[1].strip(), "ann")
    client.enter()
    return client


def wait_for_pair(client: ViewerClient) -> dict:
    until(lambda: client.status()["ready"] > 0, 60)
    return client.next(1)[0]
