"""The scores of random actions in each environment of a bench: the 0 of its normalised scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pbrl.bench.sources import code_version, digest, own_code
from pbrl.building import build
from pbrl.files import write_json
from pbrl.reading import read_object
from pbrl.training.environments import evaluation_envs
from pbrl.training.evaluate import Evaluator
from pbrl.training.parts import stream_seed
from pbrl.training.rollout import random_policy

Scores = dict[str, float | None]
"""Mean return and success."""


def task_of(config: DictConfig) -> list[Any]:
    """Return what the runs of an env share, since their scores are compared: the environment and its evaluation."""
    return [OmegaConf.to_container(config.env, resolve=True), config.evaluation.episodes]


def random_scores(
    out: Path, configs: dict[str, DictConfig], seeds: Sequence[int], say: Callable[[str], None]
) -> dict[str, Scores]:
    """Measure random actions by env, on the start states of evaluations, once; configs: one of each env."""
    file = out / "random.json"
    known = read_object(file) if file.exists() else {}
    for name, config in configs.items():
        key = digest([*task_of(config), seeds, code_version(), own_code(config.env)])
        if known.get(name, {}).get("key") != key:
            say(f"{name}: measuring random actions")
            known[name] = {"key": key, **_measure(config, seeds)}
            write_json(file, known)
    return {name: {k: known[name][k] for k in ("return", "success")} for name in configs}


def _measure(config: DictConfig, seeds: Sequence[int]) -> Scores:
    returns, successes = [], []
    for seed in seeds:
        start = stream_seed(seed, "evaluation")
        evaluator = Evaluator(
            partial(build, config.env.make), config.evaluation.episodes, start, evaluation_envs(config)
        )
        action_size = evaluator.envs[0].action_space.shape[0]  # type: ignore[index]
        evaluation = evaluator(random_policy(action_size, seed))
        evaluator.close()
        returns.append(evaluation.returns)
        successes.append(evaluation.successes)
    success = np.concatenate(successes)
    return {
        "return": float(np.concatenate(returns).mean()),
        "success": float(success.mean()) if len(success) else None,
    }
