"""C-MORL (Liu et al. 2025): many policies along the front of several objectives, one after another in one agent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import positive, share, whole
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.methods.method import Act, Learned, Metrics, Run, of_part, save_weights
from pbrl.methods.vector_reward import POLICIES, VectorReward, checked_weights, in_words
from pbrl.rewards.objectives import barrier_weights, floors, spread_of
from pbrl.statistics.fronts import crowding, on_front, simplex
from pbrl.types import Episode, RewardSource, Steps

RECENT = 5  # episodes by whose mean a floor is watched
MOST_WEIGHT = 10.0  # of an objective that is at its floor


class Cmorl(VectorReward):
    """First a policy for each of some weighted sums of objectives, then constrained steps that widen the front.

    All are trained by one agent, each from the one before, and learn from everything that was stored so far: a step is
    stored with all objectives, and rewarded anew when the weights change. In a constrained step the agent goes back to
    a policy of the front and raises one objective; the weights of the others follow the barrier of Liu et al., by the
    returns of the last episodes. Every policy is evaluated when its share of the steps is over, and kept.

    Args:
        objectives, levels, reference: see `VectorReward`.
        parts: weights of the first stage are whole numbers of 1/parts.
        first_share: of the run's steps for them; 1: weighted sums alone, the control.
        points: of the front that constrained steps start from, the least crowded ones; each for every objective.
        slack: share that may be lost of an objective's spread over all policies so far.
        sharpness: t of the barrier.
    """

    exports: ClassVar[Mapping[str, str]] = {"front": "kept"}

    def __init__(
        self, *, parts: int, first_share: float, points: int, slack: float, sharpness: float, **common: Any
    ) -> None:
        super().__init__(parts=parts, **common)
        whole(1, points=points)
        positive(first_share=first_share, slack=slack, sharpness=sharpness)
        share(first_share=first_share, slack=slack)
        self.first_share, self.points, self.slack, self.sharpness = first_share, points, slack, sharpness

    def begin(self, run: Run) -> None:
        super().begin(run)
        if not run.evaluates_beside:
            raise UserError(
                "evaluation: each policy is measured while training goes on; give evaluation.every= and envs="
            )
        self._length, self.constrained = self._lengths()
        self._sums = simplex(self.measures, self.parts)
        self.kept: dict[str, Tensor] = {}  # N.NAME of the weights of policy N
        self.returns = []
        self.said: list[str] = []  # of each policy, what it was trained for
        self.weights = self._sums[0]
        self.task, self.task_ends = 0, self._length
        self.starts: list[int] = []  # policies that constrained steps begin with
        self.recent: list[list[float]] = []  # returns of the last episodes of a task

    @property
    def _usable(self) -> int:
        """The last step at which a task may end, which is before the run does."""
        return self.run.steps - self.run.agent.n_envs

    def _lengths(self) -> tuple[int, int]:
        """Steps for each policy of the first stage, and for each constrained one if all of them are trained."""
        first, constrained = int(self._usable * self.first_share), self.points * self.measures
        sums = math.comb(self.parts + self.measures - 1, self.parts)  # of `simplex`, before it lists them all
        each = first // sums, (self._usable - first) // constrained
        if each[0] < 1 or (self.first_share < 1 and each[1] < 1):
            raise ValueError(
                f"parts={self.parts}: steps={self.run.steps} are too few for {sums + constrained} policies"
            )
        return each

    def reward(self) -> RewardSource:
        return self

    def of_steps(self, steps: Steps) -> Tensor:
        assert steps.tags is not None
        return steps.tags @ torch.from_numpy(np.float32(self.weights))

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.tags is not None
        rewards: np.ndarray = episode.tags @ np.float32(self.weights)
        return rewards

    def learned_return(self, episode: Episode) -> float | None:
        return float(self.of_episode(episode).sum())

    @property
    def in_first_stage(self) -> bool:
        return self.task < len(self._sums)

    def observe(self, finished: Sequence[Episode]) -> None:
        """Let the weights follow the returns of the last episodes, in a constrained step."""
        self.recent += [e.tags.sum(0).tolist() for e in finished if e.tags is not None]
        self.recent = self.recent[-RECENT:]
        if finished and not self.in_first_stage and not self.is_over:
            self._weigh(np.mean(self.recent, 0))

    @property
    def is_over(self) -> bool:
        """Whether all policies are trained; what is left of the run changes nothing any more."""
        trained = self.task - len(self._sums)  # by constrained steps
        return trained >= (len(self.starts) * self.measures if self.starts else 0 if self.first_share == 1 else 1)

    def due(self) -> int:
        return 2**62 if self.is_over else self.task_ends

    def step(self) -> Metrics:
        """Measure and keep the policy of a task, and begin the next task."""
        self._keep()
        self.task, self.recent = self.task + 1, []
        if self.in_first_stage:
            self.weights = self._sums[self.task]
            self.run.agent.set_reward(self)
        elif not self.is_over:
            self._begin_constrained()
        self.task_ends = self.run.step + (self._length if self.in_first_stage else self.constrained)
        return {}

    def _keep(self) -> None:
        row = self.run.evaluate(partial(self.run.agent.act, deterministic=True))
        self.returns.append(self.returns_of(row))
        policy = self.run.agent.state_dict()["parameters"]["policy"]
        self.kept |= {f"{len(self.returns) - 1}.{name}": value.detach().cpu().clone() for name, value in policy.items()}
        if self.in_first_stage:
            self.said.append(" ".join(f"{w:g}" for w in self.weights))
        else:
            start, raised = self._constrained_task
            self.said.append(f"from {start}: {list(self._units)[raised]}")

    @property
    def _constrained_task(self) -> tuple[int, int]:
        """The policy that this task begins with, and the objective that it raises."""
        number = self.task - len(self._sums)
        return self.starts[number // self.measures], number % self.measures

    def _begin_constrained(self) -> None:
        if not self.starts:
            self.starts = sparse_points(np.array(self.returns), self.points)
            self.constrained = max((self._usable - self.run.step) // (len(self.starts) * self.measures), 1)
        start, _ = self._constrained_task
        state = self.run.agent.state_dict()
        own = of_part(self.kept, str(start))
        self.run.agent.set_policy(state["parameters"] | {"policy": own}, state["variables"])
        self._weigh(np.array(self.returns[start]))

    def _weigh(self, now: np.ndarray) -> None:
        """Weigh objectives by the barrier, in units in which the weights of a reward are 1 in all."""
        start, raised = self._constrained_task
        spread = spread_of(np.array(self.returns))
        least = floors(np.array(self.returns[start]), spread, self.slack, raised)
        weights = barrier_weights(now, least, spread, raised, self.sharpness, MOST_WEIGHT) / spread
        self.weights = weights / weights.sum()
        self.run.agent.set_reward(self)

    def best_for(self, weights: Sequence[float]) -> int:
        """Return the number of the policy whose returns have the highest weighted sum."""
        return int(np.argmax(np.array(self.returns) @ np.asarray(weights)))

    def policy(self, context: Any = None) -> Act:
        """Return the policy of equal weights, once there is one; the agent's before."""
        agent = self.run.agent
        if not self.returns:
            return partial(agent.act, deterministic=True)
        actor = self._actor(self.best_for([1.0] * self.measures))

        @torch.no_grad()
        def act(obs: np.ndarray) -> np.ndarray:
            called = torch.func.functional_call(agent.actor, actor, (torch.from_numpy(np.float32(obs)), True))
            actions: np.ndarray = called.numpy()
            return actions

        return act

    def _actor(self, number: int) -> dict[str, Tensor]:
        return of_part(of_part(self.kept, str(number)), "actor")

    def save(self, folder: Path) -> None:
        """policy.zip has the policy of equal weights, policy.safetensors all of them, front.csv what each reaches."""
        if not self.returns:
            super().save(folder)
            return
        actor = self.run.agent.actor
        last = {name: value.clone() for name, value in actor.state_dict().items()}
        actor.load_state_dict(self._actor(self.best_for([1.0] * self.measures)))
        with replacing(folder / "policy.zip") as partial_file:
            self.run.agent.save(str(partial_file))
        actor.load_state_dict(last)
        save_weights(folder / POLICIES, self.exported({"kept": self.kept, "returns": self.returns}))
        self.write_front(folder, self.said)

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """front.N.NAME of each actor, and their returns (n, J)."""
        if not state["returns"]:
            return {}
        actors = {f"front.{k}": v.contiguous() for k, v in state["kept"].items() if k.split(".")[1] == "actor"}
        return actors | {"front.returns": torch.tensor(state["returns"])}

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        self.kept = of_part(weights, "front")
        self.returns = self.kept.pop("returns").tolist()
        return Learned()

    def along(self, weights: Sequence[float]) -> tuple[dict[str, Tensor], str]:
        return self.policy_of(self.best_for(checked_weights(weights, len(self.returns[0]))))

    def shown(self, most: int) -> list[int]:
        """Return the numbers of at most `most` policies, from one end of the front to the other."""
        chosen = sparse_points(np.array(self.returns), most)
        return sorted(chosen, key=lambda number: self.returns[number])

    def policy_of(self, number: int) -> tuple[dict[str, Tensor], str]:
        return self._actor(number), f"policy {number} with returns {in_words(self.returns[number])}"


def sparse_points(points: np.ndarray, count: int) -> list[int]:
    """Return the rows of the least crowded of the points (n, J) on the front, at most so many."""
    front = np.flatnonzero(on_front(points))
    order = np.argsort(-crowding(points[front]), kind="stable")
    return front[order[:count]].tolist()
