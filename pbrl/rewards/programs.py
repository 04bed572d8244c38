"""Reward programs as data: parsed, checked against a list of what is allowed, and computed; never executed as text.

    lift = 2 * height
    reward = lift - 0.1 * effort ** 2

Lines `name = expression`, the last one of `reward`; an expression alone is one of `reward`. Expressions have numbers,
the inputs, names of earlier lines, + - * / **, comparisons (0 or 1), `a if condition else b`, and the functions below.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices

FUNCTIONS: dict[str, Any] = {
    "abs": np.abs,
    "exp": lambda x: np.exp(np.clip(x, -50, 50)),
    "log": lambda x: np.log(np.maximum(x, 1e-12)),
    "sqrt": lambda x: np.sqrt(np.maximum(x, 0)),
    "square": np.square,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "min": np.minimum,
    "max": np.maximum,
    "clip": np.clip,
    "where": np.where,
}
ARGUMENTS = {"min": 2, "max": 2, "clip": 3, "where": 3}  # of the others 1
OPERATORS: dict[type, Any] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: lambda a, b: np.divide(a, np.where(np.abs(b) < 1e-9, 1e-9, b)),
    ast.Pow: lambda a, b: np.power(np.abs(a) if b != int(b) else np.asarray(a, float), b),
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
COMPARISONS: dict[type, Any] = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal}
MOST_CHARACTERS, MOST_NODES, HIGHEST_POWER, LARGEST = 4000, 400, 4, 1e6


class RewardProgram:
    """A checked program of named inputs. UserError, which says what is not allowed and what would be.

    Args:
        text: as above.
        inputs: names that it may read.
    """

    def __init__(self, text: str, inputs: tuple[str, ...]) -> None:
        self.text, self.inputs = text.strip(), inputs
        if len(self.text) > MOST_CHARACTERS:
            raise UserError(f"a reward program has {len(self.text)} characters; at most {MOST_CHARACTERS} are read")
        try:
            tree = ast.parse(self.text)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise UserError(f"a reward program cannot be read: {error}") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise UserError(f"a reward program has more than {MOST_NODES} parts")
        self.lines: list[tuple[str, ast.expr]] = []
        for line in tree.body:
            self._add(line)
        if not self.lines or self.lines[-1][0] != "reward":
            raise UserError("a reward program ends with `reward = ...`")

    @property
    def one_line(self) -> str:
        """Return the same program of nothing but what was checked: without its comments and line breaks."""
        return "; ".join(f"{name} = {ast.unparse(value)}" for name, value in self.lines)

    def __call__(self, values: Mapping[str, Any]) -> np.ndarray:
        """Compute from numbers or arrays of one shape, by input; NaN becomes 0, and all is clipped to +-1e6."""
        known: dict[str, Any] = {name: np.asarray(values[name], float) for name in self.inputs}
        with np.errstate(all="ignore"):
            for name, expression in self.lines:
                known[name] = _compute(expression, known)
            found = np.nan_to_num(np.asarray(known["reward"], float), posinf=LARGEST, neginf=-LARGEST)
        return np.clip(found, -LARGEST, LARGEST)

    def _add(self, line: ast.stmt) -> None:
        if isinstance(line, ast.Expr):
            name, value = "reward", line.value
        elif isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            name, value = line.targets[0].id, line.value
        else:
            raise UserError(f"line {line.lineno} of a reward program is not `name = expression`")
        if name in self.inputs or name in FUNCTIONS:
            raise UserError(f"a reward program gives {name} another meaning; choose another name")
        _check(value, [*self.inputs, *(known for known, _ in self.lines)])
        self.lines.append((name, value))


def _check(node: ast.AST, names: list[str]) -> None:
    """Raise UserError where an expression has anything else than what is allowed."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or abs(node.value) > LARGEST:
            raise UserError(f"a reward program has {repr(node.value)[:40]}; valid are numbers up to {LARGEST:g}")
    elif isinstance(node, ast.Name):
        if node.id not in names:
            raise UserError(f"a reward program reads {node.id!r}: {choices(node.id, names)}")
    elif isinstance(node, ast.Call):
        _check_call(node, names)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        power = node.right
        if not isinstance(power, ast.Constant) or not isinstance(power.value, (int, float)):
            raise UserError("a reward program has a power that is not a number")
        if not 0 <= power.value <= HIGHEST_POWER:
            raise UserError(f"a reward program has the power {repr(power.value)[:40]}; valid are 0 to {HIGHEST_POWER}")
        _check(node.left, names)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        _check(node.left, names)
        _check(node.right, names)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        _check(node.operand, names)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        _check(node.left, names)
        _check(node.comparators[0], names)
    elif isinstance(node, ast.IfExp):
        for part in (node.test, node.body, node.orelse):
            _check(part, names)
    else:
        allowed = "numbers, names, + - * / **, comparisons, a if b else c, and calls of " + ", ".join(FUNCTIONS)
        raise UserError(f"a reward program has a {type(node).__name__}; allowed are {allowed}")


def _check_call(node: ast.Call, names: list[str]) -> None:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        called = ast.unparse(node.func)[:40]
        raise UserError(f"a reward program calls {called}: {choices(called, FUNCTIONS)}")
    wanted = ARGUMENTS.get(node.func.id, 1)
    if node.keywords or len(node.args) != wanted:
        raise UserError(f"{node.func.id} of a reward program takes {wanted} argument{'s' * (wanted > 1)}")
    for argument in node.args:
        _check(argument, names)


def _compute(node: ast.AST, known: Mapping[str, Any]) -> Any:
    """Compute an expression that was checked."""
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](*(_compute(argument, known) for argument in node.args))
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_compute(node.left, known), _compute(node.right, known))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_compute(node.operand, known))
    if isinstance(node, ast.Compare):
        sides = _compute(node.left, known), _compute(node.comparators[0], known)
        return np.asarray(COMPARISONS[type(node.ops[0])](*sides), float)
    assert isinstance(node, ast.IfExp)
    return np.where(_compute(node.test, known), _compute(node.body, known), _compute(node.orelse, known))
