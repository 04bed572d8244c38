"""Planted cases: what a sampler must choose is known."""

import pytest
import torch

from pbrl import blocks
from pbrl.feedback import samplers
from pbrl.types import Comparisons, Segments


class GivenScores:
    """A model whose members score a segment as its first observation says: (E, N) from obs[:, 0, :E]."""

    def __init__(self, members):
        self.members = members

    def score(self, segments):
        return segments.obs[:, 0, : self.members].T


def make_segments(obs):
    """From one observation (N, O) each, repeated over 2 steps."""
    n = len(obs)
    zero = torch.zeros(n, 2)
    return Segments(obs[:, None].expand(n, 3, -1), zero[..., None], zero + 1, zero, zero, torch.arange(n))


def pairs_with_gains(*gains):
    """A pair for each row: the gain of the right segment over the left one, by member."""
    gains = torch.tensor(gains).float()
    return make_segments(torch.zeros_like(gains)), make_segments(gains)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# Members agree; are all unsure; disagree a little; disagree surely.
GAINS = [[8.0, 8.0, 8.0], [0.0, 0.1, 0.0], [2.0, 1.0, 2.0], [9.0, -9.0, 9.0]]


def test_disagreement_is_the_spread_of_probabilities_not_of_scores():
    left, right = pairs_with_gains([100.0, 50.0, 10.0], *GAINS)  # the first has the widest scores and no doubt
    rows = samplers.disagreement(GivenScores(3), left, right, 3, None, rng())
    assert rows.tolist() == [4, 3, 2]


def test_entropy_is_the_mean_doubt_of_the_members():
    left, right = pairs_with_gains(*GAINS)
    rows = samplers.entropy(GivenScores(3), left, right, 3, None, rng())
    assert rows.tolist() == [1, 2, 0]  # members that are sure, though of opposite things, have none
    assert samplers.entropy(GivenScores(3), left, right, 4, None, rng())[3] == 3


@pytest.mark.filterwarnings("error")
def test_one_member_cannot_disagree_and_any_pairs_will_do():
    left, right = pairs_with_gains([1.0], [2.0], [3.0])
    assert len(set(samplers.disagreement(GivenScores(1), left, right, 2, None, rng()).tolist())) == 2


def test_uniform_draws_each_pair_equally_often_and_never_twice():
    left, right = pairs_with_gains(*[[0.0]] * 10)
    generator, counts = rng(), torch.zeros(10)
    for _ in range(5000):
        rows = samplers.uniform(GivenScores(1), left, right, 3, None, generator)
        assert len(rows.unique()) == 3
        counts[rows] += 1
    assert (counts - 1500).abs().max() < 5.5 * (5000 * 0.3 * 0.7) ** 0.5


def pairs_at(*points):
    """Pairs whose left observations lie on a line, the right ones are all the same."""
    obs = torch.tensor(points).float()[:, None]
    return make_segments(obs), make_segments(torch.zeros_like(obs))


def asked(*points):
    left, right = pairs_at(*points)
    return Comparisons(left, right, torch.zeros(len(left)), torch.zeros(len(left)))


def test_k_center_goes_farthest_from_what_was_asked_and_then_from_what_it_chose():
    left, right = pairs_at(1.0, 10.0, 9.9, -4.0, 4.0)
    rows = samplers.k_center(GivenScores(1), left, right, 4, asked(0.0), rng())
    assert rows.tolist() == [1, 3, 4, 0]  # 10 from 0; then -4; then 4 (4 from 0, 6 from 10); then 1; 9.9 is nearest


def test_k_center_without_history_starts_anywhere_and_covers_all_clusters():
    left, right = pairs_at(*[c + d for c in (0.0, 100.0, 200.0, 300.0) for d in (0.0, 0.1, 0.2)])
    for seed in range(10):
        rows = samplers.k_center(GivenScores(1), left, right, 4, None, rng(seed))
        assert sorted(row // 3 for row in rows.tolist()) == [0, 1, 2, 3]


def test_k_center_does_not_depend_on_the_unit_of_an_observation():
    obs = torch.randn(40, 3, generator=rng())
    chosen = []
    for unit in (1.0, 1000.0):
        scaled = obs * torch.tensor([unit, 1.0, 1.0])
        left, right = make_segments(scaled[:20]), make_segments(scaled[20:])
        chosen.append(samplers.k_center(GivenScores(1), left, right, 6, None, rng(3)).tolist())
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("sampler", "doubtful", "decided"),
    [(samplers.k_center_disagreement, [9.0, -9.0], [9.0, 9.0]), (samplers.k_center_entropy, [0.0, 0.0], [9.0, -9.0])],
)
def test_hybrids_spread_over_the_most_wanted_pairs(sampler, doubtful, decided):
    # 10 wanted pairs at two places, and 10 unwanted ones far away from both
    gains = torch.tensor([doubtful] * 10 + [decided] * 10)
    place = torch.tensor([0.0] * 5 + [1.0] * 5 + [50.0] * 10)[:, None]
    left = make_segments(torch.cat([torch.zeros_like(gains), place], 1))
    right = make_segments(torch.cat([gains, place], 1))
    rows = sampler(GivenScores(2), left, right, 2, None, rng()).tolist()
    assert sorted(row // 5 for row in rows) == [0, 1]


@pytest.mark.parametrize(
    "name",
    ["uniform", "disagreement", "entropy", "k_center", "k_center_disagreement", "k_center_entropy"],
)
def test_no_pair_is_chosen_twice_even_if_all_are_asked_for(name):
    obs = torch.randn(24, 4, generator=rng())
    left, right = make_segments(obs[:12]), make_segments(obs[12:])
    rows = getattr(samplers, name)(GivenScores(2), left, right, 12, asked_like(left, right), rng())
    assert sorted(rows.tolist()) == list(range(12))


def asked_like(left, right):
    return Comparisons(left[:2], right[:2], torch.zeros(2), torch.zeros(2))


class Noted:
    """A pool that notes how many segments are gathered at once."""

    def __init__(self, segments):
        self.segments, self.steps, self.sizes = segments, segments.steps, []

    def __len__(self):
        return len(self.segments)

    def __getitem__(self, rows):
        found = self.segments[rows]
        self.sizes.append(len(found))
        return found


@pytest.mark.parametrize("kept", [0, 2**30])
@pytest.mark.parametrize("name", ["disagreement", "entropy", "k_center", "k_center_disagreement", "k_center_entropy"])
def test_candidates_are_gathered_in_blocks_and_chosen_as_if_at_once(name, kept, monkeypatch):
    obs = torch.randn(300, 4, generator=rng())
    left, right = make_segments(obs[:150]), make_segments(obs[150:])
    earlier = asked_like(left, right)
    at_once = getattr(samplers, name)(GivenScores(2), left, right, 20, earlier, rng())
    monkeypatch.setattr(blocks, "BLOCK_STEPS", 8)  # 4 segments of 2 steps
    monkeypatch.setattr(samplers, "KEPT_BYTES", kept)
    pools = Noted(left), Noted(right)
    in_blocks = getattr(samplers, name)(GivenScores(2), *pools, 20, earlier, rng())
    assert in_blocks.tolist() == at_once.tolist()
    assert max(pools[0].sizes + pools[1].sizes) <= 4
