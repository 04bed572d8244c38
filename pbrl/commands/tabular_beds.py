"""`pbrl tabular NAME`: a small test bed of one system, a row for each seed, case and arm."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import whole_number
from pbrl.errors import UserError, choices

if TYPE_CHECKING:
    from pbrl.tabular.beds import Bed

KEYS = ("seeds", "seed", "out")
BEDS = {  # name: the module of pbrl.tabular that has its BED, and what it shows
    "rlif": ("intervention_grid", "an expert who acts badly and judges well teaches a policy that acts well"),
    "spo": ("cycle_game", "preferences in a circle: the averaged policy of self-play wins, the last one goes round"),
    "spo_noise": ("noisy_comparisons", "win rates as the reward of control bear flipped answers"),
    "vpl": ("hidden_goals", "eight answers of a new user foresee the others, where users differ"),
    "randomised": ("river_swim", "questions that samples of the posterior disagree on are enough"),
    "demo_kl": ("demonstration_grid", "a policy on a learned reward that stays near demonstrations beats their clone"),
    "safe": ("forbidden_grid", "a few answers what is unsafe keep a policy out; what was contradicted is forgotten"),
    "exprd": ("reward_design", "rewards in a few states, by linear programmes, are quicker to learn from"),
    "explors": ("reward_shaping", "a reward that shapes itself, with a bonus for novelty, where reward is sparse"),
    "cvar": ("stock_augmented", "with the cost so far in the state, the least CVaR is planned exactly"),
    "nash": ("nash_game", "with a pull to a reference the last policy of a game of preferences is the Nash policy"),
    "barfi": ("helper_grid", "a reward that is aligned with the task survives a helper that misleads"),
    "cmorl": ("random_fronts", "a constrained stage fills the gaps of a front that weighted sums leave"),
    "cmorl_conditioned": ("two_targets", "one policy that sees weights does for each what is best for it"),
    "icpl": ("three_axes", "reward programs that follow a choice of the best and the worst get better round by round"),
    "deformpam": ("three_modes", "samples of a clone are chosen by the reward that a tuned copy implies"),
    "diverse": ("walled_room", "policies that seek what behaves otherwise show more than novelty of states does"),
    "diverse_cheetah": ("cheetah_moves", "the same of HalfCheetah: speeds and pitches that labelled segments show"),
    "pearl": ("two_reaches", "answers about one task, carried to another by transport, are true there"),
    "lqr": ("lqr", "CPL finds the best gain of a regulator on labels by regret, and not on labels by return"),
}
BED_LINES = "\n".join(f"  {name:<17} {what}" for name, (_, what) in BEDS.items())


def find_bed(name: str) -> Bed:
    """Find the test bed of this name; UserError if there is none."""
    if name not in BEDS:
        raise UserError(f"unknown test bed {name!r}: {choices(name, BEDS)}; without a name: the preference models")
    bed: Bed = importlib.import_module(f"pbrl.tabular.{BEDS[name][0]}").BED
    return bed


def run_bed(parsed: Arguments, args: list[str], new_csv: Path) -> None:
    """Run a test bed on its seeds; write NAME.csv, NAME.md and NAME.png when all are over."""
    import torch

    from pbrl.files import replacing
    from pbrl.tabular.bed_report import SeedRow, draw, page, to_csv

    bed = find_bed(parsed.words[0])
    first, seeds = whole_number(parsed, "seed", 0, 0), whole_number(parsed, "seeds", bed.seeds, 1)
    torch.set_num_threads(1)  # networks are small: more threads would wait for each other
    rows = []
    for seed in range(first, first + seeds):
        rows += [SeedRow(seed, measured) for measured in bed.run(seed)]
        print(f"\r{seed - first + 1} of {seeds} seeds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    text = page(bed, rows, shlex.join(["pbrl", "tabular", *args]))
    for suffix, content in ((".csv", to_csv(rows)), (".md", text)):
        with replacing(new_csv.with_suffix(suffix)) as partial:
            partial.write_text(content, encoding="utf-8")
    draw(bed, rows, new_csv.with_suffix(".png"))
    print(text)
    print(f"written to {', '.join(str(new_csv.with_suffix(s)) for s in ('.csv', '.md', '.png'))}")


def check_words(parsed: Arguments) -> None:
    """Refuse wrong words with a UserError before anything is computed."""
    if len(parsed.words) > 1:
        raise UserError(f"pbrl tabular takes one test bed, {len(parsed.words)} given; valid are {', '.join(BEDS)}")
    find_bed(parsed.words[0])
    parsed.check_keys(KEYS)
