"""`pbrl study`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError

HELP = """usage: pbrl study FILE.yaml [out=FOLDER] [key=value ...]

Opens a study with people: consent, instructions, practice with feedback, questions in an order of each person's own
with gold pairs and checks of attention among them, breaks, and a completion code at the end. FILE.yaml says all that,
and whose questions are asked: those of a run (run: RUN_DIR) or of a label set (labels: FOLDER); docs/study.md explains
its keys. Ends with Ctrl-C; the same command goes on, and no answer is lost, whatever is stopped when.

  out=FOLDER           of a label set: where the answers are kept (default: the name of the file without .yaml)
  port=8765 people=P01,P02 host= allow_remote= tls= ...
                       settings of the viewer, as of pbrl label

afterwards:
  pbrl labels report FOLDER              agreement, and how reliable each person is
  pbrl labels answers FOLDER out=a.csv   every answer, check and skip
  pbrl labels leave-out FOLDER people=P03

example: pbrl study studies/walking.yaml port=8765"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    if len(parsed.words) != 1:
        raise UserError(f"expected one study file, {len(parsed.words)} given; {HELP.splitlines()[0]}")
    values = dict(parsed.values)
    out = values.pop("out", None)
    from pbrl.study.open import open_study

    return open_study(Path(parsed.words[0]), Path(out) if out else None, values)
