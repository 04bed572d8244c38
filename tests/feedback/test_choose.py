"""How a session chooses its questions: what it holds in memory meanwhile."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pbrl import blocks
from pbrl.blocks import PartOf, ScoredOnce, score_in_blocks
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.feedback.samplers import (
    disagreement,
    entropy,
    k_center,
    k_center_disagreement,
    k_center_entropy,
    uniform,
)
from pbrl.methods.pebble import Pebble


class TwoMembers:
    members = 2

    def score(self, segments):
        return segments.obs[:, 0, :2].T


def session(sampler):
    """A method with a session of 300 candidates, and a list that each block that is gathered joins by its size."""
    numbers = np.random.default_rng(0)
    store = EpisodeStore(3)
    for _ in range(3):
        arrays = {
            "obs": numbers.normal(size=(31, 4)),
            "actions": numbers.normal(size=(30, 1)),
            "true_reward": np.zeros(30),
        }
        states = numbers.normal(size=(31, 7))
        store.add([Episode(**{k: v.astype(np.float32) for k, v in arrays.items()}, terminated=False, states=states)])
    method, rng = Pebble.__new__(Pebble), torch.Generator().manual_seed(0)
    feedback = SimpleNamespace(candidates=50, segment_length=5, pool_episodes=3)
    method.run = SimpleNamespace(feedback=feedback, episodes=store, sampler=sampler, rng=lambda name: rng)
    method.model, method.updates, method.preferences = TwoMembers(), 1, SimpleNamespace(all=None)
    return method


def test_candidates_are_gathered_in_blocks_and_states_of_the_chosen_alone(monkeypatch):
    method = session(disagreement)
    monkeypatch.setattr(blocks, "BLOCK_STEPS", 50)
    sizes, gather, states = [], EpisodeStore.gather, EpisodeStore.states
    monkeypatch.setattr(EpisodeStore, "gather", lambda s, ids, n: sizes.append(len(ids)) or gather(s, ids, n))
    drawn = []
    monkeypatch.setattr(EpisodeStore, "states", lambda s, ids, n: drawn.append(len(ids)) or states(s, ids, n))
    pairs, _ = method.choose(6)
    assert len(pairs) == 6
    assert drawn == [6, 6]
    assert max(sizes) == 10  # of 300 candidates
    np.testing.assert_array_equal(pairs.left_states.shape, (6, 6, 7))


@pytest.mark.parametrize("sampler", [uniform, disagreement, entropy, k_center, k_center_disagreement, k_center_entropy])
def test_candidates_are_scored_once_and_the_measured_disagreement_is_theirs(sampler, monkeypatch):
    method = session(sampler)
    scored, score = [], TwoMembers.score
    monkeypatch.setattr(TwoMembers, "score", lambda self, s: scored.append(len(s)) or score(self, s))
    drawn, draw = [], EpisodeStore.draw_pairs
    monkeypatch.setattr(EpisodeStore, "draw_pairs", lambda *args: drawn.extend(draw(*args)) or drawn)
    _, measured = method.choose(6)
    assert sum(scored) == 2 * 300  # both sides of each
    left, right = (method.model.score(side[:]) for side in drawn)
    assert measured == pytest.approx(float(torch.sigmoid(right - left).std(0, unbiased=False).mean()))


def test_a_model_that_is_another_scores_anew():
    one, other = TwoMembers(), TwoMembers()
    pool = ScoredOnce(segments := session(uniform).run.episodes.draw_pairs(4, 5, torch.Generator())[0])
    first = score_in_blocks(one.score, pool)
    assert score_in_blocks(one.score, pool) is first
    assert score_in_blocks(other.score, pool) is not first
    assert score_in_blocks(lambda s: s.obs[:, 1, :1].T, pool).shape == (1, 4)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(score_in_blocks(one.score, PartOf(pool, some)), first[:, some])
    torch.testing.assert_close(score_in_blocks(one.score, PartOf(segments, some)), first[:, some])
