"""Watchers who take over where a policy goes wrong: what RLIF and HG-DAgger learn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from pbrl.checks import between, share, whole

Value = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(n,) what actions (n, A) are worth at observations (n, O)."""
Choose = Callable[[np.ndarray], np.ndarray]
"""Actions (n, A) at observations (n, O)."""


class Judge(NamedTuple):
    """A judge, who knows what steps are worth; who acts in an intervention may be somebody else, and worse."""

    value: Value
    reference: Choose  # the best that the judge knows


class Watched(NamedTuple):
    """The outcome of one step in each of n environments."""

    actions: np.ndarray  # (n, A) what is done
    blamed: np.ndarray  # (n,) bool: it is the policy's own, and somebody takes over because of it
    taken_over: np.ndarray  # (n,) bool: it is not the policy's


class Intervener(Protocol):
    """Watches each step of a policy before it is done.

    A step that is blamed is done all the same: an intervention answers what has happened, and begins at the next step.
    """

    def watch(self, obs: np.ndarray, actions: np.ndarray) -> Watched: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ScriptedIntervener:
    """Blames steps by a rule, and lets an expert act for the next `length` steps.

    An intervention that an episode's end cuts short goes on in the next one.

    Args:
        length: steps of an intervention.
        expert: what is done meanwhile.
        judge: for rules that need one.
        rng: of the rule.
    """

    def __init__(self, *, length: int, expert: Choose, judge: Judge | None, rng: np.random.Generator) -> None:
        whole(1, length=length)
        self.length, self.expert, self.judge, self.rng = length, expert, judge, rng
        self._left = np.zeros(0, int)  # steps that the expert still acts, in each environment

    def blames(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return which steps are blamed (n,) bool."""
        raise NotImplementedError

    def watch(self, obs: np.ndarray, actions: np.ndarray) -> Watched:
        if len(self._left) != len(obs):
            self._left = np.zeros(len(obs), int)
        taken_over = self._left > 0
        blamed = self.blames(obs, actions) & ~taken_over
        if taken_over.any():
            actions = np.where(taken_over.reshape(-1, *(1,) * (actions.ndim - 1)), self.expert(obs), actions)
        self._left = np.where(blamed, self.length, np.maximum(self._left - 1, 0))
        return Watched(actions, blamed, taken_over)

    def state_dict(self) -> dict[str, Any]:
        return {"left": self._left, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._left = np.array(state["left"], int)
        self.rng.bit_generator.state = state["rng"]


class ValueIntervener(ScriptedIntervener):
    """Blames a step that is worth less than the best by more than a margin (Luo et al. 2024, with an added margin).

        Q(s, a) < Q(s, a_ref) - margin          of the judge

    The published rule multiplies, Q(s, a) < 0.97 Q(s, a_ref), which means the opposite where values are negative.

    Args:
        margin: in units of Q.
        obeyed: probability with which the rule decides; else its opposite does.
        others: see `ScriptedIntervener`.
    """

    def __init__(self, *, margin: float, obeyed: float, **common: Any) -> None:
        super().__init__(**common)
        share(obeyed=obeyed)
        between(0, math.inf, margin=margin)
        if self.judge is None:
            raise ValueError("judge=None: values are needed to judge by; give method.judge=FOLDER, a run of agent=sac")
        self.margin, self.obeyed = margin, obeyed

    def blames(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        assert self.judge is not None
        value, reference = self.judge
        worse: np.ndarray = value(obs, actions) < value(obs, reference(obs)) - self.margin
        return worse ^ (self.rng.random(len(obs)) >= self.obeyed)


class RandomIntervener(ScriptedIntervener):
    """Blames any step with the same probability: the control, which says nothing about what was done.

    Args:
        probability: at each step of the policy.
        others: see `ScriptedIntervener`.
    """

    def __init__(self, *, probability: float, **common: Any) -> None:
        super().__init__(**common)
        share(probability=probability)
        self.probability = probability

    def blames(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return self.rng.random(len(obs)) < self.probability


class Nobody:
    """Watches nothing: all that is known of interventions was said before."""

    def __init__(self, **unused: Any) -> None:
        pass

    def watch(self, obs: np.ndarray, actions: np.ndarray) -> Watched:
        no = np.zeros(len(obs), bool)
        return Watched(actions, no, no)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def intervention_rewards(blamed: np.ndarray) -> np.ndarray:
    """Return RLIF's reward (n,): -1 for the policy's step before somebody took over, 0 for all others, experts' too."""
    return -np.asarray(blamed, np.float32)
