"""Evaluation of a saved policy in fresh episodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl.feedback.quality import correlation
from pbrl.training.evaluate import Evaluation, mean_factors
from pbrl.training.rollout import steps_of
from pbrl.training.saved_run import SavedRun


def evaluate(saved: SavedRun, episodes: int, seed: int, envs: int | None = None) -> dict[str, Any]:
    """Return the content of eval.json; envs: how many at once, by default as many as the run had."""
    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise UserError(f"{name}={value}: expected a whole number of at least {least}")
    done = saved.roll_out(saved.act, episodes, seed, envs)
    measured = Evaluation(
        returns=np.array([e.true_reward.sum(dtype=np.float64) for e in done]),
        lengths=np.array([len(e) for e in done]),
        successes=np.array([e.success for e in done if e.success is not None]),
        ended_well=np.array([e.success_at_end for e in done if e.success_at_end is not None]),
        factors=_factors(done),
    )
    r = math.nan
    if saved.reward is not None:
        obs, actions, true_reward = steps_of(done)
        r = correlation(saved.reward(obs, actions), true_reward)
    return {
        "policy": saved.source,
        "updates" if saved.offline else "env_steps": saved.step,
        "episodes": episodes,
        "seed": seed,
        **measured.row(),
        "reward_correlation": None if math.isnan(r) else r,
        "returns": measured.returns.tolist(),
        "lengths": measured.lengths.tolist(),
    }


def _factors(episodes: list[Episode]) -> dict[str, float]:
    """Return the mean per step of each factor."""
    sums = [e.factors.sum(0, dtype=np.float64) for e in episodes if e.factors is not None]
    return mean_factors(episodes[0].factor_names, np.array(sums), sum(map(len, episodes))) if sums else {}
