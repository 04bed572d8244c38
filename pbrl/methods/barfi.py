"""BARFI (Gupta et al. 2023): a reward learns so that what the agent makes of it does well in the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.sac_update import Batch
from pbrl.agents.torch_sac import Parameters
from pbrl.checks import between, positive, required, whole
from pbrl.methods.method import Method, Metrics, Run
from pbrl.rewards.blend import Blend
from pbrl.rewards.implicit import implicit_gradient, largest_curvature
from pbrl.teachers.levels import columns_of, read_weights
from pbrl.types import Episode, RewardSource, Steps

POWER_PRODUCTS = 4  # of the Hessian with a vector, to find its largest eigenvalue
SHOWN = 1000  # stored steps that metrics look at
KEPT = ("obs", "actions", "tags")  # of an episode that waits for the next outer step


class Differentiable(Protocol):
    """A SAC through whose policy gradients flow, as `TorchSAC`."""

    actor: Any
    gamma: float

    def sample_batch(self, batch_size: int) -> Batch: ...

    def actor_loss(self, batch: Batch, actor: Parameters | None = None, critic: Parameters | None = None) -> Tensor: ...

    def log_prob(self, obs: Tensor, actions: Tensor) -> Tensor: ...


class Played(NamedTuple):
    """Steps of whole episodes, one after another."""

    obs: Tensor  # (M, O)
    actions: Tensor  # (M, A)
    primary: Tensor  # (M,) what the task paid
    helper: Tensor  # (M,)
    lengths: list[int]  # of the episodes


class Barfi(Method):
    """Learns the blend of a task's reward and a helper's by the implicit gradient through the agent.

    After every few episodes v is the policy gradient of the task's return on them alone, and the blend ascends

        dJ_p/dphi = [step * sum_j (I + step H)^j v]^T d^2 J_phi / dtheta dphi

    with J_phi = mean of log pi(a|s) times the discounted sum of the blend from there on, over the same steps, and H the
    Hessian of SAC's own objective on stored steps. Then everything stored gets the new reward. Nobody is asked.

    Args:
        primary: of factors, the task's reward {FACTOR: WEIGHT}; None: the environment's.
        helper: likewise, what may help or mislead; None: nothing, and a bonus alone is learned.
        model: makes the `Blend`, from obs_size and rng.
        episodes: from one outer step to the next.
        window: of the last episodes, that it is learned from: fewer are more the policy's own, more are less noisy.
        first: environment steps before the first.
        outer_steps: of the blend each time; 0: it stays the plain sum, the control.
        terms, step: of the Neumann series, in units of one over the largest curvature: beyond 2 it would turn v round.
        curvature_batch: stored steps of the Hessian.
    """

    agents = ("sac",)
    reads_labels = False
    measures = 2
    when = "stored"
    exports: ClassVar[Mapping[str, str]] = {}  # the blend reads what the environment pays, and is of no use without

    def __init__(
        self,
        *,
        primary: Mapping[str, float] | None,
        helper: Mapping[str, float] | None,
        model: Callable[..., Blend],
        episodes: int,
        window: int,
        first: int,
        outer_steps: int,
        terms: int,
        step: float,
        curvature_batch: int,
    ) -> None:
        required(model=model)
        whole(1, episodes=episodes, window=window, curvature_batch=curvature_batch)
        whole(0, first=first, outer_steps=outer_steps, terms=terms)
        positive(step=step)
        between(0, 1, step=step)
        self.primary = None if primary is None else read_weights("primary", primary)
        self.helper = {} if helper is None else read_weights("helper", helper)
        self._make_model, self.episodes, self.window, self.first = model, episodes, window, first
        self.outer_steps, self.terms, self.step_size, self.curvature_batch = outer_steps, terms, step, curvature_batch

    def begin(self, run: Run) -> None:
        super().begin(run)
        for name, weights in (("primary", self.primary or {}), ("helper", self.helper)):
            columns_of(list(weights), run.factor_names, name)
        if self.outer_steps and not hasattr(self.sac, "log_prob"):
            why = "gradients go through the agent"
            raise ValueError(f"outer_steps={self.outer_steps}: {why}; choose agent=sac_torch, or outer_steps=0")
        self.model = self._make_model(obs_size=run.obs_shape[0], rng=run.rng("reward"))
        self.optimizer = self.model.optimizer
        self.waiting: list[dict[str, np.ndarray]] = []  # the last episodes, as a checkpoint can hold them
        self.steps_taken, self.since = 0, 0  # of the blend; episodes since the last
        self.norm_at_start: float | None = None  # of v, the outer gradient by the policy

    def measure(self, reward: float, factors: Mapping[str, float]) -> Sequence[float]:
        """Return what the task and the helper paid."""
        paid = reward if self.primary is None else _sum(self.primary, factors)
        return paid, _sum(self.helper, factors)

    def reward(self) -> RewardSource:
        return self

    @torch.no_grad()
    def of_steps(self, steps: Steps) -> Tensor:
        assert steps.tags is not None
        return self.model.rewards(steps.obs, steps.tags[:, 0], steps.tags[:, 1])

    def of_episode(self, episode: Episode) -> np.ndarray:
        played = _played([{name: getattr(episode, name) for name in KEPT}])
        with torch.no_grad():
            found: np.ndarray = self.model.rewards(played.obs, played.primary, played.helper).numpy()
        return found

    def learned_return(self, episode: Episode) -> float | None:
        return float(self.of_episode(episode).sum())

    def observe(self, finished: Sequence[Episode]) -> None:
        if not self.outer_steps:
            return
        self.waiting += [{name: getattr(e, name) for name in KEPT} for e in finished]
        self.waiting, self.since = self.waiting[-self.window :], self.since + len(finished)

    def step(self) -> Metrics:
        """Outer steps on the last episodes, where enough are new; all that is stored then gets the new reward."""
        if self.since < self.episodes or self.run.step < self.first or not self.run.agent.updates:
            return {}
        self.since, played = 0, _played(self.waiting)
        if not self.steps_taken:
            self.model.norm.observe(torch.from_numpy(self.run.agent.stored_obs))
        outer, norm = self._outer(played)
        if self.norm_at_start is None:
            self.norm_at_start = norm
        if norm > 0:  # else nothing is known of where to go
            for _ in range(self.outer_steps):
                self._ascend(played, outer)
            self.run.agent.set_reward(self)
        return {"reward/outer_gradient": norm, "reward/outer_steps": self.steps_taken}

    def _outer(self, played: Played) -> tuple[list[Tensor], float]:
        """v by each parameter of the policy, as a direction, and its norm."""
        gain = self._from_there_on(played.primary, played.lengths)
        objective = (_beyond_average(gain, played.lengths) * self.sac.log_prob(played.obs, played.actions)).mean()
        found = torch.autograd.grad(objective, self._theta)
        norm = _norm(found)
        return [g / max(norm, 1e-12) for g in found], norm

    def _ascend(self, played: Played, outer: list[Tensor]) -> None:
        """One step of the blend."""
        sac, phi = self.sac, list(self.model.net.parameters())
        rewards = self.model.rewards(played.obs, played.primary, played.helper)
        gain = _beyond_average(self._from_there_on(rewards, played.lengths), played.lengths)
        objective = (gain * sac.log_prob(played.obs, played.actions)).mean()
        curvature, step = None, 1.0
        if self.terms:
            curvature = -sac.actor_loss(sac.sample_batch(self.curvature_batch))
            largest = largest_curvature(curvature, self._theta, outer, POWER_PRODUCTS)
            step = self.step_size / max(largest, 1e-12)
        found = implicit_gradient(objective, self._theta, outer, phi, terms=self.terms, step=step, curvature=curvature)
        size = max(_norm(found), 1e-12)  # so that the penalty means the same at all scales
        penalty = self.model.penalty * self.model.parts(played.obs)[0].square().mean()
        of_penalty = torch.autograd.grad(penalty, phi)
        for parameter, up, down in zip(phi, found, of_penalty, strict=True):
            parameter.grad = down - up / size
        self.optimizer.step()
        self.steps_taken += 1

    def _from_there_on(self, rewards: Tensor, lengths: list[int]) -> Tensor:
        """(M,) discounted sums of rewards (M,) from each step to the end of its episode."""
        return torch.cat([_discounted(own, self.sac.gamma) for own in rewards.split(lengths)])

    @property
    def _theta(self) -> list[Tensor]:
        return list(self.sac.actor.parameters())

    @property
    def sac(self) -> Differentiable:
        """The algorithm behind the agent."""
        agent: Any = self.run.agent
        return agent.model

    def metrics(self) -> Metrics:
        """Bonus and weight of the helper over stored steps: their spread and mean."""
        if not self.steps_taken:
            return {}
        with torch.no_grad():
            bonus, weight = self.model.parts(torch.from_numpy(self.run.agent.stored_obs[-SHOWN:]))
        return {"reward/bonus_std": float(bonus.std()), "reward/helper_weight": float(weight.mean())}

    def facts(self) -> dict[str, Any]:
        """The norm of the outer gradient at the start: where it is 0, the policy has not met the task's reward."""
        return {"outer_gradient_at_start": self.norm_at_start, "outer_steps": self.steps_taken}


