"""Pages of TensorBoard besides curves: the config, hyperparameters, clips, and learned against true rewards."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 240  # of a clip, in pixels
SECONDS = 5.0
STEPS = 2000  # points of the scatter at most


def add_config(board: Any, record: Mapping[str, Any]) -> None:
    """Show the config, a line for each key, under TEXT. board: a SummaryWriter; record: values by dotted key."""
    lines = "\n".join(f"    {key}: {value}" for key, value in record.items())
    board.add_text("config", lines, 0)


def add_hparams(board: Any, record: Mapping[str, Any], metrics: Mapping[str, float | None]) -> None:
    """Show the config as hyperparameters, and what the run reached, under HPARAMS, in the run's own row."""
    plain = {key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in record.items()}
    reached = {f"hparam/{name}": float(value) for name, value in metrics.items() if value is not None}
    board.add_hparams(plain, reached, run_name=".")


def add_clip(board: Any, file: Path, step: int) -> None:
    """Show a film as an animated picture, under IMAGES: TensorBoard plays GIFs there."""
    import imageio.v3 as iio
    from tensorboard.compat.proto.summary_pb2 import Summary

    frames = iio.imread(file, plugin="pyav")
    every = max(round(frames.shape[2] / WIDTH), 1)
    few = np.ascontiguousarray(frames[::3, ::every, ::every])
    fps = float(iio.immeta(file, plugin="pyav")["fps"]) / 3
    data = iio.imwrite("<bytes>", few, extension=".gif", duration=1000 / fps, loop=0)
    picture = Summary.Image(height=few.shape[1], width=few.shape[2], colorspace=3, encoded_image_string=data)
    board._get_file_writer().add_summary(Summary(value=[Summary.Value(tag="eval/clip", image=picture)]), step)


def add_scatter(board: Any, true: np.ndarray, learned: np.ndarray, step: int) -> None:
    """Show learned against true reward, a point for each step (M,), under IMAGES."""
    import imageio.v3 as iio
    from matplotlib.figure import Figure

    figure, file = Figure(figsize=(4.5, 4), layout="constrained"), io.BytesIO()  # inches
    axes = figure.subplots()
    some = np.linspace(0, len(true) - 1, min(STEPS, len(true))).astype(int)
    axes.scatter(true[some], learned[some], s=6, alpha=0.4, lw=0)
    axes.set_xlabel("true reward of the step")
    axes.set_ylabel("learned reward of the step")
    figure.savefig(file, format="png", dpi=100)
    board.add_image("reward/learned_and_true", iio.imread(file.getvalue())[..., :3], step, dataformats="HWC")
