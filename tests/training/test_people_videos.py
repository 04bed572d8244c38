"""Methods that learn from videos, and people who are asked about them while the run waits."""

import json

import numpy as np
import pytest
import torch
from outcome import weights
from tiny import collect, from_videos, train

from pbrl.commands.train_command import main as train_main
from pbrl.config import compose_config
from pbrl.labels.recorded import read_source
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import EpisodePair, Triplet, TripletAnswers
from pbrl.types import Answers
from pbrl.use.train import begin, train_new

HUMAN = ["teacher=human", "teacher.mode=block", "viewer.start=false", "report=false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("videos") / "data", "episodes=16")


def begun(folder, data, method="rapl", *more):
    config = compose_config([*from_videos(method, data), *HUMAN, f"run_dir={folder}", *more])
    return begin(config, ["pbrl"]), config


def answer(folder, kind=Triplet, first=0, last=None):
    """The second one, of every other question, and the first one of the others."""
    with LabelStore(folder) as store:
        queries = [q.id for q in store.queries(kind=kind)][first:last]
        said = torch.tensor([float(query % 2) for query in queries])
        told = (TripletAnswers if kind is Triplet else Answers)(said, torch.ones(len(queries), dtype=torch.bool))
        store.answer(queries, told, "ann")
    return queries


@pytest.mark.parametrize(("method", "kind"), [("rapl", Triplet), ("video_return", EpisodePair)])
def test_what_people_said_while_the_run_waited_is_learned(method, kind, data, tmp_path):
    run, config = begun(tmp_path / "run", data, method)
    queries = answer(run.folder.path, kind)
    assert len(queries) == 8  # feedback.budget
    assert read_source(run.folder.path)["data"]["path"] == str(data)  # where the viewer finds them
    assert train_new(run, config)
    with np.load(run.folder.path / "answers.npz") as told:
        value = told["closer_second" if kind is Triplet else "prefers_right"]
    assert value.tolist() == [float(query % 2) for query in queries]
    facts = json.loads((run.folder.path / "reward.json").read_text())
    summary = json.loads((run.folder.path / "summary.json").read_text())
    assert facts["labels"] == summary["labels"] == 8


def test_a_run_that_was_stopped_while_it_waited_ends_as_if_it_had_not_been(data, tmp_path):
    whole, config = begun(tmp_path / "whole", data)
    answer(whole.folder.path)
    assert train_new(whole, config)

    parts, config = begun(tmp_path / "parts", data)
    answer(parts.folder.path, last=3)
    parts.interrupt()
    assert not train_new(parts, config)
    answer(parts.folder.path, first=3)
    assert train_main([f"resume={parts.folder.path}"]) == 0
    ours, theirs = weights(parts.folder.path), weights(whole.folder.path)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_who_goes_on_without_the_rest_learns_from_what_was_said(data, tmp_path):
    run, config = begun(tmp_path / "run", data, "rapl", "teacher.timeout_s=0.5")
    answer(run.folder.path, last=5)
    assert train_new(run, config)
    assert json.loads((run.folder.path / "reward.json").read_text())["labels"] == 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["teacher.mode=async"], "valid is teacher.mode=block"),
        (["feedback.budget=100000"], "different triplets wanted"),
        (["labels=somewhere"], "leave one of them out"),
    ],
)
def test_what_people_cannot_be_asked_is_said_before_there_is_a_folder(more, said, data, tmp_path):
    given = [*from_videos("rapl", data), *HUMAN, *more]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
