"""The figure of results/rapl: frames of held-out videos, and what learned rewards say of each moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from pbrl.building import build
from pbrl.collection.videos import Camera, draw_videos
from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset
from pbrl.methods.video import FACTS_FILE

PICTURES, PIXELS = 8, 192
COLOURS = ("#1f6feb", "#bf8700", "#cf222e")
TITLES = {"expert:1": "As people like it", "naive:1": "The plain way"}


def draw_figure(folders: Mapping[str, Path], sources: Sequence[str], file: Path) -> None:
    """Draw a block per source: pictures of its first held-out video, each over its moment, and the rewards under them.

    Rewards are in standard deviations over all frames of all held-out videos, 0 the mean, so that they can be compared.

    folders: {name in the legend: folder of a learned reward}, all of one task and seed.
    """
    facts = {name: json.loads((folder / FACTS_FILE).read_text()) for name, folder in folders.items()}
    config, data = _of(next(iter(facts.values())))
    episodes = np.array(next(iter(facts.values()))["episodes"])
    video = config.method
    camera = Camera(partial(build, config.env.make), config.env.name, video.size)
    frames = draw_videos(data, episodes, camera, video.frames, list(video.features)).frames
    rewards = {name: _rewards(_load(facts[name], folder), frames) for name, folder in folders.items()}
    acted = [data.meta["sources"][k] for k in data.source[episodes]]
    large = Camera(partial(build, config.env.make), config.env.name, PIXELS)
    blocks = []
    for source in sources:
        row = acted.index(source)
        episode = data.episodes[episodes[row]]
        moments = ((np.arange(PICTURES) + 0.5) / PICTURES * len(episode)).astype(int)
        pictures = large(episode.states[1:][moments]).numpy()
        blocks.append((TITLES[source], pictures, len(episode), {name: r[row] for name, r in rewards.items()}))
    _plot(blocks, file)


def _of(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    config = compose_config(facts["arguments"])
    return config, load_dataset(Path(config.data))


def _load(facts: Mapping[str, Any], folder: Path) -> Any:
    video = compose_config(facts["arguments"]).method
    model = build(video.model)(frame_shape=(video.size, video.size, 3), rng=torch.Generator().manual_seed(0))
    model.load_state_dict(load_file(str(folder / "reward.safetensors")))
    return model


def _rewards(model: Any, frames: torch.Tensor) -> np.ndarray:
    """Return the standardised rewards (V, F) of videos (V, F, H, W, C)."""
    rewards = torch.stack([model.reward(video) for video in frames]).numpy()
    return (rewards - rewards.mean()) / rewards.std()


def _plot(blocks: Sequence[tuple[str, np.ndarray, int, Mapping[str, np.ndarray]]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(12, 4.4 * len(blocks)))
    outer = figure.add_gridspec(len(blocks), 1, hspace=0.3, left=0.09, right=0.99, top=0.95, bottom=0.12)
    below = None
    for block, (title, pictures, steps, rewards) in zip(outer, blocks, strict=True):
        inner = block.subgridspec(2, PICTURES, height_ratios=[1, 1.6], hspace=0.05, wspace=0.04)
        for k, picture in enumerate(pictures):
            axes = figure.add_subplot(inner[0, k])
            axes.imshow(picture)
            axes.axis("off")
            if k == 0:
                axes.set_title(title, loc="left")
        below = figure.add_subplot(inner[1, :], sharey=below)
        for (name, values), colour in zip(rewards.items(), COLOURS, strict=True):
            below.plot(np.linspace(1, steps, len(values)), values, color=colour, label=name, linewidth=2)
        below.axhline(0, color="#6e7781", linewidth=0.8)
        below.set(xlim=(0, steps), ylabel="reward of a frame\n(standard deviations)")
    assert below is not None
    below.set_xlabel("environment steps")
    handles, labels = below.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
