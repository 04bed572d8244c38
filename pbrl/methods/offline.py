"""The base of methods that learn a policy from recorded data alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.checks import required
from pbrl.data.offline import OfflineData
from pbrl.methods.method import REWARD_FILE, Learned, Method, Metrics, Run, of_part, save_weights
from pbrl.nets.devices import CPU, move
from pbrl.nets.policies import CHOICE, Policy
from pbrl.rewards.objective import heldout_figures
from pbrl.types import Segments

POLICY_FILE = "policy.safetensors"
MOST_STEPS = 20_000  # whose actions are compared with recorded ones


class OfflineMethod(Method):
    """Learns a policy from `run.data`, one gradient step per `step`, and asks nobody.

    A subclass makes its networks and optimizers in `begin` and draws every random number from `rng`; weights,
    optimizers, generator and counters are then all there is to resume from. What is large and follows from the data
    has a name that begins with an underscore.

    Args:
        policy: makes a `Policy` from obs_shape, action_size and rng.

    stages: attributes that say after how many updates a stage ends, as shares of the run.
    """

    needs_data = True
    exports: ClassVar[Mapping[str, str]] = {"policy": "actor", "reference": "reference", "model": "model"}
    stages: ClassVar[tuple[str, ...]] = ()
    reference: Policy | None = None  # what the policy is learned relative to, where it is
    model: Any = None  # of the answers, where there is one
    _make_model: Any = None
    _choice = False  # actions are one of n

    def __init__(self, *, policy: Callable[..., Policy]) -> None:
        required(policy=policy)
        self._make_policy = policy

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.rng = run.rng("learner")
        self.reward_steps = 0  # updates of the model
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.obs_shape, self.action_size = tuple(run.obs_shape), run.action_size
        self._choice = self.data.choices is not None
        self.actor = move(self.make_policy(self.rng), run.device)
        move(self.objective, run.device)
        self.actor.observe(self.policy_inputs())

    def policy_inputs(self) -> np.ndarray:
        """Return what the policy's input statistics are of: all observations of the data."""
        return self.data.observations

    @property
    def data(self) -> OfflineData:
        return self.run.data

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.run.steps

    @property
    def updates(self) -> int:
        """The updates made so far."""
        return self.run.step

    def make_policy(self, rng: torch.Generator) -> Policy:
        choice = {"choice": True} if self._choice else {}
        return self._make_policy(obs_shape=self.obs_shape, action_size=self.action_size, rng=rng, **choice)

    def require_vectors(self) -> int:
        """Return O; ValueError where observations are images, which parts of the method do not read."""
        if len(self.obs_shape) != 1:
            raise ValueError(f"observations have shape {self.obs_shape}; only bc, sft and cpl read images")
        return self.obs_shape[0]

    def make_model(self, obs_size: int, action_size: int, rng: torch.Generator) -> Any:
        model = self._make_model(obs_size=obs_size, action_size=action_size, rng=rng)
        self.objective.prepare(model)
        return move(model, self.run.device) if hasattr(self, "run") else model  # loaded ones act on the CPU

    def small_model(self) -> Any:
        return self.make_model(1, 1, torch.Generator())

    def learn_answers(self) -> OfflineData:
        """Return the data, with answers as `objective` believes them.

        ValueError where that compares annotators, and no two of them answered one question.
        """
        if self.objective.annotators == "alike":
            return self.data
        pairs = self.data.pairs
        told = self.objective.targets(pairs.comparisons(self.data.segments).to(CPU))
        if told is None or not self.objective.shared:
            raise ValueError(
                "no question was answered by two annotators, so fit.annotators=dawid_skene tells nobody apart"
            )
        return replace(self.data, pairs=replace(pairs, prefers_right=told.to(pairs.prefers_right.device)))

    def step(self) -> Metrics:
        """Take one gradient step."""
        self.train()
        metrics = self.update()
        self.reward_steps += "reward/loss" in metrics
        return metrics

    def update(self) -> Metrics:
        raise NotImplementedError

    def train(self, mode: bool = True) -> None:
        """Put the networks as they are in training, or as they act."""
        for value in vars(self).values():
            if isinstance(value, torch.nn.Module):
                value.train(mode)

    def policy(self, context: Any = None) -> Callable[[np.ndarray], np.ndarray]:
        return self.actor.act

    def score(self, segments: Segments) -> Tensor | None:
        """Return what the method's preference model compares (N,), higher = better; None: it has none (yet)."""
        return None

    def metrics(self) -> Metrics:
        """Loss, accuracy and calibration of the preference model on comparisons it was not trained on, if it has one.

        Of the test split; and of the validation split, which a method may have stopped by.
        """
        self.train(False)
        metrics: Metrics = {}
        for name, held in (("validation", self.data.validation), ("test", self.data.test)):
            if held is None or self.score(held.left[:1]) is None:
                continue
            score: Any = self.score
            left, right = score_in_blocks(score, held.left), score_in_blocks(score, held.right)
            metrics |= {f"{name}/{k}": v for k, v in heldout_figures(right - left, held.prefers_right).items()}
        return metrics

    def action_error(self) -> dict[str, Any]:
        """Measure the policy's distance to recorded actions: the mean of |a - a'|, or the share of other choices.

        On episodes of the test split, or where there are none on those of training.
        """
        self.train(False)
        where, episodes = "test", list(self.data.test_episodes)
        if not episodes:
            where, episodes = "training", self.data.episodes
        obs = np.concatenate([e.obs[:-1] for e in episodes])[:MOST_STEPS]
        actions = np.concatenate([e.actions for e in episodes])[:MOST_STEPS]
        act = self.policy()
        acted = np.concatenate([act(obs[i : i + 1024]) for i in range(0, len(obs), 1024)])
        wrong = acted.argmax(-1) != actions.argmax(-1) if self._choice else np.abs(acted - actions)
        return {"action_error": float(wrong.mean()), "action_error_on": where}

    def facts(self) -> dict[str, Any]:
        heldout = self.metrics()
        modules = [value for value in vars(self).values() if isinstance(value, torch.nn.Module)]
        parameters = {p for module in modules for p in module.parameters() if p.requires_grad}  # some are shared
        return {
            "label": self.data.label if self.reads_labels else "none read",
            "data_sha256": self.data.sha256,
            "reward_accuracy": _known(heldout.get("test/accuracy")),
            "validation_accuracy": _known(heldout.get("validation/accuracy")),
            "accuracy_ceiling": self.data.ceiling,
            "model_ceiling": self.data.model_ceiling,
            **self.action_error(),
            "reward_updates": self.reward_steps,
            "parameters": sum(p.numel() for p in parameters),
            **_of_heldout(heldout),
            **self.objective.told(dict(enumerate(self.data.annotators))),
        }

    def save(self, folder: Path) -> None:
        """Write policy.safetensors, with what it was learned relative to; and reward.safetensors, for a model."""
        weights = self.exported(self.state_dict())
        save_weights(folder / POLICY_FILE, {k: v for k, v in weights.items() if not k.startswith("model.")})
        save_weights(folder / REWARD_FILE, of_part(weights, "model"), self.about_reward())

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        self.obs_shape, self.action_size = obs_shape, action_size
        made: dict[str, Any] = {}
        for part in ("policy", "reference"):
            if own := of_part(weights, part):
                self._choice = CHOICE in own
                made[part] = self.make_policy(torch.Generator())
                made[part].load_state_dict(own)
        if (own := of_part(weights, "model")) and self._make_model is not None:
            model = self.make_model(obs_shape[0], action_size, torch.Generator())
            model.load_state_dict(own)
            made["reward"] = getattr(model, "step_reward", None)  # a transformer's needs the steps before
        return Learned(**made)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        planned = {name: getattr(self, name) for name in self.stages}
        super().load_state_dict(state)
        for name, end in planned.items():  # a stage that is over stays so, also in a run that is longer now
            if self.updates <= getattr(self, name):
                setattr(self, name, end)


def _of_heldout(metrics: Metrics) -> dict[str, float | None]:
    """Loss and calibration for summary.json: of the test split, or else of the validation split."""
    name = "test" if "test/loss" in metrics else "validation"
    keys = ("loss", "ece", "temperature", "calibrated_loss", "calibrated_ece")
    return {f"heldout_{key}": _known(metrics[f"{name}/{key}"]) for key in keys if f"{name}/{key}" in metrics}


def share_of(steps: int, share: float) -> int:
    """Return how many updates are this share of a run."""
    return round(share * steps)


def cloning(steps: int, share: float, updates: int | None) -> int:
    """Return the updates of the stage that clones all segments: `updates`, or else this share of the run."""
    if updates is None:
        return share_of(steps, share)
    if updates >= steps:
        raise ValueError(f"clone_updates={updates} leaves none of {steps} updates to learn from answers")
    return updates


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
