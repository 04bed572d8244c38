"""State-entropy exploration before the first label: PEBBLE's unsupervised phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from pbrl.checks import whole
from pbrl.nets.networks import RunningNorm
from pbrl.types import Episode, Steps


class StateEntropy:
    """Intrinsic reward: the distance of a state to its k-th nearest neighbour, over its running standard deviation.

    Lee et al. 2021 (PEBBLE), section 4.1, without the logarithm, as released. Neighbours are sought among at most
    `reference` stored states drawn at random: distances then grow by a common factor, which the division takes out.

    Args:
        k: which neighbour (the state itself does not count).
        reference: how many stored states at most.
        normalise: divide each observation by its spread first (the released code does not).

    stored: gives the observations (M, O) among which neighbours are sought; `begin` sets it.
    """

    when = "sampled"  # it changes with every step
    acts: ClassVar[bool] = False  # whether it says what is done too, by `behave(obs)`
    stored: Callable[[], np.ndarray]

    def __init__(self, *, k: int, reference: int, normalise: bool) -> None:
        whole(1, k=k, reference=reference)
        self.k, self.reference, self.normalise = k, reference, normalise
        self.distances = RunningNorm(1)

    def begin(self, run: Any) -> None:
        """Seek neighbours among what the agent has stored; called once, as `Method.begin` is."""
        self.stored = lambda: run.agent.stored_obs

    def behave(self, obs: np.ndarray) -> np.ndarray:
        """Return actions (n_envs, A) at `obs` (n_envs, O), where it `acts`."""
        raise NotImplementedError

    def of_steps(self, steps: Steps) -> torch.Tensor:
        return torch.from_numpy(self(steps.obs.numpy(), self.stored()))

    def of_episode(self, episode: Episode) -> np.ndarray:
        return self(episode.obs[:-1], self.stored())

    @torch.no_grad()
    def __call__(self, obs: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """Return intrinsic rewards (B,) of obs (B, O) among stored (M, O)."""
        if len(stored) > self.reference:
            stored = stored[np.random.randint(0, len(stored), self.reference)]  # noqa: NPY002  as SB3: one global stream
        query, reference = torch.from_numpy(obs), torch.from_numpy(stored)
        if self.normalise:
            spread = reference.std(0).clamp_min(1e-6)
            query, reference = query / spread, reference / spread
        centre = reference.mean(0)  # far from the origin the product below would cancel to nothing in float32
        query, reference = query - centre, reference - centre
        # A stored state finds itself at distance 0, so the k-th neighbour is the (k+1)-th smallest.
        rank = min(self.k + 1, len(reference))
        # One product and `topk` are used, as kthvalue is five times slower on the CPU.
        squares = query.square().sum(1)[:, None] + reference.square().sum(1)
        nearest = torch.addmm(squares, query, reference.T, alpha=-2).topk(rank, dim=1, largest=False).values
        distance = nearest[:, -1].clamp_min(0).sqrt()
        self.distances.observe(distance[:, None])
        return (distance / self.distances.var.sqrt().clamp_min(1e-6).to(distance.dtype)).numpy()

    def state_dict(self) -> dict[str, Any]:
        return {k: v.numpy() for k, v in self.distances.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distances.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
