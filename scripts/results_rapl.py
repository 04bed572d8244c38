"""Facts about RAPL beyond the runs of results/rapl/grid.yaml: a figure, and a reference that needs no encoder.

python scripts/results_rapl.py figure FILE.png NAME=RUN ...   held-out videos, and under them the rewards of these runs
python scripts/results_rapl.py features RUN ...               how well transport between true features would do

Runs of a figure are of one task and seed, and NAME says what the legend calls them. `features` puts the features that
the teacher looks at in place of embeddings, their mean squared difference in place of 1 - cos, and has else all as in
these runs of RAPL: the same demonstrations, held-out episodes and moments. Where this agrees with the true return and
RAPL does not, six demonstrations and a plan are enough, and what was learned from pictures is not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file
from scipy import stats
from torch import Tensor

from pbrl.building import build
from pbrl.collection.videos import Camera, draw_videos, shown_steps
from pbrl.config import load_config
from pbrl.data.datasets import Dataset, load_dataset
from pbrl.data.videos import Videos
from pbrl.feedback.triplets import uniform_triplets
from pbrl.feedback.video_quality import split
from pbrl.methods.method import REWARD_FILE
from pbrl.rewards.optimal_transport import sinkhorn
from pbrl.teachers.triplet import TripletTeacher, spread
from pbrl.training.parts import stream_seed

PICTURES, PIXELS, TRIPLETS = 8, 192, 600
COLOURS = ("#1f6feb", "#bf8700", "#cf222e")
TITLES = {"expert:1": "As people like it", "naive:1": "The plain way"}  # of who acted
Block = tuple[str, np.ndarray, int, dict[str, np.ndarray]]  # title, pictures, steps, and rewards of frames by name


def read_run(run: Path) -> tuple[DictConfig, Dataset, np.ndarray]:
    """Return its config, its data, and the numbers of the episodes that its reward was measured on."""
    config = load_config(run / "config.yaml")
    data = load_dataset(Path(config.data))
    return config, data, split(len(data.episodes), config.method.heldout, stream_seed(config.seed, "reward"))[1]


def figure(file: Path, runs: Mapping[str, Path]) -> None:
    """Draw a block for each of TITLES: its first held-out video in pictures over their moments, and rewards under them.

    Rewards are in standard deviations over all frames of all held-out videos, 0 the mean, so that they can be compared.
    """
    config, data, episodes = read_run(next(iter(runs.values())))
    make_env, video = partial(build, config.env.make), config.method
    small, large = (Camera(make_env, config.env.name, size) for size in (video.size, PIXELS))
    frames = draw_videos(data, episodes, small, video.frames, list(video.features)).frames
    rewards = {name: frame_rewards(run, frames) for name, run in runs.items()}
    acted = [data.meta["sources"][k] for k in data.source[episodes]]
    blocks: list[Block] = []
    for source, title in TITLES.items():
        row = acted.index(source)
        episode = data.episodes[episodes[row]]
        moments = ((np.arange(PICTURES) + 0.5) / PICTURES * len(episode)).astype(int)
        pictures = large(episode.states[1:][moments]).numpy()
        blocks.append((title, pictures, len(episode), {name: r[row] for name, r in rewards.items()}))
    plot(blocks, file)


def frame_rewards(run: Path, frames: Tensor) -> np.ndarray:
    """Return the standardised rewards (V, F) of videos (V, F, H, W, C)."""
    model = build(load_config(run / "config.yaml").method.model)(frame_shape=frames.shape[2:], rng=torch.Generator())
    model.load_state_dict(load_file(str(run / REWARD_FILE)))
    rewards = torch.stack([model.reward(video) for video in frames]).numpy()
    return (rewards - rewards.mean()) / rewards.std()


def plot(blocks: Sequence[Block], file: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(12, 4.4 * len(blocks)))
    outer = drawn.add_gridspec(len(blocks), 1, hspace=0.3, left=0.09, right=0.99, top=0.95, bottom=0.12)
    with rc_context({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False}):
        below = None
        for place, (title, pictures, steps, rewards) in zip(outer, blocks, strict=True):
            inner = place.subgridspec(2, PICTURES, height_ratios=[1, 1.6], hspace=0.05, wspace=0.04)
            for k, picture in enumerate(pictures):
                axes = drawn.add_subplot(inner[0, k])
                axes.imshow(picture)
                axes.axis("off")
                axes.set_title(title if k == 0 else "", loc="left")
            below = drawn.add_subplot(inner[1, :], sharey=below)
            for (name, values), colour in zip(rewards.items(), COLOURS, strict=False):
                below.plot(np.linspace(1, steps, len(values)), values, color=colour, label=name, linewidth=2)
            below.axhline(0, color="#6e7781", linewidth=0.8)
            below.set(xlim=(0, steps), xlabel="environment steps", ylabel="reward of a frame\n(standard deviations)")
        drawn.legend(*below.get_legend_handles_labels(), loc="lower center", ncols=len(rewards), frameon=False)
        drawn.savefig(file, dpi=110)


def features(runs: Sequence[Path]) -> None:
    print("| run | correlation with the true return | triplets answered as the teacher does |\n| --- | --- | --- |")
    for run in runs:
        print(f"| {run} | {' | '.join(f'{value:.2f}' for value in agreement(*read_run(run)))} |", flush=True)


def agreement(config: DictConfig, data: Dataset, seen: np.ndarray) -> tuple[float, float]:
    """Return Spearman's correlation with the true return over the episodes in `seen`, and the share of triplets of
    them that are answered as the teacher does.
    """
    video, episodes = config.method, data.episodes
    solver = {key: video.model[key] for key in ("epsilon", "iterations", "tolerance")}
    known = np.setdiff1d(np.arange(len(episodes)), seen)
    columns = [episodes[0].factor_names.index(name) for name in video.features]
    found = torch.tensor(np.stack([e.factors[shown_steps(e, video.frames)][:, columns] for e in episodes]))
    found = found / spread(found[known].flatten(0, 1))
    returns = np.array([e.true_reward.sum() for e in episodes])
    demos = found[known[np.argsort(-returns[known], kind="stable")[: video.demos]]]
    likeness = [-float(transport_cost(found[k].expand_as(demos), demos, **solver).min()) for k in seen]
    return float(stats.spearmanr(likeness, returns[seen]).statistic), triplets_answered(found[seen], **solver)


def triplets_answered(found: Tensor, **solver: Any) -> float:
    """Return the share of TRIPLETS that features (N, F, K) answer as `TripletTeacher` does; ties count half."""
    rng = torch.Generator().manual_seed(0)
    n, f = found.shape[:2]
    videos = Videos(torch.zeros(n, f, 1, 1, 1, dtype=torch.uint8), found, torch.zeros(n))
    asked = uniform_triplets(len(videos), TRIPLETS, rng)
    answers = TripletTeacher(beta=None, mistake=0.0, equal=0.0, rng=rng).answer_triplets(videos, asked)
    anchor, first, second = found[asked].unbind(1)
    gain = transport_cost(anchor, first, **solver) - transport_cost(anchor, second, **solver)
    return float(1 - (answers.closer_second - (gain.sign() + 1) / 2).abs().mean())


def transport_cost(x: Tensor, y: Tensor, **solver: Any) -> Tensor:
    """Return the cost (B,) of transport from each x (B, F, K) to its y (B, F, K)."""
    cost = torch.cdist(x, y).square() / x.shape[-1]
    return (sinkhorn(cost, **solver) * cost).sum((1, 2))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["figure", file, *runs] if runs:
            figure(Path(file), {name: Path(run) for name, _, run in (word.rpartition("=") for word in runs)})
        case ["features", *runs] if runs:
            features([Path(run) for run in runs])
        case _:
            sys.exit(__doc__)
