"""`pbrl label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import required, whole_number
from pbrl.errors import UserError, choices

HELP = """usage: pbrl label run=RUN_DIR [key=value ...]
       pbrl label data=DATASET out=LABELS [pairs=200] [key=value ...]

Opens the viewer: a local page on which people compare clips. Ends with Ctrl-C; no answer is lost, whatever is stopped
when. With run= it is that of a run, which may be training, finished or stopped; pbrl train teacher=human starts a
viewer by itself. With data= people are asked about recordings, without any run: the videos of the data set are shown,
or its simulator states drawn. The same command goes on with what was begun in LABELS.

  data=DATASET         made by pbrl data import or pbrl collect
  out=LABELS           a new folder; pbrl labels report and pbrl labels export read it
  pairs=200            how many questions in all (or as many as the data have); more may be asked for later
  queries=uniform      a sampler of configs/queries; disagreement and others ask a reward that learns from all answers
  per_session=20       how many questions at a time, between which that reward learns
  segment_length=      steps of a clip (that of the data's segments)
  kind=segment_pair    or about whole episodes: episode_pair, triplet (which is closer?), ranking of items=4
  criterion=overall seed=0 env=NAME

  camera=top           the view that comes first
  port=8765            a fixed port (default: any free one, and the same again next time)
  open_browser=false   only print the address
  overlap=2            how many people answer each pair; each opens the address and enters a name
  people=P01,P02       a link for each person instead, by which they are known
  renew=P02            a new link for these people, or renew=all: the old ones open nothing any more
  question=, instructions=, repeats=, slight=, width=, height=, max_fps=, ahead=, ...
                       as in the viewer section of the run's config, which docs/viewer.md explains
  host=0.0.0.0 allow_remote=true [tls=cert.pem,key.pem]
                       let other machines in, with tls by https; an SSH tunnel is better: docs/viewer.md

example: pbrl label run=runs/halfcheetah/pebble/20250101-120000_s0
example: pbrl label data=data/clips out=labels/clips pairs=50 people=ann,bob"""

NUMBERS = {"pairs": "questions", "per_session": "per_session", "segment_length": "segment_length", "items": "items"}
WORDS = ("kind", "criterion")


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    values = dict(parsed.values)
    if parsed.words or not ("data" in values or "out" in values or values.get("run")):
        raise UserError(f"expected run=RUN_DIR, or data=DATASET out=LABELS; {HELP.splitlines()[0]}")
    if "run" not in values:
        return label_data(parsed)
    run_dir = Path(values.pop("run"))
    from pbrl.labelling.project import is_project
    from pbrl.study.open import source_queries

    if is_project(run_dir):
        raise UserError(f"run={run_dir} is a labelling project, which goes on with: pbrl label out={run_dir}")
    if source_queries(run_dir):  # without its file people would answer who have agreed to nothing, gold pairs too
        raise UserError(f"run={run_dir} is a study, which goes on with its file: pbrl study FILE.yaml")
    from pbrl.viewer.serve import serve

    return serve(run_dir, values)


def label_data(parsed: Arguments) -> int:
    """Serve a viewer, and beside it what asks."""
    out = Path(required(parsed, "out", "a new folder for the labels, as out=labels/clips"))
    data = Path(parsed.values["data"]) if parsed.values.get("data") else None
    plan: dict[str, Any] = {
        own: whole_number(parsed, key, 1, 1) for key, own in NUMBERS.items() if key in parsed.values
    }
    plan |= {key: parsed.values[key] for key in WORDS if key in parsed.values}
    plan |= {"seed": whole_number(parsed, "seed", 0, 0)} if "seed" in parsed.values else {}
    config = [text for text in parsed.overrides if _of_config(text)]
    own = {"out", "data", "seed", *NUMBERS, *WORDS, *(text.split("=")[0] for text in config)}
    viewer = {key: value for key, value in parsed.values.items() if key not in own}

    from pbrl.config import compose_config

    known = [*sorted(own | {"queries", "env"}), "renew", *map(str, compose_config([]).viewer)]
    if unknown := [key for key in viewer if key not in known]:
        raise UserError(f"unknown key {unknown[0]!r}: {choices(unknown[0], known)}")
    from pbrl.labelling.asker import Asker
    from pbrl.labelling.project import open_project
    from pbrl.viewer.opened import remove_if_refused
    from pbrl.viewer.serve import serve

    told = {key: value for key, value in viewer.items() if key != "renew"}
    project = open_project(out, data, plan, config, told, parsed.options.get("--config-dir"))
    with remove_if_refused(out, project.made):
        return serve(out, viewer, Asker(project))


def _of_config(text: str) -> bool:
    return text.lstrip("+").split("=")[0].split(".")[0] in ("queries", "env")
