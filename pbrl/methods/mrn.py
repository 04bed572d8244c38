"""MRN, Meta-Reward-Net (Liu et al. 2022): the reward also learns from what it makes of the critic."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from pbrl.agents.sac_update import Batch
from pbrl.agents.torch_sac import Parameters
from pbrl.checks import between, whole
from pbrl.losses import bradley_terry_loss
from pbrl.methods.between import BetweenSessions
from pbrl.methods.method import Metrics, Run
from pbrl.types import Comparisons


class Differentiable(Protocol):
    """A SAC whose critic can take a virtual step, as `TorchSAC`."""

    critic: Any

    def sample_batch(self, batch_size: int) -> Batch: ...

    def critic_after(self, batch: Batch, lr: float) -> Parameters: ...

    def q_values(self, obs: Tensor, actions: Tensor, critic: Parameters | None = None) -> Tensor: ...


class Mrn(BetweenSessions):
    """PEBBLE whose reward takes extra steps while labels last, each followed by a relabelling.

    In each the critics take a virtual step of plain gradient descent on the learned reward, and the reward descends

        weight * sum_k CE(sigmoid(Q'_k(first step on the right) - Q'_k(first step on the left)), answer)

    over the newest answers, as many as a session asks, through that step. The control has the same number of steps and
    relabellings, down the preference loss on the same answers: no second derivative.

    Args:
        meta_every: environment steps from one to the next.
        meta_batch: stored steps of the critics' virtual step.
        meta_weight: of the loss above; 0: the reward takes its steps by momentum alone, the other control.
        second_derivative: false for the control.
        others: as for `Pebble`.
    """

    def __init__(
        self, *, meta_every: int, meta_batch: int, meta_weight: float, second_derivative: bool, **common: Any
    ) -> None:
        super().__init__(**common)
        whole(1, meta_every=meta_every, meta_batch=meta_batch)
        between(0, 100, meta_weight=meta_weight)
        self.between_every, self.meta_batch, self.meta_weight = meta_every, meta_batch, meta_weight
        self.second_derivative = second_derivative

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.meta_steps = 0
        if self.second_derivative and not hasattr(self.sac, "critic_after"):
            why = "gradients go through the agent's update"
            raise ValueError(f"second_derivative=True: {why}; choose agent=sac_torch, or second_derivative=false")

    def between(self) -> Metrics:
        """Step the reward once, which everything stored gets at once."""
        newest = self.newest()
        if len(newest) == 0:  # all taken back, or held out
            return {}
        loss = self.meta_step(newest) if self.second_derivative else self.control_step(newest)
        self.updates, self.meta_steps = self.updates + 1, self.meta_steps + 1
        self.settle(self.heldout_figures().get("heldout_temperature", 1.0))
        self.relabel()
        return {"reward/meta_loss": loss}

    def control_step(self, newest: Comparisons) -> float:
        return self.objective.update(self.model, self.for_all(newest))["loss"]

    def newest(self) -> Comparisons:
        """The last answers as they are believed, as many as a session asks, without held-out ones."""
        assert self.preferences.believed is not None
        return self.preferences.believed[self.preferences.train_rows[-self.run.feedback.per_session :]]

    def for_all(self, comparisons: Comparisons) -> Comparisons:
        """The same batch for each member, in turn."""
        return Comparisons.cat([comparisons] * self.model.members)

    def meta_step(self, newest: Comparisons) -> float:
        sac, optimizer = self.sac, self.optimizer
        batch = sac.sample_batch(self.meta_batch)
        rewards = self.scale * self.objective.combine(self.model, self.model(batch.obs, batch.actions))
        loss = self.meta_weight * meta_loss(sac, batch, rewards, newest, sac.critic.optimizer.param_groups[0]["lr"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
        return float(loss.detach())

    @property
    def sac(self) -> Differentiable:
        """The algorithm behind the agent."""
        agent: Any = self.run.agent
        return agent.model

    def metrics(self) -> Metrics:
        return super().metrics() | {"reward/meta_steps": self.meta_steps}


def meta_loss(sac: Differentiable, batch: Batch, rewards: Tensor, answers: Comparisons, lr: float) -> Tensor:
    """Sum over critics of the cross-entropy of their values, after a step on these rewards, to the answers.

    rewards: (B,) of the batch, with the graph that the loss goes back through. lr: of a step down
    sum_k mean (Q_k - y)^2, twice the loss of `critic_after`.
    """
    critic = sac.critic_after(batch._replace(rewards=rewards[:, None]), 2 * lr)
    left, right = (sac.q_values(s.obs[:, 0], s.actions[:, 0], critic) for s in (answers.left, answers.right))  # (2, B)
    return len(left) * bradley_terry_loss(left, right, answers.prefers_right)
