"""REED (Metcalf et al. 2022): PEBBLE whose reward first learns, without labels, how the environment goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, ClassVar

import torch
from torch import Tensor

from pbrl.checks import between, one_of, positive, whole
from pbrl.data.episodes import StoredSegments
from pbrl.finite import REWARD_MODEL, require_finite_metrics
from pbrl.methods.method import Metrics, Run
from pbrl.methods.pebble import Pebble
from pbrl.nets.networks import descend
from pbrl.rewards.self_predictive import NextPredictor

PREDICTIONS = ("distillation", "contrastive")
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
TRAINED = 0.8  # of the steps; on the others the loss is only measured
EVERY_STEP, EVALUATED = 2**62, 1024


class Reed(Pebble):
    """Lets the layers below the reward's head predict the embedding of the next observation, before it asks.

    They learn from all steps of the episodes that questions may be about, and go on learning from answers.

    Args:
        prediction: "distillation" or "contrastive", see `NextPredictor`.
        temperature: of the contrastive one.
        projection: numbers in which embeddings are compared.
        prediction_optimizer: "sgd" or "adam", a fresh one each time.
        prediction_lr: its learning rate.
        prediction_epochs: passes over the steps, each time.
        prediction_batch: steps for each member and gradient step.
        prediction_updates: gradient steps at most, each time; None: all of the epochs.
        prediction_every: sessions from one time to the next.
        others: as for `Pebble`; `model` is a `SelfPredictiveReward`.
    """

    agents: ClassVar[tuple[str, ...]] = ("sac", "ppo")

    def __init__(
        self,
        *,
        prediction: str,
        temperature: float,
        projection: int,
        prediction_optimizer: str,
        prediction_lr: float,
        prediction_epochs: int,
        prediction_batch: int,
        prediction_updates: int | None,
        prediction_every: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        one_of(PREDICTIONS, prediction=prediction)
        one_of(tuple(OPTIMIZERS), prediction_optimizer=prediction_optimizer)
        positive(temperature=temperature)
        between(0, 1, prediction_lr=prediction_lr)
        whole(1, projection=projection, prediction_epochs=prediction_epochs, prediction_every=prediction_every)
        whole(2, prediction_batch=prediction_batch)  # one alone has nothing to be told from
        if prediction_updates is not None:
            whole(1, prediction_updates=prediction_updates)
        self.temperature = temperature if prediction == "contrastive" else None
        self.projection, self.prediction_lr = projection, prediction_lr
        self._optimizer = OPTIMIZERS[prediction_optimizer]
        self.prediction_epochs, self.prediction_batch = prediction_epochs, prediction_batch
        self.prediction_updates, self.prediction_every = prediction_updates, prediction_every

    def make_model(self, obs_shape: tuple[int, ...], action_size: int, rng: torch.Generator) -> Any:
        model = super().make_model(obs_shape, action_size, rng)
        if not hasattr(model, "obs_embedding"):
            raise ValueError(f"model: {type(model).__name__} has no encoder; expected a SelfPredictiveReward")
        return model

    def begin(self, run: Run) -> None:
        super().begin(run)
        rng = run.rng("prediction")
        self.predictor = NextPredictor(self.model, projection=self.projection, temperature=self.temperature, rng=rng)
        self.predicted = 0  # gradient steps so far

    def ask(self, n: int) -> Metrics:
        """Train the encoder first, so that questions are chosen by it."""
        desk, due = self.run.desk, self.run.desk.sessions % self.prediction_every == 0
        found = self.learn_dynamics() if due else {}
        metrics = super().ask(n)
        if found and self.updates and not desk.ready:  # people answer later: until then the reward fits its encoder
            self.updates += int(self.learn_model()["updates"])
            self.settle(self.heldout_figures().get("heldout_temperature", 1.0))
            self.relabel()
        return found | metrics

    def learn_dynamics(self) -> Metrics:
        """Pass over the steps of the pool, in an order of its own for each member."""
        rng, f = self.run.rng("prediction"), self.run.feedback
        steps = self.run.episodes.draw(EVERY_STEP, 1, rng, f.pool_episodes)  # in random order
        trained = max(int(TRAINED * len(steps)), 1)
        optimizer = self._optimizer([*self.model.net.encoder, *self.predictor.parameters()], lr=self.prediction_lr)
        members = self.model.members
        losses = [descend(optimizer, self.loss(steps, rows)) / members for rows in self.batches(trained, rng)]
        self.predicted += len(losses)
        held = torch.arange(trained, len(steps))[:EVALUATED].expand(members, -1)
        with torch.no_grad():
            heldout = float(self.loss(steps, held)) / members if held.shape[1] > 1 else float("nan")
        epoch = losses[-max(len(losses) // self.prediction_epochs, 1) :]
        found = {"prediction_loss": sum(epoch) / len(epoch)}
        require_finite_metrics(found, REWARD_MODEL)
        return {f"reward/{name}": value for name, value in (found | {"prediction_heldout_loss": heldout}).items()}

    def batches(self, steps: int, rng: torch.Generator) -> Iterator[Tensor]:
        """Draw rows (E, b) of so many steps, over all epochs or as many updates as there may be."""
        every_epoch = (self.epoch(steps, rng) for _ in range(self.prediction_epochs))
        return islice(chain.from_iterable(every_epoch), self.prediction_updates)

    def epoch(self, steps: int, rng: torch.Generator) -> Sequence[Tensor]:
        """Draw rows (E, b) of so many steps, in an order of its own for each member."""
        order = torch.stack([torch.randperm(steps, generator=rng) for _ in range(self.model.members)])
        return order.split(self.prediction_batch, dim=1)

    def loss(self, steps: StoredSegments, rows: Tensor) -> Tensor:
        """Return the loss on rows (E, b)."""
        drawn, shape = steps[rows.flatten()], (*rows.shape, -1)
        obs, actions, next_obs = (x.reshape(shape) for x in (drawn.obs[:, 0], drawn.actions[:, 0], drawn.obs[:, 1]))
        return self.predictor.loss(self.model, obs, actions, next_obs)

    def metrics(self) -> Metrics:
        return super().metrics() | {"reward/prediction_updates": self.predicted}
