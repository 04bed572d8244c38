"""The log of a run: progress.csv, evaluations.csv and TensorBoard, under SB3's names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.files import replacing, sync
from pbrl.reading import read_csv, reading
from pbrl.training.evaluate import mean_row

TIME = ("time/total_timesteps", "time/fps", "time/time_elapsed")
ROLLOUT = ("rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate", "rollout/ep_learned_rew_mean")
TRAIN = (
    "train/actor_loss",
    "train/critic_loss",
    "train/ent_coef",
    "train/ent_coef_loss",
    "train/learning_rate",
    "train/n_updates",
    "train/loss",
    "train/policy_gradient_loss",
    "train/value_loss",
    "train/entropy_loss",
    "train/approx_kl",
    "train/clip_fraction",
    "train/clip_range",
    "train/explained_variance",
    "train/std",
)
REWARD = (
    "reward/loss",
    "reward/accuracy",
    "reward/fresh_accuracy",
    "reward/heldout_loss",
    "reward/heldout_accuracy",
    "reward/true_accuracy",
    "reward/disagreement",
    "reward/corr_true",
    "reward/updates",
)
FEEDBACK = (
    "feedback/labels",
    "feedback/decisive",
    "feedback/equal",
    "feedback/skipped",
    "feedback/queue",
    "feedback/wait_s",
)
PROGRESS = (*TIME, *ROLLOUT, *TRAIN, *REWARD, *FEEDBACK)
OFFLINE_PROGRESS = (
    *("time/total_updates", "time/updates_per_s", "time/time_elapsed"),
    *("train/bc_loss", "train/loss", "train/accuracy", "train/critic_loss", "train/v_loss", "train/actor_loss"),
    *("train/q_mean", "train/reward_square", "train/effective_share"),
    *("reward/loss", "reward/accuracy", "reward/validation_accuracy"),
    *("validation/loss", "validation/accuracy", "test/loss", "test/accuracy"),
)
EVALUATIONS = (
    *("env_steps", "labels", "return_mean", "return_std", "success_rate", "episode_length", "wall_s"),
    "success_at_end",
)
EVAL_TAGS = {  # and factor_NAME as eval/factor_NAME
    "return_mean": "eval/mean_reward",
    "episode_length": "eval/mean_ep_length",
    "success_rate": "eval/success_rate",
}


class RunLog:
    """Appends rows; `state_dict` remembers which there were, so that a resumed run leaves out what it repeats.

    A metric that no row had before becomes a column of its own, empty in the rows above.
    """

    def __init__(
        self,
        run_dir: Path,
        state: dict[str, Any] | None = None,
        purge_step: int | None = None,
        progress: tuple[str, ...] = PROGRESS,
        evaluations: tuple[str, ...] = EVALUATIONS,
    ) -> None:
        """state: of the checkpoint from which a run goes on. progress, evaluations: the columns to begin with."""
        from torch.utils.tensorboard import SummaryWriter

        state = state or {}
        self.progress = _Table(run_dir / "progress.csv", progress, state.get("progress"))
        self.evaluations = _Table(run_dir / "evaluations.csv", evaluations, state.get("evaluations"))
        self.board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge_step)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write one row of progress.csv, and TensorBoard. UserError where a value is no number."""
        metrics = {name: _number(name, value) for name, value in metrics.items()}
        self.progress.append(metrics)
        for name, value in metrics.items():
            if not name.startswith("time/t"):
                self.board.add_scalar(name, value, step)

    def write_evaluation(self, row: dict[str, Any], step: int) -> None:
        self.evaluations.append(row)
        for tag, value in evaluation_scalars(row).items():
            self.board.add_scalar(tag, value, step)
        self.board.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"progress": self.progress.state_dict(), "evaluations": self.evaluations.state_dict()}

    def close(self) -> None:
        self.board.close()


def _number(name: str, value: Any) -> Any:
    """Return a number as it is, a tensor or an array of one number as that number."""
    one = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    if not isinstance(one, (int, float)):
        raise UserError(f"{name}={value!r:.60}: expected a number, as in every column of progress.csv")
    return value if isinstance(value, (np.generic, int, float)) else one


class _Table:
    """A CSV file that gets columns as rows bring them; what `state_dict` counts is on the disk."""

    def __init__(self, path: Path, columns: tuple[str, ...], state: dict[str, Any] | None) -> None:
        self.path, self.columns = path, list(columns)
        rows: list[dict[str, str]] = []
        if state is not None:
            self.columns, rows = list(state["columns"]), self._read()[: state["rows"]]
            if len(rows) < state["rows"]:
                raise UserError(f"{path} lacks rows that the checkpoint has seen; put the file back, or start anew")
        self._write(rows)

    def append(self, row: dict[str, Any]) -> None:
        if new := [name for name in row if name not in self.columns]:
            self.columns += new
            self._write(self._read())
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
        self.rows += 1

    def state_dict(self) -> dict[str, Any]:
        sync(self.path)
        return {"columns": list(self.columns), "rows": self.rows}

    def _read(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, str]]) -> None:
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        self.rows = len(rows)


def evaluation_scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row of evaluations.csv by SB3's names, without what has no value."""
    tags = EVAL_TAGS | {column: f"eval/{column}" for column in row if column.startswith("factor_")}
    return {tag: row[column] for column, tag in tags.items() if row[column] is not None}


def read_evaluations(path: Path) -> list[dict[str, float | None]]:
    """Read the rows of evaluations.csv; of several contexts at one step their mean."""
    rows = [{k: v for k, v in row.items() if k != "context"} for row in read_csv(path)]
    with reading(path, "a table of numbers"):
        numbers = [{k: float(v) if v else None for k, v in row.items()} for row in rows]
    steps = groupby(numbers, key=lambda row: (row.get("env_steps"), row.get("updates")))
    return [mean_row(list(some)) for _, some in steps]


def read_table(path: Path) -> list[dict[str, float | None]]:
    """Read the rows of a CSV file of numbers; None where there is no value."""
    rows = read_csv(path)
    with reading(path, "a table of numbers"):
        return [{k: float(v) if v else None for k, v in row.items()} for row in rows]
