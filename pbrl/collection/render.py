"""A data set of simulator states, seen through a camera: the same segments, scores and labels, images to learn from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from omegaconf import DictConfig, OmegaConf

from pbrl.building import build
from pbrl.data.datasets import Dataset, write_dataset
from pbrl.data.episodes import Episode
from pbrl.errors import UserError, one_line


def render_dataset(data: Dataset, config: DictConfig, out: Path, command: str) -> dict[str, Any]:
    """Write `out`, a data set of every stored state of `data` as the image environment `config.env` shows it.

    Returns its meta.json. UserError where `data` has no states to draw, or the environment shows no images.
    """
    if "videos" in data.meta:
        raise UserError(
            f"{data.path} has videos and no simulator states; valid is one of pbrl collect with states=true"
        )
    if any(e.states is None for e in data.episodes):
        raise UserError(f"{data.path} has no simulator states to draw; collect with states=true")
    env = build(config.env.make)
    try:
        if len(env.observation_space.shape) != 3:
            raise UserError(f"env={config.env.name} shows no images; valid is one like env=point_reach_pixels")
        episodes = [_drawn(e, env, config.env.name) for e in data.episodes]
    finally:
        env.close()
    keep: dict[str, Any] = {k: data.meta[k] for k in ("sources", "teacher", "splits", "seed") if k in data.meta}
    return write_dataset(
        out,
        meta={
            **keep,
            "env_name": config.env.name,
            "env": OmegaConf.to_container(config.env, resolve=True),
            "command": command,
            "drawn_from": {"command": data.meta.get("command"), "sha256": data.meta["sha256"]},
        },
        episodes=episodes,
        source=data.source,
        segment_length=data.meta["segment_length"],
        ids=data.segments.ids.numpy(),
        split=data.split,
        scores=data.scores,
        comparisons=data.comparisons,
    )


def _drawn(episode: Episode, env: gym.Env, name: str) -> Episode:
    render = env.get_wrapper_attr("render_state")
    assert episode.states is not None
    try:
        images = np.stack([render(state) for state in episode.states])
    except (ValueError, TypeError) as error:
        raise UserError(f"env={name} cannot take the states of this data set: {one_line(error)}") from error
    return dataclasses.replace(episode, obs=images)
