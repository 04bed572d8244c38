"""People whose answers nothing learns from: they stay in the store and come back when they are taken in again."""

import pytest
import torch
from test_label_store import ask, make_answers

from pbrl.cli import main
from pbrl.errors import UserError
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore


@pytest.fixture
def two(tmp_path):
    """Anna and Bert say the opposite of each other about two pairs."""
    with LabelStore(tmp_path / "run") as store:
        ids = ask(store, n=2)
        store.answer(ids, make_answers(0.0, 1.0), "anna", kind="human")
        store.answer(ids, make_answers(1.0, 0.0), "bert", kind="human")
    (tmp_path / "run" / "config.yaml").write_text("env: {name: point_reach}\n")
    return tmp_path / "run"


def test_who_is_left_out_teaches_nothing_and_loses_nothing(two, tmp_path, capsys):
    assert main(["labels", "leave-out", str(two), "people=bert", "reason=failed the attention checks"]) == 0
    with LabelStore(two) as store:
        assert store.left_out() == {"bert": "failed the attention checks"}
        assert store.comparisons().prefers_right.tolist() == [0.0, 1.0]
        assert len(store.standing_answers()) == 4  # nothing is gone
        assert len(store.standing_answers(to_learn=True)) == 2
    export_labels(two, tmp_path / "set")
    assert load_label_set(tmp_path / "set").meta["annotators"] == ["anna"]
    assert main(["labels", "take-in", str(two), "people=bert"]) == 0
    with LabelStore(two) as store:
        assert store.left_out() == {}
        assert torch.equal(store.comparisons().prefers_right, torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert "nobody" in capsys.readouterr().out


def test_a_person_nobody_knows_is_one_line_and_nobody_is_left_out(two, capsys):
    assert main(["labels", "leave-out", str(two), "people=anna,zoe"]) == 2
    assert "has no answers of 'zoe': valid are anna, bert" in capsys.readouterr().err
    assert main(["labels", "leave-out", str(two), "people=,"]) == 2
    assert "people=,: expected names" in capsys.readouterr().err
    with LabelStore(two) as store:
        assert store.left_out() == {}
        with pytest.raises(UserError, match="reason="):
            store.leave_out("anna", " ")
