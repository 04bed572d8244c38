"""Trust in the intervals of a report: the table of docs/report.md, from scores whose truth is known.

python scripts/interval_coverage.py

Standard normal scores, 1,500 times, 500 draws each: how often the 95 % interval of the IQM holds 0, the truth, and how
often two methods that are equal look resolved.
"""

from __future__ import annotations

import numpy as np

from pbrl.statistics.runs import interval, interval_of_two, iqm

SIZES = ((3, 1), (3, 4), (5, 1), (5, 4), (10, 4))  # seeds, tasks
REPEATS, DRAWS = 1500, 500


def main() -> None:
    print("| seeds, tasks | interval of the IQM holds the truth | equal methods look resolved |\n| --- | --- | --- |")
    rng = np.random.default_rng(0)
    for seeds, tasks in SIZES:
        held = resolved = 0
        for _ in range(REPEATS):
            one, other = ([rng.normal(size=seeds) for _ in range(tasks)] for _ in range(2))
            found = interval(one, iqm, DRAWS, rng)
            assert found is not None
            held += found.low <= 0 <= found.high
            between = interval_of_two(one, other, lambda a, b: iqm(a) - iqm(b), DRAWS, rng)
            assert between is not None
            resolved += between.excludes_zero
        print(f"| {seeds}, {tasks} | {held / REPEATS:.0%} | {resolved / REPEATS:.0%} |".replace("%", " %"))


if __name__ == "__main__":
    main()
