"""The reward that two diffusion policies imply: how much better one of them denoises an action than the other.

Diffusion-DPO (Wallace et al. 2024), and how DeformPAM (Chen et al. 2024) chooses among samples by it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pbrl.nets.diffusion import DiffusionPolicy

LOSSES = ("log_sigmoid", "sigmoid")


def preference_loss(gain: Tensor, prefers_right: Tensor, loss: str) -> Tensor:
    """Return the loss of implied gains (B,) of right over left. prefers_right: (B,) in [0, 1], 0.5 is a tie.

    "log_sigmoid" is DPO's cross-entropy; "sigmoid" minimises -sigmoid, as DeformPAM's released code.
    """
    if loss == "log_sigmoid":
        return F.binary_cross_entropy_with_logits(gain, prefers_right)
    return -(prefers_right * gain.sigmoid() + (1 - prefers_right) * (-gain).sigmoid()).mean()


def implied_reward(
    tuned: DiffusionPolicy, clone: DiffusionPolicy, obs: Tensor, actions: Tensor, level: Tensor, noise: Tensor
) -> Tensor:
    """Return the clone's error less that of the tuned policy (...), on one noise: higher is better.

    obs: (..., O). actions, noise: (..., A). level: (...).
    """
    with torch.no_grad():
        reference = clone.errors(obs, actions, level, noise)
    return reference - tuned.errors(obs, actions, level, noise)


@torch.no_grad()
def best_of_samples(
    tuned: DiffusionPolicy,
    clone: DiffusionPolicy,
    obs: Tensor,
    *,
    samples: int,
    share: float,
    draws: int,
    rng: torch.Generator,
) -> Tensor:
    """Return actions (M, A) at obs (M, O): of so many samples of the clone, those of the highest implied reward.

    The reward is the mean over `draws` noises at the lowest `share` of the noise levels, which are the same for all
    samples: else the noise would choose.
    """
    if samples == 1:
        return clone.sample(obs, rng)
    m = len(obs)
    actions = clone.sample(obs.repeat_interleave(samples, 0), rng).view(m, samples, -1)
    value = score_samples(tuned, clone, obs, actions, share=share, draws=draws, rng=rng)
    return actions[torch.arange(m), value.argmax(1)]


@torch.no_grad()
def score_samples(
    tuned: DiffusionPolicy,
    clone: DiffusionPolicy,
    obs: Tensor,
    actions: Tensor,
    *,
    share: float,
    draws: int,
    rng: torch.Generator,
) -> Tensor:
    """Score actions (M, K, A) at observations (M, O) by their implied reward (M, K)."""
    m, k = actions.shape[:2]
    level = torch.randint(max(1, round(share * clone.levels)), (draws, 1, 1), generator=rng).expand(draws, m, k)
    noise = torch.randn(draws, 1, 1, actions.shape[-1], generator=rng).expand(draws, m, k, -1)
    seen = obs[:, None].expand(m, k, -1).expand(draws, m, k, -1)
    return implied_reward(tuned, clone, seen, actions.expand(draws, m, k, -1), level, noise).mean(0)
