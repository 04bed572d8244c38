"""`pbrl VERB key=value ...`: finds the verb, and turns what a user did wrong into one line and exit code 2."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback

OF_PATHS = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EROFS}
HELP, VERSION = ("-h", "--help", "help"), ("-V", "--version")
VERBS = {
    "demo": "a short real run with a scripted teacher, then a report",
    "train": "one run: pbrl train env=walker-walk method=pebble; or go on: pbrl train resume=RUN_DIR",
    "eval": "returns and success of a saved policy: pbrl eval RUN_DIR [episodes=20] [video=true]",
    "export": "policy and reward for other programs: pbrl export RUN_DIR policy=onnx reward=torchscript",
    "collect": "an offline data set: pbrl collect env=point_reach episodes=60 out=FOLDER",
    "data": "offline data sets: pbrl data info|import|export",
    "label": "the viewer, where people compare clips: pbrl label run=RUN_DIR, or data=DATASET out=LABELS",
    "study": "a study with people: consent, practice, checks, quota: pbrl study FILE.yaml",
    "watch": "people watch a policy act live, and take over: pbrl watch RUN_DIR [expert=RUN_DIR]",
    "labels": "labels as data: pbrl labels export|import|report|answers|leave-out RUN_DIR",
    "list": "what there is: pbrl list envs|methods|teachers|samplers|agents|tabular|...",
    "bench": "methods x environments x seeds, resumable: pbrl bench grid=smoke out=FOLDER",
    "tune": "the few knobs of a method, on seeds of their own: pbrl tune space=pebble env=pendulum out=FOLDER",
    "runs": "one's own runs, listed and compared: pbrl runs [FOLDER ...]",
    "report": "tables, figures and one page of a bench, a run or several: pbrl report DIR ... [with=other.csv]",
    "icpl": "reward programs in rounds: proposed, trained, the best and the worst chosen: pbrl icpl env=... out=FOLDER",
    "tabular": "which preference model recovers the reward, in worlds where everything is known",
    "speed": "throughput here, beside plain Stable-Baselines3 and the limit of the machine",
    "doctor": "what works on this machine",
    "completion": "a script that completes commands, keys and names: pbrl completion bash|zsh|fish",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    from pbrl.terminal import print_what_it_can, protect_output

    print_what_it_can()
    with protect_output() as output:
        code = _run(list(sys.argv[1:] if argv is None else argv))
    if output.full is None:
        return code
    with contextlib.suppress(OSError):
        print(f"pbrl: standard output: {output.full.strerror}", file=sys.stderr, flush=True)
    return code or 1


def _run(args: list[str]) -> int:
    if not args or (len(args) == 1 and args[0] in HELP):
        print(usage())
        return 0
    if len(args) == 1 and args[0] in VERSION:
        from pbrl import __version__

        print(__version__)
        return 0
    from pbrl.errors import EnvError, StorageError, UserError, as_line, choices
    from pbrl.storage import silence_threads, storage_problem
    from pbrl.training.interrupt import catch_ending_signals, exit_code

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's own modules, as with `python -m pbrl`
    try:
        _check_text(args)
        if args[0] in (*HELP, *VERSION):
            about = "pbrl VERB --help is about one command"
            raise UserError(f"{args[0]} takes nothing more, and {args[1]} was given; {about}")
        if args[0] not in VERBS:
            raise UserError(f"unknown command {args[0]!r}: {choices(args[0], VERBS)}")
        with silence_threads(), catch_ending_signals():
            command = importlib.import_module(f"pbrl.commands.{args[0]}_command")
            return command.main(args[1:])
    except EnvError as error:
        print(f"pbrl: {error}", file=sys.stderr)
        if (cause := error.__cause__) is not None and (trace := cause.__traceback__) is not None:
            # Show where the user's own code broke, without our line that called it.
            traceback.print_exception(cause.with_traceback(trace.tb_next or trace))
        return 2
    except UserError as error:
        print(f"pbrl: {as_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, StorageError) else 2
    except KeyboardInterrupt:
        print("pbrl: stopped", file=sys.stderr)
        return exit_code()
    except Exception as error:
        if (problem := storage_problem(error)) is not None:
            print(f"pbrl: {problem}", file=sys.stderr)
            return 1
        if not isinstance(error, OSError) or error.errno not in OF_PATHS:
            raise
        named = "" if error.filename is None else f"{error.filename}: "
        print(f"pbrl: {named}{error.strerror}", file=sys.stderr)
        return 2


def _check_text(args: list[str]) -> None:
    """Refuse names that are not text by this terminal's encoding: no file of a run could note them."""
    from pbrl.errors import UserError

    try:
        "".join(args).encode()
    except UnicodeEncodeError as error:
        word = next(text for text in args if not text.isprintable())
        raise UserError(f"{word}: not text in UTF-8, or this locale is another; then set PYTHONUTF8=1") from error


def usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return (
        "Preference-based reinforcement learning for control and robotics.\n\n"
        f"usage: pbrl VERB key=value ...\n\n{verbs}\n\n"
        "key=value is Hydra's override syntax: env=NAME chooses configs/env/NAME.yaml, feedback.budget=100 sets a\n"
        "value. `pbrl VERB --help` shows more."
    )
