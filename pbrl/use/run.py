"""A run as it lies in its folder: what it was asked, what came out, its policy and its reward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.training.log import read_evaluations, read_table
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pbrl.use.policy import Policy
    from pbrl.use.reward import Reward

Rows = list[dict[str, float | None]]


class Run:
    """A run, as `pbrl.train` and `pbrl.load_run` return it. In a notebook it shows its learning curve.

    path: its folder; what is read of it is read when it is first asked for. UserError where it is no run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._config = load_config(self.path / "config.yaml")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config, nested as in config.yaml: `run.config["feedback"]["budget"]`."""
        return dict(OmegaConf.to_container(self._config, resolve=True))  # type: ignore[arg-type]

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json; empty while the run goes on, and after it was killed."""
        return read_summary(RunDir(self.path)) or {}

    @property
    def status(self) -> str:
        """The state: finished, interrupted (it was stopped and saved), or unfinished (it goes on, or was killed)."""
        return str(self.summary.get("status", "unfinished"))

    @property
    def evaluations(self) -> Rows:
        """The rows of evaluations.csv: env_steps, labels, return_mean, success_rate, ...; None: no value."""
        return _read(self.path / "evaluations.csv", read_evaluations)

    @property
    def progress(self) -> Rows:
        """The rows of progress.csv, by SB3's names: rollout/ep_rew_mean, reward/accuracy, ...; None: no value."""
        return _read(self.path / "progress.csv", read_table)

    @property
    def final_return(self) -> float | None:
        """The mean return of the last evaluation; None where there is none."""
        rows = self.evaluations
        return rows[-1]["return_mean"] if rows else None

    def policy(
        self,
        checkpoint: str | int | None = None,
        user: str | None = None,
        weights: Sequence[float] | None = None,
    ) -> Policy:
        """Return what it has learned to do; see `pbrl.load_policy`."""
        from pbrl.use.load import load_policy

        return load_policy(self.path, checkpoint, user, weights)

    def reward(self, checkpoint: str | int | None = None) -> Reward:
        """Return what it has learned to reward; see `pbrl.load_reward`."""
        from pbrl.use.load import load_reward

        return load_reward(self.path, checkpoint)

    def evaluate(self, episodes: int = 20, seed: int = 0) -> dict[str, Any]:
        """Measure return, success and length in fresh episodes, and the reward's correlation with the true one.

        The same seed gives the same episodes. Nothing is written.
        """
        from pbrl.use.load import load_saved_run
        from pbrl.use.measure import evaluate

        return evaluate(load_saved_run(self.path), episodes, seed)

    def report(self) -> Path:
        """Write report.html anew, one page that needs no other file; return its path."""
        from pbrl.reports.run_report import write_report
        from pbrl.use.load import load_saved_run

        return write_report(load_saved_run(self.path)).file

    def export(self, out: str | Path, policy: str | Sequence[str] = (), reward: str | Sequence[str] = ()) -> list[Path]:
        """Write policy and reward for programs without pbrl into the new folder `out`, as `pbrl export` does.

        policy, reward: a format, as policy="onnx", or several.
        """
        from pbrl.export.write import export

        return export(self.path, out, policy=policy, reward=reward)

    def figure(self) -> Figure:
        """Plot the return of its evaluations over steps; the band is one standard deviation over episodes."""
        from pbrl.use.figures import curve_of_run

        return curve_of_run(self.evaluations, self.step_name, self.path.name)

    @property
    def step_name(self) -> str:
        """The name of the column of `evaluations` that counts its progress."""
        return "updates" if any(row.get("updates") is not None for row in self.evaluations) else "env_steps"

    def __fspath__(self) -> str:
        """Return the folder, so that a run can stand wherever the folder of one can."""
        return str(self.path)

    def __repr__(self) -> str:
        score = "not evaluated" if self.final_return is None else f"return {self.final_return:.1f}"
        return f"Run({str(self.path)!r}, {self.status}, {score})"

    def _repr_html_(self) -> str:
        from html import escape

        from pbrl.use.figures import as_html

        return f"<p>{escape(repr(self))}</p>" + (as_html(self.figure()) if self.evaluations else "")


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs in these folders, at any depth, oldest first; UserError where one has none."""
    found: dict[Path, Path] = {}
    for folder in folders:
        files = [folder / "config.yaml"] if (folder / "config.yaml").is_file() else sorted(folder.rglob("config.yaml"))
        runs = [file.parent for file in files if (file.parent / "command.txt").is_file()]
        if not runs:
            what = "has no run in it" if folder.is_dir() else "is no folder"
            raise UserError(f"{folder} {what}; a run is a folder with config.yaml, as pbrl train makes it")
        found |= {path.resolve(): path for path in runs}
    return sorted(found.values(), key=lambda path: (path / "command.txt").stat().st_mtime)


def _read(file: Path, read: Any) -> Rows:
    rows: Rows = read(file) if file.is_file() else []
    return rows
