"""A judge of pairs: the probability that one piece of behaviour beats another, which need not follow from any score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import layers, positive, whole
from pbrl.nets.networks import RunningNorm, descend, linear
from pbrl.types import Comparisons, Segments


class PairwiseJudge(nn.Module):
    """P(right beats left) = sigmoid(f(right, left) - f(left, right)), of the means of features over their real steps.

    No reward has to exist: preferences may go in a circle. A mean over steps judges whole episodes by what it learned
    from pieces of them.

    Args:
        obs_size, action_size: O and A.
        features: D of each step, from one hidden layer.
        hidden: units of the hidden layer of f, and of the features.
        lr: of Adam.
        rng: initial weights.
    """

    def __init__(
        self, *, obs_size: int, action_size: int, features: int, hidden: int, lr: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        whole(1, features=features)
        layers(hidden=[hidden])
        positive(lr=lr)
        self.norm = RunningNorm(obs_size)
        self.step = nn.Sequential(
            linear(obs_size + action_size, hidden, rng), nn.ReLU(), linear(hidden, features, rng), nn.Tanh()
        )
        self.pair = nn.Sequential(linear(2 * features, hidden, rng), nn.ReLU(), linear(hidden, 1, rng))
        self.optimizer = torch.optim.Adam([*self.step.parameters(), *self.pair.parameters()], lr=lr)

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        self.norm.observe(torch.from_numpy(obs))

    def summary(self, segments: Segments) -> Tensor:
        """Return the mean features (N, D) over the real steps."""
        steps = self.step(torch.cat([self.norm(segments.obs[:, :-1]), segments.actions], -1))
        return (steps * segments.mask[..., None]).sum(1) / segments.mask.sum(1, keepdim=True).clamp(min=1)

    def logits(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the logits (...) of P(right beats left), of summaries (..., D)."""
        both = self.pair(torch.cat([right, left], -1)) - self.pair(torch.cat([left, right], -1))
        return both[..., 0]

    def update(self, comparisons: Comparisons) -> dict[str, float]:
        """Take one gradient step."""
        logits = self.logits(self.summary(comparisons.left), self.summary(comparisons.right))
        target, decided = comparisons.prefers_right, comparisons.prefers_right != 0.5
        right = ((logits > 0) == (target > 0.5))[decided]
        loss = descend(self.optimizer, F.binary_cross_entropy_with_logits(logits, target))
        return {"loss": loss, "accuracy": float(right.float().mean()) if len(right) else 1.0}

    @torch.no_grad()
    def beats(self, episodes: Segments, rivals: Segments) -> np.ndarray:
        """Return the probability (n, m) that each of n episodes beats each of m rivals."""
        ours, theirs = self.summary(episodes), self.summary(rivals)
        shape = (len(ours), len(theirs), ours.shape[-1])
        logits = self.logits(theirs[None].expand(shape), ours[:, None].expand(shape))
        return torch.sigmoid(logits).numpy()


def update_judge(
    judge: PairwiseJudge, data: Comparisons, updates: int, batch_size: int, rng: torch.Generator
) -> dict[str, float]:
    """Make so many gradient steps on random batches; return means of what their last quarter measured."""
    drawn = (torch.randint(len(data), (batch_size,), generator=rng) for _ in range(updates))
    rows = [judge.update(data[batch]) for batch in drawn]
    return _means(rows[-max(1, updates // 4) :])


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
