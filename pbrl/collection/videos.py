"""Episodes as videos: their simulator states, drawn small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from pbrl.data.dataset_checks import META_FILE
from pbrl.data.datasets import Dataset
from pbrl.data.episodes import Episode
from pbrl.data.stored_videos import StoredFrames, StoredVideos
from pbrl.data.videos import Videos
from pbrl.errors import UserError, choices, one_line


class Camera:
    """Draws simulator states of one environment, whatever its episode is doing.

    Args:
        make_env: takes render_mode, width and height.
        name: of the environment, for messages.
        size: pixels a side.
    """

    def __init__(self, make_env: Callable[..., gym.Env], name: str, size: int) -> None:
        self.name, self.size = name, size
        self.env = make_env(render_mode="rgb_array", width=size, height=size)
        if not (self.env.has_wrapper_attr("has_state") and self.env.get_wrapper_attr("has_state")):
            raise UserError(f"env={name} has no simulator state to draw videos from; MuJoCo tasks have")

    def __call__(self, states: np.ndarray) -> Tensor:
        """Draw states (F, D) as pictures (F, H, W, C) uint8."""
        render = self.env.get_wrapper_attr("render_state")
        try:
            return torch.from_numpy(np.stack([render(state) for state in states]))
        except (ValueError, TypeError) as error:
            raise UserError(f"env={self.name} cannot take these states: {one_line(error)}") from error


def draw_videos(
    data: Dataset, episodes: np.ndarray, camera: Camera, frames: int, features: Sequence[str] | None
) -> Videos:
    """The episodes with these numbers, each as `frames` pictures at even distances, from after its first step on.

    features: the factors that are the task's hidden features; None: all; empty: nobody needs them.
    """
    chosen = [data.episodes[k] for k in episodes]
    if "videos" in data.meta or any(e.states is None for e in chosen):
        raise UserError(f"{data.path} has no simulator states to draw; collect with states=true")
    columns = [] if features is not None and not features else _columns(data, chosen, features)
    drawn, seen = [], []
    for episode in chosen:
        steps = shown_steps(episode, frames)
        assert episode.states is not None
        drawn.append(camera(episode.states[1:][steps]))
        factors = np.zeros((len(episode), 0), np.float32) if episode.factors is None else episode.factors
        seen.append(factors[steps][:, columns])
    returns = [float(e.true_reward.sum(dtype=np.float64)) for e in chosen]
    ids = torch.from_numpy(data.first_rows[episodes])
    frames_drawn, hidden = torch.stack(drawn), torch.from_numpy(np.stack(seen))
    return Videos(frames_drawn, hidden, torch.tensor(returns), ids, data.meta["sha256"])


def stored_videos(data: Dataset, episodes: np.ndarray, frames: int, size: int) -> Videos:
    """Do what `draw_videos` does, from stored videos: pictures of the first camera, and no features."""
    from PIL import Image

    stored = StoredFrames(StoredVideos.of(data.meta["videos"], data.path / META_FILE), data.path)
    drawn = []
    for episode in (chosen := [data.episodes[k] for k in episodes]):
        assert episode.states is not None
        pictures = stored.frames(episode.states[1:][shown_steps(episode, frames)], stored.cameras[0])
        small = [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BOX)) for p in pictures]
        drawn.append(torch.from_numpy(np.stack(small)))
    stored.close()
    returns = [float(e.true_reward.sum(dtype=np.float64)) for e in chosen]
    ids = torch.from_numpy(data.first_rows[episodes])
    hidden = torch.zeros(len(chosen), frames, 0)
    return Videos(torch.stack(drawn), hidden, torch.tensor(returns), ids, data.meta["sha256"])


def shown_steps(episode: Episode, frames: int) -> np.ndarray:
    """Return the steps (frames,) after which the episode is shown, at even distances with the first and the last."""
    return np.linspace(0, len(episode) - 1, frames).round().astype(int)


def _columns(data: Dataset, episodes: Sequence[Episode], features: Sequence[str] | None) -> list[int]:
    names = episodes[0].factor_names if episodes and episodes[0].factors is not None else ()
    if not names:
        raise UserError(f"{data.path} has no factors, which a teacher of videos needs: see docs/heron.md")
    for name in features or ():
        if name not in names:
            raise UserError(f"method.features: factor {name} is not in {data.path}; {choices(name, names)}")
    return [names.index(name) for name in features or names]
