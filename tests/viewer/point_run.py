"""What a run leaves for the viewer, made in milliseconds: its config, and questions about point_reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.labels.segment_files import SegmentPairs
from pbrl.labels.store import LabelStore
from pbrl.types import Segments

STEPS = 12  # of a segment


def make_run(folder: Path, *overrides: str) -> DictConfig:
    folder.mkdir(parents=True, exist_ok=True)
    config = compose_config(["env=point_reach", *overrides])
    OmegaConf.save(config, folder / "config.yaml")
    return config


def roll_out(config: DictConfig, n: int, seed: int = 0) -> tuple[Segments, np.ndarray]:
    """n segments in which the point is pushed some way all the time, and their states (n, T+1, D)."""
    env, rng = build(config.env.make), np.random.default_rng(seed)
    pushes = rng.choice(np.float32([-1, 1]), (n, 1, *env.action_space.shape))
    obs, actions, states = [], np.repeat(pushes, STEPS, 1), []
    for row in range(n):
        obs.append([env.reset(seed=seed + row)[0]])
        states.append([env.get_wrapper_attr("save_state")()])
        for action in actions[row]:
            obs[-1].append(env.step(action)[0])
            states[-1].append(env.get_wrapper_attr("save_state")())
    env.close()
    zeros = torch.zeros(n, STEPS)
    shown = torch.tensor(np.array(obs))
    return Segments(shown, torch.tensor(actions), zeros + 1, zeros, zeros, torch.arange(n)), np.array(states)


def make_pairs(config: DictConfig, n: int, seed: int = 0) -> SegmentPairs:
    segments, states = roll_out(config, 2 * n, seed)
    return SegmentPairs(segments[:n], segments[n:], states[:n], states[n:])


def ask(folder: Path, pairs: SegmentPairs, session: int = 0) -> list[int]:
    with LabelStore(folder) as store:
        sides = {"left_states": pairs.left_states, "right_states": pairs.right_states}
        return store.ask(session, 100, pairs.left, pairs.right, sampler="test", **sides)
