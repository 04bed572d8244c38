"""The API of notebooks and other programs; `import pbrl` offers all of it as `pbrl.train`, `pbrl.load_run`, ...

docs/api.md shows it and says what of it stays. Everything raises `pbrl.UserError`, with one line that says what is
wrong and what would be valid, where the command would print that line.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from pbrl.config import compose_config, load_config
from pbrl.data.datasets import Dataset
from pbrl.data.datasets import load_dataset as _load_dataset
from pbrl.errors import UserError, choices
from pbrl.given import give_again, reference
from pbrl.labels.import_set import as_store
from pbrl.labels.set_checks import FORMAT, format_of
from pbrl.labels.sets import LabelSet as Labels
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.overrides import MAPPINGS
from pbrl.questions import Question
from pbrl.storage import silence_threads
from pbrl.training.callbacks import Callback
from pbrl.training.run import Run as LiveRun
from pbrl.types import OVERALL
from pbrl.use.compare import Runs, compare
from pbrl.use.load import load_policy, load_reward
from pbrl.use.policy import Policy
from pbrl.use.reward import Reward
from pbrl.use.run import Run
from pbrl.use.train import begin, begin_again, make_report, train_new, train_to_end

__all__ = [
    "Callback",
    "Dataset",
    "Labels",
    "Policy",
    "Reward",
    "Run",
    "Runs",
    "compare",
    "load_dataset",
    "load_labels",
    "load_policy",
    "load_reward",
    "load_run",
    "resume",
    "train",
]


def train(
    *,
    callbacks: Sequence[Callback] = (),
    config_dir: str | Path | None = None,
    verbose: bool = True,
    **config: Any,
) -> Run:
    """Trains one run to its end, as `pbrl train` does, and returns it.

    callbacks: told of it while it trains.
    config_dir: a folder with YAMLs of your own in method/, env/, ...
    verbose: show how far it is.
    config: what `pbrl train --cfg` shows, by the same keys. Sections are dictionaries, `feedback={"budget": 100}`, or
        are written with two underscores, `feedback__budget=100`. `env`, `method`, `teacher`, `queries`, `agent` and
        `experiment` choose a YAML by its name; `teacher` and `queries` may also be Python functions:
        teacher(left, right): two `Segments` of n to (n,) numbers in [0, 1], 1 where the right one is better, 0.5 where
            they are equal, NaN where the pair is skipped. Segments have `obs` (n, T+1, O), `actions` (n, T, A) in
            [-1, 1] and `true_reward` (n, T).
        queries(model, left, right, n, asked, rng): the rows to ask, at most n, of the candidate pairs left and right.

    Ctrl-C, or Jupyter's stop, ends it at the end of a round, saved: its status is then "interrupted", and
    `pbrl.resume` goes on with it. Raises UserError for a wrong config, as the command prints it; then no folder is
    left behind.
    """
    overrides = as_overrides(config)
    composed = compose_config(overrides, None if config_dir is None else str(config_dir))
    with silence_threads():
        run = begin(composed, ["pbrl", "train", *overrides], callbacks)
        run.silent = not verbose
        return _finished(run, train_new(run, composed), bool(composed.get("report", True)))


def resume(
    run: Run | str | Path,
    *,
    steps: int | None = None,
    teacher: Callable[..., Any] | None = None,
    queries: Callable[..., Any] | None = None,
    callbacks: Sequence[Callback] = (),
    fresh_episode: bool = False,
    verbose: bool = True,
) -> Run:
    """Goes on with a run that was stopped or killed, and ends as if it had not been; returns it.

    steps: of the whole run, to extend it, a finished one too.
    teacher, queries: the function that the run began with, where it could not be imported by its name, in a process
        that does not have it yet.
    fresh_episode: for environments that do not repeat themselves, such as robots: leave the unfinished episode.
    callbacks, verbose: as in `train`; callbacks of before are not kept.

    Raises UserError where there is nothing to go on with, or where config, data or environment are not what they were.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    config = load_config(path / "config.yaml")
    for key, function in (("teacher", teacher), ("queries", queries)):
        if function is not None:
            give_again(str(config.get(key, {}).get("function")), function, f"{key}.function")
    with silence_threads():
        live = begin_again(path, steps, fresh_episode, callbacks)
        live.silent = not verbose
        return _finished(live, train_to_end(live, config), bool(config.get("report", True)))


def load_run(run: str | Path) -> Run:
    """A run from its folder, whether `pbrl.train` or the command made it. UserError where it is none."""
    return Run(run)


def load_dataset(path: str | Path) -> Dataset:
    """A data set of `pbrl collect` or `pbrl data import`: K `episodes`, N `segments`, `scores` and `comparisons`.

    UserError where the folder is none, or where a file was changed since it was written.
    """
    return _load_dataset(Path(path))


def load_labels(path: str | Path, kind: str = "segment_pair", criterion: str = OVERALL) -> Labels:
    """The answers in a label set, or those that stand now in a run, a study or what `pbrl label` made.

    `comparisons`, of pairs, has left and right `Segments` and `prefers_right` (B,), skips left out; `value` (R,), or
    (R, w) where an answer is several numbers, and `answered`, `annotator`, `response_s` (R,) are one for each answer,
    skips included.

    kind, criterion: which questions, where the folder has several.
    Raises UserError where the folder has no such answers.
    """
    path = Path(path)
    if format_of(path) == FORMAT:
        return load_label_set(path)
    if kind not in Question.kinds:
        raise UserError(f"kind={kind}: {choices(kind, Question.kinds)}")
    with tempfile.TemporaryDirectory() as folder, as_store(path) as store:
        export_labels(store, Path(folder, "labels"), kind=Question.kinds[kind], criterion=criterion)
        return load_label_set(Path(folder, "labels"))


def as_overrides(config: Mapping[str, Any]) -> list[str]:
    """Keyword arguments as the command takes them: `{"feedback": {"budget": 9}}` as `["feedback.budget=9"]`."""
    found: list[str] = []
    for name, value in config.items():
        key = name.replace("__", ".")
        if key in ("teacher", "queries") and callable(value):
            found += [f"{key}=function", f"{key}.function={reference(value)}"]
        elif isinstance(value, Mapping) and value and key not in MAPPINGS:
            found += as_overrides({f"{key}.{part}": inner for part, inner in value.items()})
        else:
            found.append(f"{key}={_text(value, name)}")
    return found


def _finished(run: LiveRun, finished: bool, report: bool) -> Run:
    path = run.folder.path
    if finished and report:
        make_report(path)
    return Run(path)


PLAIN = re.compile(r"[A-Za-z_][\w.:/@+-]*")
WORDS_OF_YAML = {"null", "true", "false", "nan", "inf"}


def _text(value: Any, key: str) -> str:
    """A value in Hydra's grammar; UserError where it has none."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()  # of NumPy or torch
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, Path)):
        text = str(value)
        plain = PLAIN.fullmatch(text) and text.lower() not in WORDS_OF_YAML
        return text if plain else QuotedString(text, Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_text(v, key)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(one, key) for one in value) + "]"
    raise UserError(f"{key}={value!r:.60}: expected a number, a word, a list or a dictionary, as in a YAML file")
