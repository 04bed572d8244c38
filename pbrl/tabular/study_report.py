"""The report of a study's rows: a Markdown table with intervals and tests, and a figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats

from pbrl.statistics.intervals import wilson_interval
from pbrl.tabular.evaluation import NEAR_OPTIMAL
from pbrl.tabular.labels import MODELS
from pbrl.tabular.study import Row, StudySettings

COLORS = {"partial_return": "#c1611b", "regret": "#2463a8"}
NAMES = {"partial_return": "partial return", "regret": "regret"}
Group = tuple[str, str]  # labels, generator
LOWEST_SHOWN = -1.0  # scaled return in the figure: single worlds go far below


class Share(NamedTuple):
    share: float
    low: float  # of the 95 % interval of Wilson
    high: float


def near_optimal(returns: np.ndarray) -> Share:
    """The share of scaled returns (n,) above 0.9."""
    return _share(returns > NEAR_OPTIMAL)


def wilcoxon_p(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on paired (n,) values; 1 where no pair differs."""
    if np.array_equal(first, second):
        return 1.0
    return float(stats.wilcoxon(first, second).pvalue)


def group_returns(rows: Sequence[Row]) -> dict[Group, dict[int, dict[str, np.ndarray]]]:
    """Scaled returns (n,) in the order of the worlds, by labels and generator, then comparisons, then learner."""
    found: dict[Group, dict[int, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        at = found[row["labels"], row["generator"]][int(row["comparisons"])]
        at[row["learner"]].append(float(row["scaled_return"]))
    return {
        group: {size: {learner: np.array(v) for learner, v in learners.items()} for size, learners in sizes.items()}
        for group, sizes in found.items()
    }


def table(rows: Sequence[Row]) -> str:
    """Both learners side by side, one line for each generator, kind of labels and number of comparisons."""
    what = ("near-optimal", "above random", "scaled return")
    header = ["labels", "given by", "comparisons", *(f"{w}, {NAMES[m]}" for w in what for m in MODELS), "p"]
    lines = [_line(header), _line(["---"] * len(header))]
    for (labels, generator), sizes in group_returns(rows).items():
        for size, learners in sizes.items():
            both = [learners[m] for m in MODELS]
            cells = [labels, NAMES[generator], f"{size:,}"]
            cells += [f"{s.share:.2f} ({s.low:.2f} to {s.high:.2f})" for s in map(near_optimal, both)]
            cells += [f"{(values > 0).mean():.2f}" for values in both]
            cells += [f"{np.median(values):.2f} ({values.mean():.2f})" for values in both]
            lines.append(_line([*cells, f"{wilcoxon_p(*both):.2g}"]))
    return "\n".join(lines)


def report(rows: Sequence[Row], settings: StudySettings, command: str) -> str:
    """The page of a study: how it was made, what the columns are, the table, and who was ahead where."""
    where = f"data sets on the board {settings.board}" if settings.board else "random worlds"
    return f"""```text
{command}
```

Rewards learned under either preference model from comparisons of random segments of three moves; n = {settings.mdps}
{where}, one data set each, of which a smaller one is the beginning.

- near-optimal: share of rewards whose policy has a scaled return above {NEAR_OPTIMAL}, with Wilson's 95 % interval
- above random: share with a scaled return above 0
- scaled return: median (mean); 1 is optimal, 0 as good as random moves, and a policy that never arrives is far below
- p: Wilcoxon's signed-rank test, two-sided, on the paired scaled returns of both learners

{table(rows)}

{verdicts(rows)}
"""


def verdicts(rows: Sequence[Row]) -> str:
    """One line for each group: at how many sizes the regret learner is near-optimal more often, and less often."""
    lines = []
    for (labels, generator), sizes in group_returns(rows).items():
        gain = [near_optimal(at["regret"]).share - near_optimal(at["partial_return"]).share for at in sizes.values()]
        more, less = sum(g > 0 for g in gain), sum(g < 0 for g in gain)
        lines.append(
            f"- {labels} {NAMES[generator]} labels: the regret learner is near-optimal more often at {more} of "
            f"{len(gain)} sizes, less often at {less}"
        )
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Share of near-optimal worlds above, scaled return below, against comparisons; one column for each group."""
    groups = group_returns(rows)
    figure = Figure(figsize=(3.1 * len(groups) + 0.4, 5.2), layout="constrained")
    axes = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), ((labels, generator), sizes) in zip(axes.T, groups.items(), strict=True):
        upper.set_title(f"{labels} {NAMES[generator]} labels", fontsize=10)
        for learner in MODELS:
            values = [learners[learner] for learners in sizes.values()]
            shares = np.array([near_optimal(v) for v in values])
            look = {"color": COLORS[learner], "label": f"learned under {NAMES[learner]}"}
            upper.plot(list(sizes), shares[:, 0], marker="o", ms=3.5, **look)
            upper.fill_between(list(sizes), shares[:, 1], shares[:, 2], color=COLORS[learner], alpha=0.15, lw=0)
            lower.plot(list(sizes), [v.mean() for v in values], marker="o", ms=3.5, **look)
            lower.plot(list(sizes), [np.median(v) for v in values], ls=":", color=COLORS[learner])
        lower.axhline(0, color="0.7", lw=0.8, zorder=0)
        lower.set_xlabel("comparisons")
        lower.set_xscale("log")
        lower.xaxis.set_major_formatter("{x:,.0f}")
        for ax in (upper, lower):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set(ylim=(0, 1.02), ylabel="share near-optimal")
    axes[1, 0].set(ylim=(LOWEST_SHOWN, 1.05), ylabel="scaled return")
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles.append(Patch(color="0.85", label="95 % interval"))
    handles.append(Line2D([], [], color="0.5", ls=":", label="median (solid: mean)"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _share(hits: np.ndarray) -> Share:
    return Share(float(hits.mean()), *wilson_interval(int(hits.sum()), len(hits)))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
