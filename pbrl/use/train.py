"""Training a run from its start, or from where it was left, to its end; for the command and for Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pbrl.config import load_config
from pbrl.errors import EnvError, UserError, ViewerError, one_line, typed
from pbrl.storage import storing
from pbrl.training.callbacks import Callback, checked_callbacks
from pbrl.training.run import Run
from pbrl.training.start import resume, start

if TYPE_CHECKING:
    from pbrl.reports.run_report import Report


def begin(config: DictConfig, command: list[str], callbacks: Sequence[Callback] = ()) -> Run:
    """Begin a run in a new folder; command: what command.txt says."""
    told = checked_callbacks(callbacks)
    run = start(config, command)
    run.callbacks.several += told
    return run


def begin_again(
    path: Path, steps: int | None = None, fresh_episode: bool = False, callbacks: Sequence[Callback] = ()
) -> Run:
    """Go on in this folder, where its last checkpoint left it; steps: of the whole run, to extend it."""
    told, config = checked_callbacks(callbacks), load_config(path / "config.yaml")
    if steps is not None:
        config.steps = steps
    with storing(path, _room(path)):
        run = resume(path, config, fresh_episode)
    run.callbacks.several += told
    return run


def train_new(run: Run, config: DictConfig) -> bool:
    """Train a run that has just begun, as `train_to_end` does.

    If its environment or viewer fails before the first step, no folder is left: a corrected call can use the name.
    """
    try:
        return train_to_end(run, config)
    except (EnvError, ViewerError):
        if not run.step:
            run.folder.discard()
        raise


def train_to_end(run: Run, config: DictConfig) -> bool:
    """Train, with a viewer beside where people answer; False if it was stopped early, after saving."""
    path = run.folder.path
    with storing(path, _room(path)), open_viewer_beside(run, config):
        try:
            return run.train()
        except Exception as error:
            with suppress(Exception):  # what went wrong first is the news
                run.close()
            if isinstance(error, EnvError):
                raise EnvError(f"{error} (the run was at step {run.step}){_way_on(run)}") from error.__cause__
            raise
        finally:
            run.folder.unlock()  # whoever has this process may go on with the run


@contextmanager
def open_viewer_beside(run: Run, config: DictConfig) -> Iterator[None]:
    """Keep a viewer open as long as the training, where people are the teacher."""
    if not run.parts.desk.needs_people or not config.viewer.start:
        yield
        return
    from pbrl.viewer.serve import start_viewer, stop_viewer

    viewer = start_viewer(run.folder.path)
    try:
        yield
    finally:
        if viewer is not None:
            stop_viewer(viewer)


def make_report(path: Path) -> Report | None:
    """Write report.html; None where that fails, which is said in one line and ends nothing: the run is safe by now."""
    from pbrl.reports.run_report import write_report
    from pbrl.training.saved import load_run

    try:
        report = write_report(load_run(path))
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        again = f"try again with: {typed('eval', str(path), 'report=true')}"
        print(f"pbrl: no report: {kind}{one_line(error)}; {again}", file=sys.stderr)
        return None
    for note in report.notes:
        print(f"pbrl: the report has {note}", file=sys.stderr)
    return report


def _room(path: Path) -> str:
    """Return how to go on with a run whose disk was full."""
    return f"nothing is damaged; once there is room, go on with: {typed('train', f'resume={path}')}"


def _way_on(run: Run) -> str:
    """Return how to resume a run whose environment failed."""
    if not run.step:
        return ""
    last = run.checkpoints.last()
    where = "its start" if last is None else f"step {int(last.name)}"
    return f"; once that is mended, go on from {where} with: {typed('train', f'resume={run.folder.path}')}"
