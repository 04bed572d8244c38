"""CPL's npz: segments with scores, of which all pairs are comparisons (`feedback.pairs=dense`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pbrl.data.formats.npz import npz_names
from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording
from pbrl.errors import UserError, choices
from pbrl.labels.segment_files import Arrays, require
from pbrl.labels.set_checks import refuse
from pbrl.reading import read_arrays

SCORES = ("rl_sum", "rl_dir", "reward_sum")  # in the order in which one is taken that is not named
OF_REWARDS = "reward"  # scores whose names begin so are returns, all others negated regrets by a critic


def is_cpl(path: Path) -> bool:
    names = npz_names(path)
    return {"obs", "action", "reward"} <= names and "label" not in names


def read(path: Path, options: Options) -> Recording:
    """Read each segment as an episode; the observation after its last action is not in the file."""
    data = read_arrays(path)
    require(data, ["obs", "action"], path)
    n, t = data["action"].shape[:2] if data["action"].ndim == 3 else (0, 0)
    if not n or not t or data["obs"].shape[:2] != (n, t):
        found = f"obs {data['obs'].shape} and action {data['action'].shape}"
        raise UserError(f"{path}: {found}, expected (N, T, O) and (N, T, A)")
    if "reward" in data and data["reward"].shape != (n, t):
        raise UserError(f"{path}: reward has shape {data['reward'].shape}, expected ({n}, {t})")
    name, scores = _scores(data, options.get("score"), n, path)
    return Recording(
        episodes=_episodes(data),
        last_obs=False,
        score=None if name is None else "return" if name.startswith(OF_REWARDS) else "regret_critic",
        scores=scores,
        notes={"score": name},
    )


def _scores(data: Arrays, wanted: str | None, n: int, where: Path) -> tuple[str | None, np.ndarray | None]:
    valid = [name for name, array in data.items() if array.shape == (n,) and array.dtype.kind in "fiu"]
    name = wanted or next((name for name in SCORES if name in valid), None)
    if name is None:
        return None, None
    if name not in valid:
        raise UserError(f"{where}: score={name}: {choices(name, valid)}")
    refuse(~np.isfinite(data[name]), data[name], name, "finite numbers", where)
    return name, data[name].astype(np.float64)


def _episodes(data: Arrays) -> Iterator[Recorded]:
    for k in range(len(data["action"])):
        rewards = data["reward"][k] if "reward" in data else None
        yield Recorded(name=str(k), obs=data["obs"][k], actions=data["action"][k], rewards=rewards)


FORMAT = Format(
    name="cpl",
    about="CPL's npz: segments (obs, action, reward) with a score each, for all pairs of them (feedback.pairs=dense)",
    is_one=is_cpl,
    read=read,
    options=(Option("score", "the array of the scores (rl_sum, rl_dir or reward_sum, whichever is there first)"),),
)
