"""Comparing runs: those that differ by their seeds alone are one arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pbrl.config import leaves
from pbrl.errors import UserError
from pbrl.reports.tables import Table, number
from pbrl.statistics.runs import holm, interval_of_two, mean, permutation_p, t_interval
from pbrl.use.run import Run, run_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DRAWS = 2000
NAMED = ("env.name", "method.name", "teacher.name", "feedback.budget", "steps")  # what an arm is called by
SAME = ("seed", "run_dir", "report", "threads", "log_every")  # may differ within an arm: they change no number
SAME_SECTIONS = ("viewer.", "checkpoint.", "logger.", "tensorboard.")


class Arm(NamedTuple):
    """Runs that differ by their seeds alone."""

    name: str  # what tells it from the others
    env: str
    runs: list[Run]
    returns: np.ndarray  # (n,) of the last evaluations
    low: float | None  # 95 % interval of the mean return (Student's t); None of a single run
    high: float | None
    success: float | None  # mean rate of the last evaluations, where the task knows success
    labels: float  # mean number of answers
    steps: float  # mean number of environment steps, or of updates


class Difference(NamedTuple):
    """The difference of two arms in one environment."""

    one: str
    other: str
    difference: float  # mean return of `one` minus that of `other`
    low: float | None  # 95 % bootstrap interval; None where an arm has a single run
    high: float | None
    p: float | None  # of a permutation test, corrected for the number of comparisons (Holm); None likewise


class Runs:
    """Several runs beside each other; `pbrl.compare` makes one. In a notebook it shows its table and curves.

    arms: those of runs that were evaluated. differences: of every two arms in one environment. notes: what to mind.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        evaluated = [run for run in self.runs if run.final_return is not None]
        self.notes = _notes(self.runs, evaluated)
        self.arms = _arms(evaluated)
        self.differences = _differences(self.arms)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of arms, for a data frame: `pandas.DataFrame(pbrl.compare(...).rows)`."""
        return [
            {
                "env": arm.env,
                "arm": arm.name,
                "n": len(arm.runs),
                "return": float(arm.returns.mean()),
                "low": arm.low,
                "high": arm.high,
                "success": arm.success,
                "labels": arm.labels,
                "steps": arm.steps,
            }
            for arm in self.arms
        ]

    @property
    def summary(self) -> Table:
        """Return a row for each arm, as text."""
        rows = [
            [
                *(row["env"], row["arm"], str(row["n"]), number(row["return"]), _range(row["low"], row["high"])),
                *("" if row["success"] is None else f"{row['success']:.0%}", f"{row['labels']:.0f}"),
                f"{row['steps']:.0f}",
            ]
            for row in self.rows
        ]
        header = ["env", "arm", "n", "return", "95 % interval", "success", "labels", "steps"]
        return Table("What they reach", "", header, rows)

    @property
    def table(self) -> str:
        """Return Markdown: the arms, and below what is known of their differences."""
        return "\n".join([self.summary.markdown(), *(f"- {line}" for line in [*self.words, *self.notes])])

    @property
    def words(self) -> list[str]:
        """Say each difference in a sentence."""
        return [_sentence(d) for d in self.differences]

    def figure(self, env: str | None = None) -> Figure:
        """Plot the returns of evaluations over steps: thin lines are runs, thick ones means of arms.

        env: of these arms alone.
        """
        from pbrl.use.figures import curves_of_arms

        arms = [arm for arm in self.arms if env in (None, arm.env)]
        if not arms:
            raise UserError("no run here was evaluated, so there is no curve")
        curves = {_label(arm, arms): [run.evaluations for run in arm.runs] for arm in arms}
        return curves_of_arms(curves, arms[0].runs[0].step_name)

    def __repr__(self) -> str:
        return self.table

    def _repr_html_(self) -> str:
        from html import escape

        from pbrl.use.figures import as_html

        lines = [("th", self.summary.header), *(("td", row) for row in self.summary.rows)]
        rows = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) for tag, cells in lines]
        below = "".join(f"<p>{escape(line)}</p>" for line in [*self.words, *self.notes])
        table = "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
        return table + below + (as_html(self.figure()) if self.arms else "")


def compare(runs: Sequence[Run | str | Path] | Run | str | Path) -> Runs:
    """Compare runs by the return of their last evaluations.

    runs: runs, or folders of runs at any depth. Runs whose configs differ by the seed alone are one arm; an arm is
        named by what tells it from the others. UserError where a folder has no run.
    """
    several = [runs] if isinstance(runs, (Run, str, Path)) else list(runs)
    if not several:
        raise UserError("compare() was given no run; expected runs, or folders of runs")
    found = [run for one in several for run in ([one] if isinstance(one, Run) else map(Run, run_folders([Path(one)])))]
    return Runs(list({run.path.resolve(): run for run in found}.values()))


def _arms(runs: Sequence[Run]) -> list[Arm]:
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    settings: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        own = _identity(run)
        key = tuple(sorted((k, repr(v)) for k, v in own.items()))
        groups[key].append(run)
        settings[key] = own
    names = _names(list(settings.values()))
    return [_arm(name, some) for name, some in zip(names, groups.values(), strict=True)]


def _arm(name: str, runs: list[Run]) -> Arm:
    last = [run.evaluations[-1] for run in runs]
    returns = np.array([row["return_mean"] for row in last], float)
    interval = t_interval(returns)
    success = [row["success_rate"] for row in last if row.get("success_rate") is not None]
    return Arm(
        name=name,
        env=str(runs[0].config["env"]["name"]),
        runs=runs,
        returns=returns,
        low=None if interval is None else float(interval.low),
        high=None if interval is None else float(interval.high),
        success=float(np.mean(success)) if success else None,  # type: ignore[arg-type]
        labels=float(np.mean([row["labels"] or 0 for row in last])),
        steps=float(np.mean([row[run.step_name] or 0 for run, row in zip(runs, last, strict=True)])),
    )


def _identity(run: Run) -> dict[str, Any]:
    """Return what of its config decides its numbers, besides the seed."""
    flat = dict(leaves(run.config))
    return {k: v for k, v in flat.items() if k not in SAME and not k.startswith(SAME_SECTIONS)}


def _names(settings: list[dict[str, Any]]) -> list[str]:
    """Name each arm: its method, what else differs among the usual keys, and else what tells it from its namesakes."""
    differing = [k for k in NAMED[2:] if len({repr(one.get(k)) for one in settings}) > 1]
    names = [" ".join([str(one.get("method.name")), *_told(one, differing)]) for one in settings]
    places = [(one.get("env.name"), name) for one, name in zip(settings, names, strict=True)]
    for place in {place for place in places if places.count(place) > 1}:
        name, rows = place[1], [i for i, other in enumerate(places) if other == place]
        keys = sorted({k for i in rows for k in settings[i]})
        keys = [k for k in keys if len({repr(settings[i].get(k)) for i in rows}) > 1]
        for i in rows:
            names[i] = " ".join([name, *_told(settings[i], keys[:3])])
    return names


def _told(settings: dict[str, Any], keys: Sequence[str]) -> list[str]:
    return [f"{k.removesuffix('.name')}={settings[k]!s:.40}" for k in keys if settings.get(k) is not None]


def _differences(arms: Sequence[Arm]) -> list[Difference]:
    pairs = [(a, b) for a, b in combinations(arms, 2) if a.env == b.env]
    several = [min(len(a.runs), len(b.runs)) > 1 for a, b in pairs]
    rng = np.random.default_rng(0)
    tested = [pair for pair, enough in zip(pairs, several, strict=True) if enough]
    corrected = iter(holm([permutation_p([a.returns], [b.returns], DRAWS, rng) for a, b in tested]) if tested else [])
    found = []
    for (a, b), enough in zip(pairs, several, strict=True):
        interval = interval_of_two([a.returns], [b.returns], _mean_difference, DRAWS, rng)
        low, high = (None, None) if interval is None else (float(interval.low), float(interval.high))
        gap = float(a.returns.mean() - b.returns.mean())
        found.append(Difference(a.name, b.name, gap, low, high, float(next(corrected)) if enough else None))
    return found


def _mean_difference(ours: Any, theirs: Any) -> np.ndarray:
    difference: np.ndarray = mean(ours) - mean(theirs)
    return difference


def _sentence(d: Difference) -> str:
    if d.p is None:
        return f"{d.one} - {d.other}: {d.difference:.1f}; one run of an arm says nothing of the others like it"
    sure = "a difference" if d.p < 0.05 else "no clear difference"
    return f"{d.one} - {d.other}: {d.difference:.1f} ({_range(d.low, d.high)}), p = {d.p:.2g}: {sure}"


def _notes(runs: Sequence[Run], evaluated: Sequence[Run]) -> list[str]:
    notes = [f"{len(runs) - len(evaluated)} without an evaluation are left out"] if len(evaluated) < len(runs) else []
    if unfinished := [run for run in evaluated if run.status != "finished"]:
        paths = ", ".join(str(run.path) for run in unfinished)
        notes.append(f"{len(unfinished)} not finished, as far as they came: {paths}")
    return notes


def _label(arm: Arm, arms: Sequence[Arm]) -> str:
    return arm.name if len({other.env for other in arms}) == 1 else f"{arm.env} {arm.name}"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.1f} to {high:.1f}"
