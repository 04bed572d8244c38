"""`pbrl icpl`: rounds of reward programs, each trained, of which the best and the worst are chosen."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.side_by_side import SIGNALLED, train_all
from pbrl.commands.values import required, whole_number
from pbrl.errors import UserError, choices, typed

if TYPE_CHECKING:
    from pbrl.rewards.programs import RewardProgram
    from pbrl.rewards.proposers import RewardProposer
    from pbrl.rewards.rounds import Choose, Trained

HELP = """usage: pbrl icpl out=FOLDER [rounds=5] [programs=6] [proposer=grammar] [choose=script] key=value ...
       pbrl icpl resume=FOLDER [workers=1]

Proposes reward programs of the task's factors, trains an agent on each (pbrl train method=icpl), lets somebody choose
the best and the worst, and proposes the next round from that. All other key=value go to the trainings.

  proposer=   grammar: weighted sums of the factors; endpoint: a language model; recorded: replies from a file
  choose=     script: by the task's own return; person: whoever opens the viewer, which shows an episode of each
              policy; terminal: you, by films of them, as two numbers typed here;
              random: any two, and independent: nothing is learned from a round (both are controls)
  workers=    trainings side by side
  task=       of endpoint: what the agent should do, in words
  model=      of endpoint: as the server calls it
  base_url=   of endpoint: an OpenAI-compatible server (default: http://127.0.0.1:8080/v1)
  key_env=    of endpoint: the environment variable that has the key, where one is needed
  replies=    of recorded: a file with one JSON string on each line

FOLDER/rounds.csv has a row for each program; the runs lie in FOLDER/round_1/program_1, ... resume= goes on where it was
stopped: programs and choices stand, finished trainings too, and the one that was under way goes on.

example: pbrl icpl env=point_reach steps=10000 rounds=2 programs=4 out=runs/icpl"""
OWN = ("out", "rounds", "programs", "proposer", "choose", "workers", "task", "model", "base_url", "key_env", "replies")
COLUMNS = ("round", "program", "score", "chosen", "text")
SETTINGS_FILE = "icpl.json"
CHOICES = ("script", "person", "terminal", "random", "independent")
BY_PEOPLE = ("person", "terminal")  # whose choice is remembered: scripts choose alike again


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    if parsed.words:
        raise UserError(f"unknown word {parsed.words[0]!r}; {HELP.splitlines()[0]}")
    from pbrl.rewards.kept_rounds import KeptProposer, kept_choice

    resumed = parsed.values.get("resume")
    if resumed is not None:
        parsed = _arguments_of(parsed, Path(resumed))
    n, programs = whole_number(parsed, "rounds", 5, 1), whole_number(parsed, "programs", 6, 2)
    workers, seed = whole_number(parsed, "workers", 1, 1), whole_number(parsed, "seed", 0, 0)
    given = [o for o in parsed.overrides if o.split("=", 1)[0] not in OWN]
    if taken := [o for o in given if o.split("=", 1)[0] in ("method", "method.program", "run_dir")]:
        raise UserError(f"{taken[0]}: pbrl icpl chooses it; leave it out")
    out = Path(resumed or required(parsed, "out", "the folder that the runs go to"))
    inputs, name = _factors(given), parsed.values.get("choose", "script")
    if name == "person":
        _require_shown(given, programs)
    proposer = _proposer(parsed, seed)
    if resumed is None:
        _require_free(out)
    with ExitStack() as opened:
        choose = _chooser(name, seed, out / "choices", opened)
        if resumed is None:
            _begin(out, args)
        if choose is not None and name in BY_PEOPLE:
            choose = kept_choice(choose, out)
        try:
            _run(KeptProposer(proposer, out), inputs, choose, out, given, n, programs, workers)
        except KeyboardInterrupt:
            print(f"pbrl: go on with: {typed('icpl', f'resume={out}')}", file=sys.stderr)
            raise
    return 0


def _require_free(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UserError(f"out={out} exists and is not overwritten; choose another, or go on with it by resume={out}")


def _begin(out: Path, args: list[str]) -> None:
    from pbrl.files import write_json

    out.mkdir(parents=True)
    write_json(out / SETTINGS_FILE, {"arguments": [a for a in args if a.split("=", 1)[0] not in ("out", "workers")]})


def _arguments_of(parsed: Arguments, out: Path) -> Arguments:
    """Return the arguments that the folder was begun with."""
    from pbrl.reading import find_object

    if other := [key for key in parsed.values if key not in ("resume", "workers")]:
        raise UserError(f"{other[0]}= is settled by resume=; valid beside it is workers")
    known = find_object(out / SETTINGS_FILE)
    if known is None or not isinstance(known.get("arguments"), list):
        raise UserError(f"resume={out}: it has no {SETTINGS_FILE}; valid is a folder that pbrl icpl made")
    workers = [f"workers={parsed.values['workers']}"] if "workers" in parsed.values else []
    return Arguments([*map(str, known["arguments"]), *workers], HELP)


def _factors(given: list[str]) -> tuple[str, ...]:
    """Return what programs may read; UserError before anything is trained."""
    from pbrl.building import build
    from pbrl.config import compose_config
    from pbrl_envs.factors import factor_names

    config = compose_config([*given, "method=icpl", "method.program=0"])
    env = build(config.env.make)
    names = tuple(factor_names(env))
    env.close()
    if not names:
        raise UserError(f"env={config.env.name} names no factors for a program to read")
    return names


def _require_shown(given: list[str], programs: int) -> None:
    """Raise UserError where the viewer could not show episodes of so many policies; before anything is trained."""
    from pbrl.building import build
    from pbrl.config import compose_config
    from pbrl.labelling.policies import MOST_POLICIES
    from pbrl.viewer.settings import viewer_section

    if programs > MOST_POLICIES:
        raise UserError(f"programs={programs}: the viewer shows 2 to {MOST_POLICIES} side by side; or choose=terminal")
    config = compose_config([*given, "method=icpl", "method.program=0"])
    viewer_section(config)
    env = build(config.env.make)
    drawn = env.has_wrapper_attr("has_state") and env.get_wrapper_attr("has_state")
    env.close()
    if not drawn:
        raise UserError(
            f"choose=person: env={config.env.name} has no simulator state to draw episodes from; "
            "choose=terminal films policies instead"
        )


def _proposer(parsed: Arguments, seed: int) -> RewardProposer:
    from pbrl.building import explaining
    from pbrl.rewards.proposers import make_proposer

    values = parsed.values
    names: tuple[str, ...] = ("model", "base_url", "key_env")
    endpoint: dict[str, str] = {name: values[name] for name in names if name in values}
    with explaining("pbrl icpl", {}):
        return make_proposer(
            values.get("proposer", "grammar"),
            seed=seed,
            task=values.get("task", ""),
            endpoint={"model": "", **endpoint},
            replies=values.get("replies"),
        )


def _chooser(name: str, seed: int, folder: Path, opened: ExitStack) -> Choose | None:
    """Return who chooses; None: nothing is learned from a round. folder: of what people are asked."""
    import numpy as np

    from pbrl.rewards.rounds import by_score

    if name not in CHOICES:
        raise UserError(f"choose={name}: {choices(name, CHOICES)}")
    if name == "person":
        from pbrl.labelling.policies import PolicyJudges

        judges = opened.enter_context(PolicyJudges(folder, seed))
        return lambda trained: judges([Path(one.where) for one in trained])
    rng = np.random.default_rng([seed, 1])

    def any_two(trained: Sequence[Trained]) -> tuple[int, int]:
        best, worst = rng.permutation(len(trained))[:2]
        return int(best), int(worst)

    return {"script": by_score, "terminal": _ask, "random": any_two, "independent": None}[name]


def _ask(trained: Sequence[Trained]) -> tuple[int, int]:
    """Return which clips a person finds best and worst, at the terminal."""
    for number, one in enumerate(trained, 1):
        print(f"  {number}: {_clip(Path(one.where))}")
    while True:
        try:
            words = input(f"best and worst, as two different numbers from 1 to {len(trained)}: ").split()
        except EOFError:
            raise UserError("nobody chose: choose=terminal reads two numbers from the terminal") from None
        if (
            len(words) == 2
            and all(w.isdecimal() and 1 <= int(w) <= len(trained) for w in words)
            and words[0] != words[1]
        ):
            return int(words[0]) - 1, int(words[1]) - 1


def _clip(run: Path) -> Path:
    from pbrl.reports.video import film
    from pbrl.training.saved import load_run

    saved, clip = load_run(run), run / "videos" / "policy.mp4"
    film(clip, saved.make_env, saved.act, seed=0)
    return clip


def _run(
    proposer: RewardProposer,
    inputs: tuple[str, ...],
    choose: Choose | None,
    out: Path,
    given: list[str],
    n: int,
    programs: int,
    workers: int,
) -> None:
    from pbrl.files import replacing
    from pbrl.rewards.rounds import rounds

    done = 0
    rows: list[tuple[object, ...]] = [COLUMNS]

    def train(proposed: list[RewardProgram]) -> list[Trained]:
        folders = [out / f"round_{done + 1}" / f"program_{i}" for i in range(1, len(proposed) + 1)]
        for program, folder in zip(proposed, folders, strict=True):
            _require_program(program, folder)
        jobs = {
            folder: _job(folder, [*given, "method=icpl", f"method.program='{p.one_line}'"])
            for p, folder in zip(proposed, folders, strict=True)
            if not _is_finished(folder)
        }
        codes = train_all(jobs.values(), workers)
        if any(code > SIGNALLED for code in codes):
            raise KeyboardInterrupt
        again = typed("icpl", f"resume={out}")
        for folder, code in zip(jobs, codes, strict=False):
            if code:
                raise UserError(f"the training in {folder} failed; once that is mended: {again}")
        return [_outcome(p, folder) for p, folder in zip(proposed, folders, strict=True)]

    for trained, best, worst in rounds(proposer, inputs, train, choose, programs=programs, n=n):
        done += 1
        for i, one in enumerate(trained):
            said = "best" if i == best else "worst" if i == worst else ""
            rows.append((done, i + 1, f"{one.score:.6g}", said if choose is not None else "", one.program.text))
        with replacing(out / "rounds.csv") as partial, partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        top = max(trained, key=lambda one: one.score)
        print(f"round {done} of {n}: return {top.score:.1f} of {top.program.text!r} in {top.where}")


def _require_program(program: RewardProgram, folder: Path) -> None:
    """Raise UserError where the training in this folder, if there is one, is on another program than its round has."""
    from omegaconf import OmegaConf

    from pbrl.config import load_config

    if not (file := folder / "config.yaml").is_file():
        return
    trained = OmegaConf.select(load_config(file), "method.program")
    if trained != program.one_line:
        raise UserError(
            f"{folder} is a training on {trained!r}, and {folder.parent / 'round.json'} says {program.one_line!r}; "
            "put that back there, or move the folder away, and the program that it says is trained"
        )


def _is_finished(folder: Path) -> bool:
    from pbrl.reading import find_object

    return (find_object(folder / "summary.json") or {}).get("status") == "finished"


def _job(folder: Path, given: list[str]) -> list[str]:
    """Return the job of `pbrl train`: a run that was stopped goes on."""
    begun = (folder / "config.yaml").is_file()
    return ["train", f"resume={folder}"] if begun else ["train", *given, f"run_dir={folder}"]


def _outcome(program: RewardProgram, folder: Path) -> Trained:
    """Score and traces of a finished run."""
    from pbrl.reading import read_object
    from pbrl.rewards.rounds import Trained

    score: Any = read_object(folder / "summary.json")["final_return"]
    if score is None:
        raise UserError("evaluation.every=null: the trainings are told apart by their returns; leave it out")
    with (folder / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    traces = {name: [float(row[f"factor_{name}"]) for row in rows] for name in program.inputs}
    print(f"{folder}: return {score:.1f}", file=sys.stderr)
    return Trained(program, float(score), traces, folder)
