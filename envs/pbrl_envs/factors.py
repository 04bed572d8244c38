"""Named measurements of each step, `info["factors"]`: by the task itself, by expressions, or by your own functions."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.errors import EnvError, UserError

Measure = Callable[[Mapping[str, Any]], Any]

NAMES = ("obs", "action", "next_obs", "info")  # observation before the step, and what the step gave
ONE = ("abs", "sign", "sqrt", "exp", "log", "sin", "cos", "tanh", "square", "sum", "mean", "min", "max")
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # with how many arguments; NumPy reads more as axis or out
    **{name: (getattr(np, name), 1) for name in ONE},
    "norm": (np.linalg.norm, 1),
    **{name: (getattr(np, name), 2) for name in ("arctan2", "minimum", "maximum")},
    "clip": (np.clip, 3),
}
OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: np.float_power,  # no whole numbers of a million digits
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}
PARTS = (ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript, ast.Slice, ast.Call)
VALID = f"numbers, {', '.join(NAMES)}, + - * / **, comparisons, [ ], and {', '.join(sorted(FUNCTIONS))}"


class Factors(gym.Wrapper):
    """Adds to the factors of a task those of expressions or functions.

    The first step after `load_state` has none of these, since what was observed before it is not known.

    Args:
        env: the task; its observations are the ones that training sees, its actions are in [-1, 1].
        name: of the task, for messages.
        factors: name of each new factor, and how to get it: an expression over obs, action, next_obs and info, such as
            `info['x_velocity']` or `-sum(square(action))`, or `module:function` with a function of these four.
    """

    def __init__(self, env: gym.Env, factors: Mapping[str, str], name: str) -> None:
        super().__init__(env)
        self._name, self._steps = name, 0
        self.measures = {name: _measure(name, how) for name, how in factors.items()}
        self._obs: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs, self._steps = _read_only(obs), 0
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        next_obs = _read_only(obs)
        if self._obs is not None:
            seen = {"obs": self._obs, "action": _read_only(action), "next_obs": next_obs, "info": info}
            own = {name: self._finite(name, _number(name, how, seen)) for name, how in self.measures.items()}
            info["factors"] = {**info.get("factors", {}), **own}
        self._obs = next_obs
        return obs, float(reward), terminated, truncated, info

    def _finite(self, factor: str, value: float) -> float:
        if not math.isfinite(value):
            where = f"at step {self._steps} of an episode"
            what = f"what the environment gave makes factors.{factor} {value} {where}"
            raise EnvError(f"env={self._name}: {what}; expected a finite number")
        return value

    def load_state(self, state: np.ndarray) -> None:
        self.get_wrapper_attr("env").load_state(state)
        self._obs = None


def factor_names(env: gym.Env) -> tuple[str, ...]:
    """The factors that an environment reports, found by a reset and a step."""
    env.reset(seed=0)
    shape: Any = env.action_space.shape
    info = env.step(np.zeros(shape, np.float32))[-1]
    return tuple(info.get("factors", {}))


def _read_only(array: np.ndarray) -> np.ndarray:
    """A copy that no function of the user changes under another one."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def _measure(name: str, how: Any) -> Measure:
    if not isinstance(how, str):
        raise UserError(
            f"factors.{name}={how}: expected an expression or module:function, in quotes; valid are {VALID}"
        )
    if ":" in how and "[" not in how:
        return _function(name, how)
    try:
        tree = ast.parse(how, mode="eval").body
        _check(name, tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "too deep"
        raise UserError(f"factors.{name}={how[:50]!r} cannot be read: {why}; valid are {VALID}") from None
    return lambda seen: _value(tree, seen)


def _function(name: str, path: str) -> Measure:
    module, _, function = path.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"factors.{name}={path}: {error}; expected module:function, both importable") from None
    return lambda seen: found(*(seen[key] for key in NAMES))


def _check(name: str, tree: ast.expr) -> None:
    """Refuse anything but arithmetic: a config must not be able to run code."""
    for node in ast.walk(tree):
        known = isinstance(node, PARTS) or type(node) in OPERATORS
        if isinstance(node, ast.Name):
            known = node.id in NAMES or node.id in FUNCTIONS
        elif isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords
            if known and len(node.args) != (wanted := FUNCTIONS[node.func.id][1]):  # type: ignore[attr-defined]
                raise UserError(
                    f"factors.{name}: {ast.unparse(node)!r} has {len(node.args)} arguments, expected {wanted}"
                )
        elif isinstance(node, ast.Compare):
            known = len(node.ops) == 1 and type(node.ops[0]) in OPERATORS
        if not known:
            what = ast.unparse(node) or type(node).__name__
            raise UserError(f"factors.{name}: {what!r} is not known; valid are {VALID}")


def _value(node: ast.expr | None, seen: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return seen[node.id]
        case ast.BinOp():
            return OPERATORS[type(node.op)](_value(node.left, seen), _value(node.right, seen))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_value(node.operand, seen))
        case ast.Compare():
            return OPERATORS[type(node.ops[0])](_value(node.left, seen), _value(node.comparators[0], seen))
        case ast.Subscript():
            return _value(node.value, seen)[_value(node.slice, seen)]
        case ast.Slice():
            return slice(*(_value(part, seen) for part in (node.lower, node.upper, node.step)))
        case ast.Call():
            return FUNCTIONS[node.func.id][0](*(_value(argument, seen) for argument in node.args))  # type: ignore[attr-defined]
    return None  # the open end of a slice


def _number(name: str, measure: Measure, seen: Mapping[str, Any]) -> float:
    try:
        return float(measure(seen))
    except Exception as error:  # whatever the user's own function does
        known = f"info has {', '.join(seen['info'])}; obs {seen['next_obs'].shape}, action {seen['action'].shape}"
        raise UserError(f"factors.{name} gives no number: {type(error).__name__} {error}; {known}") from None
