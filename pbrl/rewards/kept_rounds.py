"""Rounds of reward programs on the disk, so that `pbrl icpl` goes on: what was proposed, and who was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.files import write_json
from pbrl.reading import read_object
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
        (path := _file(self.out, self.number)).parent.mkdir(exist_ok=True)
        write_json(path, {"programs": [program.text for program in made]})
        return made


def kept_choice(choose: Choose, out: Path) -> Choose:
    """Return a choice that asks `choose` once about each round, and remembers on the disk what was said."""
    rounds = iter(range(1, 1 << 30))

    def chosen(trained: Sequence[Trained]) -> tuple[int, int]:
        number = next(rounds)
        known = _known(out, number)
        if "best" not in known:
            best, worst = choose(trained)
            known |= {"best": best, "worst": worst}
            write_json(_file(out, number), known)
        return known["best"], known["worst"]

    return chosen


def _file(out: Path, number: int) -> Path:
    return out / f"round_{number}" / FILE


def _known(out: Path, number: int) -> dict[str, Any]:
    """Read what is remembered of a round; UserError where somebody changed it so that it cannot be gone on with."""
    path = _file(out, number)
    if not path.exists():
        return {}
    known = read_object(path)
    programs = known.get("programs")
    if not (isinstance(programs, list) and all(isinstance(text, str) for text in programs)):
        raise UserError(f"{path}: programs={programs!r}: expected a list of texts")
    places = {name: known[name] for name in ("best", "worst") if name in known}
    valid = all(type(place) is int and 0 <= place < len(programs) for place in places.values())
    if places and not (valid and len(set(places.values())) == 2):
        raise UserError(f"{path}: {places}: expected two different places from 0 to {len(programs) - 1}")
    return known
