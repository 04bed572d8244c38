"""`pbrl watch`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import run_folder, whole_number

HELP = """usage: pbrl watch RUN_DIR [out=FOLDER] [expert=RUN_DIR] [key=value ...]

Opens a page on which people watch the policy of a run act, live in the simulator: with T they hand over to an expert
and take back, with the arrow keys they act themselves (tasks of at most two numbers), with W they say that it goes
wrong. Each episode is kept with what was said at each step, as answers of kind=intervention. Ends with Ctrl-C.

  out=FOLDER           where episodes are kept (default: RUN_DIR/watched); the same command goes on there
  expert=RUN_DIR       whose policy acts when somebody hands over (default: the task's own controller, if it has one)
  seed=0               of the episodes
  port=8765 people=P01,P02 width= height= host= allow_remote= tls= open_browser=false
                       settings of the viewer, as of pbrl label

afterwards:
  pbrl labels export FOLDER kind=intervention out=interventions
  pbrl train env=... method=rlif_people method.interventions=interventions ...

example: pbrl watch runs/point_reach/pebble/20250101-120000_s0 expert=runs/judge"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    run = run_folder(parsed.words, HELP.splitlines()[0])
    seed = whole_number(parsed, "seed", 0, 0)
    values = {key: value for key, value in parsed.values.items() if key not in ("out", "expert", "seed")}
    out, expert = parsed.values.get("out"), parsed.values.get("expert")
    from pbrl.watching.open import open_watching

    return open_watching(run, Path(out) if out else run / "watched", Path(expert) if expert else None, seed, values)
