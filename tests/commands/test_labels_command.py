import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Rating, RatingAnswers, SegmentPair
from pbrl.types import Answers

Run = Callable[..., str]


def counts(run_dir: Path) -> dict:
    with LabelStore(run_dir, create=False) as store:
        return store.counts()


def test_exports_as_many_answers_as_were_asked(run_dir: Path, tmp_path: Path, output: Run):
    assert "20 answers" in output("labels", "export", run_dir, f"out={tmp_path / 'set'}")
    arrays = np.load(tmp_path / "set" / "comparisons.npz", allow_pickle=False)
    assert len(arrays["prefers_right"]) == 20
    assert arrays["left/obs"].shape == (20, 11, 6)
    assert json.loads((tmp_path / "set" / "meta.json").read_text())["counts"]["answers"] == 20


@pytest.mark.parametrize("left_out", ["true_reward", "states"])
def test_what_is_left_out_is_not_in_the_file(run_dir: Path, tmp_path: Path, output: Run, left_out: str):
    output("labels", "export", run_dir, f"out={tmp_path / 'set'}", f"{left_out}=false")
    arrays = np.load(tmp_path / "set" / "comparisons.npz", allow_pickle=False)
    assert f"left/{left_out}" not in arrays
    assert "left/obs" in arrays


def test_import_brings_back_what_export_wrote_and_twice_adds_nothing(run_dir: Path, tmp_path: Path, output: Run):
    output("labels", "export", run_dir, f"out={tmp_path / 'set'}")
    for file in run_dir.glob("labels.sqlite*"):
        file.unlink()
    assert "20 answers added" in output("labels", "import", run_dir, f"from={tmp_path / 'set'}")
    after = counts(run_dir)
    assert (after["queries"], after["answers"]) == (20, 20)
    assert "0 answers added" in output("labels", "import", run_dir, f"from={tmp_path / 'set'}")
    assert counts(run_dir) == after


def test_other_questions_are_exported_by_name_and_never_silently_left_out(run_dir: Path, tmp_path: Path, output: Run):
    with LabelStore(run_dir) as store:
        left, right = store.segments([1, 2])
        ids = store.ask(9, 0, SegmentPair(left, right, criterion="speed"), sampler="s")
        store.answer(ids, Answers(torch.ones(2), torch.ones(2, dtype=torch.bool)), "anna")
        ids = store.ask(9, 0, Rating(left, "stars", 1, 5), sampler="s")
        store.answer(ids, RatingAnswers(torch.tensor([4.5, 2]), torch.ones(2, dtype=torch.bool)), "anna")
    assert output("labels", "export", run_dir, f"out={tmp_path / 'set'}").splitlines()[1:] == [
        "not exported: 2 answers with kind=rating criterion=overall",
        "not exported: 2 answers with kind=segment_pair criterion=speed",
    ]
    assert "2 answers" in output("labels", "export", run_dir, f"out={tmp_path / 'stars'}", "kind=rating")
    assert np.load(tmp_path / "stars" / "comparisons.npz")["rating"].tolist() == [4.5, 2]
    assert output("labels", "report", run_dir, f"out={tmp_path / 'all.html'}").startswith("22 answers reported")
    assert "2 answers" in output("labels", "export", run_dir, f"out={tmp_path / 'speed'}", "criterion=speed")
    assert "questions of kind segment_pair by speed" in output("data", "info", tmp_path / "speed")
    assert "answers" in output("labels", "import", run_dir, f"from={tmp_path / 'stars'}")
    assert json.loads(output("labels", "report", run_dir, "--json"))["answers"] == 20
    report = json.loads(output("labels", "report", run_dir, "--json", "criterion=speed"))
    assert (report["answers"], list(report["annotators"])) == (2, ["anna"])


def test_the_oracle_agrees_with_the_true_return(run_dir: Path, output: Run):
    report = json.loads(output("labels", "report", run_dir, "--json"))
    assert report["answers"] == 20
    assert report["agrees_with_true_return"]["share"] == 1
    assert sum(session["queries"] for session in report["sessions"]) == 20
    assert re.search(r"scripted:oracle\W+20\W+100%", output("labels", "report", run_dir))


