"""Rounds of reward programs: propose, train, choose the best and the worst, propose again (ICPL, Yu et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pbrl.rewards.programs import RewardProgram
from pbrl.rewards.proposers import RewardProposer, Verdict


class Trained(NamedTuple):
    """The outcome of training with one program."""

    program: RewardProgram
    score: float  # by the task's own measure, for scripts that choose and for the report
    traces: Mapping[str, Sequence[float]]  # of each input, during training
    where: Any = None  # what a person is shown


Choose = Callable[[Sequence[Trained]], tuple[int, int]]
"""The places of the best and of the worst."""


def rounds(
    proposer: RewardProposer,
    inputs: tuple[str, ...],
    train: Callable[[list[RewardProgram]], list[Trained]],
    choose: Choose | None,
    *,
    programs: int,
    n: int,
) -> Iterator[tuple[list[Trained], int, int]]:
    """Yield what each of `n` rounds of `programs` each came to, with the places of the best and the worst.

    choose: None: all rounds are proposed alike, and scores tell the places.
    """
    last: Verdict | None = None
    for _ in range(n):
        trained = train(proposer.propose(programs, inputs, last))
        best, worst = (choose or by_score)(trained)
        yield trained, best, worst
        if choose is None:
            continue
        traces = {trained[i].program.text: trained[i].traces for i in (best, worst)}
        last = Verdict(trained[best].program.text, trained[worst].program.text, traces)


def by_score(trained: Sequence[Trained]) -> tuple[int, int]:
    """Choose by score, as a script does."""
    scores = [one.score for one in trained]
    return scores.index(max(scores)), scores.index(min(scores))
