"""A reward learned from answers about whole videos before an agent starts, and given to each episode when it ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.building import Maker
from pbrl.checks import between, whole
from pbrl.collection.videos import Camera, draw_videos, stored_videos
from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError, one_line
from pbrl.feedback.desk import Counts
from pbrl.feedback.told_videos import ToldVideos
from pbrl.feedback.video_people import Unanswered
from pbrl.feedback.video_quality import agreement, foreseen, split
from pbrl.files import replacing, write_json
from pbrl.finite import REWARD_MODEL, require_finite, require_finite_metrics, require_finite_weights
from pbrl.methods.method import REWARD_FILE, Method, Run, save_weights
from pbrl.nets.devices import array, move
from pbrl.reading import read_object, require_file
from pbrl.types import Episode, RewardSource, Steps

FACTS_FILE, ANSWERS_FILE = "reward.json", "answers.npz"


@dataclass
class VideoFit:
    """A reward that was just learned, before any agent has it."""

    model: Any
    answers: Triplets | VideoPairs  # rows of the videos learned from
    episodes: np.ndarray  # numbers of the held-out episodes, in the data that the reward was measured on
    heldout: Videos  # the same, drawn
    facts: dict[str, Any]  # what reward.json says


class VideoMethod(Method):
    """Asks about videos of a data set, learns a reward of pictures, and drives an agent by it.

    A frame of the agent's episode is drawn after every `stride` steps, and its reward shared among them. As a
    `RewardSource` it gives rewards whose absolute sum is `scale` in the mean over the videos learned from.

    Args:
        learned: a run whose learned reward is taken as it is; None: learn one from `run.data_folder`.
        size: pixels a side.
        frames: of each video, at even distances.
        heldout: share of the videos on which the reward is measured.
        features: factors by which the teacher finds videos alike; None: all.
        stride: steps between frames of an agent's episode.
        scale: mean absolute sum of an episode's rewards.
        model: makes the reward of pictures from frame_shape and rng.
    """

    agents = ("sac",)
    of_videos, needs_data = True, True
    when = "episode"
    stands_for = ""  # what an answer is about, in a word
    _model: Any = None
    _told: ToldVideos | None = None  # what people said of the videos learned from, where they did

    def __init__(
        self,
        *,
        learned: str | None,
        size: int,
        frames: int,
        heldout: float,
        features: Sequence[str] | None,
        stride: int,
        scale: float,
        model: Maker,
    ) -> None:
        whole(1, size=size, stride=stride)
        whole(2, frames=frames)
        between(0.01, 0.9, heldout=heldout)
        between(1e-6, 1e6, scale=scale)
        if features is not None and isinstance(features, str):
            raise ValueError(f"features={features}: expected names of factors, such as [distance, effort]")
        self.learned, self.size, self.frames, self.heldout = learned, size, frames, heldout
        self.features, self.stride, self.scale = features, stride, scale
        self._make_model = model
        self._sums: dict[int, float] = {}

    def begin(self, run: Run) -> None:
        super().begin(run)
        if self.learned is not None and run.data_folder is not None:
            raise UserError(f"method.learned={self.learned} needs no data; leave data={run.data_folder} out")
        if run.labels_folder is not None and run.data_folder is None:
            raise UserError(f"labels={run.labels_folder} goes with data=DATASET, whose videos they are about")
        if run.desk.needs_people and (given := self.learned or run.labels_folder):
            key = "labels" if self.learned is None else "method.learned"
            raise UserError(f"{key}={given} is answered already, and teacher=human asks; leave one of them out")
        if run.feedback.budget < 1:
            raise UserError(f"feedback.budget={run.feedback.budget}: expected a whole number of at least 1")
        run.agent.require_whole_episodes(run.time_limit)
        self._camera = Camera(run.make_env, run.env_name, self.size)
        if (run.path / FACTS_FILE).is_file():
            self._model, self._facts = self._load(run.path)
        elif self.learned is not None:
            self._model, self._facts = self._take_over(Path(self.learned))
        elif run.desk.needs_people:
            run.desk.show(self.load_data(run.data_folder))
            self._learn_if_answered()
        else:
            self._model, self._facts = self._learn()
        self._count()

    def prepare(self) -> bool:
        """Waits until people have answered, and learns from it: all is asked when the run begins."""
        if self._model is None:
            self.run.desk.wait()
            if self.run.desk.waiting:
                return False
            self._learn_if_answered()
            self._count()
        return True

    def _learn_if_answered(self) -> None:
        """Ask, and learn where people have answered already; else nothing is drawn: the same is asked again."""
        rng = self.run.rng("reward")
        before = rng.get_state()
        try:
            self._model, self._facts = self._learn()
        except Unanswered:
            rng.set_state(before)

    def _count(self) -> None:
        if self.run.desk.needs_people:
            self.run.desk.look(0)
        else:
            labels, ties = int(self._facts["labels"]), int(self._facts.get("ties", 0))  # whoever answered, and when
            self.run.desk.counts = Counts(decisive=labels - ties, equal=ties)

    def reward(self) -> RewardSource | None:
        return self

    def of_steps(self, steps: Steps) -> torch.Tensor:
        raise NotImplementedError("pictures are rewarded episode by episode")

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.states is not None
        drawn, shared = frames_of(len(episode), self.stride)
        rewards = self.scale * array(self._model.reward(self._camera(episode.states[1:][drawn])))
        require_finite(rewards, REWARD_MODEL, "a reward")
        self._sums[id(episode)] = float(rewards.sum())
        return np.repeat(rewards / shared, shared).astype(np.float32)

    def learned_return(self, episode: Episode) -> float | None:
        return self._sums.pop(id(episode))

    def facts(self) -> dict[str, Any]:
        return {"reward_accuracy": self._facts["pair_accuracy"]}

    def fit(self, seed: int) -> VideoFit:
        """Ask, learn, and measure on videos that nothing was learned from.

        Which videos are held out follows from the seed alone, so methods can be compared on the same ones.
        """
        started, rng = time.monotonic(), self.run.rng("reward")
        data = self.load_data(self.run.data_folder)
        model = move(self._make_model(frame_shape=(self.size, self.size, 3), rng=rng), self.run.device)
        train, heldout = split(len(data.episodes), self.heldout, seed)
        shown = self.draw(data, train)
        told = self._told_about(data)
        answers = (
            self.ask(shown, self.run.feedback.budget, rng) if told is None else self._from_people(told, train, shown)
        )
        metrics = model.fit(shown, answers)
        require_finite_metrics(metrics, REWARD_MODEL)
        require_finite_weights(model.state_dict(), REWARD_MODEL)
        data, heldout = self.after_fit(model, data, shown, heldout, seed)
        seen = self.draw(data, heldout)
        facts = {
            "labels": len(answers),
            "ties": answers.ties,
            "kind": self.stands_for,
            "videos": len(shown),
            **metrics,
            **agreement(model, seen),
            **({} if told is None else foreseen(model, told, data, train, self.draw)),
            "settings": self.settings(),
            "data": {"path": str(data.path), "sha256": data.meta["sha256"]},
            "wall_s": round(time.monotonic() - started, 1),
        }
        return VideoFit(model, answers, heldout, seen, facts)

    def ask(self, videos: Videos, n: int, rng: torch.Generator) -> Triplets | VideoPairs:
        """Ask n questions about these videos; return them with answers."""
        raise NotImplementedError

    def said(self, told: ToldVideos) -> Triplets | VideoPairs:
        """Return the answers of people that this method learns from."""
        raise NotImplementedError

    def _told_about(self, data: Dataset) -> ToldVideos | None:
        folder = self.run.labels_folder
        return None if folder is None else ToldVideos.read(folder, data, self.run.feedback.budget)

    def _from_people(self, told: ToldVideos, train: np.ndarray, shown: Videos) -> Triplets | VideoPairs:
        self._told = told.among(train)
        if not len(answers := self.said(self._told)):
            none = f"none of the answers makes {self.stands_for} of the {len(train)} videos that are learned from"
            valid = f"rankings and {self.stands_for}, or a smaller method.heldout"
            raise UserError(f"labels={self.run.labels_folder}: {none}; valid are {valid}")
        return answers

    def after_fit(
        self, model: Any, data: Dataset, shown: Videos, heldout: np.ndarray, seed: int
    ) -> tuple[Dataset, np.ndarray]:
        """Learn what else the reward needs; return the data and the numbers of the episodes to measure it on."""
        return data, heldout

    def settings(self) -> dict[str, Any]:
        """Return what a learned reward is bound to, by key."""
        own = {f"method.model.{key}": value for key, value in self._make_model.plain.items()}
        return {"env": self.run.env_name, "method": type(self).__name__, "method.size": self.size, **own}

    def draw(self, data: Dataset, episodes: np.ndarray) -> Videos:
        """Draw in the run's environment, with body, goal, ... of the data; or take the frames of their videos."""
        if self._people and "videos" in data.meta:
            return stored_videos(data, episodes, self.frames, self.size)
        made = ((data.meta["env"] or {}).get("make") or {}).get("kwargs")
        # Only plain values are taken from the folder: a config could name any function to call.
        if not all(_is_plain(value) for value in (made or {}).values()):
            raise UserError(f"{data.path}: env.make.kwargs is {made}, expected plain numbers and words")
        make_env = self.run.make_env if made is None else partial(self.run.make_env, kwargs=made)
        camera = Camera(make_env, self.run.env_name, self.size)
        features = () if self._people else self.features
        return draw_videos(data, episodes, camera, self.frames, features)

    @property
    def _people(self) -> bool:
        """Return whether people answered, who need nothing but pictures; a script judges by what the task knows."""
        return self.run.labels_folder is not None or not self.run.desk.teacher.at_once

    def load_data(self, folder: Path | None) -> Dataset:
        if folder is None:
            raise UserError("data=None: videos are learned from; give data=FOLDER, made by pbrl collect")
        if not is_dataset(folder):
            raise UserError(f"data={folder} is not a data set; pbrl collect makes one")
        data = load_dataset(folder)
        if data.meta["env_name"] != self.run.env_name and not (self._people and "videos" in data.meta):
            raise UserError(f"data={folder} is of env={data.meta['env_name']}, this run of env={self.run.env_name}")
        return data

    def _learn(self) -> tuple[Any, dict[str, Any]]:
        fit = self.fit(self.run.seed("reward"))
        with replacing(self.run.path / ANSWERS_FILE, private=True) as partial_file, partial_file.open("wb") as file:
            np.savez(file, **{k: v.numpy() for k, v in vars(fit.answers).items()})
        save_weights(self.run.path / REWARD_FILE, {k: v.contiguous() for k, v in fit.model.state_dict().items()})
        write_json(self.run.path / FACTS_FILE, fit.facts)
        return fit.model, fit.facts

    def _take_over(self, learned: Path) -> tuple[Any, dict[str, Any]]:
        """Copy what another run has learned, what is known of it last: then the reward is there."""
        try:
            model, facts = self._load(learned)
        except UserError as error:
            raise UserError(f"method.learned: {error}") from error
        for name in (ANSWERS_FILE, REWARD_FILE, FACTS_FILE):
            if (learned / name).is_file():
                with replacing(self.run.path / name, private=name == ANSWERS_FILE) as partial_file:
                    shutil.copyfile(learned / name, partial_file)
        return model, facts

    def _load(self, folder: Path) -> tuple[Any, dict[str, Any]]:
        """Return what a run has learned, and its reward.json."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        model = self._make_model(frame_shape=(self.size, self.size, 3), rng=torch.Generator())
        try:
            require_file(folder / REWARD_FILE)
            facts = read_object(folder / FACTS_FILE)
        except UserError as error:
            raise UserError(f"{folder} holds no learned reward that can be read: {error}") from None
        try:
            theirs: dict[str, Any] = facts["settings"]
            ours = self.settings()
            for key in {**theirs, **ours}:
                if theirs.get(key) != ours.get(key):
                    raise UserError(f"{folder} learned with {key}={theirs.get(key)}, and this run has {ours.get(key)}")
            model.load_state_dict(load_file(str(folder / REWARD_FILE)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder} holds no learned reward that can be read: {one_line(error)}") from error
        return model, facts


def frames_of(steps: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps (F,), from 0, after which an episode is drawn, and how many (F,) share each frame's reward."""
    drawn = np.append(np.arange(stride - 1, steps - 1, stride), steps - 1)
    return drawn, np.diff(drawn, prepend=-1)


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, (bool, int, float, str)) and "${" not in str(value))
