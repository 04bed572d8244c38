"""One policy for all weights of several objectives, which it sees: directional preferences (Wang et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from pbrl.agents.conditioned import ShowsWeights, behind, with_weights
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.methods.method import Act, Learned, Run, of_part, save_weights
from pbrl.methods.vector_reward import POLICIES, VectorReward, checked_weights, in_words, weighted
from pbrl.statistics.fronts import crowding, simplex
from pbrl.types import Episode, RewardSource, Steps

MOST = 1000  # weights of the grid; with many more, some would share their three digits, and so their row


class ConditionedCmorl(VectorReward):
    """SAC whose policy and critics see weights v behind the observation, and whose reward is v . objectives.

    Wang et al. 2024 give a direction v to the one policy, and reward it by v . r; there v is of length 1, here its sum
    is. Each episode has a v of its own, uniform on the simplex. `contexts` are the grid of weights, which is evaluated
    in turn, so that each evaluation is of a front.
    """

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self._actor: dict[str, Tensor] = {}  # the policy that sees weights, of a saved run

    def shown_task(self, env: gym.Env, factor_names: tuple[str, ...]) -> gym.Env:
        self.read_units(factor_names)
        if (count := math.comb(self.parts + self.measures - 1, self.parts)) > MOST:
            raise UserError(f"parts={self.parts}: each evaluation would be of {count} weights, expected at most {MOST}")
        self._task = env
        images = len(env.observation_space.shape or ()) != 1  # which the agent refuses
        return env if images else ShowsWeights(env, self.measures)

    def begin(self, run: Run) -> None:
        super().begin(run)
        self._grid = _grid(self.measures, self.parts)
        self.contexts = tuple(self._grid)
        self.returns = []  # by each of them, once all were evaluated
        self._measured: list[list[float]] = []

    def reward(self) -> RewardSource:
        return self

    def of_steps(self, steps: Steps) -> Tensor:
        assert steps.tags is not None
        return weighted(steps.tags, steps.obs[:, -self.measures :])

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.tags is not None
        rewards: np.ndarray = (episode.tags * episode.obs[:-1, -self.measures :]).sum(1)
        return rewards

    def learned_return(self, episode: Episode) -> float | None:
        return float(self.of_episode(episode).sum())

    def policy(self, context: Any = None) -> Act:
        """Return the policy of these weights; of equal ones by default."""
        agent, weights = self.run.agent, self._grid[context] if context else _equal(self.measures)

        def act(obs: np.ndarray) -> np.ndarray:
            return agent.act(behind(obs, weights), deterministic=True)

        return act

    def evaluated(self, context: Any, row: Mapping[str, Any]) -> None:
        self._measured.append(self.returns_of(row))
        if len(self._measured) == len(self.contexts):
            self.returns, self._measured = self._measured, []

    def save(self, folder: Path) -> None:
        """Write policy.zip (of equal weights), policy.safetensors (of all weights) and front.csv (what some reach)."""
        parameters = self.run.agent.state_dict()["parameters"]
        own = self.for_task(parameters, self.run.obs_shape[0])
        with replacing(folder / "policy.zip") as partial_file:
            self.run.agent.save_for(str(partial_file), self._task, own)
        save_weights(folder / POLICIES, self.exported({"returns": self.returns}))
        if self.returns:
            self.write_front(folder, self.contexts)

    def for_task(self, parameters: dict[str, Any], obs_size: int) -> dict[str, Any]:
        """Return networks of equal weights that do not see them; those of other weights have other biases."""
        policy = parameters["policy"]
        self._hold({name: v.detach().cpu().clone() for name, v in of_part(policy, "actor").items()}, obs_size)
        fresh = {name: value | {"state": {}} for name, value in parameters.items() if name.endswith("optimizer")}
        return parameters | fresh | {"policy": with_weights(policy, _equal(self._count), obs_size)}

    def _hold(self, actor: dict[str, Tensor], obs_size: int) -> None:
        """Keep the actor that sees weights, from which those of any are made."""
        self._actor, self._obs_size, self._count = actor, obs_size, _inputs(actor) - obs_size
        self._grid = _grid(self._count, self.parts)

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return conditioned.NAME of the actor that sees weights, once it is known, and returns (n, J) of the grid."""
        actor = {f"conditioned.{name}": value.contiguous() for name, value in self._actor.items()}
        returns = {"front.returns": torch.tensor(state["returns"])} if state["returns"] else {}
        return actor | returns

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        if actor := of_part(weights, "conditioned"):
            self._hold(actor, obs_shape[0])
        self.returns = weights["front.returns"].tolist() if "front.returns" in weights else []
        return Learned()

    def along(self, weights: Sequence[float]) -> tuple[dict[str, Tensor], str]:
        given = np.array(checked_weights(weights, self._count), float)
        if (given < 0).any():
            raise UserError(f"weights={list(weights)}: expected numbers of at least 0, as the policy has seen")
        return self._with(given / given.sum())

    def shown(self, most: int) -> list[int]:
        """Return the numbers of at most `most` weights of the grid, from one end to the other."""
        points = np.array(list(self._grid.values()))
        return sorted(np.argsort(-crowding(points), kind="stable")[:most].tolist())

    def policy_of(self, number: int) -> tuple[dict[str, Tensor], str]:
        actor, what = self._with(list(self._grid.values())[number])
        reached = f" with returns {in_words(self.returns[number])}" if self.returns else ""
        return actor, what + reached

    def _with(self, weights: np.ndarray) -> tuple[dict[str, Tensor], str]:
        own = {f"actor.{name}": value for name, value in self._actor.items()}
        return of_part(with_weights(own, weights, self._obs_size), "actor"), f"weights {in_words(weights.tolist())}"


def _equal(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def _inputs(actor: Mapping[str, Tensor]) -> int:
    """Return how many numbers the actor reads."""
    first = "latent_pi.0.weight" if "latent_pi.0.weight" in actor else "mu.weight"
    return actor[first].shape[1]


def _grid(count: int, parts: int) -> dict[str, np.ndarray]:
    """Return weights (J,) that are evaluated, by the words in which `pbrl eval weights=` takes them."""
    return {",".join(f"{w:.3g}" for w in weights): weights for weights in simplex(count, parts)}
