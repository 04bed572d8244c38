"""video_return and RAPL learn from what people said about imported videos."""

import numpy as np
import pytest
import torch
from films import film
from tiny import COMMON, SAC, VIDEOS, collect, train

from pbrl.data.datasets import load_dataset
from pbrl.data.videos import Videos
from pbrl.feedback.told_videos import ToldVideos
from pbrl.labelling.project import open_project
from pbrl.labels.sets import export_labels
from pbrl.labels.store import LabelStore
from pbrl.reading import read_object

FILMS = 12


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Videos of which each is brighter than the one before; nothing else is known of them."""
    from pbrl.cli import main

    folder = tmp_path_factory.mktemp("films")
    for k in range(FILMS):
        film(folder / "films" / f"ep_{k}.mp4", 6 + k % 3, 5 + 15 * k)
    said = ["segment_length=3", "image_size=16", f"out={folder / 'data'}"]
    assert main(["data", "import", f"from={folder / 'films'}", *said]) == 0
    return folder / "data"


def answered(data, folder, kind, n, **plan):
    """A label set in which people prefer brighter videos, and find those alike that are as bright."""
    project = open_project(folder / "project", data, {"kind": kind, "questions": n, **plan}, [], {})
    with LabelStore(project.folder) as store:
        questions = project.chooser.choose(n, 0, store)
        level = np.stack([item.obs[:, 0].float().mean((1, 2, 3)).numpy() for item in questions.items], 1)  # (n, k)
        if kind == "ranking":
            value = np.argsort(-level, 1)
        elif kind == "triplet":
            value = (np.abs(level[:, 2] - level[:, 0]) < np.abs(level[:, 1] - level[:, 0])).astype(float)
        else:
            value = (level[:, 1] > level[:, 0]).astype(float)
        told = questions.answers(torch.from_numpy(value), torch.ones(n, dtype=torch.bool))
        store.answer(store.ask(0, 0, questions, sampler="uniform"), told, "ann", kind="human")
    export_labels(project.folder, folder / "set", kind=type(questions))
    return folder / "set"


def learn(folder, method, data, labels, *more):
    small = [*COMMON, *SAC, *VIDEOS[method], "method.model.epochs=15", "feedback.budget=100"]
    return train(folder / "run", f"method={method}", f"data={data}", f"labels={labels}", *small, *more, method=None)


@pytest.mark.parametrize(
    ("method", "kind", "n"),
    [
        ("video_return", "ranking", 12),
        ("video_return", "episode_pair", 40),
        ("rapl", "ranking", 12),
    ],
)
def test_answers_about_imported_videos_become_a_reward(films, tmp_path, gl_backend, method, kind, n):
    labels = answered(films, tmp_path, kind, n)
    code, _, err = learn(tmp_path, method, films, labels)
    assert code == 0, err
    facts = read_object(tmp_path / "run" / "reward.json")
    assert facts["labels"] > 5
    if method == "video_return":  # brightness is what a small network sees first
        assert facts["pairs_measured"] > 10
        assert facts["pair_accuracy"] > 0.75
    assert read_object(tmp_path / "run" / "summary.json")["reward_accuracy"] == facts["pair_accuracy"]


def test_triplets_do_not_say_which_videos_to_be_like(films, tmp_path, gl_backend):
    triplets = answered(films, tmp_path, "triplet", 60)
    code, _, err = learn(tmp_path, "rapl", films, triplets)
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing says which videos are the best" in err
    assert not (tmp_path / "run").exists()
    (tmp_path / "better").mkdir()
    ranked = answered(films, tmp_path / "better", "ranking", 12)
    said = ["teacher=video_people", f"teacher.triplets={triplets}", f"teacher.preferred={ranked}"]  # as advised
    code, _, err = learn(tmp_path, "rapl", films, "null", *said, "feedback.budget=10")
    assert code == 0, err
    assert read_object(tmp_path / "run" / "reward.json")["labels"] == 10
    known = Videos(torch.zeros(3, 1, 1, 1, 3, dtype=torch.uint8), torch.zeros(3, 1, 1), torch.tensor([1.0, 3.0, 2.0]))
    assert known.by_true_return().tolist() == [1, 2, 0]


def test_a_ranking_says_all_its_pairs_and_triplets(films, tmp_path):
    data = load_dataset(films)
    told = ToldVideos.read(answered(films, tmp_path, "ranking", 5, items=4), data, budget=100)
    assert len(told.rankings) == 5
    assert all(
        list(ranking) == sorted(ranking, reverse=True) for ranking in told.rankings
    )  # by number they get brighter
    pairs, triplets = told.as_pairs(), told.as_triplets()
    assert (len(pairs), len(triplets)) == (5 * 6, 5 * 4)
    assert ((pairs.right > pairs.left) == (pairs.prefers_right == 1)).all()
    assert 0 < pairs.prefers_right.mean() < 1  # the better one is on either side
    closer = torch.where(triplets.closer_second == 1, triplets.second, triplets.first)
    assert (closer == torch.maximum(triplets.first, triplets.second)).all()


def test_of_some_videos_a_ranking_says_what_is_about_these():
    told = ToldVideos(((0, 1, 1.0), (1, 2, 0.0)), ((0, 1, 2, 1.0),), ((3, 0, 2, 1), (1, 3)))
    some = told.among(np.array([2, 0, 3]))
    assert some == ToldVideos((), (), ((2, 1, 0),))
    assert told.among(np.arange(4)) == told
    assert some.order(3).tolist() == [2, 1, 0]
    assert told.order(5).tolist()[0] == 3  # wins 3 of 4; nobody said anything of 4


def test_answers_that_are_about_something_else_are_one_line(films, tmp_path):
    data = load_dataset(films)
    labels = answered(films, tmp_path, "episode_pair", 5)
    (tmp_path / "segments").mkdir()
    segments = answered(films, tmp_path / "segments", "segment_pair", 5)
    from pbrl.errors import UserError

    with pytest.raises(UserError, match=r"is about no whole episode of .*data; pbrl label data=DATASET kind=ranking"):
        ToldVideos.read(segments, data, budget=9)
    code, _, err = learn(tmp_path, "rapl", films, labels)
    assert (code, err.count("\n")) == (2, 1)
    assert "none of the answers makes triplets of the 9 videos that are learned from" in err
    code, _, err = train(tmp_path / "run", "method=rapl", "env=point_reach", f"labels={labels}", *SAC, method=None)
    assert "goes with data=DATASET, whose videos they are about" in err
    assert not (tmp_path / "run").exists()


def test_videos_may_be_drawn_from_states_of_a_task_without_factors(tmp_path, gl_backend):
    data = collect(tmp_path / "data")
    project = open_project(tmp_path / "project", data, {"kind": "ranking", "questions": 8}, [], {})
    with LabelStore(project.folder) as store:
        questions = project.chooser.choose(8, 0, store)
        told = questions.answers(torch.arange(4).expand(8, 4), torch.ones(8, dtype=torch.bool))
        store.answer(store.ask(0, 0, questions, sampler="uniform"), told, "ann", kind="human")
    export_labels(project.folder, tmp_path / "set", kind=type(questions))
    code, _, err = learn(tmp_path, "video_return", data, tmp_path / "set")
    assert code == 0, err