def test_report_as_a_page_that_is_never_overwritten(run_dir: Path, tmp_path: Path, output: Run, refusal: Run):
    file = tmp_path / "labels.html"
    assert output("labels", "report", run_dir, f"out={file}") == f"20 answers reported in {file}\n"
    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert "scripted:oracle" in page
    assert "is not overwritten" in refusal("labels", "report", run_dir, f"out={file}")
    assert file.read_text() == page
    both = json.loads(output("labels", "report", run_dir, "--json", f"out={tmp_path / 'other.html'}"))
    assert both["answers"] == 20
    assert (tmp_path / "other.html").read_text() == page


def test_a_run_without_labels_says_so(run_dir: Path, tmp_path: Path, refusal: Run):
    for file in run_dir.glob("labels.sqlite*"):
        file.unlink()
    for action in ("report", "export"):
        assert "labels.sqlite is missing" in refusal("labels", action, run_dir, *out_if(action, tmp_path))
    assert not (run_dir / "labels.sqlite").exists()


def out_if(action: str, folder: Path) -> list[str]:
    return [f"out={folder / 'set'}"] if action == "export" else []


def test_a_damaged_database_is_named(run_dir: Path, refusal: Run):
    for file in run_dir.glob("labels.sqlite*"):
        file.unlink()
    (run_dir / "labels.sqlite").write_text("not a database, but long enough to look like one" * 99)
    assert "labels.sqlite" in refusal("labels", "report", run_dir)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "valid are export, import, report"),
        (["delete", "RUN"], "valid are export, import, report"),
        (["export"], "none given"),
        (["export", "RUN", "RUN", "out=x"], "2 given"),
        (["export", "/nowhere/at/all", "out=x"], "no such folder"),
        (["export", "EMPTY", "out=x"], "has no config.yaml"),
        (["export", "RUN"], "out= is missing"),
        (["export", "RUN", "out="], "out= is missing"),
        (["export", "RUN", "out=EMPTY"], "is not overwritten"),
        (["export", "RUN", "out=RUN/config.yaml"], "is not overwritten"),
        (["export", "RUN", "out=RUN/config.yaml/set"], "RUN/config.yaml"),
        (["export", "RUN", "out=x", "states=perhaps"], "true or false"),
        (["export", "RUN", "to=x"], "unknown key 'to'"),
        (["export", "RUN", "out=x", "kind=triple"], "valid are segment_pair, episode_pair, triplet, choice, rating"),
        (["export", "RUN", "out=x", "criterion=speed"], "it has kind=segment_pair criterion=overall (20)"),
        (["report", "RUN", "criterion=speed"], "has no pairs of segments with criterion=speed"),
        (["export", "RUN", "out=x", "--json"], "--json belongs to"),
        (["import", "RUN"], "from= is missing"),
        (["import", "RUN", "from=/nowhere/at/all"], "no such folder"),
        (["import", "RUN", "from=EMPTY"], "meta.json"),
        (["import", "EMPTY", "from=EMPTY"], "has no config.yaml"),
        (["report", "RUN", "true_reward=false"], "unknown key 'true_reward'"),
        (["report", "RUN", "out=x"], "valid is the name of a page"),
        (["report", "RUN", "out="], "valid is the name of a page"),
        (["report", "RUN", "out=/nowhere/at/all.html"], "there is no folder /nowhere/at"),
        (["report", "RUN", "--loud"], "unknown option --loud"),
    ],
)
def test_wrong_input_is_one_line(run_dir: Path, tmp_path: Path, args: list[str], says: str, refusal: Run):
    (tmp_path / "empty").mkdir()

    def named(text: str) -> str:
        return text.replace("RUN", str(run_dir)).replace("EMPTY", str(tmp_path / "empty"))

    before = counts(run_dir)
    assert named(says) in refusal("labels", *map(named, args))
    assert counts(run_dir) == before
    assert not list((tmp_path / "empty").iterdir())