def _norm(gradients: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in gradients))


def _sum(weights: Mapping[str, float], factors: Mapping[str, float]) -> float:
    return sum(weight * factors[name] for name, weight in weights.items())


def _played(episodes: Sequence[Mapping[str, np.ndarray]]) -> Played:
    obs, actions, tags = (
        torch.from_numpy(np.concatenate([np.float32(e[name][: len(e["actions"])]) for e in episodes])) for name in KEPT
    )
    return Played(obs, actions, tags[:, 0], tags[:, 1], [len(e["actions"]) for e in episodes])


def _discounted(rewards: Tensor, gamma: float) -> Tensor:
    """(L,) sum_{j>=i} gamma^(j-i) r_j of rewards (L,)."""
    i = torch.arange(len(rewards))
    ahead = (i[None] - i[:, None]).clamp(min=0)
    return torch.triu(gamma ** ahead.to(rewards.dtype)) @ rewards


def _beyond_average(gain: Tensor, lengths: list[int]) -> Tensor:
    """Gains (M,) without a line in time fitted to them, which is a baseline: it does not depend on what was done."""
    # In closed form: LAPACK's answer depends on where in memory its input lies, and a resumed run would differ.
    when = torch.cat([torch.arange(length, dtype=gain.dtype) for length in lengths])
    when, gain = when - when.mean(), gain - gain.mean()
    slope = (when * gain).sum() / when.square().sum().clamp(min=1e-12)  # one step alone has none
    return gain - slope * when
