"""The steps of published data sets, in the order in which the start indices of published labels count them.

Indices of Preference Transformer, Uni-RLHF and DPPO count rows of what D4RL's `qlearning_dataset` returns: rows whose
`timeouts` flag is set are left out, and so is the last row of the file. Those of Preference Transformer's robomimic
labels count the demos of an HDF5 file in the order of their names (demo_10 before demo_2), each without its last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.hdf5 import SUFFIXES, open_hdf5, read_rows
from pbrl.labels.segment_files import Arrays, require
from pbrl.labels.set_checks import refuse
from pbrl.reading import read_arrays

SHAPES = {"observations": "(M, O)", "actions": "(M, A)", "rewards": "(M,)", "terminals": "(M,)"}
MAY_BE_THERE = ("timeouts", "next_observations")
ROBOMIMIC = (  # observations one after another, as csmile-1006/PreferenceTransformer:JaxPref/reward_transform.py
    "object",
    "robot0_joint_pos",
    "robot0_joint_pos_cos",
    "robot0_joint_pos_sin",
    "robot0_joint_vel",
    "robot0_eef_pos",
    "robot0_eef_quat",
    "robot0_gripper_qpos",
    "robot0_gripper_qvel",
)
SAME = 1e-5  # distance from which an observation is another one, as in the published code


@dataclass(frozen=True)
class Steps:
    """Steps in arrays of M rows, row i being the one that the index i names."""

    obs: np.ndarray  # (M, O)
    actions: np.ndarray  # (M, A)
    rewards: np.ndarray  # (M,)
    terminated: np.ndarray  # (M,) bool
    next_obs: np.ndarray  # (M, O), a repeat of obs where it is not known
    next_known: np.ndarray  # (M,) bool
    episode: np.ndarray  # (M,) int64, ascending

    def __len__(self) -> int:
        return len(self.rewards)


def read_steps(file: Path) -> Steps:
    """Steps of D4RL's HDF5, an npz of its arrays, one of what `qlearning_dataset` returned, or robomimic's HDF5."""
    if file.suffix.lower() in SUFFIXES:
        return _read_hdf5(file)
    return _flat_steps(read_arrays(file), file)


def _flat_steps(data: Arrays, where: Path) -> Steps:
    _check(data, where)
    if "timeouts" in data:
        return _from_file(data)
    if "next_observations" not in data:
        raise UserError(
            f"{where}: timeouts missing; valid are the arrays of D4RL's file, which have timeouts, or those that "
            "qlearning_dataset returns, which have next_observations: without either nobody knows where episodes end"
        )
    return _from_qlearning(data)


def _from_file(data: Arrays) -> Steps:
    """Read D4RL's own rows, less those that `qlearning_dataset` leaves out."""
    obs, terminated, timeout = data["observations"], data["terminals"] != 0, data["timeouts"] != 0
    ended = terminated | timeout
    kept = np.flatnonzero(~timeout[:-1])
    known = np.full(len(kept), True) if "next_observations" in data else ~terminated[kept]
    following = data["next_observations"][kept] if "next_observations" in data else obs[kept + 1]
    return Steps(
        obs=obs[kept],
        actions=data["actions"][kept],
        rewards=data["rewards"][kept],
        terminated=terminated[kept],
        next_obs=np.where(known[:, None], following, obs[kept]),
        next_known=known,
        episode=(np.cumsum(ended) - ended)[kept],
    )


def _from_qlearning(data: Arrays) -> Steps:
    """Read what `qlearning_dataset` returned: an episode ends by a terminal, or where the next row does not follow."""
    obs, following, terminated = data["observations"], data["next_observations"], data["terminals"] != 0
    follows = np.append(np.linalg.norm(following[:-1] - obs[1:], axis=1) <= SAME, False)
    ended = terminated | ~follows
    known = ~(terminated & follows)  # it takes the first observation of the next episode for what follows a terminal
    return Steps(
        obs=obs,
        actions=data["actions"],
        rewards=data["rewards"],
        terminated=terminated,
        next_obs=np.where(known[:, None], following, obs),
        next_known=known,
        episode=np.cumsum(ended) - ended,
    )


def _read_hdf5(file: Path) -> Steps:
    with open_hdf5(file) as content:
        if "data" in content:
            return _robomimic(content["data"], file)
        names = [name for name in (*SHAPES, *MAY_BE_THERE) if name in content]
        return _flat_steps({name: read_rows(content, name, file) for name in names}, file)


def _robomimic(demos: Any, where: Path) -> Steps:
    parts = [_demo(demos[name], where, name, number) for number, name in enumerate(sorted(demos))]
    if not parts:
        raise UserError(f"{where} has no demos")
    columns = {field: np.concatenate([getattr(part, field) for part in parts]) for field in Steps.__dataclass_fields__}
    return Steps(**columns)


def _demo(demo: Any, file: Path, name: str, number: int) -> Steps:
    """Read a demo's steps without the last, as the indices count them. Its `dones` tell of success, not of an end."""
    where = f"{file}: {name}"
    if missing := [key for key in ROBOMIMIC if key not in demo["obs"]]:
        raise UserError(f"{where}: obs/{missing[0]} missing; it has {', '.join(sorted(demo['obs']))}")
    actions, rewards = read_rows(demo, "actions", file), read_rows(demo, "rewards", file)
    parts = [read_rows(demo["obs"], key, file) for key in ROBOMIMIC]
    if {len(x) for x in (rewards, *parts)} != {len(actions)} or any(x.ndim != 2 for x in (actions, *parts)):
        raise UserError(f"{where}: expected actions (L, A), rewards (L,) and observations (L, O) of as many steps")
    obs, m = np.concatenate(parts, 1), max(len(actions) - 1, 0)
    return Steps(
        obs=obs[:-1],
        actions=actions[:-1],
        rewards=rewards[:-1],
        terminated=np.zeros(m, bool),
        next_obs=obs[1:],
        next_known=np.ones(m, bool),
        episode=np.full(m, number),
    )


def _check(data: Arrays, where: Path) -> None:
    require(data, list(SHAPES), where)
    m = len(np.atleast_1d(data["observations"]))
    for name, shape in (SHAPES | {"timeouts": "(M,)"}).items():
        array = data.get(name)
        if array is not None and (array.ndim != (1 if shape == "(M,)" else 2) or len(array) != m):
            raise UserError(f"{where}: {name} has shape {array.shape}, expected {shape} with M = {m}")
    following = data.get("next_observations", data["observations"])
    if following.shape != data["observations"].shape:
        shapes = f"{following.shape} and {data['observations'].shape}"
        raise UserError(f"{where}: next_observations and observations have shapes {shapes}, expected the same")
    if not m:
        raise UserError(f"{where} has no steps")
    for name in ("observations", "rewards", "next_observations"):  # where episodes end is read off the first and last
        if name in data:
            refuse(~np.isfinite(data[name]), data[name], name, "finite numbers", where)
    for name in ("terminals", "timeouts"):
        if name in data:
            refuse((data[name] != 0) & (data[name] != 1), data[name], name, "0 or 1", where)
