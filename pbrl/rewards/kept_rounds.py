"""Rounds of reward programs on the disk, so that `pbrl icpl` goes on: what was proposed, and who was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbrl.files import write_json
from pbrl.reading import find_object
from pbrl.rewards.programs import RewardProgram
from pbrl.rewards.proposers import EndpointProposer, RewardProposer, Verdict
from pbrl.rewards.rounds import Choose, Trained

FILE = "round.json"  # in the folder of a round


class KeptProposer:
    """Proposes again what stands on the disk, and what another proposes where nothing does.

    A proposer that draws or reads in order is asked all the same, so that it is where it would be; a language model,
    which would say something else, is not.
    """

    def __init__(self, proposer: RewardProposer, out: Path) -> None:
        self.proposer, self.out, self.number = proposer, out, 0

    def propose(self, n: int, inputs: tuple[str, ...], last: Verdict | None) -> list[RewardProgram]:
        self.number += 1
        known = _known(self.out, self.number).get("programs")
        if known is not None and isinstance(self.proposer, EndpointProposer):
            return [RewardProgram(text, inputs) for text in known]
        made = self.proposer.propose(n, inputs, last)
        if known is not None:
            return [RewardProgram(text, inputs) for text in known]
        (folder := self.out / f"round_{self.number}").mkdir(exist_ok=True)
        write_json(folder / FILE, {"programs": [program.text for program in made]})
        return made


def kept_choice(choose: Choose, out: Path) -> Choose:
    """Asks once about each round, and remembers what was said."""
    rounds = iter(range(1, 1 << 30))

    def chosen(trained: Sequence[Trained]) -> tuple[int, int]:
        number = next(rounds)
        known = _known(out, number)
        if "best" not in known:
            best, worst = choose(trained)
            known |= {"best": best, "worst": worst}
            write_json(out / f"round_{number}" / FILE, known)
        return known["best"], known["worst"]

    return chosen


def _known(out: Path, number: int) -> dict[str, Any]:
    return find_object(out / f"round_{number}" / FILE) or {}
