"""Weights & Biases and MLflow beside a run's own files: `logger=wandb`, `logger=mlflow`.

Names and steps are those of TensorBoard. A resumed run goes on in the same run there, whose id stands in its folder.
A logger of one's own is a `Callback` that `logger._target_=` names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.files import write_json
from pbrl.install import install_extra
from pbrl.reading import find_object
from pbrl.training.callbacks import Callback, RunNow
from pbrl.training.log import evaluation_scalars

IDS = "loggers.json"  # in the folder of a run: what it is called elsewhere
FEW = 100  # parameters that MLflow takes at once
LONGEST = 500  # characters of one


class WandbLogger(Callback):
    """Logs to Weights & Biases.

    Args:
        project: of W&B.
        run_name: what the run is called there; None: as its folder.
        mode: online, offline or disabled; None: as W&B itself is set.
    """

    def __init__(self, *, project: str, run_name: str | None, mode: str | None) -> None:
        self._wandb = _library("wandb")
        self.settings: dict[str, Any] = {"project": project, "name": run_name, "mode": mode}

    def on_start(self, run: RunNow) -> None:
        path = Path(run.folder.path)
        known = _known(path, "wandb")
        self._run = self._wandb.init(
            **{**self.settings, "name": self.settings["name"] or path.name},
            dir=str(path),
            config=dict(run.record),
            id=known,
            resume="allow" if known else None,
        )
        self._run.define_metric("*", step_metric="step")  # a resumed run logs some steps again
        _note(path, "wandb", self._run.id)

    def on_log(self, run: RunNow, metrics: Mapping[str, float]) -> None:
        self._run.log({**_finite(metrics), "step": run.step})

    def on_evaluation(self, run: RunNow, row: Mapping[str, Any]) -> None:
        self._run.log({**_finite(evaluation_scalars(row)), "step": run.step})

    def on_end(self, run: RunNow) -> None:
        self._run.finish()


class MlflowLogger(Callback):
    """Logs to MLflow.

    Args:
        project: its experiment.
        run_name: what the run is called there; None: as its folder.
        uri: of the tracking server, or a folder; None: as MLflow itself is set.
    """

    def __init__(self, *, project: str, run_name: str | None, uri: str | None) -> None:
        self._mlflow = _library("mlflow")
        self.project, self.run_name, self.uri = project, run_name, uri

    def on_start(self, run: RunNow) -> None:
        path = Path(run.folder.path)
        if self.uri is not None:
            self._mlflow.set_tracking_uri(self.uri)
        self._mlflow.set_experiment(self.project)
        known = _known(path, "mlflow")
        started = self._mlflow.start_run(run_id=known, run_name=None if known else self.run_name or path.name)
        _note(path, "mlflow", started.info.run_id)
        if known is None:
            params = [(key, str(value)[:LONGEST]) for key, value in run.record.items()]
            for first in range(0, len(params), FEW):
                self._mlflow.log_params(dict(params[first : first + FEW]))

    def on_log(self, run: RunNow, metrics: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(_finite(metrics), step=run.step)

    def on_evaluation(self, run: RunNow, row: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(_finite(evaluation_scalars(row)), step=run.step)

    def on_end(self, run: RunNow) -> None:
        self._mlflow.end_run()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"logger={name} needs {name}; get it with: {install_extra(name)}") from error


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return what has a value: NaN says that there is none yet."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _known(path: Path, logger: str) -> str | None:
    found = (find_object(path / IDS) or {}).get(logger)
    return found if isinstance(found, str) else None


def _note(path: Path, logger: str, name: str) -> None:
    write_json(path / IDS, {**(find_object(path / IDS) or {}), logger: name})
