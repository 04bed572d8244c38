"""The door through which every environment comes in: what a task gives and takes is checked and copied here."""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.errors import EnvError, UserError, one_line
from pbrl_envs.action_box import ActionBox
from pbrl_envs.experts import time_limit
from pbrl_envs.flat_obs import FlatObs

LONGEST_EPISODE = 10_000  # steps of a task without a time limit, unless its limit is said to be higher
NOTED = 1_000  # steps after which such an episode is spoken of
LIMIT_ADVICE = "with env=gym, env.max_episode_steps=1000 ends each after 1000 steps"
LARGEST = float(np.finfo(np.float32).max)

_noted: set[str] = set()


class Door(gym.Wrapper):
    """A task with flat float32 observations, actions in [-1, 1] and numbers in `info`; EnvError where it errs.

    Nothing is shared with the task: it may write into the action it gets, and return the same array at every step.
    What it gives is checked at every step: that there are five values, their shapes and types, that all is finite.

    Args:
        env: of Gymnasium's interface.
        name: for messages.
        limit: steps of an episode, where a wrapper outside of this one cuts it off.
    """

    def __init__(self, env: gym.Env, name: str, limit: int | None = None) -> None:
        super().__init__(env)
        self._name = name
        self._flat = FlatObs(getattr(env, "observation_space", None), f"env={name}")
        self._act = ActionBox(getattr(env, "action_space", None), f"env={name}")
        self.action_space = self._act.space
        self.observation_space = self._flat.space
        self.task_spaces = env.observation_space, env.action_space  # a policy that leaves pbrl has these again
        self._factors: tuple[str, ...] | None = None  # unknown before the first step
        self._steps = 0
        stated = limit if limit is not None else time_limit(env)
        self._longest = max(stated or 0, LONGEST_EPISODE)
        self._look_at = NOTED if stated is None else self._longest  # the step after which to look how long it is
        _check_reset(env, name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._steps = 0
        try:
            given: Any = self.env.reset(seed=seed, options=options)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a task that calls sys.exit() would end a run as if it had finished
            raise self._raised(error) from error
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise self.refuse(f"{_sort(given)} from reset()", "two values: observation, info")
        obs, info = given
        if not isinstance(info, dict):
            raise self.refuse(f"info of type {type(info).__name__}", "a dictionary")
        return self._flat(obs, self.refuse), dict(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._steps > self._look_at:
            self._look_at_length()
        if action.shape != self.action_space.shape or not math.isfinite(action.dot(action)):
            self._check_action(action)
        try:
            given: Any = self.env.step(self._act(action))
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a task that calls sys.exit() would end a run as if it had finished
            raise self._raised(error) from error
        if not isinstance(given, (tuple, list)) or len(given) != 5:
            expected = "five values: observation, reward, terminated, truncated, info"
            raise self.refuse(f"{_sort(given)} from step()", expected)
        obs, reward, terminated, truncated, info = given
        return (
            self._flat(obs, self.refuse),
            self._number(reward, "reward"),
            self._flag(terminated, "terminated"),
            self._flag(truncated, "truncated"),
            self._info(info),
        )

    def _check_action(self, action: np.ndarray) -> None:
        """Refuse an action of the wrong shape or that is not finite: the environment is not to be blamed for it."""
        if action.shape != (shape := self.action_space.shape):
            raise UserError(f"env={self._name} was given an action of shape {action.shape}; expected {shape}")
        if not np.isfinite(action).all():
            why = "what acts has diverged, not the environment"
            raise UserError(f"env={self._name} was given an action that is not finite {self._where()}: {why}")

    def close(self) -> None:
        try:
            super().close()
        except Exception as error:  # what was done before must not be lost by it
            _say(f"env={self._name} raised {type(error).__name__} when it was closed: {one_line(error)}")

    def refuse(self, what: str, expected: str) -> EnvError:
        """The error for what the task gave last, and what it should have given."""
        return EnvError(f"env={self._name}: the environment gave {what} {self._where()}; expected {expected}")

    def _raised(self, error: BaseException) -> EnvError:
        what = f"{type(error).__name__} {self._where()}: {one_line(error)}"
        return EnvError(f"env={self._name}: the environment raised {what}")

    def _where(self) -> str:
        return f"at step {self._steps} of an episode" if self._steps else "at a reset"

    def _number(self, value: Any, what: str, low: float = -LARGEST, high: float = LARGEST) -> float:
        number = math.nan
        if isinstance(value, (int, float)) or getattr(value, "shape", None) == ():
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
        if low <= number <= high:  # which NaN is not
            return number
        expected = "a finite number" if high == LARGEST else f"a number from {low:g} to {high:g}"
        raise self.refuse(f"{what} {value!r:.60}", expected)

    def _flag(self, value: Any, what: str) -> bool:
        if value is False or value is True:
            return value
        if (number := self._number(value, what, 0, 1)) not in (0, 1):
            raise self.refuse(f"{what} {value!r:.60}", "True or False")
        return number == 1

    def _info(self, info: Any) -> dict[str, Any]:
        """A copy with `success` as a number, also where the suite calls it `is_success`, and numbers for factors."""
        if not isinstance(info, dict):
            raise self.refuse(f"info of type {type(info).__name__}", "a dictionary")
        info = dict(info)
        for key in ("success", "is_success"):
            if key in info:
                info["success"] = self._number(info[key], f"info[{key!r}]", 0, 1)
                break
        factors = info.get("factors", {})
        if not isinstance(factors, dict):
            raise self.refuse(f"info['factors'] of type {type(factors).__name__}", "a dictionary")
        if self._factors is None:
            self._factors = tuple(factors)
        if factors.keys() != set(self._factors):
            raise self.refuse(f"info['factors'] of {list(factors)}", f"{list(self._factors)} as at the first step")
        if factors:
            info["factors"] = {name: self._number(factors[name], f"factor {name}") for name in self._factors}
        return info

    def _look_at_length(self) -> None:
        if self._steps > self._longest:
            why = f"an episode has not ended after {self._longest} steps"
            raise EnvError(f"env={self._name}: {why}; give the environment a time limit: {LIMIT_ADVICE}")
        self._look_at = self._longest
        if self._name not in _noted:
            _noted.add(self._name)
            _say(
                f"env={self._name} states no time limit, and an episode has not ended after {NOTED} steps; after "
                f"{self._longest} the command stops; {LIMIT_ADVICE}"
            )


def _check_reset(env: gym.Env, name: str) -> None:
    """Refuse a layer whose reset takes no seed or options: without a seed no episode can be repeated."""
    layer: Any = env
    while layer is not None:
        parameters = inspect.signature(layer.reset).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for wanted in ("seed", "options"):
                if wanted not in parameters:
                    whose, expected = type(layer).__name__, "reset(self, *, seed=None, options=None)"
                    raise EnvError(f"env={name}: reset() of {whose} takes no {wanted}; expected {expected}")
        layer = layer.env if isinstance(layer, gym.Wrapper) else None


def _sort(given: Any) -> str:
    """Say in words what came instead of a tuple of the right length."""
    return f"{len(given)} values" if isinstance(given, (tuple, list)) else f"a {type(given).__name__}"


def _say(message: str) -> None:
    print(f"pbrl: {message}", file=sys.stderr, flush=True)
