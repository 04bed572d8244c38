"""A reward learned from videos before an agent starts, and given to each of its episodes as a whole."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from scipy import stats

from pbrl.collection.collect import make_teacher
from pbrl.collection.videos import Camera, draw_videos
from pbrl.config import build
from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.episodes import Episode
from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.methods.rapl import RAPL
from pbrl.queries.triplets import uniform_pairs, uniform_triplets
from pbrl.teachers.triplet import TripletTeacher
from pbrl.training.run_dir import RunDir, write_json

FACTS_FILE, ANSWERS_FILE = "reward.json", "answers.npz"


@dataclass
class EpisodeReward:
    """Rewards (L,) of an episode from what it looks like; its sum is `scale` in the mean over the videos learned from.

    A frame is drawn after every `stride` steps, and its reward shared among them.
    """

    model: Any
    camera: Camera
    stride: int
    scale: float

    def __post_init__(self) -> None:
        self._sums: list[float] = []

    def __call__(self, episode: Episode) -> np.ndarray:
        assert episode.states is not None
        steps = len(episode)
        drawn = np.append(np.arange(self.stride - 1, steps - 1, self.stride), steps - 1)
        shared = np.diff(drawn, prepend=-1)  # steps of each frame
        rewards = self.scale * self.model.reward(self.camera(episode.states[1:][drawn])).numpy()
        self._sums.append(float(rewards.sum()))
        return np.repeat(rewards / shared, shared).astype(np.float32)

    def take_sums(self) -> list[float]:
        """Of the episodes since the last call."""
        sums, self._sums = self._sums, []
        return sums


@dataclass
class LearnedVideoReward:
    reward: EpisodeReward
    facts: dict[str, Any]  # what reward.json says


def learn_video_reward(config: DictConfig, run: RunDir, seed: int) -> LearnedVideoReward:
    """Asks, learns, measures and saves; of a run that has done so, only reads what it saved."""
    video, rng = config.method.video, torch.Generator().manual_seed(seed)
    camera = Camera(partial(build, config.env.make), config.env.name, video.size)
    shape = (video.size, video.size, 3)
    model = build(video.model, frame_shape=shape, rng=rng)
    reward = EpisodeReward(model, camera, video.stride, video.scale)
    saved = run.path / FACTS_FILE
    if saved.is_file():
        from safetensors.torch import load_file

        model.load_state_dict(load_file(str(run.reward)))
        return LearnedVideoReward(reward, json.loads(saved.read_text()))
    facts = _learn(config, run, model, camera, rng)
    write_json(saved, facts)
    return LearnedVideoReward(reward, facts)


def _learn(config: DictConfig, run: RunDir, model: Any, camera: Camera, rng: torch.Generator) -> dict[str, Any]:
    from safetensors.torch import save_file

    video, started = config.method.video, time.monotonic()
    teacher = make_teacher(config.teacher, rng)
    if not isinstance(teacher, TripletTeacher):
        raise UserError(f"teacher={config.teacher.name} compares segments; method={config.method.name} wants triplet")
    data = _load(config.data, config)
    features = list(video.features) if video.features is not None else None
    draw = partial(draw_videos, camera=camera, frames=video.frames, features=features)
    train, heldout = (draw(data, rows) for rows in _split(len(data.episodes), video.heldout, rng))
    answers = _ask(model, teacher, train, config.feedback.budget, rng)
    metrics = model.fit(train, answers)
    if isinstance(model, RAPL):
        other = _load(video.demos_data, config) if video.demos_data is not None else data
        shown = train if other is data else draw(other, np.arange(len(other.episodes)))
        best = teacher.rank(shown)[: video.demos]
        model.set_demos(shown[best].frames, shown.frames)
    with replacing(run.path / ANSWERS_FILE) as partial_file, partial_file.open("wb") as file:
        np.savez(file, **{k: v.numpy() for k, v in vars(answers).items()})
    with replacing(run.reward) as partial_file:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, str(partial_file))
    return {
        "labels": len(answers),
        "kind": "pairs" if isinstance(answers, VideoPairs) else "triplets",
        "videos": len(train),
        **metrics,
        **_agreement(model, heldout),
        "data": {"path": str(data.path), "sha256": data.meta["sha256"]},
        "wall_s": round(time.monotonic() - started, 1),
    }


def _load(folder: str | None, config: DictConfig) -> Dataset:
    if folder is None:
        raise UserError(f"method={config.method.name} learns from videos; give data=FOLDER, made by pbrl collect")
    if not is_dataset(Path(folder)):
        raise UserError(f"data={folder} is not a data set; pbrl collect makes one")
    data = load_dataset(Path(folder))
    if data.meta["env_name"] != config.env.name:
        raise UserError(f"data={folder} is of env={data.meta['env_name']}, this run of env={config.env.name}")
    return data


def _split(episodes: int, heldout: float, rng: torch.Generator) -> list[np.ndarray]:
    """Numbers of the episodes to learn from, and of those to measure the reward on."""
    order = torch.randperm(episodes, generator=rng).numpy()
    return np.split(order, [episodes - round(heldout * episodes)])


def _ask(model: Any, teacher: TripletTeacher, videos: Videos, n: int, rng: torch.Generator) -> Triplets | VideoPairs:
    """Triplets where likeness is learned, else pairs."""
    if isinstance(model, RAPL):
        return teacher.answer(videos, uniform_triplets(len(videos), n, rng))
    return teacher.compare(videos, uniform_pairs(len(videos), n, rng))


def _agreement(model: Any, videos: Videos) -> dict[str, Any]:
    """Spearman's correlation of learned and true return over videos that nothing was learned from, and both returns."""
    learned = [float(model.reward(frames).sum()) for frames in videos.frames]
    r = float(stats.spearmanr(learned, videos.true_return).statistic) if len(videos) > 2 else math.nan
    returns = {"learned_returns": learned, "true_returns": videos.true_return.tolist()}
    return {"spearman": None if math.isnan(r) else r, **returns}
