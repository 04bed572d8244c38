"""Files that go back beside a LeRobotDataset: people's answers, and a learned reward of each frame as progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pbrl.data.datasets import Dataset
from pbrl.data.formats.lerobot_meta import data_files, frame_counts
from pbrl.data.parquet import pyarrow, read_batches, to_numpy
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.labels.sets import LabelSet
from pbrl.types import RewardFn

PREFERENCES = "meta/preferences.parquet"
PROGRESS = "pbrl_progress.parquet"


class Frames(NamedTuple):
    """The place of a data set's rows in the LeRobotDataset that it was imported from. K episodes."""

    first: np.ndarray  # (K,) row of each episode's first observation
    episode_index: np.ndarray  # (K,)

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return episode_index and frame_index (n,) of these rows."""
        k = np.searchsorted(self.first, rows, side="right") - 1
        return self.episode_index[k], rows - self.first[k]


def find_frames(data: Dataset, root: Path) -> Frames:
    """Find the rows of `data` in a LeRobotDataset; UserError if it was not imported from this one as it is now."""
    if (data.meta.get("imported_from") or {}).get("format") != "lerobot":
        raise UserError(f"{data.path} was not imported from a LeRobotDataset; valid is a data set that was")
    lengths = np.array([len(e) for e in data.episodes])
    index = np.array([int(name) for name in data.episode_numbers])
    there = frame_counts(root)
    for k, episode in enumerate(index.tolist()):
        if there.get(episode) != lengths[k] + 1:
            found = there.get(episode, "none")
            raise UserError(f"{root}: episode {episode} has {found} frames, {data.path} has {lengths[k] + 1} of it")
    return Frames(np.cumsum(lengths + 1) - (lengths + 1), index)


def write_preferences(labels: LabelSet, data: Dataset, root: Path) -> Path:
    """Write the answers to pairs beside the data that they are about; return the file.

    A row per answer: of each side `episode_index`, `frame_index` and `length`, and `prefers_right`, null where skipped.
    """
    frames = find_frames(data, root)
    if (made := (labels.meta.get("data") or {}).get("sha256")) not in (None, data.meta["sha256"]):
        name = (labels.meta.get("data") or {}).get("path")
        raise UserError(
            f"the answers are about {name} (sha256 {str(made)[:60]}...), and {data.path} is another data set"
        )
    columns: dict[str, Any] = {}
    for side in ("left", "right"):
        segments = getattr(labels.pairs, side)
        episode, frame = frames.find(segments.ids.numpy())
        columns |= {f"{side}_episode_index": episode, f"{side}_frame_index": frame}
        columns[f"{side}_length"] = segments.mask.sum(1).numpy().astype(np.int64)
    rows = len(labels)
    columns |= {
        "prefers_right": [float(v) if a else None for v, a in zip(labels.prefers_right, labels.answered, strict=True)],
        "annotator": [labels.meta["annotators"][k] for k in labels.annotator],
        "criterion": [labels.meta["criterion"]] * rows,
        "query": labels.query,
        "response_s": [None if np.isnan(s) else float(s) for s in labels.response_s],
    }
    return _write(root / PREFERENCES, columns, {"made_by": labels.meta["created_by"]})


def write_progress(data: Dataset, reward: RewardFn, model: Path, root: Path) -> Path:
    """Write a learned reward as progress of every frame, in the layout that LeRobot's reward-weighted cloning reads.

    Progress is the sum of the reward of the steps before a frame, less the smallest reward, scaled to at most 1 in the
    whole data set: what LeRobot weighs by is how much it grows in the next steps.

    model: where the reward is from, for the file's metadata.
    """
    frames = find_frames(data, root)
    gains = [reward(e.obs[:-1], e.actions).astype(np.float64) for e in data.episodes]
    lowest = min(g.min() for g in gains)
    sums = [np.concatenate([[0.0], np.cumsum(g - lowest)]) for g in gains]
    most = max(s[-1] for s in sums) or 1.0
    at = {int(k): s / most for k, s in zip(frames.episode_index, sums, strict=True)}
    index, episode, frame = (np.concatenate(parts) for parts in zip(*_indices(root), strict=True))
    missing = np.setdiff1d(episode, frames.episode_index)
    if len(missing):
        raise UserError(f"{root} has the episode {missing[0]}, which {data.path} does not have; import all of them")
    progress = np.array([at[k][t] for k, t in zip(episode.tolist(), frame.tolist(), strict=True)], np.float32)
    columns = {"index": index, "episode_index": episode, "frame_index": frame, "progress_sparse": progress}
    return _write(root / PROGRESS, columns, {"reward_model_path": str(model.resolve())})


def _indices(root: Path) -> Any:
    """Yield index, episode_index and frame_index of all frames, some at a time."""
    names = ("index", "episode_index", "frame_index")
    for file in data_files(root):
        for batch in read_batches(file, names):
            yield tuple(to_numpy(batch[name], f"{file}: {name}").astype(np.int64) for name in names)


def _write(path: Path, columns: dict[str, Any], about: dict[str, str]) -> Path:
    arrow = pyarrow(path)
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; move it away first")
    table = arrow.table(columns).replace_schema_metadata(about)
    with replacing(path) as partial:
        arrow.parquet.write_table(table, partial)
    return path
