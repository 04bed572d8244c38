"""Pairs of different things, each as likely as any other."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pbrl.data.draw import distinct_pairs


@pytest.mark.parametrize("things", [2, 3, 5])
def test_pairs_are_uniform_over_different_ones(things):
    left, right = distinct_pairs(things, 20_000, torch.Generator().manual_seed(0))
    pairs, counts = np.unique(np.stack([left, right], 1), axis=0, return_counts=True)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(pairs) == things * (things - 1)
    assert chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize(("things", "says"), [(1, "there is one"), (0, "there are none")])
def test_what_makes_no_pair(things, says):
    with pytest.raises(ValueError, match=says):
        distinct_pairs(things, 3, torch.Generator())
