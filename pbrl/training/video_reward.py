"""A reward learned from videos before an agent starts, and given to each of its episodes as a whole."""

from __future__ import annotations

import copy
import math
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from scipy import stats

from pbrl.collection.videos import Camera, draw_videos
from pbrl.config import build, build_teacher
from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.episodes import Episode
from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError, one_line
from pbrl.feedback.triplets import uniform_pairs, uniform_triplets
from pbrl.files import replacing
from pbrl.finite import REWARD_MODEL, require_finite, require_finite_metrics, require_finite_weights
from pbrl.reading import read_object, require_file
from pbrl.rewards.rapl import RAPL
from pbrl.teachers.triplet import TripletTeacher
from pbrl.training.run_dir import RunDir, write_json
from pbrl.types import Steps

FACTS_FILE, ANSWERS_FILE = "reward.json", "answers.npz"


@dataclass
class EpisodeReward:
    """Rewards (L,) of an episode from what it looks like; its sum is `scale` in the mean over the videos learned from.

    A frame is drawn after every `stride` steps, and its reward shared among them.
    """

    when: ClassVar[str] = "episode"

    model: Any
    camera: Camera
    stride: int
    scale: float

    def __post_init__(self) -> None:
        self._sums: dict[int, float] = {}

    def of_steps(self, steps: Steps) -> torch.Tensor:
        raise NotImplementedError("pictures are rewarded episode by episode")

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.states is not None
        steps = len(episode)
        drawn = np.append(np.arange(self.stride - 1, steps - 1, self.stride), steps - 1)
        shared = np.diff(drawn, prepend=-1)  # steps of each frame
        rewards = self.scale * self.model.reward(self.camera(episode.states[1:][drawn])).numpy()
        require_finite(rewards, REWARD_MODEL, "a reward")
        self._sums[id(episode)] = float(rewards.sum())
        return np.repeat(rewards / shared, shared).astype(np.float32)

    def take_sum(self, episode: Episode) -> float:
        """The sum of the rewards that it got."""
        return self._sums.pop(id(episode))


@dataclass
class LearnedVideoReward:
    reward: EpisodeReward
    facts: dict[str, Any]  # what reward.json says


@dataclass
class VideoFit:
    """A reward that was just learned, before any agent has it."""

    model: Any
    answers: Triplets | VideoPairs  # rows of the videos learned from
    episodes: np.ndarray  # numbers of the held-out episodes, in `data`, or in `demos_data` where that is given
    heldout: Videos  # the same, drawn
    facts: dict[str, Any]  # what reward.json says


def learn_video_reward(config: DictConfig, run: RunDir, seed: int) -> LearnedVideoReward:
    """Asks, learns, measures and saves; of a run that has done so, or of `learned`, only reads what it saved."""
    from safetensors.torch import save_file

    video = config.method.video
    camera = Camera(partial(build, config.env.make), config.env.name, video.size)
    if (run.path / FACTS_FILE).is_file():
        model, facts = _load_reward(config, run.path)
    elif video.get("learned") is not None:  # a run of older code has no such key
        model, facts = _take_over(config, Path(video.learned), run)
    else:
        fit = fit_video_reward(config, seed)
        model, facts = fit.model, fit.facts
        with replacing(run.path / ANSWERS_FILE, private=True) as partial_file, partial_file.open("wb") as file:
            np.savez(file, **{k: v.numpy() for k, v in vars(fit.answers).items()})
        with replacing(run.reward) as partial_file:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, str(partial_file))
        write_json(run.path / FACTS_FILE, facts)
    return LearnedVideoReward(EpisodeReward(model, camera, video.stride, video.scale), facts)


def fit_video_reward(config: DictConfig, seed: int) -> VideoFit:
    """Asks about videos of `data`, learns from the answers, and measures on videos that nothing was learned from.

    Which videos are held out follows from the seed alone, so methods can be compared on the same ones.
    """
    video, started, rng = config.method.video, time.monotonic(), torch.Generator().manual_seed(seed)
    teacher = build_teacher(config.teacher, rng=rng)
    _check_teacher(config, teacher)
    data = _load(config.data, config)
    model = _make_model(config, rng)
    train, heldout = _split(len(data.episodes), video.heldout, seed)
    shown = _draw(config, data, train)
    answers = _ask(model, teacher, shown, config.feedback.budget, rng)
    metrics = model.fit(shown, answers)
    require_finite_metrics(metrics, REWARD_MODEL)
    require_finite_weights(model.state_dict(), REWARD_MODEL)
    videos = len(shown)
    if isinstance(model, RAPL):
        if video.demos_data is not None:
            data = _load(video.demos_data, config)
            train, heldout = _split(len(data.episodes), video.heldout, seed)
            shown = _draw(config, data, train)
        if video.demos > len(shown):
            raise UserError(
                f"method.video.demos={video.demos}: {data.path} has {len(shown)} videos to choose them from"
            )
        model.set_demos(shown[teacher.rank(shown)[: video.demos]].frames, shown.frames)
    seen = _draw(config, data, heldout)
    facts = {
        "labels": len(answers),
        "kind": "pairs" if isinstance(answers, VideoPairs) else "triplets",
        "videos": videos,
        **metrics,
        **_agreement(model, seen),
        "settings": _settings(config),
        "data": {"path": str(data.path), "sha256": data.meta["sha256"]},
        "wall_s": round(time.monotonic() - started, 1),
    }
    return VideoFit(model, answers, heldout, seen, facts)


