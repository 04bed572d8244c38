"""Combination of an ensemble's rewards: the mean, or less where the members disagree."""

from __future__ import annotations

from torch import Tensor

from pbrl.checks import between, share


class Pessimism:
    """Maps rewards (E, M) of the members to what drives the agent (M,).

    Comparisons of whole segments leave the offset of each member open, and the lowest member everywhere would only be
    the one with the lowest offset; so members are first brought to one mean over the segments that were compared.
    """

    least_members = 2

    def __call__(self, rewards: Tensor) -> Tensor:
        raise NotImplementedError


class Mean(Pessimism):
    """mean_k r_k, whatever the members' offsets: no pessimism."""

    least_members = 1

    def __call__(self, rewards: Tensor) -> Tensor:
        return rewards.mean(0)


class WorstCase(Pessimism):
    """min_k r_k (Coste et al. 2024, WCO)."""

    def __call__(self, rewards: Tensor) -> Tensor:
        return rewards.amin(0)


class MeanMinusVariance(Pessimism):
    """mean_k r_k - weight * var_k r_k (Coste et al. 2024, UWO).

    Args:
        weight: of the variance; its unit is one over that of the reward.
    """

    def __init__(self, *, weight: float) -> None:
        between(0, 1000, weight=weight)
        self.weight = weight

    def __call__(self, rewards: Tensor) -> Tensor:
        return rewards.mean(0) - self.weight * rewards.var(0, unbiased=False)


class NominalWorst(Pessimism):
    """nominal * mean_k r_k + (1 - nominal) * min_k r_k (Yan et al. 2024, reward-robust RLHF; its nominal is one model).

    Args:
        nominal: share of the mean, from 0 (the worst case) to 1 (the mean).
    """

    def __init__(self, *, nominal: float) -> None:
        share(nominal=nominal)
        self.nominal = nominal

    def __call__(self, rewards: Tensor) -> Tensor:
        return self.nominal * rewards.mean(0) + (1 - self.nominal) * rewards.amin(0)
