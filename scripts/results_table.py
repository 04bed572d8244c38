"""Columns of runs that `pbrl report` does not show: means over seeds of any of their columns, such as factors.

python scripts/results_table.py OUT COLUMN ... [over=curve] [against=METHOD]

OUT: of `pbrl bench`, or any folder of runs TASK/METHOD/.../sSEED. COLUMN: of evaluations.csv, progress.csv,
summary.json or reward.json; also a pattern, such as 'factor_*'. Takes the last value of every finished run, or with
over=curve the mean of all. Prints mean and 95 % t interval over seeds, and minutes; with against=METHOD also how much
more this method has than each other one, by seed (t interval), and as a difference and a share of means (bootstrap).
"""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    arms = read_runs(out / "runs" if (out / "runs").is_dir() else out)
    if not arms:
        sys.exit(f"{out} has no finished runs; expected the folder of a bench")
    seen = dict.fromkeys(name for runs in arms.values() for run in runs.values() for name in run)
    columns = [name for pattern in patterns for name in seen if fnmatchcase(name, pattern)]
    if not columns:
        sys.exit(f"{' '.join(patterns)}: no such column; valid are {', '.join(seen)}")
    found = {arm: {name: over_seeds(runs, name, curve) for name in columns} for arm, runs in arms.items()}
    print(f"| task | method | n | {' | '.join(columns)} | min per run |\n" + "| --- " * (len(columns) + 4) + "|")
    for arm, runs in arms.items():
        minutes = np.median([run["wall_s"][-1] for run in runs.values()]) / 60
        cells = [with_interval([*values.values()]) for values in found[arm].values()]
        print(f"| {' | '.join(arm)} | {len(runs)} | {' | '.join(cells)} | {minutes:.1f} |")
    if against is None:
        return
    print(f"\n| task | {against} against | column | by seed | difference | of the other's mean |\n{'| --- ' * 6}|")
    for task, ours in [arm for arm in arms if arm[1].split()[0] == against]:
        for other in (method for where, method in arms if where == task and method != ours):
            for name in columns:
                one, two = found[task, ours][name], found[task, other][name]
                if one and two:
                    print(f"| {task} | {other} | {name} | {' | '.join(compared(one, two))} |")


def read_runs(root: Path) -> dict[tuple[str, str], dict[str, Values]]:
    """Return the finished runs by task and method, and by seed."""
    arms: dict[tuple[str, str], dict[str, Values]] = defaultdict(dict)
    for summary in map(Path, sorted(glob.glob(f"{root}/*/*/**/summary.json", recursive=True))):
        if json.loads(summary.read_text())["status"] == "finished":
            task, *words = summary.parent.parent.relative_to(root).parts
            arm = task, " ".join(word for word in words if word not in UNSAID)
            arms[arm][summary.parent.name] = values_of(summary.parent)
    return arms


def values_of(run: Path) -> Values:
    """Return the numbers of a run: of each column of its tables all that are there, of its files of facts one."""
    values: Values = defaultdict(list)
    for file in (run / "evaluations.csv", run / "progress.csv"):
        for row in csv.DictReader(file.read_text().splitlines()) if file.exists() else ():
            for name, text in row.items():
                if text and name != "context":  # which is a word
                    values[name].append(float(text))
    for file in (run / "summary.json", run / "reward.json"):
        for name, value in json.loads(file.read_text()).items() if file.exists() else ():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                values[name] = [value]
    return values


def over_seeds(runs: Mapping[str, Values], name: str, curve: bool) -> dict[str, float]:
    return {seed: np.mean(run[name]) if curve else run[name][-1] for seed, run in runs.items() if run.get(name)}


def with_interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    found = t_interval(np.array(values))
    if found is None:
        return f"{values[0]:.4g}"
    half = float(found.high - found.low) / 2
    return f"{np.mean(values):.4g} ± {half:{'.0f' if half >= 10 else '.2g'}}"


def compared(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    """Write the difference by seed, that of the means and its share, with intervals where there are two seeds."""
    cells = [with_interval([ours[seed] - theirs[seed] for seed in ours if seed in theirs])]
    scores = [[np.array([*values.values()])] for values in (ours, theirs)]
    for form, statistic in STATISTICS:
        if form.endswith("%") and not all(theirs.values()):  # a share of nothing, or of what a draw may have none of
            cells.append("")
            continue
        found = interval_of_two(*scores, statistic, DRAWS, np.random.default_rng(0))
        around = "" if found is None else f" ({found.low:{form}} to {found.high:{form}})"
        cells.append(f"{float(statistic(*scores)):{form}}{around}")
    return cells


if __name__ == "__main__":
    options = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("over=", "against=")))
    words = [word for word in sys.argv[1:] if not word.startswith(("over=", "against="))]
    if len(words) < 2 or options.get("over", "curve") != "curve":
        sys.exit(__doc__)
    main(Path(words[0]), words[1:], "over" in options, options.get("against"))
