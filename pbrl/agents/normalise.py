"""Observation normalisation as a part of the policy network."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from pbrl.nets.networks import RunningNorm


class NormalisedObservations(BaseFeaturesExtractor):
    """SB3 features extractor: observations, standardised by their running statistics.

    The statistics change only by `observe`, never by a forward pass: within a rollout and its epochs the old and the
    new policy must see the same inputs, or PPO's probability ratio is wrong.
    """

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        size = gym.spaces.flatdim(observation_space)
        super().__init__(observation_space, size)
        # A saved policy gets observations from plain SB3, as its task has them.
        self.keys = list(observation_space) if isinstance(observation_space, gym.spaces.Dict) else None
        self.norm = RunningNorm(size)

    def observe(self, obs: np.ndarray) -> None:
        """Take observations (..., O) into the statistics."""
        self.norm.observe(torch.from_numpy(obs.reshape(-1, self.features_dim)))

    def forward(self, obs: Any) -> Tensor:
        if self.keys is None:
            return self.norm(torch.flatten(obs, 1))
        return self.norm(torch.cat([torch.flatten(obs[key], 1) for key in self.keys], dim=1))
