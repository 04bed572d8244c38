"""What rankings and choices say of every two clips, by hand."""

import numpy as np
import pytest
import torch
from questions_made import make_items, make_states

from pbrl.cli import main
from pbrl.labels.choice_pairs import better_and_worse
from pbrl.labels.sets import load_label_set
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, ChoiceAnswers


@pytest.mark.parametrize(
    ("order", "wanted", "said"),
    [
        ([2, 0, 1], "ranking", [(2, 0), (2, 1), (0, 1)]),
        ([1], "best", [(1, 0), (1, 2)]),
        ([1], "worst", [(0, 1), (2, 1)]),
        ([1, 2], "best_and_worst", [(1, 0), (0, 2), (1, 2)]),
    ],
)
def test_what_an_answer_says_of_three_items(order, wanted, said):
    assert better_and_worse(order, wanted, 3) == said


def test_rankings_of_two_people_become_a_label_set_of_pairs(tmp_path, capsys):
    questions = Choice(make_items(3), "ranking", make_states(3))
    with LabelStore(tmp_path / "run") as store:
        ids = store.ask(1, 0, questions, sampler="s")
        answered = torch.tensor([True, True, False])
        store.answer(ids, ChoiceAnswers(torch.tensor([[2, 0, 1], [0, 1, 2], [-1, -1, -1]]), answered), "ann")
        store.answer(ids[:1], ChoiceAnswers(torch.tensor([[1, 0, 2]]), answered[:1]), "bob")
    (tmp_path / "run" / "config.yaml").write_text("env: {name: point_reach}\n")
    words = ["labels", "export", str(tmp_path / "run"), "kind=choice", f"out={tmp_path / 'set'}"]
    assert main([*words, "as=pairs"]) == 0
    labels = load_label_set(tmp_path / "set")
    items = [[tuple(segments.obs[row].flatten().tolist()) for row in range(3)] for segments in questions.items]
    place = {clip: (row, k) for k, clips in enumerate(items) for row, clip in enumerate(clips)}
    names = labels.meta["annotators"]
    said = {}
    for i in range(len(labels)):
        left, right = (place[tuple(s.obs[i].flatten().tolist())] for s in labels.pairs.items)
        assert left[0] == right[0]  # of one question
        assert np.array_equal(labels.pairs.left_states[i], questions.states[left[1]][left[0]])
        better = right if labels.prefers_right[i] == 1 else left
        said[names[labels.annotator[i]], left[0], left[1], right[1]] = better[1]
    assert said == {
        ("ann", 0, 0, 1): 0, ("ann", 0, 0, 2): 2, ("ann", 0, 1, 2): 2,
        ("ann", 1, 0, 1): 0, ("ann", 1, 0, 2): 0, ("ann", 1, 1, 2): 1,
        ("bob", 0, 0, 1): 1, ("bob", 0, 0, 2): 0, ("bob", 0, 1, 2): 1,
    }  # fmt: skip
    assert len(set(labels.query.tolist())) == 6  # what both compared is one question
    capsys.readouterr()
    assert main([*words[:3], f"out={tmp_path / 'more'}", "as=pairs"]) == 2
    assert main([*words[:4], f"out={tmp_path / 'more'}", "as=sums"]) == 2
    assert "as=sums: expected pairs" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
