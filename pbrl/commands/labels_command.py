"""`pbrl labels`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import new_file, run_folder, yes_or_no
from pbrl.errors import UserError, choices
from pbrl.files import no_folder

HELP = """usage: pbrl labels export|import|report|answers|leave-out|take-in FOLDER [key=value ...]

FOLDER is that of a run or a study, or what pbrl label data=... out=FOLDER made; export and report read a label set too.

  export RUN_DIR out=FOLDER [kind=segment_pair] [criterion=overall] [true_reward=false] [states=false]
      writes the standing answers as a label set, which any run can import; FOLDER must not exist yet.
      A set has the answers to one kind of question by one criterion.
      kind=choice as=pairs says of rankings, best and worst what they say of every two clips
      true_reward=false leaves out what teachers know, states=false what clips are drawn from
  import RUN_DIR from=FOLDER
      adds a label set to the labels of a run; importing it twice adds nothing
  report RUN_DIR [--json] [out=FILE.html] [criterion=overall]
      how many labels there are, how decided, by whom, how biased, how consistent, how fast, and how often they
      agree with each other and with the true return; out= makes it a page with figures, which must not exist yet
  answers RUN_DIR out=FILE.csv
      every answer as a row: choice, strength, side, plays, times, reasons, repeats and checks, skips, and what was
      taken back
  leave-out RUN_DIR people=P03,P07 [reason=failed the attention checks]
      from here on nothing learns from the answers of these people and no export has them; they stay in the store
  take-in RUN_DIR people=P03
      their answers count again

example: pbrl labels export runs/halfcheetah/pebble/20250101-120000_s0 out=my_labels"""

KEYS = {
    "export": ("out", "kind", "criterion", "true_reward", "states", "as"),
    "import": ("from",),
    "report": ("out", "criterion"),
    "answers": ("out",),
    "leave-out": ("people", "reason"),
    "take-in": ("people",),
}


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, flags=("--json",))
    if parsed.help:
        print(HELP)
        return 0
    action, *words = parsed.words or ["nothing"]
    if action not in KEYS:
        raise UserError(f"pbrl labels {action}: {choices(action, KEYS)}; {HELP.splitlines()[0]}")
    parsed.check_keys(KEYS[action])
    if "--json" in parsed.flags and action != "report":
        raise UserError(f"--json belongs to `pbrl labels report`, not to {action}")
    is_set = action in ("export", "report") and len(words) == 1 and is_label_set(Path(words[0]))
    path = Path(words[0]) if is_set else run_folder(words, HELP.splitlines()[0])
    try:
        ACTIONS[action](path, parsed)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror}") from error
    return 0


def export(path: Path, parsed: Arguments) -> None:
    out = Path(_required(parsed, "out", "a new folder"))
    true_reward, states = yes_or_no(parsed, "true_reward", True), yes_or_no(parsed, "states", True)

    from pbrl.labels.import_set import as_store
    from pbrl.labels.sets import export_labels
    from pbrl.labels.store import LabelStore
    from pbrl.question_kinds import SegmentPair
    from pbrl.questions import Question
    from pbrl.types import OVERALL

    name, criterion = parsed.values.get("kind", SegmentPair.kind), parsed.values.get("criterion", OVERALL)
    if name not in Question.kinds:
        raise UserError(f"kind={name}: {choices(name, Question.kinds)}")
    if parsed.values.get("as", "pairs") != "pairs":
        raise UserError(f"as={parsed.values['as']}: expected pairs, of kind=choice")
    asked = Question.kinds[name]
    how = {"true_reward": true_reward, "states": states, "as_pairs": "as" in parsed.values}
    with as_store(path) as folder:
        meta = export_labels(folder, out, kind=asked, criterion=criterion, **how)
        counts = meta["counts"]
        print(f"{counts['answers']} answers exported to {out} ({counts['skipped']} of them skips)")
        with LabelStore(folder, create=False) as store:
            for (kind, by), n in store.forms().items():
                if (kind, by) != (name, criterion):
                    print(f"not exported: {n} answers with kind={kind} criterion={by}")


def import_(path: Path, parsed: Arguments) -> None:
    source = Path(_required(parsed, "from", "the folder of a label set"))
    if not source.is_dir():
        raise UserError(f"from={source}: {no_folder(source)}; it is made by pbrl labels export")

    from pbrl.labels.import_set import import_labels

    added = import_labels(path, source)
    print(f"{added['answers_added']} answers added to {path}, {added['answers_known']} were there already")


def report(path: Path, parsed: Arguments) -> None:
    from pbrl.labels.import_set import as_store
    from pbrl.reports.label_report import label_report
    from pbrl.types import OVERALL

    out = _page_file(parsed)
    with as_store(path) as folder:
        found = label_report(folder, parsed.values.get("criterion", OVERALL)) | {"run_dir": str(path)}
    if out is not None:
        from pbrl.reports.label_page import write_label_page

        write_label_page(found, out)
    if "--json" in parsed.flags:
        import json

        print(json.dumps(found, indent=2))
    elif out is not None:
        answers = found["answers"] + sum(kind["answers"] for kind in found["kinds"])
        print(f"{answers} answers reported in {out}")
    else:
        from pbrl.reports.label_text import format_report

        print(format_report(found), end="")


def answers(path: Path, parsed: Arguments) -> None:
    if not (text := _required(parsed, "out", "a new file", "answers.csv")).lower().endswith(".csv"):
        raise UserError(f"out={text}; valid is the name of a table that does not exist yet, as out=answers.csv")
    out = new_file(parsed, "out", Path(text))
    from pbrl.labels.answers_csv import write_answers
    from pbrl.study.open import source_queries

    print(f"{write_answers(path, out, source_queries(path))} answers written to {out}")


def leave_out(path: Path, parsed: Arguments) -> None:
    from pbrl.labels.store import LabelStore

    people, reason = _people(parsed), parsed.values.get("reason", "left out by hand")
    with LabelStore(path, create=False) as store, store.transaction():
        for name in people:
            store.leave_out(name, reason)
        left_out = ", ".join(store.left_out())
    print(f"left out of learning and of exports: {left_out}")


def take_in(path: Path, parsed: Arguments) -> None:
    from pbrl.labels.store import LabelStore

    people = _people(parsed)
    with LabelStore(path, create=False) as store, store.transaction():
        for name in people:
            store.take_in(name)
        left_out = ", ".join(store.left_out()) or "nobody"
    print(f"left out of learning and of exports: {left_out}")


def _people(parsed: Arguments) -> list[str]:
    people = [name for part in _required(parsed, "people", "names", "P01,P02").split(",") if (name := part.strip())]
    if not people:
        raise UserError(f"people={parsed.values['people']}: expected names, as people=P01,P02")
    return people


def is_label_set(path: Path) -> bool:
    from pbrl.labels.set_checks import FORMAT, format_of

    return format_of(path) == FORMAT


def _page_file(parsed: Arguments) -> Path | None:
    if "out" not in parsed.values:
        return None
    if not (text := parsed.values["out"]).lower().endswith((".html", ".htm")):
        raise UserError(f"out={text}; valid is the name of a page that does not exist yet, as out=labels.html")
    return new_file(parsed, "out", Path(text))


def _required(parsed: Arguments, key: str, what: str, example: str = "my_labels") -> str:
    if not (text := parsed.values.get(key)):
        raise UserError(f"{key}= is missing: {what}, as {key}={example}")
    return text


ACTIONS = {
    "export": export,
    "import": import_,
    "report": report,
    "answers": answers,
    "leave-out": leave_out,
    "take-in": take_in,
}
