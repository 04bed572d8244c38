import shutil
import sqlite3

import numpy as np
import pytest
import torch
from stored import answers_to, unanswered

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.types import Answers, Segments


def make_segments(n, seed, steps=5, obs=3):
    rng = torch.Generator().manual_seed(seed)
    return Segments(
        obs=torch.randn(n, steps + 1, obs, generator=rng),
        actions=torch.rand(n, steps, 2, generator=rng) * 2 - 1,
        mask=torch.ones(n, steps),
        terminated=torch.zeros(n, steps),
        true_reward=torch.randn(n, steps, generator=rng),
        ids=torch.arange(n) + 100 * seed,
    )


def make_answers(*values):
    """0 to 1, or None for a skip."""
    numbers = torch.tensor([float("nan") if v is None else v for v in values])
    return Answers(numbers, torch.tensor([v is not None for v in values]))


def assert_equal(a, b):
    for name, tensor in vars(a).items():
        torch.testing.assert_close(tensor, getattr(b, name), rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "run") as store:
        yield store


def ask(store, session=1, n=4, seed=0, **states):
    left, right = make_segments(n, seed), make_segments(n, seed + 50)
    return store.ask(session, 1000 * session, left, right, sampler="uniform", **states)


def test_segments_come_back_in_the_order_of_the_queries(store):
    first, second = ask(store, 1, seed=0), ask(store, 2, seed=1)
    left, right = store.segments([second[3], first[0], second[0], first[0]])
    assert_equal(left, Segments.cat([make_segments(4, s)[[i]] for s, i in ((1, 3), (0, 0), (1, 0), (0, 0))]))
    assert_equal(right, Segments.cat([make_segments(4, s)[[i]] for s, i in ((51, 3), (50, 0), (51, 0), (50, 0))]))
    assert [(q.session, q.env_steps, q.row) for q in store.queries([second[3], first[0]])] == [
        (2, 2000, 3),
        (1, 1000, 0),
    ]


def test_states_come_back_as_float64_and_only_where_all_are_known(store):
    left, right = np.random.default_rng(0).normal(size=(2, 4, 6, 7))
    with_states, without = ask(store, 1, left_states=left, right_states=right), ask(store, 2, seed=1)
    found = store.pairs([with_states[2], with_states[0]])
    np.testing.assert_array_equal(found.left_states, left[[2, 0]])
    np.testing.assert_array_equal(found.right_states, right[[2, 0]])
    assert store.pairs([with_states[0], without[0]]).item_states is None


def test_asking_the_same_again_writes_nothing(store):
    ids = ask(store)
    rows = _dump(store)
    assert ask(store) == ids
    with LabelStore(store.run_dir) as again:
        assert ask(again) == ids
    assert _dump(store) == rows
    assert [p.name for p in (store.run_dir / "episodes").iterdir()] == ["session_00001.npz"]


def test_other_content_under_the_same_session_is_added_and_the_old_stays(store):
    old = ask(store, 1, seed=0)
    new = ask(store, 1, seed=7)
    assert not set(old) & set(new)
    assert_equal(store.segments(old)[0], make_segments(4, 0))
    assert_equal(store.segments(new)[0], make_segments(4, 7))
    assert ask(store, 1, seed=0) == old
    assert sorted(p.name for p in (store.run_dir / "episodes").iterdir()) == [
        "session_00001.npz",
        "session_00001_2.npz",
    ]


def test_a_file_without_rows_is_reused_if_equal_and_never_overwritten(tmp_path):
    with LabelStore(tmp_path / "whole") as whole:
        ask(whole)
    for name, seed, files in (("same", 0, 1), ("other", 3, 2)):
        folder = tmp_path / name / "episodes"  # as left by a process killed after naming the file, before the commit
        shutil.copytree(tmp_path / "whole" / "episodes", folder)
        before = (folder / "session_00001.npz").read_bytes()
        with LabelStore(tmp_path / name) as store:
            assert_equal(store.segments(ask(store, seed=seed))[0], make_segments(4, seed))
        assert len(list(folder.iterdir())) == files
        assert (folder / "session_00001.npz").read_bytes() == before


def test_answering_the_same_again_writes_nothing(store):
    ids, answers = ask(store), make_answers(0.0, 1.0, 0.5, None)
    first = store.answer(ids, answers, "oracle")
    assert store.answer(ids, answers, "oracle") == first
    assert len(_dump(store)["answers"]) == 4
    found = answers_to(store, ids, "oracle")
    assert found.prefers_right[:3].tolist() == [0.0, 1.0, 0.5]
    assert found.answered.tolist() == [True, True, True, False]


def test_a_skip_is_told_from_a_question_still_open(store):
    ids = ask(store)
    store.answer(ids[:2], make_answers(None, 1), "anna")
    assert answers_to(store, ids, "anna").answered.tolist() == [False, True, False, False]
    assert unanswered(store, ids, "anna") == ids[2:]
    assert unanswered(store, ids, "bert") == ids
    assert unanswered(store) == ids[2:]


