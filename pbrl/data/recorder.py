"""The wrapper between a task and its agent: records episodes, hides the true reward, restores a half-done episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl.finite import AGENT, require_finite
from pbrl.seeds import episode_seed


class NotRepeated(UserError):
    """An environment made another episode from the same seed and actions."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the environment does not repeat itself: {how}")


Given = Callable[[float, Mapping[str, float]], float]
"""What the agent gets of a step, of the environment's reward and the factors that it names."""


Measure = Callable[[float, Mapping[str, float]], Sequence[float]]
"""What a method notes of a step's reward and factors."""


def hidden(reward: float, factors: Mapping[str, float]) -> float:
    """Return what the agent gets of the environment's reward: nothing."""
    return 0.0


class EpisodeRecorder(gym.Wrapper):
    """Records whole episodes and starts each from a seed of its own, drawn from (base seed, episode number).

    Because an episode is then fixed by its seed and its actions, a checkpoint needs only those: `load_state_dict`
    plays the actions of the unfinished episode again. That restores any deterministic environment, wrappers included,
    with no knowledge of its simulator.

    Args:
        env: makes the same episode from the same seed and actions.
        given: what the agent gets of a step's reward and factors; None: the reward as it is.
    """

    def __init__(self, env: gym.Env, given: Given | None = None) -> None:
        super().__init__(env)
        self.given = given
        self.finished: list[Episode] = []
        self.between_episodes: Callable[[], None] | None = None  # called at each end, with the environment free
        self.seed, self.episode = 0, -1
        self.starts: int | None = None  # how many seeds episodes begin from in turn; None: each from one of its own
        self._save_state = _state_saver(env)
        self._replaying = False
        self._obs: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._states: list[np.ndarray] = []
        self._factors: list[tuple[float, ...]] = []
        self._factor_names: tuple[str, ...] = ()
        self.next_tags: np.ndarray | None = None  # (K,) what a method notes at the step that is about to be done
        self.measure: Measure | None = None  # its numbers are the last of `next_tags`, once the step is done
        self._tags: list[np.ndarray] = []
        self._success: float | None = None
        self._success_now: float | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            self.seed, self.episode = seed, -1
        self.episode += 1
        number = self.episode if self.starts is None else self.episode % self.starts
        obs, _ = self.env.reset(seed=episode_seed(self.seed, number), options=options)
        self._start(obs)
        return obs, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        action = np.array(action, np.float32)  # what is done must be what is stored, or a replay drifts
        require_finite(action, AGENT, "an action")
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._obs.append(_copy(obs))
        self._actions.append(action)
        if self.next_tags is not None:
            if self.measure is not None:
                own = self.measure(float(reward), info.get("factors", {}))
                self.next_tags[len(self.next_tags) - len(own) :] = own
            self._tags.append(self.next_tags)
        self._rewards.append(float(reward))
        if "success" in info:
            self._success_now = float(info["success"])
            self._success = max(self._success_now, self._success if self._success is not None else 0.0)
        if self._save_state is not None:
            self._states.append(self._save_state())
        if "factors" in info:
            self._factor_names = tuple(info["factors"])
            self._factors.append(tuple(info["factors"].values()))
        if terminated or truncated:
            self.finished.append(self._episode(bool(terminated)))
            if self.between_episodes is not None and not self._replaying:
                obs = self.finished[-1].obs[-1]  # what the environment returned may be overwritten meanwhile
                self.between_episodes()
        # SB3 copies infos deeply at every step: an empty one is quick.
        if self.given is not None:
            reward = self.given(float(reward), info.get("factors", {}))
        return obs, float(reward), terminated, truncated, {}

    @property
    def steps(self) -> int:
        """The number of steps so far in the episode that goes on."""
        return len(self._actions)

    def take_finished(self) -> list[Episode]:
        """The episodes that ended since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished episode: what makes it again, and what proves that it is the same."""
        actions = np.array(self._actions, np.float32).reshape(-1, *(self.action_space.shape or ()))
        proof = {"obs": np.array(self._obs), "rewards": np.array(self._rewards, np.float64)}
        tags = {"tags": np.array(self._tags, np.float32)} if self._tags else {}
        return {"seed": self.seed, "episode": self.episode, "actions": actions, **proof, **tags}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Play the unfinished episode again; return its last observation. NotRepeated if it is another one."""
        obs, steps = self.begin(int(state["seed"]), int(state["episode"])), len(state["actions"])
        self._replaying = True
        self._require_same(state, 0)
        for step, action in enumerate(state["actions"], 1):
            self.next_tags = np.array(state["tags"][step - 1]) if "tags" in state else None
            obs, _, terminated, truncated, _ = self.step(action)
            self._require_same(state, step)
            if terminated or truncated:
                raise NotRepeated(
                    f"episode {self.episode}, played again, ends at step {step} and had gone on to {steps}"
                )
        self._replaying = False
        return obs

    def begin(self, seed: int, episode: int) -> np.ndarray:
        """Start the episode of this number; return its first observation."""
        self.seed, self.episode = seed, episode - 1
        return self.reset()[0]

    def _require_same(self, recorded: dict[str, Any], step: int) -> None:
        same = np.array_equal(self._obs[step], recorded["obs"][step])
        if same and (step == 0 or self._rewards[step - 1] == recorded["rewards"][step - 1]):
            return
        what = "reward" if same else "observation"
        raise NotRepeated(f"episode {self.episode}, played again, has another {what} at step {step}")

    def _start(self, obs: np.ndarray) -> None:
        self._obs, self._actions, self._rewards, self._factors, self._tags = [_copy(obs)], [], [], [], []
        self._success, self._success_now = None, None
        self._states = [self._save_state()] if self._save_state is not None else []

    def _episode(self, terminated: bool) -> Episode:
        return Episode(
            obs=np.array(self._obs),
            actions=np.array(self._actions, np.float32),
            true_reward=np.array(self._rewards, np.float32),
            terminated=terminated,
            states=np.array(self._states) if self._states else None,
            success=self._success,
            success_at_end=self._success_now,
            factors=np.array(self._factors, np.float32) if self._factors else None,
            factor_names=self._factor_names,
            tags=np.array(self._tags, np.float32) if self._tags else None,
        )


def _copy(obs: np.ndarray) -> np.ndarray:
    """Copy an observation, since environments may reuse theirs: images stay bytes, all else becomes float32."""
    return np.array(obs, np.uint8 if obs.dtype == np.uint8 else np.float32)


def _state_saver(env: gym.Env) -> Callable[[], np.ndarray] | None:
    """The environment's `save_state`, or None where its simulator state is not known."""
    if env.has_wrapper_attr("has_state") and env.get_wrapper_attr("has_state"):
        return env.get_wrapper_attr("save_state")
    return None
