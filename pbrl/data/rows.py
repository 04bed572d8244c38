"""Episodes one after another in flat arrays, as data sets keep them: an episode of L steps takes L+1 rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pbrl.data.columns import Arrays
from pbrl.data.episodes import Episode, EpisodeStore


def flatten(episodes: Sequence[Episode]) -> Arrays:
    """All episodes one after another, as in an EpisodeStore: L+1 rows each, of actions and rewards the last is 0."""
    arrays: Arrays = {
        "obs": np.concatenate([e.obs for e in episodes]),
        "actions": np.concatenate([_one_more(e.actions) for e in episodes]),
        "true_reward": np.concatenate([_one_more(e.true_reward) for e in episodes]),
        "length": np.array([len(e) for e in episodes], np.int64),
        "terminated": np.array([e.terminated for e in episodes], bool),
        "success": np.array([np.nan if e.success is None else e.success for e in episodes], np.float64),
    }
    states = [e.states for e in episodes if e.states is not None]
    if len(states) == len(episodes):
        arrays["states"] = np.concatenate(states)
    factors = [e.factors for e in episodes if e.factors is not None]
    if len(factors) == len(episodes) and len({e.factor_names for e in episodes}) == 1:
        arrays["factors"] = np.concatenate([_one_more(f) for f in factors])
    if all(np.isnan(e.true_reward).all() for e in episodes):  # unknown, and not to be taken for numbers
        del arrays["true_reward"]
    return arrays


def store_of(rows: Arrays) -> EpisodeStore:
    """The episodes of these rows, from which segments can be gathered; nothing is copied."""
    store = EpisodeStore(len(rows["length"]))
    there = {f"rows/{name}": rows[name] for name in ("obs", "actions", "true_reward", "states") if name in rows}
    if "true_reward" not in rows:
        there["rows/true_reward"] = np.broadcast_to(np.float32(np.nan), len(rows["obs"]))
    index = {"first": _first(rows["length"]), "length": rows["length"], "terminated": rows["terminated"]}
    store.load_state_dict(there | index | {"dropped": np.int64(0)})
    return store


def _one_more(steps: np.ndarray) -> np.ndarray:
    return np.concatenate([steps, np.zeros_like(steps[:1])])


def _first(length: np.ndarray) -> np.ndarray:
    return np.cumsum(length + 1) - (length + 1)


def split_rows(flat: Arrays, factor_names: tuple[str, ...]) -> list[Episode]:
    """The episodes of these rows; nothing is copied."""
    episodes = []
    for k, (a, n) in enumerate(zip(_first(flat["length"]).tolist(), flat["length"].tolist(), strict=True)):
        success = float(flat["success"][k])
        episodes.append(
            Episode(
                obs=flat["obs"][a : a + n + 1],
                actions=flat["actions"][a : a + n],
                true_reward=flat["true_reward"][a : a + n],
                terminated=bool(flat["terminated"][k]),
                states=flat["states"][a : a + n + 1] if "states" in flat else None,
                success=None if np.isnan(success) else success,
                factors=flat["factors"][a : a + n] if "factors" in flat else None,
                factor_names=factor_names,
            )
        )
    return episodes
