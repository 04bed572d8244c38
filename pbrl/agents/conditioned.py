"""A policy that sees weights behind its observation: the task that shows them, and networks for given ones."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

FIRST = re.compile(r"(actor\.(latent_pi\.0|mu|log_std)|critic(_target)?\.qf\d+\.0)\.weight")  # that may read inputs
STREAM = 1  # beside the episode's seed, so that weights have nothing to do with where the task begins


class ShowsWeights(gym.Wrapper):
    """A task with weights (J,) of its objectives behind the observation, uniform on the simplex, anew in each episode.

    They follow from the episode's seed, so that an episode that is played again has the same.
    """

    def __init__(self, env: gym.Env, objectives: int) -> None:
        super().__init__(env)
        seen: Any = env.observation_space
        low, high = (np.concatenate([end, np.full(objectives, x)]) for end, x in ((seen.low, 0), (seen.high, 1)))
        self.observation_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self.weights = np.full(objectives, 1 / objectives, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        rng = np.random.default_rng(None if seed is None else [seed, STREAM])
        self.weights = rng.dirichlet(np.ones(len(self.weights))).astype(np.float32)
        return behind(obs, self.weights), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, *rest = self.env.step(action)
        return behind(obs, self.weights), *rest  # type: ignore[return-value]


def behind(obs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return observations (..., O + J) of observations (..., O) and weights (J,)."""
    shown = np.broadcast_to(weights, (*obs.shape[:-1], len(weights)))
    return np.concatenate([obs, shown], -1, dtype=np.float32)


def with_weights(parameters: dict[str, Tensor], weights: np.ndarray, obs_size: int) -> dict[str, Tensor]:
    """Return networks that read observations (O,) and act as these, which read weights (J,) behind them.

    A first layer W [obs, v, ...] + b of given v is W without its columns of v, and the bias b + W_v v. parameters: of
    SB3's SAC policy, by name.
    """
    found, end = dict(parameters), obs_size + len(weights)
    hidden = any(name.startswith("actor.latent_pi.") for name in parameters)
    for name, layer in parameters.items():
        if FIRST.fullmatch(name) and not (hidden and name.startswith(("actor.mu", "actor.log_std"))):
            bias = name.removesuffix("weight") + "bias"
            v = torch.as_tensor(weights, dtype=layer.dtype, device=layer.device)
            found[bias] = parameters[bias] + layer[:, obs_size:end] @ v
            found[name] = torch.cat([layer[:, :obs_size], layer[:, end:]], 1)
    return found
