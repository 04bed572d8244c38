"""Label sets from other programs' files: what people answered to pairs of segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import pbrl
from pbrl.data.formats.reader import Answered
from pbrl.errors import UserError
from pbrl.files import require_new
from pbrl.labels.segment_files import Arrays, Shape, require, to_arrays
from pbrl.labels.set_checks import FORMAT, ROWS, VERSION, columns_of, count_rows, refuse
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
    """Write an npz of pairs as a label set, see `read_pairs`; return its meta.json.

    Args:
        about: env_name, env and command, for meta.json.
        sizes: (O, A) that the environment has, if it is known.
    """
    require_new(out)
    return write_answers(out, read_pairs(file, annotator=annotator, clip=clip), about, file, sizes)


def read_pairs(file: Path, *, annotator: str, clip: bool) -> Answered:
    """Read an npz of `obs_1, obs_2, action_1, action_2, label`, the format of jhejna/inverse-preference-learning.

    obs (N, T, O), action (N, T, A), label (N,) from 0 to 1, where 1 is for the second segment. Sides of unequal length
    are padded, and `length_1, length_2` (N,) or `mask_1, mask_2` (N, T) say how far each goes. There is no observation
    after the last action, so it repeats the one before, and the label set says `last_obs: false`. Rewards are unknown,
    and so is whether a segment ended its MDP: that stays 0.

    clip: cut actions outside [-1, 1] off instead of refusing them.
    """
    arrays = read_arrays(file)
    require(arrays, ["obs_1", "obs_2", "action_1", "action_2", "label"], file)
    _check_shapes(arrays, file)
    label = arrays["label"].astype(np.float64)
    refuse(~((label >= 0) & (label <= 1)), label, "label", "0 to 1, where 1 is for the second segment", file)
    steps = max(arrays[f"action_{number}"].shape[1] for number in (1, 2))
    left, right = (_side(arrays, number, steps, file, clip) for number in (1, 2))
    return Answered(SegmentPair(left, right), label, names=(annotator,), last_obs=False)


def make_segments(
    obs: np.ndarray,  # (N, T+1, *O)
    actions: np.ndarray,  # (N, T, A)
    *,
    ids: np.ndarray,  # (N,)
    true_reward: np.ndarray | None = None,  # (N, T)
    terminated: np.ndarray | None = None,  # (N, T)
    mask: np.ndarray | None = None,  # (N, T); None: all steps are real
) -> Segments:
    """Segments; unknown rewards are NaN. Bytes of images stay, all other observations are float32.

    Where `mask` says padding, the last observation stands again, and actions and rewards are 0.
    """
    n, t = actions.shape[:2]
    if mask is not None:
        last = mask.sum(1).astype(np.int64)  # the observation after the last real step
        nodes = np.minimum(np.arange(t + 1), last[:, None])
        obs, actions = obs[np.arange(n)[:, None], nodes], actions * mask[..., None]
        true_reward = None if true_reward is None else np.where(mask > 0, true_reward, 0)
    obs = obs if obs.dtype == np.uint8 and obs.ndim > 3 else obs.astype(np.float32)
    reward = np.full((n, t), np.nan) if true_reward is None else true_reward
    ended = np.zeros((n, t)) if terminated is None else terminated
    return Segments(
        obs=torch.from_numpy(np.ascontiguousarray(obs)),
        actions=torch.from_numpy(actions.astype(np.float32)),
        mask=torch.ones(n, t) if mask is None else torch.from_numpy(mask.astype(np.float32)),
        terminated=torch.from_numpy(ended.astype(np.float32)),
        true_reward=torch.from_numpy(reward.astype(np.float32)),
        ids=torch.from_numpy(ids.astype(np.int64)),
    )


def unit_actions(actions: np.ndarray, name: str, where: Path, clip: bool) -> np.ndarray:
    """Return actions in [-1, 1], cut off with `clip`; without it, UserError where one is outside."""
    if clip:
        return np.clip(actions, -1, 1)
    advice = "-1 to 1; scale the environment's range to that, or cut off what is outside with clip=true"
    refuse(~(np.abs(actions) <= 1), actions, name, advice, where)
    return actions


def check_sizes(obs: Shape, actions: Shape, sizes: tuple[Shape, Shape] | None, where: Path | str) -> None:
    """Refuse numbers of another environment than the one that was named."""
    if sizes is not None and (obs, actions) != sizes:
        raise UserError(
            f"{where} has observations of shape {obs} and actions of shape {actions}, "
            f"the environment has {sizes[0]} and {sizes[1]}"
        )


def write_answers(
    out: Path,
    found: Answered,
    about: dict[str, Any],
    source: Path,
    sizes: tuple[Shape, Shape] | None = None,
) -> dict[str, Any]:
    """Write a label set of these answers, checked as if it were loaded; return its meta.json."""
    pairs, n = found.pairs, len(found.pairs)
    if not n:
        raise UserError(f"{source} has no comparisons")
    check_sizes(tuple(pairs.left.obs.shape[2:]), tuple(pairs.left.actions.shape[2:]), sizes, source)
    columns: dict[str, Any] = {
        "prefers_right": found.prefers_right,
        "answered": ~np.isnan(found.prefers_right),
        "annotator": np.zeros(n) if found.annotator is None else found.annotator,
        "query": np.arange(1, n + 1) if found.query is None else found.query,
        "session": np.ones(n),
        "env_steps": np.zeros(n),
        "response_s": np.full(n, np.nan) if found.response_s is None else found.response_s,
    }
    types = columns_of(SegmentPair)
    arrays: Arrays = to_arrays(pairs) | {name: np.asarray(column, types[name]) for name, column in columns.items()}
    meta = {
        "format": FORMAT,
        "version": VERSION,
        **describe(pairs.form),
        "created_by": f"pbrl {pbrl.__version__}",
        **about,
        **{key: value for key, value in found.notes.items() if about.get(key) is None},
        **({} if found.last_obs else {"last_obs": False}),
    }
    known = bool(pairs.left.true_reward.isfinite().all() and pairs.right.true_reward.isfinite().all())
    meta["imported_from"] = {"file": source.name, **({"sha256": sha256_of(source)} if source.is_file() else {})}
    meta |= {"annotators": list(found.names), "counts": count_rows(arrays), "true_reward": known}
    if twins := _count_same_sides(pairs):
        meta["twins"] = twins
    if not known:
        arrays = {name: array for name, array in arrays.items() if not name.endswith("/true_reward")}
    return write_label_set(out, arrays, meta, source)


def _count_same_sides(pairs: SegmentPair) -> int:
    """Return how many pairs show the same clip twice."""
    same = 0
    for begin in range(0, len(pairs), ROWS):
        rows = slice(begin, begin + ROWS)
        of = [[x[rows].flatten(1) for x in (s.mask, s.actions, s.obs)] for s in pairs.items]
        same += int(torch.stack([(one == other).all(1) for one, other in zip(*of, strict=True)]).all(0).sum())
    return same


def _side(arrays: Arrays, number: int, steps: int, where: Path, clip: bool) -> Segments:
    obs, name = arrays[f"obs_{number}"], f"action_{number}"
    ids = np.arange(len(obs)) + (number - 1) * len(obs)
    mask = _mask(arrays, number, where)
    actions = arrays[name] if mask is None else np.where(mask[..., None] > 0, arrays[name], 0)
    actions = unit_actions(actions, name, where, clip)
    more = steps - actions.shape[1]
    if more or mask is not None:
        mask = np.ones(actions.shape[:2]) if mask is None else mask
        mask, actions = np.pad(mask, [(0, 0), (0, more)]), np.pad(actions, [(0, 0), (0, more), (0, 0)])
        last = np.minimum(np.arange(steps + 1), mask.sum(1).astype(np.int64)[:, None] - 1)  # nothing follows it
        return make_segments(obs[np.arange(len(obs))[:, None], last], actions, ids=ids, mask=mask)
    return make_segments(np.concatenate([obs, obs[:, -1:]], 1), actions, ids=ids)


def _mask(arrays: Arrays, number: int, where: Path) -> np.ndarray | None:
    """Return which steps are real (N, T), from `mask_1` or `length_1`; None where the file has neither."""
    n, t = arrays[f"action_{number}"].shape[:2]
    mask, length = arrays.get(f"mask_{number}"), arrays.get(f"length_{number}")
    if length is not None:
        if length.shape != (n,):
            raise UserError(f"{where}: length_{number} has shape {length.shape}, expected ({n},)")
        refuse(~((length >= 1) & (length <= t) & (length % 1 == 0)), length, f"length_{number}", f"1 to {t}", where)
        found = (np.arange(t) < length[:, None]).astype(np.float64)
        if mask is not None and not np.array_equal(mask, found):
            raise UserError(f"{where}: mask_{number} and length_{number} say different things, expected the same")
        return found
    if mask is None:
        return None
    if mask.shape != (n, t):
        raise UserError(f"{where}: mask_{number} has shape {mask.shape}, expected ({n}, {t})")
    refuse((mask != 0) & (mask != 1), mask, f"mask_{number}", "0 or 1", where)
    first = mask[:, :1].astype(bool)
    refuse(~first, mask, f"mask_{number}", "1 on the first step: a segment has at least one", where)
    refuse(np.diff(mask.astype(int), axis=1, prepend=1) > 0, mask, f"mask_{number}", "0 after a 0", where)
    return mask.astype(np.float64)


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
    padded = any(f"{kind}_{number}" in arrays for kind in ("length", "mask") for number in (1, 2))
    steps = {name: arrays[name].shape[1] for name in ("obs_1", "obs_2", "action_1", "action_2")}
    if 0 in steps.values():
        raise UserError(f"{where}: segments have no steps, expected at least 1")
    uneven = [number for number in (1, 2) if steps[f"obs_{number}"] != steps[f"action_{number}"]]
    if uneven or (len(set(steps.values())) > 1 and not padded):
        found = ", ".join(f"{name} {t}" for name, t in steps.items())
        how = "; sides of unequal length need length_1 and length_2, or mask_1 and mask_2" if not uneven else ""
        raise UserError(f"{where}: steps differ ({found}), expected as many observations as actions on both sides{how}")
    for name in ("obs", "action"):
        one, two = (arrays[f"{name}_{number}"] for number in (1, 2))
        if one.shape[2:] != two.shape[2:] or one.dtype != two.dtype:
            found = f"{one.dtype}{one.shape} and {two.dtype}{two.shape}"
            raise UserError(f"{where}: {name}_1 and {name}_2 are {found}, expected the same")
