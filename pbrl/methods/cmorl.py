"""C-MORL (Liu et al. 2025): many policies along the front of several objectives, one after another in one agent."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import finite, positive, share, whole
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.methods.method import Act, Learned, Method, Metrics, Run, of_part, save_weights
from pbrl.rewards.objectives import barrier_weights, floors, spread_of
from pbrl.statistics.fronts import crowding, expected_utility, hypervolume, on_front, simplex, sparsity
from pbrl.teachers.levels import columns_of, read_weights, sum_weights
from pbrl.training.evaluate import factor_column
from pbrl.types import Episode, RewardSource, Steps

RECENT = 5  # episodes by whose mean a floor is watched
UTILITY_PARTS = {2: 100}  # of expected utility, weights every 0.01; more objectives: every 0.1
TABLE, POLICIES = "front.csv", "policy.safetensors"
MOST_WEIGHT = 10.0  # of an objective that is at its floor


class Cmorl(Method):
    """First a policy for each of some weighted sums of objectives, then constrained steps that widen the front.

    All are trained by one agent, each from the one before, and learn from everything that was stored so far: a step is
    stored with all objectives, and rewarded anew when the weights change. In a constrained step the agent goes back to
    a policy of the front and raises one objective; the weights of the others follow the barrier of Liu et al., by the
    returns of the last episodes. Every policy is evaluated when its share of the steps is over, and kept.

    Args:
        objectives: of factors, {FACTOR: WEIGHT}; its unit, and its sign where lower is better. None: those of `levels`.
        levels: as for HERON, of which the factors and signs are taken; None: all factors, higher is better.
        parts: weights of the first stage are whole numbers of 1/parts.
        first_share: of the run's steps for them; 1: weighted sums alone, the control.
        points: of the front that constrained steps start from, the least crowded ones; each for every objective.
        slack: share that may be lost of an objective's spread over all policies so far.
        sharpness: t of the barrier.
        reference: of the hypervolume, one number for each objective; None: the worst that was reached.
    """

    agents = ("sac",)
    reads_labels = False
    when = "stored"
    exports: ClassVar[Mapping[str, str]] = {"front": "kept"}

    def __init__(
        self,
        *,
        objectives: Mapping[str, float] | None,
        levels: Sequence[Mapping[str, Any]] | None,
        parts: int,
        first_share: float,
        points: int,
        slack: float,
        sharpness: float,
        reference: Sequence[float] | None,
    ) -> None:
        whole(1, parts=parts, points=points)
        positive(first_share=first_share, slack=slack, sharpness=sharpness)
        share(first_share=first_share, slack=slack)
        self._objectives = None if objectives is None else read_weights("objectives", objectives)
        if self._objectives is None and levels is not None:
            self._objectives = sum_weights(levels, None, 1.0)
        self.parts, self.first_share, self.points, self.slack = parts, first_share, points, slack
        self.sharpness, self.reference = sharpness, reference

    def begin(self, run: Run) -> None:
        super().begin(run)
        self._units = self._objectives or dict.fromkeys(run.factor_names, 1.0)
        columns_of(list(self._units), run.factor_names, "objectives")
        if (count := len(self._units)) < 2:
            raise UserError(
                f"objectives: {', '.join(self._units) or 'none'}; expected at least 2 of {run.factor_names}"
            )
        if zero := [name for name, unit in self._units.items() if unit == 0]:
            raise UserError(f"objectives.{zero[0]}=0: expected another number, or leave it out")
        if self.reference is not None:
            finite(count, ", ".join(self._units), reference=self.reference)
        hypervolume(np.ones((1, count)), np.zeros(count))  # what it needs is missing now, not in an hour
        if not run.evaluates_beside:
            raise UserError(
                "evaluation: each policy is measured while training goes on; give evaluation.every= and envs="
            )
        self._sums = simplex(count, self.parts)
        self._length, self.constrained = self._lengths()
        self.kept: dict[str, Tensor] = {}  # N.NAME of the weights of policy N
        self.returns: list[list[float]] = []  # of each policy, (J,)
        self.said: list[str] = []  # of each policy, what it was trained for
        self.weights = self._sums[0]
        self.task, self.task_ends = 0, self._length
        self.starts: list[int] = []  # policies that constrained steps begin with
        self.recent: list[list[float]] = []  # returns of the last episodes of a task

    @property
    def _usable(self) -> int:
        """Steps at which a task may end, which is before the run does."""
        return self.run.steps - self.run.agent.n_envs

    def _lengths(self) -> tuple[int, int]:
        """Steps for each policy of the first stage, and for each constrained one if all of them are trained."""
        first, constrained = int(self._usable * self.first_share), self.points * self.measures
        each = first // len(self._sums), (self._usable - first) // constrained
        if each[0] < 1 or (self.first_share < 1 and each[1] < 1):
            tasks = len(self._sums) + constrained
            raise ValueError(f"parts={self.parts}: steps={self.run.steps} are too few for {tasks} policies")
        return each

    @property
    def measures(self) -> int:  # type: ignore[override]
        return len(self._units)

    def measure(self, reward: float, factors: Mapping[str, float]) -> Sequence[float]:
        return [unit * factors[name] for name, unit in self._units.items()]

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
        """Move the weights after the returns of the last episodes in a constrained step."""
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
        """The policy of a task is measured and kept, and the next task begins."""
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
        means = np.array([unit * float(row[factor_column(name)] or 0) for name, unit in self._units.items()])
        self.returns.append((means * float(row["episode_length"] or 0)).tolist())
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
        """The policy whose returns have the highest weighted sum."""
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

    def metrics(self) -> Metrics:
        if not self.returns:
            return {}
        points = np.array(self.returns)
        weights = simplex(self.measures, UTILITY_PARTS.get(self.measures, 10))
        return {
            "front/policies": len(points),
            "front/points": int(on_front(points).sum()),
            "front/hypervolume": hypervolume(points, self._reference(points)),
            "front/sparsity": sparsity(points),
            "front/expected_utility": expected_utility(points, weights),
        }

    def _reference(self, points: np.ndarray) -> np.ndarray:
        return points.min(0) if self.reference is None else np.array(self.reference, float)

    def facts(self) -> dict[str, Any]:
        points = np.array(self.returns).reshape(-1, self.measures)
        reference = self._reference(points).tolist() if len(points) else None
        found = {name.removeprefix("front/"): value for name, value in self.metrics().items()}
        return {"front": {"objectives": self._units, "reference": reference, **found}}

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
        with replacing(folder / TABLE) as partial_file, partial_file.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["policy", "trained_for", *self._units, "on_front"])
            on = on_front(np.array(self.returns))
            for i, (said, returns) in enumerate(zip(self.said, self.returns, strict=True)):
                writer.writerow([i, said, *(f"{value:.6g}" for value in returns), int(on[i])])

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

    def preferred(self, weights: Sequence[float]) -> int:
        given, count = list(weights) if np.iterable(weights) else [weights], len(self.returns[0])
        if len(given) != count:
            raise UserError(f"weights= has {len(given)} numbers; expected {count}, one for each objective of the run")
        if not all(isinstance(w, Real) and math.isfinite(w) for w in given) or not any(given):
            raise UserError(f"weights={given}: expected finite numbers, of which one is not 0")
        return self.best_for(given)

    def shown(self, most: int) -> list[int]:
        """Return the numbers of at most `most` policies, from one end of the front to the other."""
        chosen = sparse_points(np.array(self.returns), most)
        return sorted(chosen, key=lambda number: self.returns[number])

    def policy_of(self, number: int) -> tuple[dict[str, Tensor], str]:
        returns = ", ".join(f"{value:.4g}" for value in self.returns[number])
        return self._actor(number), f"policy {number} with returns {returns}"


def sparse_points(points: np.ndarray, count: int) -> list[int]:
    """The least crowded of the points (n, J) on the front, at most so many."""
    front = np.flatnonzero(on_front(points))
    order = np.argsort(-crowding(points[front]), kind="stable")
    return front[order[:count]].tolist()
