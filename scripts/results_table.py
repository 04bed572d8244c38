"""What `pbrl report` does not show of runs: means over seeds of any of their columns, such as factors.

python scripts/results_table.py OUT COLUMN ... [over=curve] [against=METHOD]

OUT: of `pbrl bench`, or any folder of runs TASK/METHOD/.../sSEED. COLUMN: of evaluations.csv, progress.csv,
summary.json or reward.json; also a pattern, such as 'factor_*'. Takes the last value of every finished run, or with
over=curve the mean of all. Prints mean and 95 % t interval over seeds, and minutes; with against=METHOD also what this
method has more than each other one, and what share of the other's mean that is, with 95 % bootstrap intervals over
seeds.
"""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from pbrl.statistics.runs import interval_of_two, mean, t_interval

DRAWS = 10_000
UNSAID = ("scripted", "own", "none", "default", "0")  # of the folders of a bench, where they tell nothing apart
Values = dict[str, list[float]]  # of one run, by column
STATISTICS = (
    ("+.4g", lambda ours, theirs: mean(ours) - mean(theirs)),
    ("+.1%", lambda ours, theirs: mean(ours) / mean(theirs) - 1),
)


def main(out: Path, patterns: Sequence[str], curve: bool, against: str | None) -> None:
    arms: dict[tuple[str, str], list[Values]] = defaultdict(list)
    root = out / "runs" if (out / "runs").is_dir() else out
    for summary in map(Path, sorted(glob.glob(f"{root}/*/*/**/summary.json", recursive=True))):
        if json.loads(summary.read_text())["status"] == "finished":
            task, *words = summary.parent.parent.relative_to(root).parts
            arms[task, " ".join(word for word in words if word not in UNSAID)].append(values_of(summary.parent))
    if not arms:
        sys.exit(f"{out} has no finished runs; expected the folder of a bench")
    seen = dict.fromkeys(name for runs in arms.values() for run in runs for name in run)
    columns = [name for pattern in patterns for name in seen if fnmatchcase(name, pattern)]
    if not columns:
        sys.exit(f"{' '.join(patterns)}: no such column; valid are {', '.join(seen)}")
    found = {arm: {name: over_seeds(runs, name, curve) for name in columns} for arm, runs in arms.items()}
    print(f"| task | method | n | {' | '.join(columns)} | min per run |\n" + "| --- " * (len(columns) + 4) + "|")
    for (task, method), runs in arms.items():
        minutes = np.median([run["wall_s"][-1] for run in runs]) / 60
        cells = [with_interval(found[task, method][name]) for name in columns]
        print(f"| {task} | {method} | {len(runs)} | {' | '.join(cells)} | {minutes:.1f} |")
    if against is not None:
        print(f"\n| task | column | {against} against | difference | of the other's mean |\n" + "| --- " * 5 + "|")
        for task, ours in [arm for arm in found if arm[1].split()[0] == against]:
            for other in (method for where, method in found if where == task and method != ours):
                for name in columns:
                    cells = compared(found[task, ours][name], found[task, other][name])
                    print(f"| {task} | {name} | {other} | {' | '.join(cells)} |")


def values_of(run: Path) -> Values:
    """Return the numbers of a run: of each column of its tables all that are there, of its files of facts one."""
    values: Values = defaultdict(list)
    for file in (run / "evaluations.csv", run / "progress.csv"):
        for row in csv.DictReader(file.read_text().splitlines()) if file.exists() else ():
            for name, text in row.items():
                if text:
                    values[name].append(float(text))
    for file in (run / "summary.json", run / "reward.json"):
        for name, value in json.loads(file.read_text()).items() if file.exists() else ():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                values[name] = [value]
    return values


def over_seeds(runs: Sequence[Values], name: str, curve: bool) -> np.ndarray:
    return np.array([np.mean(run[name]) if curve else run[name][-1] for run in runs if run.get(name)])


def with_interval(values: np.ndarray) -> str:
    if not len(values):
        return ""
    found = t_interval(values)
    if found is None:
        return f"{values[0]:.4g}"
    half = float(found.high - found.low) / 2
    return f"{values.mean():.4g} ± {half:{'.0f' if half >= 10 else '.2g'}}"


def compared(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Return difference and share, each with its interval where both have two seeds; nothing where one has none."""
    if not len(ours) or not len(theirs):
        return ["", ""]
    cells = []
    for form, statistic in STATISTICS:
        found = interval_of_two([ours], [theirs], statistic, DRAWS, np.random.default_rng(0))
        around = "" if found is None else f" ({found.low:{form}} to {found.high:{form}})"
        cells.append(f"{float(statistic([ours], [theirs])):{form}}{around}")
    return cells


if __name__ == "__main__":
    options = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("over=", "against=")))
    words = [word for word in sys.argv[1:] if not word.startswith(("over=", "against="))]
    if len(words) < 2 or options.get("over", "curve") != "curve":
        sys.exit(__doc__)
    main(Path(words[0]), words[1:], "over" in options, options.get("against"))
