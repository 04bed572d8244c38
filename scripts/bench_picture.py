"""The moving picture of a bench: `python scripts/bench_picture.py results/bench/curves.csv docs/bench.gif`.

Scores of the fast suite as its runs go on: the mean over tasks and seeds at each share of a run's steps, and its 95 %
interval (Student's t over runs); 0 is random actions, 1 the true reward at its end.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np

from pbrl.statistics.runs import t_interval

ARMS = {  # method, labels: what it is called here, and its colour
    ("true_reward", "0"): ("SAC on the true reward", "#555555"),
    ("pebble", "200"): ("PEBBLE, 200 labels", "#1f77b4"),
    ("pebble", "50"): ("PEBBLE, 50 labels", "#9ecae1"),
    ("pebble_random_labels", "200"): ("PEBBLE, 200 coin tosses", "#d62728"),
}
FRAMES, LAST_S = 24, 2.0
SHARES = np.linspace(0, 1, FRAMES)


def main(table: str, out: str) -> None:
    curves = {arm: scores(table, *arm) for arm in ARMS}
    pictures = [frame(curves, n) for n in range(2, FRAMES + 1)]
    iio.imwrite(out, pictures, duration=[100] * (len(pictures) - 1) + [round(1000 * LAST_S)], loop=0)


def scores(table: str, method: str, labels: str) -> np.ndarray:
    """Return normalised scores (runs, FRAMES) of one arm at each share of a run's steps."""
    runs = defaultdict(list)
    with open(table) as file:
        for row in csv.DictReader(file):
            if (row["method"], row["budget"]) == (method, labels) and row["env"] in ("pendulum", "tabletop_reach"):
                runs[row["env"], row["seed"]].append((float(row["env_steps"]), float(row["normalised"])))
    curves = [np.array(points).T for points in runs.values()]
    return np.stack([np.interp(SHARES, steps / steps[-1], values) for steps, values in curves])


def frame(curves: dict[tuple[str, str], np.ndarray], n: int) -> np.ndarray:
    """Draw the picture (H, W, 3) up to the n-th share."""
    figure, axes = plt.subplots(figsize=(6.4, 2.6), dpi=100, layout="constrained")
    for arm, (name, colour) in ARMS.items():
        intervals = [t_interval(column) for column in curves[arm][:, :n].T]
        axes.plot(100 * SHARES[:n], curves[arm][:, :n].mean(0), color=colour, label=name)
        axes.fill_between(
            100 * SHARES[:n], [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.15, lw=0
        )
    axes.set(xlim=(0, 100), ylim=(-0.5, 1.2), xlabel="% of a run's steps", ylabel="score")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
