import numpy as np
import pytest
import torch

from pbrl.feedback.preferences import PreferenceDataset
from pbrl.types import Answers, Segments


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def make_segments(ids):
    n = len(ids)
    obs = ids.float()[:, None, None].expand(n, 3, 1)
    one, zero = torch.ones(n, 2), torch.zeros(n, 2)
    return Segments(obs, zero[..., None], one, zero, zero, ids)


def fill(data, n, segments, seed=0):
    """n comparisons of segments drawn with replacement; answer i prefers the right with i / n, to be recognised."""
    ids = torch.randint(segments, (2, n), generator=rng(seed))
    data.add(make_segments(ids[0]), make_segments(ids[1]), Answers(torch.arange(n) / n, torch.ones(n).bool()))
    return data


def test_no_segment_is_on_both_sides():
    data = PreferenceDataset(0.3, rng())
    for seed in range(5):
        fill(data, 40, segments=150, seed=seed)
    training, heldout = data.all[data.train_rows], data.heldout
    sides = [{*c.left.ids.tolist(), *c.right.ids.tolist()} for c in (training, heldout)]
    assert not sides[0] & sides[1]
    assert len(training) > 50
    assert len(heldout) > 10


def test_every_comparison_of_fresh_segments_is_on_one_side_and_the_share_is_right():
    data = PreferenceDataset(0.25, rng())
    ids = torch.arange(4000)
    data.add(make_segments(ids[:2000]), make_segments(ids[2000:]), Answers(torch.zeros(2000), torch.ones(2000).bool()))
    assert len(data.train_rows) + len(data.heldout) == 2000
    assert abs(len(data.heldout) - 500) < 100  # standard deviation 19.4


def test_nothing_is_held_out_by_default():
    data = fill(PreferenceDataset(0.0, rng()), 50, segments=20)
    assert data.heldout is None
    assert data.train_rows.tolist() == list(range(50))


def test_skipped_pairs_are_dropped():
    data, ids = PreferenceDataset(0.0, rng()), torch.arange(4)
    data.add(make_segments(ids), make_segments(ids), Answers(torch.tensor([0, torch.nan, 0.5, 1]), ids != 1))
    assert data.all.left.ids.tolist() == [0, 2, 3]
    assert data.all.prefers_right.tolist() == [0, 0.5, 1]
    data.add(make_segments(ids), make_segments(ids), Answers(torch.zeros(4), torch.zeros(4).bool()))
    assert len(data) == 3


@pytest.mark.parametrize("batch_size", [1, 8, 37, 100])
def test_an_epoch_shows_each_member_every_answer_once_in_an_order_of_its_own(batch_size):
    data = fill(PreferenceDataset(0.0, rng()), 37, segments=500)
    batches = list(data.batches(batch_size, members=3, bootstrap=False, rng=rng()))
    assert [len(b) // 3 for b in batches] == [min(batch_size, 37 - i) for i in range(0, 37, batch_size)]
    seen = torch.cat([b.prefers_right.view(3, -1) for b in batches], dim=1)
    for member in seen:
        assert torch.equal(member.sort().values, data.all.prefers_right)
    assert not torch.equal(seen[0], seen[1])
    for batch in batches:  # a comparison stays whole
        rows = (batch.prefers_right * 37).round().long()
        assert torch.equal(batch.left.ids, data.all.left.ids[rows])
        assert torch.equal(batch.right.ids, data.all.right.ids[rows])


def test_epochs_differ_in_order_and_never_show_held_out_answers():
    data, generator = fill(PreferenceDataset(0.4, rng()), 60, segments=5000), rng()
    epochs = [torch.cat([b.prefers_right for b in data.batches(8, 1, False, generator)]) for _ in range(2)]
    assert not torch.equal(*epochs)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, data.all.prefers_right[data.train_rows])


def test_a_bootstrap_sample_is_with_replacement_fixed_over_epochs_and_differs_between_members():
    n, members = 1000, 20
    data, generator = fill(PreferenceDataset(0.0, rng()), n, segments=10**6), rng()
    epochs = [
        torch.cat([b.prefers_right.view(members, -1) for b in data.batches(64, members, True, generator)], 1)
        for _ in range(2)
    ]
    assert torch.equal(epochs[0].sort().values, epochs[1].sort().values)
    shares = [len(member.unique()) / n for member in epochs[0]]
    # A row is missed by all n draws with (1 - 1/n)^n; the share of the drawn has standard deviation 0.0098
    assert np.mean(shares) == pytest.approx(1 - (1 - 1 / n) ** n, abs=5.5 * 0.0098 / members**0.5)
    both = np.mean([np.isin(epochs[0][0], member).mean() for member in epochs[0][1:]])
    assert both == pytest.approx(0.632, abs=0.05)  # independent: a member has seen 63 % of another's draws


def test_no_training_answers_give_no_batches():
    assert list(PreferenceDataset(0.0, rng()).batches(8, 3, False, rng())) == []


def test_a_restored_data_set_has_the_same_sides_and_goes_on_alike():
    old = fill(PreferenceDataset(0.3, rng()), 50, segments=60)
    new = PreferenceDataset(0.3, rng(99))
    new.load_state_dict(old.state_dict())
    new.rng.set_state(old.rng.get_state())
    for data in (old, new):
        fill(data, 50, segments=60, seed=1)
    assert torch.equal(old.train_rows, new.train_rows)
    assert torch.equal(old.heldout.left.ids, new.heldout.left.ids)
    assert torch.equal(old.all.prefers_right, new.all.prefers_right)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=r"expected a share in \[0, 1\)"):
        PreferenceDataset(share, rng())
