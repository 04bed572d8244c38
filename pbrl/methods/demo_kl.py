"""PEBBLE kept near demonstrations (Tiapkin et al. 2024): a KL term to a clone of them beside the learned reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import positive, required, whole
from pbrl.data.offline_sources import load_offline
from pbrl.errors import UserError
from pbrl.methods.method import Run
from pbrl.methods.pebble import Pebble
from pbrl.nets.networks import adam, descend
from pbrl.nets.policies import Policy
from pbrl.types import Episode, RewardSource, Steps


class DemoKL(Pebble):
    """Maximises the learned reward less weight * KL(policy || clone), where the clone is N(mu(s), std^2).

        reward + weight * log clone(a | s)   and   weight * entropy of the policy

    The first is given with the reward, from the first step on; the second is the agent's own temperature, which the
    YAML sets to `weight`. log clone is -|a - mu(s)|^2 / (2 std^2), without its constant.

    Args:
        clone: makes the policy that is fitted to the demonstrations, from obs_shape, action_size and rng.
        weight: of the KL.
        clone_std: of the clone's actions, which reach from -1 to 1.
        clone_updates, clone_batch, clone_lr: gradient steps on the demonstrations before the agent starts.
        others: see `Pebble`.
    """

    agents = ("sac", "ppo")
    needs_data = True

    def __init__(
        self,
        *,
        clone: Callable[..., Policy],
        weight: float,
        clone_std: float,
        clone_updates: int,
        clone_batch: int,
        clone_lr: float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        required(clone=clone)
        positive(weight=weight, clone_std=clone_std, clone_lr=clone_lr)
        whole(1, clone_updates=clone_updates, clone_batch=clone_batch)
        self._make_clone, self.weight, self.clone_std = clone, weight, clone_std
        self.clone_updates, self.clone_batch, self.clone_lr = clone_updates, clone_batch, clone_lr

    def begin(self, run: Run) -> None:
        super().begin(run)
        if run.data_folder is None:
            raise UserError("data=None: the demonstrations are needed; give data=FOLDER, made by pbrl collect")
        rng = run.rng("clone")
        data = load_offline(
            run.data_folder, label=None, budget=None, pairs="fixed", heldout=0.0, rng=rng, reads_labels=False
        )
        obs = torch.from_numpy(np.concatenate([e.obs[:-1] for e in data.episodes]))
        actions = torch.from_numpy(np.concatenate([e.actions for e in data.episodes]))
        found, wanted = (tuple(obs.shape[1:]), actions.shape[1]), (tuple(run.obs_shape), run.action_size)
        if found != wanted:
            raise UserError(f"data={run.data_folder} has observations and actions of {found}, this run of {wanted}")
        self.clone = self._make_clone(obs_shape=run.obs_shape, action_size=run.action_size, rng=rng)
        self._fit_clone(obs, actions, rng)

    def _fit_clone(self, obs: Tensor, actions: Tensor, rng: torch.Generator) -> None:
        """Fit the clone by the squared error, as `bc` does."""
        self.clone.observe(obs.numpy())
        optimizer = adam(self.clone.parameters(), self.clone_lr)
        for _ in range(self.clone_updates):
            rows = torch.randint(len(obs), (self.clone_batch,), generator=rng)
            descend(optimizer, -self.clone.log_prob(obs[rows], actions[rows]).mean())
        self.clone.eval()

    def reward(self) -> RewardSource | None:
        return self

    def of_steps(self, steps: Steps) -> Tensor:
        near = self.near_clone(steps.obs, steps.actions)
        return super().of_steps(steps) + near if self.updates else near

    def of_episode(self, episode: Episode) -> np.ndarray:
        obs, actions = torch.from_numpy(episode.obs[:-1]), torch.from_numpy(episode.actions)
        return self.of_steps(Steps(obs, actions)).numpy()

    @torch.no_grad()
    def near_clone(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return weight * log clone(a | s) (M,)."""
        return self.weight * self.clone.log_prob(obs, actions) / (2 * self.clone_std**2)
