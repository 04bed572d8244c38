"""The proposers of reward programs: a grammar, a language model behind an endpoint, or recorded replies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pbrl.checks import between, whole
from pbrl.endpoint import Endpoint
from pbrl.errors import UserError, choices
from pbrl.reading import read_text
from pbrl.rewards.programs import FUNCTIONS, RewardProgram

BLOCK = re.compile(r"```[a-z]*\n(.*?)```", re.DOTALL)
GRAMMAR: dict[str, Any] = {"terms": 3, "fresh": 2, "reach": 1.0, "noise": 0.3}  # ours, as in `pbrl tabular icpl`
TRIES = 20  # for a program that can be used


@dataclass(frozen=True)
class Verdict:
    """The verdict on one round, from which the next is proposed."""

    best: str  # the program
    worst: str
    traces: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)  # by program, then input


class RewardProposer(Protocol):
    """Proposes `n` programs of the inputs; `last` is the verdict on the round before, None in the first."""

    def propose(self, n: int, inputs: tuple[str, ...], last: Verdict | None) -> list[RewardProgram]: ...


class GrammarProposer:
    """Sparse weighted sums of the inputs; the next ones go from the worst one past the best one.

        w = w_best + u reach (w_best - w_worst) + noise,    u uniform in [0, 1]

    Of a later round, the first `fresh` ones are as new as in the first round, and the next has the best weights and
    noise alone.

    Args:
        terms: that a new program has, at most.
        fresh: new programs of a later round.
        reach: how far past the best one.
        noise: standard deviation, on the terms that the best one has and on one more.
        rng: of everything that is drawn.
    """

    def __init__(self, *, terms: int, fresh: int, reach: float, noise: float, rng: np.random.Generator) -> None:
        whole(1, terms=terms)
        whole(0, fresh=fresh)
        between(0, 10, reach=reach, noise=noise)
        self.terms, self.fresh, self.reach, self.noise, self.rng = terms, fresh, reach, noise, rng

    def propose(self, n: int, inputs: tuple[str, ...], last: Verdict | None) -> list[RewardProgram]:
        new = n if last is None else min(self.fresh, n - 1)
        made = [self._program(self._new(len(inputs)), inputs) for _ in range(new)]
        if last is None:
            return made
        best, worst = (weights_of(RewardProgram(text, inputs)) for text in (last.best, last.worst))
        for i in range(n - new):
            past = 0.0 if i == 0 else self.rng.random() * self.reach
            weights = best + past * (best - worst)
            near = (best != 0) | (np.arange(len(inputs)) == self.rng.integers(len(inputs)))
            made.append(self._program(weights + near * self.noise * self.rng.standard_normal(len(inputs)), inputs))
        return made

    def _new(self, inputs: int) -> np.ndarray:
        weights = np.zeros(inputs)
        chosen = self.rng.permutation(inputs)[: self.terms]
        weights[chosen] = self.rng.standard_normal(len(chosen))
        return weights

    @staticmethod
    def _program(weights: np.ndarray, inputs: tuple[str, ...]) -> RewardProgram:
        used = [f"{weight:+.4f} * {name}" for name, weight in zip(inputs, weights, strict=True) if round(weight, 4)]
        return RewardProgram("reward = " + (" ".join(used) or "0"), inputs)


class EndpointProposer:
    """A language model writes them; what cannot be used is asked for again.

    Args:
        endpoint: where it answers.
        task: what the agent should do, in words.
        tries: requests for each program at most.
    """

    def __init__(self, *, endpoint: Endpoint, task: str, tries: int = TRIES) -> None:
        whole(1, tries=tries)
        if not task:
            raise ValueError("task=: say in words what the agent should do")
        self.chat: Callable[[list[dict[str, Any]]], str] = endpoint.chat
        self.task, self.tries = task, tries

    def propose(self, n: int, inputs: tuple[str, ...], last: Verdict | None) -> list[RewardProgram]:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self._request(inputs, last)}]
        return [self._one(messages, inputs) for _ in range(n)]

    def _one(self, messages: list[dict[str, Any]], inputs: tuple[str, ...]) -> RewardProgram:
        problem: UserError | None = None
        for _ in range(self.tries):
            reply = self.chat(messages)
            try:
                return RewardProgram(program_in(reply), inputs)
            except UserError as error:
                problem = error
        raise UserError(f"no reward program in {self.tries} replies could be used; the last one: {problem}")

    def _request(self, inputs: tuple[str, ...], last: Verdict | None) -> str:
        """Write one message: what was said of earlier rounds takes the place of what stood there."""
        parts = [f"Task: {self.task}", f"Inputs at each step: {', '.join(inputs)}."]
        if last is not None:
            parts += [
                f"A person watched agents trained on your last programs.\nThe best one:\n{last.best}",
                f"The worst one:\n{last.worst}\nKeep to what is good in the best one and avoid the worst one.",
                *(f"Means of the inputs during the training of\n{p}\n{_trace(t)}" for p, t in last.traces.items()),
            ]
        return "\n\n".join([*parts, "Write one program, in a block between ``` and ```."])


class RecordedProposer:
    """Replies from a file, one JSON string on each line, in order.

    Args:
        replies: the file.
    """

    def __init__(self, *, replies: str) -> None:
        lines = read_text(Path(replies)).splitlines()
        try:
            self.replies = [str(json.loads(line)) for line in lines if line.strip()]
        except ValueError:
            raise UserError(f"replies={replies}: expected one JSON string on each line") from None

    def propose(self, n: int, inputs: tuple[str, ...], last: Verdict | None) -> list[RewardProgram]:
        made: list[RewardProgram] = []
        while len(made) < n:
            if not self.replies:
                raise UserError(f"the recorded replies are used up, and {n - len(made)} programs are missing")
            try:
                made.append(RewardProgram(program_in(self.replies.pop(0)), inputs))
            except UserError:
                continue  # as with an endpoint, the next reply counts
        return made


SYSTEM = f"""You write rewards for reinforcement learning, in a small language.
A program is lines `name = expression`, the last one of `reward`. Expressions have numbers, the inputs, names of earlier
lines, + - * / **, comparisons, `a if condition else b`, and the functions {", ".join(FUNCTIONS)}."""


def program_in(reply: str) -> str:
    """Return the last block of a reply, or all of it."""
    blocks: list[str] = BLOCK.findall(reply)
    return blocks[-1] if blocks else reply


def weights_of(program: RewardProgram) -> np.ndarray:
    """Return what each input (I,) adds to a program that is linear in them."""
    nothing = dict.fromkeys(program.inputs, 0.0)
    return np.array([float(program({**nothing, name: 1.0}) - program(nothing)) for name in program.inputs])


def _trace(trace: Mapping[str, Sequence[float]]) -> str:
    return "\n".join(f"{name}: {', '.join(f'{value:.3g}' for value in values)}" for name, values in trace.items())


def make_proposer(
    kind: str, *, seed: int, task: str, endpoint: Mapping[str, Any], replies: str | None
) -> RewardProposer:
    """Make the proposer of this name in a command: grammar, endpoint or recorded. UserError for any other."""
    if kind == "grammar":
        return GrammarProposer(**GRAMMAR, rng=np.random.default_rng(seed))
    if kind == "endpoint":
        return EndpointProposer(endpoint=Endpoint(**endpoint), task=task)
    if kind == "recorded":
        if replies is None:
            raise UserError("replies= is missing: the file with the recorded replies")
        return RecordedProposer(replies=replies)
    raise UserError(f"proposer={kind}: {choices(kind, ('grammar', 'endpoint', 'recorded'))}")
