"""What a run came to, without the times: for exact comparison."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from stable_baselines3.common.save_util import load_from_zip_file

from pbrl.append_only import AppendOnly
from pbrl.labels.store import LabelStore
from pbrl.training.checkpoint import Checkpoints

TIMES = {"time/fps", "time/updates_per_s", "time/time_elapsed", "wall_s"}


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(lines)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the policy and, where there is one, of the reward."""
    found = leaves(load_from_zip_file(folder / "policy.zip", load_data=False, device="cpu")[1], "policy")
    if (folder / "reward.safetensors").exists():
        found |= leaves(load_file(folder / "reward.safetensors"), "reward")
    return {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}


def answers(folder: Path) -> list[tuple]:
    """Every standing answer with its question, in order."""
    with LabelStore(folder, create=False) as store:
        queries = {q.id: q for q in store.queries()}
        return [
            (
                (q := queries[a.query]).session,
                q.env_steps,
                q.row,
                *q.hashes,
                a.annotator,
                a.prefers_right,
            )
            for a in store.standing_answers()
        ]


def last_state(folder: Path) -> dict[str, object]:
    """Everything in the last checkpoint that decides what would come next."""
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    state = checkpoints.load(checkpoints.last())
    for timed in (state, *state["evaluations"]):
        del timed["wall_s"]
    del state["log"], state["update_s"]
    return leaves(state, "state")


def outcome(folder: Path) -> dict[str, object]:
    found = weights(folder) | last_state(folder)
    found |= {name: table(folder / f"{name}.csv") for name in ("progress", "evaluations")}
    return found | ({"answers": answers(folder)} if (folder / "labels.sqlite").exists() else {})


def assert_same(one: Path, other: Path) -> None:
    a, b = outcome(one), outcome(other)
    assert set(a) == set(b)
    different = [name for name in a if not _equal(a[name], b[name])]
    assert not different, f"{other} differs from {one} in {different[:8]}"


def leaves(tree: object, path: str) -> dict[str, object]:
    tree = vars(tree) if isinstance(tree, AppendOnly) else tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if items is None:
        return {path: tree}
    return {k: v for key, value in items for k, v in leaves(value, f"{path}/{key}").items()}


def _equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return bool(np.array_equal(a, b)) if isinstance(a, (np.ndarray, np.generic)) else a == b