def _take_over(config: DictConfig, learned: Path, run: RunDir) -> tuple[Any, dict[str, Any]]:
    """Copies what another run has learned, what is known of it last: then the reward is there."""
    _check_teacher(config, build_teacher(config.teacher, rng=torch.Generator()))
    try:
        model, facts = _load_reward(config, learned)
    except UserError as error:
        raise UserError(f"method.video.learned: {error}") from error
    for name in (ANSWERS_FILE, run.reward.name, FACTS_FILE):
        if (learned / name).is_file():
            with replacing(run.path / name, private=name == ANSWERS_FILE) as partial_file:
                shutil.copyfile(learned / name, partial_file)
    return model, facts


def _load_reward(config: DictConfig, folder: Path) -> tuple[Any, dict[str, Any]]:
    """What a run has learned, and its reward.json."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = _make_model(config, torch.Generator())
    try:
        require_file(RunDir(folder).reward)
        facts = read_object(folder / FACTS_FILE)
    except UserError as error:
        raise UserError(f"{folder} holds no learned reward that can be read: {error}") from None
    try:
        theirs: dict[str, Any] = facts["settings"]
        ours = _settings(config)
        for key in {**theirs, **ours}:
            if theirs.get(key) != ours.get(key):
                raise UserError(f"{folder} learned with {key}={theirs.get(key)}, and this run has {ours.get(key)}")
        model.load_state_dict(load_file(str(RunDir(folder).reward)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} holds no learned reward that can be read: {one_line(error)}") from error
    return model, facts


def _settings(config: DictConfig) -> dict[str, Any]:
    """What a learned reward is bound to, by key."""
    video = config.method.video
    model = cast("dict[str, Any]", OmegaConf.to_container(video.model, resolve=True))
    own = {f"method.video.model.{key}": value for key, value in model.items()}
    return {"env": config.env.name, "method": config.method.name, "method.video.size": video.size, **own}


def _check_teacher(config: DictConfig, teacher: Any) -> None:
    if not isinstance(teacher, TripletTeacher):
        why = f"method={config.method.name} asks about whole videos"
        raise UserError(f"teacher={config.teacher.name}: {why}; valid is teacher=triplet")


def _make_model(config: DictConfig, rng: torch.Generator) -> Any:
    return build(config.method.video.model, frame_shape=(config.method.video.size,) * 2 + (3,), rng=rng)


def _draw(config: DictConfig, data: Dataset, episodes: np.ndarray) -> Videos:
    """In the run's environment, with the body, the goal, ... that the data were made with."""
    video, make = config.method.video, copy.deepcopy(config.env.make)
    made = ((data.meta["env"] or {}).get("make") or {}).get("kwargs")
    if made is not None:
        # Only plain values are taken from the folder: a config could name any function to call.
        if not all(v is None or (isinstance(v, (bool, int, float, str)) and "${" not in str(v)) for v in made.values()):
            raise UserError(f"{data.path}: env.make.kwargs is {made}, expected plain numbers and words")
        make.kwargs = made
    camera = Camera(partial(build, make), config.env.name, video.size)
    features = list(video.features) if video.features is not None else None
    return draw_videos(data, episodes, camera, video.frames, features)


def _load(folder: str | None, config: DictConfig) -> Dataset:
    if folder is None:
        raise UserError(f"method={config.method.name} learns from videos; give data=FOLDER, made by pbrl collect")
    if not is_dataset(Path(folder)):
        raise UserError(f"data={folder} is not a data set; pbrl collect makes one")
    data = load_dataset(Path(folder))
    if data.meta["env_name"] != config.env.name:
        raise UserError(f"data={folder} is of env={data.meta['env_name']}, this run of env={config.env.name}")
    return data


def _split(episodes: int, heldout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the episodes to learn from, and of those to measure the reward on."""
    order = np.random.default_rng(seed).permutation(episodes)
    first, last = np.split(order, [episodes - max(1, round(heldout * episodes))])
    return first, last


def _ask(model: Any, teacher: TripletTeacher, videos: Videos, n: int, rng: torch.Generator) -> Triplets | VideoPairs:
    """Triplets where likeness is learned, else pairs."""
    if isinstance(model, RAPL):
        return teacher.answer(videos, uniform_triplets(len(videos), n, rng))
    return teacher.compare(videos, uniform_pairs(len(videos), n, rng))


def _agreement(model: Any, videos: Videos) -> dict[str, Any]:
    """Spearman's correlation of learned and true return over videos that nothing was learned from, and both returns."""
    learned = [float(model.reward(frames).sum()) for frames in videos.frames]
    r = float(stats.spearmanr(learned, videos.true_return).statistic) if len(videos) > 2 else math.nan
    pairs = np.triu_indices(len(videos), 1)
    gain, true_gain = (np.subtract.outer(x, x)[pairs] for x in (np.array(learned), videos.true_return.numpy()))
    agree = np.sign(gain) == np.sign(true_gain)
    return {
        "spearman": None if math.isnan(r) else r,
        "pair_accuracy": float(agree.mean()) if len(agree) else None,  # of all pairs of these videos
        "learned_returns": learned,
        "true_returns": videos.true_return.tolist(),
    }
