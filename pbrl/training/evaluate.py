"""Evaluation of a policy in environments of its own, or between the episodes of training where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl.finite import AGENT, require_finite
from pbrl.seeds import episode_seed
from pbrl.training.environments import SIDE_BY_SIDE
from pbrl_envs.factors import factor_names


@dataclass(frozen=True)
class Evaluation:
    returns: np.ndarray  # (n,) true returns
    lengths: np.ndarray  # (n,) steps
    successes: np.ndarray  # (n,) max of info["success"] over the episode; empty where the task has none
    ended_well: np.ndarray  # (n,) info["success"] of the last step; empty likewise
    factors: dict[str, float]  # mean per step of each of info["factors"]

    def row(self) -> dict[str, float | None]:
        """Return the columns of evaluations.csv."""
        return {
            "return_mean": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "success_rate": float(self.successes.mean()) if len(self.successes) else None,
            "success_at_end": float(self.ended_well.mean()) if len(self.ended_well) else None,
            "episode_length": float(self.lengths.mean()),
            **{factor_column(name): value for name, value in self.factors.items()},
        }


class Evaluator:
    """Runs the same n seeded episodes at each evaluation, many at once, so that one forward pass serves them all.

    envs: how many at once at most, each in an environment of its own.
    """

    def __init__(self, make_env: Callable[[], gym.Env], episodes: int, seed: int, envs: int = SIDE_BY_SIDE) -> None:
        self.envs = [make_env() for _ in range(min(episodes, envs))]
        self.episodes, self.seed = episodes, seed
        self.factor_names = factor_names(self.envs[0])

    def __call__(self, act: Callable[[np.ndarray], np.ndarray]) -> Evaluation:
        """Evaluate act: (M, O) -> (M, A). NotFinite if an action is not finite, UserError if a return is not.

        Some environments clip actions that are not numbers to finite rewards, so that the return does not tell.
        """
        blocks = [range(i, min(i + len(self.envs), self.episodes)) for i in range(0, self.episodes, len(self.envs))]

        def checked(obs: np.ndarray) -> np.ndarray:
            return require_finite(act(obs), AGENT, "an action")

        parts = [self._block(checked, numbers) for numbers in blocks]
        returns, lengths, success, last, factors = (np.concatenate(column) for column in zip(*parts, strict=True))
        _require_finite(returns)
        return Evaluation(
            returns,
            lengths,
            success[~np.isnan(success)],
            last[~np.isnan(last)],
            mean_factors(self.factor_names, factors, lengths.sum()),
        )

    def _block(self, act: Callable[[np.ndarray], np.ndarray], numbers: range) -> tuple[np.ndarray, ...]:
        """Return the return, length, success ever, success at the end and sums of factors of these episodes."""
        n = len(numbers)
        seeds = [episode_seed(self.seed, number) for number in numbers]
        obs = np.stack([env.reset(seed=seed)[0] for env, seed in zip(self.envs, seeds, strict=False)])
        returns, lengths = np.zeros(n), np.zeros(n, int)
        success, last = np.full(n, np.nan), np.full(n, np.nan)
        factors = np.zeros((n, len(self.factor_names)))
        running = np.arange(n)
        while len(running):
            actions = act(obs[running])
            ended = []
            for i, action in zip(running, actions, strict=True):
                obs[i], reward, terminated, truncated, info = self.envs[i].step(action)
                returns[i] += reward
                lengths[i] += 1
                if "success" in info:
                    last[i] = float(info["success"])
                    success[i] = np.fmax(success[i], last[i])
                if self.factor_names:
                    factors[i] += list(info["factors"].values())
                ended.append(terminated or truncated)
            running = running[~np.array(ended)]
        return returns, lengths, success, last, factors

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of `Evaluation.row` beyond those that every task has."""
        return tuple(factor_column(name) for name in self.factor_names)

    def close(self) -> None:
        for env in self.envs:
            env.close()


def _require_finite(returns: np.ndarray) -> None:
    if not np.isfinite(returns).all():
        raise UserError("the environment gave rewards whose sum over an episode is not finite")


def mean_factors(names: Sequence[str], sums: np.ndarray, steps: int) -> dict[str, float]:
    """Mean per step of each factor from its sums (n, F) over episodes."""
    return dict(zip(names, (sums.sum(0) / steps).tolist(), strict=True))


def factor_column(name: str) -> str:
    """Name a factor's column of evaluations.csv."""
    return f"factor_{name}"


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average rows of evaluations.csv where all have a number; else keep what the last one says."""
    last = rows[-1]
    numbers = {k for k, v in last.items() if all(isinstance(row[k], float) for row in rows)}
    return {k: sum(row[k] for row in rows) / len(rows) if k in numbers else v for k, v in last.items()}


def summarise(evaluations: list[dict[str, Any]], window: int | None) -> dict[str, Any]:
    """Return what summary.json says of all rows of evaluations.csv: the last, and the best `window` where wanted."""
    last = evaluations[-1] if evaluations else {}
    names = {"final_return": "return_mean", "final_success": "success_rate", "final_success_at_end": "success_at_end"}
    found = {name: last.get(column) for name, column in names.items()}
    if window is None:
        return found
    best = best_window(evaluations[1:], window)
    return found | {f"best_window_{k.split('_')[0]}": v for k, v in best.items()} | {"window": window}


def best_window(evaluations: list[dict[str, Any]], window: int) -> dict[str, float | None]:
    """Return the highest mean over `window` evaluations in a row, None where there are fewer.

    Chosen by the very figure it reports, so never the result.

    Published CPL figures are of this kind (8 evaluations of 25 episodes).
    """
    best: dict[str, float | None] = {}
    for name in ("return_mean", "success_rate"):
        values = [row[name] for row in evaluations]
        means = [values[i : i + window] for i in range(len(values) - window + 1)]
        known = means and all(v is not None for v in values)
        best[name] = max(sum(some) / window for some in means) if known else None
    return best
