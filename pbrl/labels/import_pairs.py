"""Label sets from other programs' files: what people answered to pairs of segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import pbrl
from pbrl.errors import UserError
from pbrl.files import require_new
from pbrl.labels.segment_files import Arrays, Shape, require, to_arrays
from pbrl.labels.set_checks import FORMAT, VERSION, columns_of, count_rows, count_twins, refuse
from pbrl.labels.sets import describe, write_label_set
from pbrl.question_kinds import SegmentPair
from pbrl.reading import read_arrays, sha256_of
from pbrl.types import Segments


def import_pairs(
    file: Path,
    out: Path,
    about: dict[str, Any],
    *,
    annotator: str,
    clip: bool,
    sizes: tuple[Shape, Shape] | None = None,
) -> dict[str, Any]:
    """An npz of `obs_1, obs_2, action_1, action_2, label` as a label set; returns its meta.json.

    The format of jhejna/inverse-preference-learning: obs (N, T, O), action (N, T, A), label (N,) from 0 to 1, where
    1 is for the second segment. There is no observation after the last action, so it repeats the one before, and the
    label set says `last_obs: false`. Rewards are unknown, and so is whether a segment ended its MDP: that stays 0.

    Args:
        about: env_name, env and command, for meta.json.
        clip: cut actions outside [-1, 1] off instead of refusing them.
        sizes: (O, A) that the environment has, if it is known.
    """
    require_new(out)
    arrays = read_arrays(file)
    require(arrays, ["obs_1", "obs_2", "action_1", "action_2", "label"], file)
    _check_shapes(arrays, file)
    check_sizes(arrays["obs_1"].shape[2:], arrays["action_1"].shape[2:], sizes, file)
    label = arrays["label"].astype(np.float64)
    refuse(~((label >= 0) & (label <= 1)), label, "label", "0 to 1, where 1 is for the second segment", file)
    left, right = (_side(arrays, number, file, clip) for number in (1, 2))
    return write_answers(out, SegmentPair(left, right), label, about | {"last_obs": False}, annotator, file)


def make_segments(
    obs: np.ndarray,  # (N, T+1, *O)
    actions: np.ndarray,  # (N, T, A)
    *,
    ids: np.ndarray,  # (N,)
    true_reward: np.ndarray | None = None,  # (N, T)
    terminated: np.ndarray | None = None,  # (N, T)
) -> Segments:
    """Segments without padding; unknown rewards are NaN. Bytes of images stay, all other observations are float32."""
    n, t = actions.shape[:2]
    obs = obs if obs.dtype == np.uint8 and obs.ndim > 3 else obs.astype(np.float32)
    reward = np.full((n, t), np.nan) if true_reward is None else true_reward
    ended = np.zeros((n, t)) if terminated is None else terminated
    return Segments(
        obs=torch.from_numpy(np.ascontiguousarray(obs)),
        actions=torch.from_numpy(actions.astype(np.float32)),
        mask=torch.ones(n, t),
        terminated=torch.from_numpy(ended.astype(np.float32)),
        true_reward=torch.from_numpy(reward.astype(np.float32)),
        ids=torch.from_numpy(ids.astype(np.int64)),
    )


def unit_actions(actions: np.ndarray, name: str, where: Path, clip: bool) -> np.ndarray:
    """Actions in [-1, 1], in which pbrl's environments take them."""
    if clip:
        return np.clip(actions, -1, 1)
    advice = "-1 to 1; scale the environment's range to that, or cut off what is outside with clip=true"
    refuse(~(np.abs(actions) <= 1), actions, name, advice, where)
    return actions


def check_sizes(obs: Shape, actions: Shape, sizes: tuple[Shape, Shape] | None, where: Path | str) -> None:
    """Refuses numbers of another environment than the one that was named."""
    if sizes is not None and (obs, actions) != sizes:
        raise UserError(
            f"{where} has observations of shape {obs} and actions of shape {actions}, "
            f"the environment has {sizes[0]} and {sizes[1]}"
        )


def write_answers(
    out: Path, pairs: SegmentPair, prefers_right: np.ndarray, about: dict[str, Any], annotator: str, source: Path
) -> dict[str, Any]:
    """A label set of one annotator who answered each pair (N,) once, checked as if it were loaded."""
    n = len(pairs)
    if not n:
        raise UserError(f"{source} has no comparisons")
    columns: dict[str, Any] = {
        "prefers_right": prefers_right,
        "answered": np.ones(n),
        "annotator": np.zeros(n),
        "query": np.arange(1, n + 1),
        "session": np.ones(n),
        "env_steps": np.zeros(n),
        "response_s": np.full(n, np.nan),
    }
    types = columns_of(SegmentPair)
    arrays: Arrays = to_arrays(pairs) | {name: np.asarray(column, types[name]) for name, column in columns.items()}
    meta = {
        "format": FORMAT,
        "version": VERSION,
        **describe(pairs.form),
        "created_by": f"pbrl {pbrl.__version__}",
        **about,
    }
    known = bool(pairs.left.true_reward.isfinite().all() and pairs.right.true_reward.isfinite().all())
    meta["imported_from"] = {"file": source.name, "sha256": sha256_of(source)}
    meta |= {"annotators": [annotator], "counts": count_rows(arrays), "true_reward": known}
    if twins := count_twins(pairs.hashes()):
        meta["twins"] = twins
    if not known:
        arrays = {name: array for name, array in arrays.items() if not name.endswith("/true_reward")}
    return write_label_set(out, arrays, meta, source)


def _side(arrays: Arrays, number: int, where: Path, clip: bool) -> Segments:
    obs, name = arrays[f"obs_{number}"], f"action_{number}"
    ids = np.arange(len(obs)) + (number - 1) * len(obs)
    actions = unit_actions(arrays[name], name, where, clip)
    return make_segments(np.concatenate([obs, obs[:, -1:]], 1), actions, ids=ids)


def _check_shapes(arrays: Arrays, where: Path) -> None:
    if arrays["label"].ndim != 1:
        raise UserError(f"{where}: label has shape {arrays['label'].shape}, expected (N,)")
    n = len(arrays["label"])
    for name, dimensions in (("action", 3), ("obs", None)):
        for number in (1, 2):
            array = arrays[f"{name}_{number}"]
            if array.ndim < 3 or dimensions not in (None, array.ndim) or len(array) != n:
                wanted = "A" if name == "action" else "O"
                raise UserError(f"{where}: {name}_{number} has shape {array.shape}, expected ({n}, T, {wanted})")
    steps = {name: arrays[name].shape[1] for name in ("obs_1", "obs_2", "action_1", "action_2")}
    if 0 in steps.values():
        raise UserError(f"{where}: segments have no steps, expected at least 1")
    if len(set(steps.values())) > 1:
        found = ", ".join(f"{name} {t}" for name, t in steps.items())
        raise UserError(f"{where}: steps differ ({found}), expected as many observations as actions on both sides")
    for name in ("obs", "action"):
        one, two = (arrays[f"{name}_{number}"] for number in (1, 2))
        if one.shape != two.shape or one.dtype != two.dtype:
            found = f"{one.dtype}{one.shape} and {two.dtype}{two.shape}"
            raise UserError(f"{where}: {name}_1 and {name}_2 are {found}, expected the same")
