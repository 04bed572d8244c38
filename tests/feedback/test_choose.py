"""How a session chooses its questions: what it holds in memory meanwhile."""

from types import SimpleNamespace

import numpy as np
import torch

from pbrl import blocks
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.feedback.samplers import disagreement
from pbrl.methods.pebble import Pebble


class TwoMembers:
    members = 2

    def score(self, segments):
        return segments.obs[:, 0, :2].T


def test_candidates_are_gathered_in_blocks_and_states_of_the_chosen_alone(monkeypatch):
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
    method.run = SimpleNamespace(feedback=feedback, episodes=store, sampler=disagreement, rng=lambda name: rng)
    method.model, method.updates, method.preferences = TwoMembers(), 1, SimpleNamespace(all=None)
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
