"""Roll-outs of behaviours into episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from pbrl.collection.behaviour import Choice
from pbrl.data.episodes import Episode
from pbrl.data.recorder import EpisodeRecorder

Item = TypeVar("Item")


class StopAfterSuccess(gym.Wrapper):
    """Cuts an episode off some steps after its first success, so that data are not mostly of sitting at the goal."""

    def __init__(self, env: gym.Env, steps: int) -> None:
        super().__init__(env)
        self.steps = steps
        self.left: int | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.left = None
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self.left is not None:
            self.left -= 1
        elif info.get("success", 0) > 0:
            self.left = self.steps
        return obs, reward, terminated, truncated or self.left == 0, info


def collect_episodes(
    make_env: Callable[[], gym.Env],
    choices: Sequence[Choice],
    episodes: int,
    *,
    other_goal: float,
    stop_after_success: int | None,
    seed: int,
    wrap: Callable[[gym.Env], gym.Env] = lambda env: env,
) -> tuple[list[Episode], list[str]]:
    """Collect episodes, dealt to the behaviours in turn; return them and who acted in each.

    Args:
        wrap: around the environment, below the recorder.
        other_goal: probability that a behaviour that can pursues the goal of another episode.
        stop_after_success: steps that an episode goes on after its first success; None for all.
    """
    env = make_env()
    if stop_after_success is not None:
        env = StopAfterSuccess(env, stop_after_success)
    recorder = EpisodeRecorder(wrap(env))
    recorder.seed = seed
    names = []
    for number in watched(range(episodes), "episodes"):
        rng = np.random.default_rng([seed, number])
        own, other = choices[number % len(choices)]
        behaviour = other if other is not None and rng.random() < other_goal else own
        obs, _ = recorder.reset()
        behaviour.begin(rng)
        done = False
        while not done:
            obs, _, terminated, truncated, _ = recorder.step(behaviour.act(obs))
            done = terminated or truncated
        names.append(behaviour.name)
    env.close()
    return recorder.take_finished(), names


def watched(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a progress bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stderr)
    return iter(track(items, what, console=console, transient=True, disable=not sys.stderr.isatty()))
