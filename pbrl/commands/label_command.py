"""`pbrl label`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError

HELP = """usage: pbrl label run=RUN_DIR [key=value ...]

Opens the viewer of a run: a local page on which people compare clips. The run may be training, finished or stopped;
pbrl train teacher=human starts a viewer by itself. Ends with Ctrl-C; no answer is lost, whatever is stopped when.

  port=8765            a fixed port (default: any free one, and the same again next time)
  open_browser=false   only print the address
  overlap=2            how many people answer each pair; each opens the address and enters a name
  people=P01,P02       a link for each person instead, by which they are known
  renew=P02            a new link for these people, or renew=all: the old ones open nothing any more
  question=, instructions=, repeats=, slight=, width=, height=, max_fps=, ahead=, ...
                       as in the viewer section of the run's config, which docs/viewer.md explains
  host=0.0.0.0 allow_remote=true [tls=cert.pem,key.pem]
                       let other machines in, with tls by https; an SSH tunnel is better: docs/viewer.md

example: pbrl label run=runs/halfcheetah/pebble/20250101-120000_s0"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    values = dict(parsed.values)
    if parsed.words or not values.get("run"):
        raise UserError(f"expected run=RUN_DIR; {HELP.splitlines()[0]}")
    run_dir = Path(values.pop("run"))
    from pbrl.viewer.serve import serve

    return serve(run_dir, values)
