"""What is asked about recorded data: nothing twice, everything once, by what was answered."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pbrl.data.datasets import Dataset
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.feedback.fit import Fit
from pbrl.feedback.samplers import k_center, uniform
from pbrl.labelling.choosing import EpisodeChooser, SegmentChooser, asked_items, new_sets
from pbrl.labels.store import LabelStore
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Answers

MODEL = partial(PartialReturn, members=2, hidden=[16], activation="relu", head="linear", normalise=True, lr=1e-2,
                smoothing=0.0, crop=None, precision="float32")  # fmt: skip
FIT = Fit(batch_size=16, max_epochs=60, max_updates=None, stop_accuracy=None, patience=None, bootstrap=False)


def test_sets_are_never_the_same_and_all_come():
    rng = torch.Generator().manual_seed(0)
    taken = {frozenset((0, 1)), frozenset((3, 4))}
    rows = new_sets(5, 2, 100, taken, rng)
    assert len(rows) == 10 - 2
    assert {frozenset(r) for r in rows.tolist()} | taken == {frozenset((a, b)) for a in range(5) for b in range(a)}
    many = new_sets(2000, 2, 300, set(), rng)
    assert len({frozenset(r) for r in many.tolist()}) == 300
    assert (many[:, 0] != many[:, 1]).all()


def test_all_of_many_sets_can_be_wanted():
    rng = torch.Generator().manual_seed(0)
    assert len(new_sets(450, 2, 300_000, set(), rng)) == 450 * 449 // 2 > 100_000


def test_each_thing_is_as_often_on_either_side():
    rng = torch.Generator().manual_seed(0)
    left = torch.cat([new_sets(4, 2, 6, set(), rng)[:, 0] for _ in range(400)])
    counts = torch.bincount(left, minlength=4)  # of 2400, 600 each; standard deviation 21
    assert ((counts - 600).abs() < 4 * 21).all()


def recorded(lengths=(9, 5, 7), height=True):
    """Episodes whose observation is how high they are at each step; `states` are positions in no video."""
    rng, episodes = np.random.default_rng(0), []
    for length in lengths:
        obs = rng.normal(size=(length + 1, 2)).astype(np.float32)
        actions = rng.uniform(-1, 1, (length, 1)).astype(np.float32)
        unknown = np.full(length, np.nan, np.float32)
        episodes.append(Episode(obs, actions, unknown, terminated=False, states=np.zeros((length + 1, 2))))
    store = EpisodeStore(len(episodes))
    store.add(episodes)
    segments = store.gather(np.array([0, 1]), 4)
    meta = {"segment_length": 4}
    return Dataset(Path("data"), meta, episodes, np.zeros(3), segments, np.zeros(2), np.zeros(2), {}, {}, store)


def chooser(sampler=uniform, **changes):
    options = {"name": "test", "make_model": MODEL, "fit": FIT, "criterion": "overall", "seed": 0, **changes}
    return SegmentChooser(recorded(), 4, sampler, **options)


def ask(store, asks, n, session):
    questions = asks.choose(n, session, store)
    return store.ask(session, 0, questions, sampler="test"), questions


def answer_by_height(store, queries):
    left, right = store.segments(queries)
    higher = right.obs[:, :-1, 0].sum(1) > left.obs[:, :-1, 0].sum(1)
    store.answer(queries, Answers(higher.float(), torch.ones(len(queries), dtype=torch.bool)), "ann", kind="human")


def test_every_pair_of_segments_is_asked_once(tmp_path):
    asks = chooser()
    assert asks.possible == math.comb(6 + 2 + 4, 2)  # starts of 4 steps in 9, 5 and 7
    with LabelStore(tmp_path) as store:
        for session in range(11):
            ask(store, asks, 6, session)
        items = [frozenset(ids) for ids in asked_items(store)]
    assert len(items) == len(set(items)) == 66


def test_segments_stay_inside_their_episode(tmp_path):
    with LabelStore(tmp_path) as store:
        _, pairs = ask(store, chooser(), 66, 0)
    firsts = {*range(6), *range(10, 12), *range(16, 20)}
    assert {*pairs.left.ids.tolist(), *pairs.right.ids.tolist()} == firsts
    assert (pairs.left.mask == 1).all()


def test_a_sampler_that_asks_a_reward_gets_one_that_knows_the_answers(tmp_path):
    seen = []

    def sampler(model, left, right, n, asked, rng):
        seen.append((model, asked))
        return torch.arange(n)

    asks = chooser(sampler)
    with LabelStore(tmp_path) as store:
        queries, _ = ask(store, asks, 30, 0)
        assert seen == []  # before the first answer no reward is asked
        answer_by_height(store, queries)
        ask(store, asks, 5, 1)
        (model, asked), (left, right) = seen[0], store.segments(queries)
    gain = (model.score(right) - model.score(left)).mean(0)
    higher = right.obs[:, :-1, 0].sum(1) - left.obs[:, :-1, 0].sum(1)
    assert ((gain > 0) == (higher > 0)).float().mean() > 0.9
    assert len(asked) == 30


def test_a_project_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    found = []
    for name, again in (("one", False), ("other", True)):
        asks = chooser(lambda model, left, right, n, asked, rng: torch.randperm(len(left), generator=rng)[:n])
        for session in range(3):
            with LabelStore(tmp_path / name) as store:
                answer_by_height(store, ask(store, chooser(asks._sampler) if again else asks, 5, session)[0])
        with LabelStore(tmp_path / name) as store:
            found.append(asked_items(store))
    assert found[0] == found[1]


def test_k_center_keeps_away_from_all_that_was_asked_answered_or_not(tmp_path):
    seen = []

    def sampler(model, left, right, n, asked, rng):
        seen.append(asked)
        return k_center(model, left, right, n, asked, rng)

    with LabelStore(tmp_path) as store:
        for session in range(2):
            answer_by_height(store, ask(store, chooser(sampler), 4, session)[0][:2])
    assert len(seen[0]) == 4


@pytest.mark.parametrize(("kind", "size"), [("episode_pair", 2), ("triplet", 3), ("ranking", 3)])
def test_whole_episodes_are_asked_about_as_they_are(tmp_path, kind, size):
    data = recorded((9, 5, 7, 6))
    asks = EpisodeChooser(data, kind, 3, criterion="neatness", seed=0)
    assert asks.possible == math.comb(4, size)
    with LabelStore(tmp_path) as store:
        for session in range(asks.possible):
            _, questions = ask(store, asks, 1, session)
            assert questions.criterion == "neatness"
        assert len({frozenset(ids) for ids in asked_items(store)}) == asks.possible
        everything = store.questions([query.id for query in store.queries(kind=None, criterion=None)])  # one batch
    lengths = {0: 9, 10: 5, 16: 7, 24: 6}
    for item in everything.items:
        for row, first in enumerate(item.ids.tolist()):
            steps = int(item.mask[row].sum())
            assert steps == lengths[first]
            episode = data.episodes[list(lengths).index(first)]
            np.testing.assert_array_equal(item.obs[row, : steps + 1], episode.obs)
