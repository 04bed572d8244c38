"""The tables of a bench: a row per cell, a row per evaluation; docs/bench.md explains their columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pbrl.bench.bench_file import Env
from pbrl.bench.grid import OWN_TEACHER, Grid
from pbrl.bench.plan import Planned
from pbrl.files import replacing
from pbrl.training.log import read_evaluations
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import read_summary

# Columns that only some runs have: those whose method asks while an agent learns, and those that learn from a data
# set of which an expert is known.
OF_SOME = ("relabels", "last_label_step", "bonus_half_life", "model_ceiling")
ARM = ("env", "method", "teacher")
RESULTS = (
    *(*ARM, "agent", "budget", "seed", "status", "env_steps", "updates", "labels", "label_kind"),
    *("return", "success", "success_at_end", "score", "normalised", "reward_accuracy", "reward_updates"),
    *("wall_s", "config", "code", "versions", "source", *OF_SOME),
)
CURVES = (
    *(*ARM, "budget", "seed", "env_steps", "updates", "labels", "return", "success", "score", "normalised"),
    *("wall_s", "source"),
)
Row = dict[str, Any]


class Results:
    """Rows of the cells so far, in the order of the grid."""

    def __init__(
        self, out: Path, grid: Grid, planned: Sequence[Planned], low: dict[str, dict[str, float | None]]
    ) -> None:
        """low: what random actions reach, by env: return and success."""
        self.out, self.grid, self.planned, self.low = out, grid, planned, low
        self.teachers = {p.cell.teacher for p in planned}
        self.rows: dict[str, Row] = {}
        self.curves: dict[str, list[Row]] = {}
        for one in planned:
            self.update(one)

    def update(self, planned: Planned) -> Row:
        """Read again what a cell has made; return its row."""
        name = planned.cell.name
        curve = _curve(planned)
        self.rows[name] = row = _row(planned, (curve or [{}])[-1])
        if row["teacher"] == OWN_TEACHER and (own := row.pop("own_teacher")) not in (None, *self.teachers):
            row["teacher"] = own
        self.curves[name] = [{k: row[k] for k in (*ARM, "budget", "seed")} | point for point in curve]
        return row

    def write(self) -> None:
        scales = self.scales()
        # The grid has seeds outermost; here they are innermost.
        arms = {name.rpartition("/")[0]: place for place, name in reversed(list(enumerate(self.rows)))}
        order = sorted(self.planned, key=lambda p: arms[p.cell.name.rpartition("/")[0]])
        rows = [_scored(self.rows[p.cell.name], scales) for p in order]
        curves = [_scored(row, scales) for p in order for row in self.curves[p.cell.name]]
        for name, columns, content in (("results", RESULTS, rows), ("curves", CURVES, curves)):
            with replacing(self.out / f"{name}.csv") as partial:
                write_csv(partial, columns, content)

    def scales(self) -> dict[str, Env]:
        """Return both ends of each env's scale; high is None while its method has no finished run."""
        scales = {}
        for env in self.grid.envs.values():
            high = [
                row[env.score]
                for row in self.rows.values()
                if (row["env"], row["method"], row["status"]) == (env.name, env.high, "finished")
            ]
            known = [value for value in high if value is not None]
            scales[env.name] = Env(
                score=env.score,
                low=self.low.get(env.name, {}).get(env.score),
                high=sum(known) / len(known) if known else None,
                high_method=env.high,
            )
        return scales

    def finished(self) -> int:
        return sum(row["status"] == "finished" for row in self.rows.values())

    def failed(self) -> list[str]:
        return [name for name, row in self.rows.items() if row["status"] == "failed"]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({k: plain(row.get(k)) for k in columns} for row in rows)


def _row(planned: Planned, last: Row) -> Row:
    """Make the row of a cell. last: its last evaluation."""
    cell, record = planned.cell, planned.record()
    if planned.state == "stale":
        record = {}  # the numbers of another config or other code
    summary = (read_summary(RunDir(planned.job.folder)) or {}) if record else {}
    unfinished = {"failed": "failed", "started": "interrupted"}.get(str(record.get("status")), "missing")
    kind = summary.get("label")
    return {
        "env": cell.env,
        "method": cell.method,
        "teacher": cell.teacher,
        "own_teacher": summary.get("teacher"),
        "agent": summary.get("agent"),
        "budget": _budget(cell.budget, record.get("budget"), last.get("labels")),
        "seed": cell.seed,
        "status": "finished" if summary.get("status") == "finished" else unfinished,
        "env_steps": None if "updates" in summary else summary.get("env_steps"),
        "updates": summary.get("updates"),
        "labels": summary.get("labels"),
        "label_kind": None if kind == "none read" else kind,
        "return": _finite(summary.get("final_return")),
        "success": summary.get("final_success"),
        "success_at_end": last.get("success_at_end"),
        "reward_accuracy": _finite(summary.get("reward_accuracy")),
        "reward_updates": summary.get("reward_updates"),
        "wall_s": summary.get("wall_s"),
        "config": record.get("config"),
        "code": record.get("code"),
        "versions": " ".join(f"{name}={v}" for name, v in summary.get("versions", {}).get("packages", {}).items()),
        "source": None,
        **{name: summary.get(name) for name in OF_SOME},
    }


def _budget(asked: int | None, config: int | None, labels: int | None) -> int | None:
    """Return the budget of a cell that leaves it to its YAML; where that asks for all labels, how many were read."""
    return next((known for known in (asked, config, labels) if known is not None), None)


def _curve(planned: Planned) -> list[Row]:
    if planned.state == "stale":
        return []
    file = planned.job.folder / "evaluations.csv"
    rows = read_evaluations(file) if file.exists() and file.stat().st_size else []
    return [
        {
            "env_steps": None if "updates" in row else int(row["env_steps"] or 0),
            "updates": int(row["updates"] or 0) if "updates" in row else None,
            "labels": int(row["labels"] or 0),
            "return": _finite(row["return_mean"]),
            "success": _finite(row["success_rate"]),
            "success_at_end": _finite(row["success_at_end"]),
            "wall_s": _finite(row["wall_s"]),
        }
        for row in rows
    ]


def _scored(row: Row, scales: dict[str, Env]) -> Row:
    env = scales[row["env"]]
    score = row[env.score]
    return row | {"score": score, "normalised": None if score is None else env.normalised(score)}


def _finite(value: float | None) -> float | None:
    """Return a finite value, else None for missing: one such run would take the scale from all others."""
    return value if value is not None and math.isfinite(value) else None


def plain(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
