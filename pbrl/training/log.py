"""What a run writes down while it runs: progress.csv, evaluations.csv and TensorBoard, under SB3's names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.files import sync
from pbrl.reading import read_csv, reading

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
    """Appends rows; `state_dict` remembers how long the files were, so that a resumed run cuts off what it repeats."""

    def __init__(
        self,
        run_dir: Path,
        lengths: dict[str, int] | None = None,
        purge_step: int | None = None,
        progress: tuple[str, ...] = PROGRESS,
        evaluations: tuple[str, ...] = EVALUATIONS,
    ) -> None:
        """progress, evaluations: the columns of the two tables."""
        from torch.utils.tensorboard import SummaryWriter

        lengths = lengths or {}
        self.progress = _Table(run_dir / "progress.csv", progress, lengths.get("progress", 0))
        self.evaluations = _Table(run_dir / "evaluations.csv", evaluations, lengths.get("evaluations", 0))
        self.board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge_step)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One row of progress.csv; what a method reports beyond its columns goes to TensorBoard alone."""
        self.progress.append({k: v for k, v in metrics.items() if k in self.progress.columns})
        for name, value in metrics.items():
            if not name.startswith("time/t"):
                self.board.add_scalar(name, value, step)

    def write_evaluation(self, row: dict[str, Any], step: int) -> None:
        self.evaluations.append(row)
        tags = EVAL_TAGS | {column: f"eval/{column}" for column in row if column.startswith("factor_")}
        for column, tag in tags.items():
            if row[column] is not None:
                self.board.add_scalar(tag, row[column], step)
        self.board.flush()

    def state_dict(self) -> dict[str, int]:
        return {"progress": self.progress.length(), "evaluations": self.evaluations.length()}

    def close(self) -> None:
        self.board.close()


class _Table:
    """A CSV file with fixed columns; what `length` counts is on the disk."""

    def __init__(self, path: Path, columns: tuple[str, ...], length: int) -> None:
        self.path, self.columns = path, columns
        if length == 0:
            with path.open("w", newline="") as file:
                csv.writer(file).writerow(columns)
        else:
            if not path.is_file() or path.stat().st_size < length:
                raise UserError(f"{path} lacks rows that the checkpoint has seen; put the file back, or start anew")
            with path.open("r+b") as file:
                file.truncate(length)

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def length(self) -> int:
        sync(self.path)
        return self.path.stat().st_size


def read_table(path: Path) -> list[dict[str, float | None]]:
    """The rows of a CSV file of numbers; None where there is no value."""
    rows = read_csv(path)
    with reading(path, "a table of numbers"):
        return [{k: float(v) if v else None for k, v in row.items()} for row in rows]