def test_change_of_mind_is_a_retraction_and_a_new_answer(store):
    ids = ask(store, n=1)
    (first,) = store.answer(ids, make_answers(0), "anna", [2.5])
    (second,) = store.answer(ids, make_answers(1), "anna", [0.5])
    assert [(a.id, a.prefers_right, a.response_s) for a in store.standing_answers()] == [(second, 1.0, 0.5)]
    rows = [(r["id"], r["prefers_right"], r["retracts"]) for r in _dump(store)["answers"]]
    assert rows == [(first, 0.0, None), (first + 1, None, first), (second, 1.0, None)]


def test_retract_twice_is_once_and_the_question_is_open_again(store):
    ids = ask(store, n=2)
    first, second = store.answer(ids, make_answers(0, 1), "anna")
    retraction = store.retract(first)
    assert store.retract(first) == retraction == store.retract(query=ids[0], annotator="anna")
    store.retract(query=ids[1], annotator="anna")
    assert unanswered(store, ids) == ids
    assert store.counts()["retracted"] == 2
    assert store.answer(ids[:1], make_answers(0), "anna")[0] > second
    for wrong in ({"answer_id": 99}, {"answer_id": retraction}, {"query": ids[0], "annotator": "bert"}):
        with pytest.raises(UserError, match="has no answer"):
            store.retract(**wrong)


def test_a_retry_with_the_same_client_id_writes_nothing_even_after_undo(store):
    ids = ask(store, n=2)
    (first,) = store.answer(ids[:1], make_answers(1), "anna", client_id="u1", kind="human")
    store.retract(first)
    assert store.answer(ids[:1], make_answers(1), "anna", client_id="u1", kind="human") == [first]
    assert unanswered(store, ids) == ids
    with pytest.raises(UserError, match="client_id 'u1' was used for another answer"):
        store.answer(ids[1:], make_answers(1), "anna", client_id="u1")


def test_counts_by_hand(store):
    ids = ask(store)
    store.answer(ids, make_answers(0, 0.7, 0.5, None), "anna")
    store.answer(ids[:1], make_answers(1), "bert")
    store.answer(ids[:1], make_answers(0.5), "bert")
    anna = {"answers": 4, "decisive": 2, "equal": 1, "skipped": 1, "retracted": 0}
    bert = {"answers": 1, "decisive": 0, "equal": 1, "skipped": 0, "retracted": 1}
    both = {k: anna[k] + bert[k] for k in anna}
    assert store.counts() == {"queries": 4, "unanswered": 0, **both, "annotators": {"anna": anna, "bert": bert}}


def test_an_empty_store_answers_every_question(store):
    assert store.counts()["queries"] == store.counts()["answers"] == store.counts()["unanswered"] == 0
    assert store.standing_answers() == store.queries() == unanswered(store) == []
    assert store.comparisons() is None
    assert ask(store, n=0) == []
    assert len(answers_to(store, []).answered) == 0


def test_comparisons_are_the_standing_answers_without_skips(store):
    ids = ask(store)
    store.answer(ids, make_answers(0, 0.25, 0.5, None), "anna")
    store.answer(ids[1:], make_answers(1, None, 0), "bert")
    comparisons = store.comparisons()
    assert comparisons.prefers_right.tolist() == [0, 0.25, 1, 0.5, 0]
    assert [store.annotators()[i] for i in comparisons.annotator.tolist()] == ["anna", "anna", "bert", "anna", "bert"]
    assert_equal(comparisons.left, make_segments(4, 0)[[0, 1, 1, 2, 3]])
    assert len(store.comparisons(annotators=["bert"])) == 2
    assert len(store.comparisons(ids[:1])) == 1


def test_answers_are_all_stored_or_none(store):
    ids = ask(store)
    for queries, answers, name, times, message in (
        ([*ids[:3], 99], make_answers(0, 0, 0, 0), "anna", None, "no query 99; valid are 1 to 4"),
        (ids, make_answers(0, 0, 0, 1.5), "anna", None, "prefers_right=1.5; valid are 0"),
        (ids, make_answers(0, 0, 0, float("nan")), "anna", None, "prefers_right=nan"),
        (ids, make_answers(0, 0, 0, 0), " ", None, "name is ' '"),
        (ids, make_answers(0, 0, 0, 0), "anna", [1, 1, 1, -1], "response time -1.0"),
    ):
        with pytest.raises(UserError, match=message):
            store.answer(queries, answers, name, times)
    assert store.counts()["answers"] == 0
    with pytest.raises(ValueError, match="queries, answers and times"):
        store.answer(ids, make_answers(0), "anna")


def test_mixed_lengths_are_refused_as_one_batch(store):
    short = ask(store)
    long = store.ask(2, 0, make_segments(1, 9, steps=8), make_segments(1, 8, steps=8), sampler="uniform")
    with pytest.raises(UserError, match=r"\[\(5, 3, 2\), \(8, 3, 2\)\]"):
        store.segments(short + long)


def _dump(store):
    with sqlite3.connect(store.path) as db:
        db.row_factory = sqlite3.Row
        return {t: [dict(r) for r in db.execute(f"SELECT * FROM {t}")] for t in ("batches", "queries", "answers")}
