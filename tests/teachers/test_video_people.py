"""What people said of videos is found again among those that are learned from, by hand."""

import json

import pytest
import torch
from questions_of_videos import keep, videos_of

from pbrl.errors import UserError
from pbrl.question_kinds import Choice, ChoiceAnswers, EpisodePair, Triplet, TripletAnswers
from pbrl.teachers.video_people import VideoPeople, ranked_pairs
from pbrl.types import Answers


def people(**folders):
    given = {"triplets": None, "preferred": None} | {k: str(v) for k, v in folders.items()}
    return VideoPeople(**given, rng=torch.Generator())


def yes(n):
    return torch.ones(n, dtype=torch.bool)


def test_triplets_are_those_of_the_videos_that_are_learned_from(tmp_path):
    #      episodes: anchor, first, second; the third one has an episode (4) that is held out
    keep(tmp_path, Triplet, [[0, 1, 2], [3, 2, 1], [0, 4, 1]], TripletAnswers(torch.tensor([1.0, 0.5, 0.0]), yes(3)))
    videos = videos_of([3, 0, 1, 2])  # episode 3 is row 0, episode 0 is row 1, ...
    found = people(triplets=tmp_path).answer_triplets(videos, torch.zeros(2, 3, dtype=torch.long))
    assert found.rows.tolist() == [[1, 2, 3], [0, 3, 2]]
    assert found.closer_second.tolist() == [1.0, 0.5]
    with pytest.raises(UserError, match=r"feedback\.budget=3: people said 2 triplets about the 4 videos"):
        people(triplets=tmp_path).answer_triplets(videos, torch.zeros(3, 3, dtype=torch.long))


def test_demonstrations_are_those_that_win_most(tmp_path):
    pairs = [[0, 1], [1, 2], [2, 0], [3, 2]]
    keep(tmp_path, EpisodePair, pairs, Answers(torch.tensor([1.0, 0.0, 0.5, 1.0]), yes(4)))
    # 1 beats 0 and 2; 2 and 0 tie; 2 beats 3: shares 0.25, 1, 0.5, 0; nobody met 4
    teacher, videos = people(preferred=tmp_path), videos_of([0, 1, 2, 3, 4])
    assert teacher.rank(videos).tolist() == [1, 2, 0, 3, 4]
    found = teacher.answer_pairs(videos, torch.zeros(4, 2, dtype=torch.long))
    assert found.rows.tolist() == pairs
    assert found.prefers_right.tolist() == [1.0, 0.0, 0.5, 1.0]


def test_a_ranking_is_all_its_pairs(tmp_path):
    left, right, prefers_right = ranked_pairs(torch.tensor([[7, 8, 9]]), torch.tensor([[2, 0, 1]]))  # 9, 7, 8
    rows = zip(left.tolist(), right.tolist(), prefers_right.tolist(), strict=True)
    said = {(b, a) if prefers else (a, b) for a, b, prefers in rows}
    assert said == {(9, 7), (9, 8), (7, 8)}
    assert set(prefers_right.tolist()) == {0.0, 1.0}
    keep(tmp_path, Choice, [[0, 1, 2, 3]], ChoiceAnswers(torch.tensor([[3, 1, 0, 2]]), yes(1)))
    assert people(preferred=tmp_path).rank(videos_of([0, 1, 2, 3])).tolist() == [3, 1, 0, 2]


def test_without_preferences_demonstrations_are_by_true_return(tmp_path):
    keep(tmp_path, Triplet, [[0, 1, 2]], TripletAnswers(torch.ones(1), yes(1)))
    assert people(triplets=tmp_path).rank(videos_of([0, 1, 2])).tolist() == [2, 1, 0]


def test_what_is_of_no_use_is_one_line(tmp_path):
    keep(tmp_path, Triplet, [[0, 1, 2]], TripletAnswers(torch.ones(1), yes(1)))
    videos, one = videos_of([0, 1, 2]), torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(UserError, match=r"triplets=None: what people said is needed; `pbrl label data=DATASET"):
        people()
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        people(triplets=tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no answers of kind episode_pair or choice"):
        people(preferred=tmp_path)
    with pytest.raises(UserError, match=r"teacher\.preferred is null, and pairs are asked"):
        people(triplets=tmp_path).answer_pairs(videos, one)
    other = videos_of([0, 1, 2], source={"other": "data"})
    with pytest.raises(UserError, match=r"teacher\.triplets is about another data set"):
        people(triplets=tmp_path).answer_triplets(other, one)
    (tmp_path / "recorded.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="does not say which data set it is about"):
        people(triplets=tmp_path)
