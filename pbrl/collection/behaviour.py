"""The policies that act while a data set is collected: scripted experts of any skill, saved policies, chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl_envs.experts import Expert, find_expert, find_naive

if TYPE_CHECKING:
    from pbrl.training.saved_run import SavedRun

BLOCK = 5  # steps for which a half-skilled expert stays with its decision to know or not to know
SKILLS = (0, 0.25, 0.5, 0.75, 1)
VALID = "expert:SKILL or naive:SKILL with a skill from 0 to 1, random, run:DIR, run:DIR@STEP"


class Behaviour(Protocol):
    """A policy with all its noise. `begin` is called at each reset, then `act` at each step."""

    name: str  # what the data set calls it

    def begin(self, rng: np.random.Generator) -> None: ...

    def act(self, obs: np.ndarray) -> np.ndarray: ...  # (O,) -> (A,) float32 in [-1, 1]


class RandomActions:
    """Uniform actions, a new one at each step."""

    name = "random"

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size

    def begin(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self.rng.uniform(-1, 1, self.action_size).astype(np.float32)


class SkilledExpert:
    """Follows the expert in each block of 5 steps with probability `skill`, else acts at random.

    At random means, at even odds, one action for the whole block or a new one at each step. Gaussian noise of standard
    deviation `noise` is added to every action. With `layout`, a source of first observations of other episodes, it
    pursues the goal of another episode instead of its own. `kind` begins its name: expert or naive.
    """

    def __init__(
        self,
        expert: Expert,
        action_size: int,
        *,
        skill: float,
        noise: float,
        layout: Callable[[int], np.ndarray] | None = None,
        kind: str = "expert",
    ) -> None:
        self.name = f"{kind}:{skill:g}" + (" of another goal" if layout else "")
        self.expert, self.action_size, self.skill, self.noise, self.layout = expert, action_size, skill, noise, layout

    def begin(self, rng: np.random.Generator) -> None:
        self.rng, self.step = rng, 0
        self.other = self.layout(int(rng.integers(2**31))) if self.layout else None

    def act(self, obs: np.ndarray) -> np.ndarray:
        if self.step % BLOCK == 0:
            self.follows = self.rng.random() < self.skill
            self.sticks = self.rng.random() < 0.5
            self.held = self._any_action()
        self.step += 1
        if self.follows:
            action = self.expert.act(obs if self.other is None else self.expert.elsewhere(obs, self.other))
        else:
            action = self.held if self.sticks else self._any_action()
        return noisy(action, self.noise, self.rng)

    def _any_action(self) -> np.ndarray:
        return self.rng.uniform(-1, 1, self.action_size)


class SavedPolicy:
    """The policy of a run, without its own noise but with ours."""

    def __init__(self, name: str, act: Callable[[np.ndarray], np.ndarray], noise: float) -> None:
        self.name, self.policy, self.noise = name, act, noise

    def begin(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, obs: np.ndarray) -> np.ndarray:
        return noisy(self.policy(obs[None])[0], self.noise, self.rng)


def noisy(action: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The action (A,) with Gaussian noise, clipped to [-1, 1]."""
    return np.clip(action + noise * rng.standard_normal(len(action)), -1, 1).astype(np.float32)


class Choice(NamedTuple):
    """A behaviour, and the same in pursuit of another goal where it can be."""

    own: Behaviour
    other: Behaviour | None


def default_policies(env: gym.Env) -> list[str]:
    """Experts of all skills, or chance where nobody wrote an expert."""
    return [f"expert:{skill:g}" for skill in SKILLS] if find_expert(env) is not None else ["random"]


def make_behaviours(names: Sequence[str], make_env: Callable[[], gym.Env], noise: float) -> list[Choice]:
    """Return what `policies=` names, in that order."""
    env = make_env()
    size = env.action_space.shape[0]  # type: ignore[index]
    scripted = {"expert": find_expert(env), "naive": find_naive(env)}
    if not any(name.partition(":")[0] in scripted for name in names):
        env.close()  # experts alone look into it; a robot must be free for whoever is next
    choices = []
    for name in names:
        kind, _, rest = name.partition(":")
        if name == "random":
            choices.append(Choice(RandomActions(size), None))
        elif kind in scripted:
            choices.append(_scripted(kind, rest, scripted[kind], env, noise))
        elif kind == "run" and rest:
            choices.append(Choice(_saved(name, rest, env, noise), None))
        else:
            raise UserError(f"policies={name}: valid are {VALID}")
    return choices


def load_policy(name: str, env: gym.Env) -> SavedRun:
    """The run DIR or DIR@STEP, which must see and do what `env` has."""
    from pbrl.training.saved import load_run

    folder, _, step = name.rpartition("@") if "@" in Path(name).name else (name, "", "")
    saved = load_run(Path(folder), step or None)
    ours = env.observation_space.shape, env.action_space.shape
    if (theirs := (saved.obs_shape, (saved.action_size,))) != ours:
        raise UserError(f"run:{name} has observations and actions of shape {theirs}, this environment has {ours}")
    return saved


def _scripted(kind: str, skill: str, expert: Expert | None, env: gym.Env, noise: float) -> Choice:
    name = f"{kind}:{skill}" if skill else kind
    try:
        value = float(skill)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"policies={name}: valid are {VALID}")
    if expert is None:
        what, other = ("expert of", "") if kind == "expert" else ("naive controller in", "expert:SKILL if it has one, ")
        raise UserError(f"policies={name}: there is no {what} this environment; valid are {other}random and run:DIR")

    def layout(seed: int) -> np.ndarray:
        return env.reset(seed=seed)[0].copy()  # this instance serves for nothing else

    size = env.action_space.shape[0]  # type: ignore[index]
    own = SkilledExpert(expert, size, skill=value, noise=noise, kind=kind)
    if expert.own is None:
        return Choice(own, None)
    return Choice(own, SkilledExpert(expert, size, skill=value, noise=noise, layout=layout, kind=kind))


def _saved(name: str, rest: str, env: gym.Env, noise: float) -> SavedPolicy:
    return SavedPolicy(name, load_policy(rest, env).act, noise)
