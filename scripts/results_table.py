"""What `pbrl report` does not show of a bench: means of any columns of evaluations.csv, such as factors.

python scripts/results_table.py OUT COLUMN ...     OUT: of `pbrl bench`; COLUMN: also a pattern, such as 'factor_*'

Prints a table of the last evaluation of every finished run: mean and 95 % t interval over seeds, and minutes.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from run_many import evaluations, finished

from pbrl.statistics.runs import t_interval


def main(out: Path, patterns: list[str]) -> None:
    runs: dict[Path, list[dict[str, str]]] = defaultdict(list)
    for folder in sorted((out / "runs").glob("*/*/*/*/s*")):
        if finished(folder):
            runs[folder.parent.relative_to(out / "runs")].append(evaluations(folder)[-1])
    if not runs:
        sys.exit(f"{out} has no finished runs; expected the folder of a bench")
    seen = dict.fromkeys(name for rows in runs.values() for row in rows for name in row)
    columns = [name for pattern in patterns for name in seen if fnmatchcase(name, pattern)]
    if not columns:
        sys.exit(f"{' '.join(patterns)}: no such column; valid are {', '.join(seen)}")
    print(f"| task | method | n | {' | '.join(columns)} | min per run |\n" + "| --- " * (len(columns) + 4) + "|")
    for arm, rows in runs.items():
        task, method, *_ = arm.parts
        cells = [interval([float(row[name]) for row in rows if row.get(name)]) for name in columns]
        minutes = np.median([float(row["wall_s"]) for row in rows]) / 60
        print(f"| {task} | {method} | {len(rows)} | {' | '.join(cells)} | {minutes:.1f} |")


def interval(values: list[float]) -> str:
    if not values:
        return ""
    found = t_interval(np.array(values))
    if found is None:
        return f"{values[0]:.4g}"
    half = float(found.high - found.low) / 2
    return f"{np.mean(values):.4g} ± {half:{'.0f' if half >= 10 else '.2g'}}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case [out, *columns] if columns:
            main(Path(out), columns)
        case _:
            sys.exit(__doc__)
