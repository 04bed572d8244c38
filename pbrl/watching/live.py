"""One person's simulator: a policy acts in it, and the person may take over or say that it goes wrong. No HTTP here."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.question_kinds import Intervention, InterventionAnswers
from pbrl.reports.video import frame_rate
from pbrl.seeds import episode_seed
from pbrl.types import Segments
from pbrl_envs.views import Views

Act = Callable[[np.ndarray], np.ndarray]
"""Actions (M, A) in [-1, 1] of observations (M, O)."""
MAX_FPS = 15.0  # of pictures that are sent one by one
QUALITY = 80  # of a JPEG


class Said(NamedTuple):
    """A person's input at one picture."""

    over: bool  # they act from here on, or let the expert act
    wrong: bool  # what the policy has just done goes wrong
    push: tuple[float, ...] | None  # the action that they give themselves, as far as they have keys; None: the expert's


class Live:
    """Plays episodes one after another. Use it from the thread that made it: so wants the graphics driver.

    Args:
        make_env: takes render_mode, width and height.
        act: what the policy does.
        expert: who acts where the person hands over; None: they can only push, or say that it goes wrong.
        horizon: steps after which an episode is cut off.
        size: of a picture, in pixels.
        seed: of all episodes; each has one of its own by its number.
        number: of the first episode, which tells it from all others.
    """

    def __init__(
        self,
        make_env: Callable[..., gym.Env],
        act: Act,
        expert: Act | None,
        *,
        horizon: int,
        size: tuple[int, int],
        seed: int,
        number: int,
    ) -> None:
        made = make_env(render_mode="rgb_array", width=size[0], height=size[1])
        self.act, self.expert, self.horizon, self.seed = act, expert, horizon, seed
        self.env = made
        shown = getattr(made, "camera", None) or made  # a task seen in pixels shows them to people larger
        self._shown: gym.Env = shown
        Views(shown, shadows=False)
        self.fps, self.every = frame_rate(shown, MAX_FPS)
        self.action_size = int(np.prod(made.action_space.shape or ()))
        self.begin(number)

    @property
    def step(self) -> int:
        """The environment steps of this episode so far."""
        return len(self._actions)

    def begin(self, number: int) -> None:
        """Begin another episode, of this number; what was not taken of this one is lost."""
        self.number = number
        obs, _ = self.env.reset(seed=episode_seed(self.seed, self.number))
        self._obs, self._states = [np.asarray(obs, np.float32)], [self._state()]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._signals: list[int] = []
        self.terminated = self.ended = False

    def advance(self, said: Said) -> None:
        """Take as many steps as there are to the next picture, or to the end of the episode."""
        if said.wrong and self._signals:  # an answer to what was seen, which is what was done last
            self._signals[-1] |= Intervention.WRONG
        for _ in range(self.every):
            if self.ended:
                return
            over = said.over and (said.push is not None or self.expert is not None)
            action = self._choose(said) if over else self.act(self._obs[-1][None])[0]
            self._do(np.clip(np.asarray(action, np.float32), -1, 1), Intervention.TOOK_OVER if over else 0)

    def picture(self) -> str:
        """Return what it looks like now, as a JPEG for the page."""
        from PIL import Image

        frame: Any = self._shown.get_wrapper_attr("render")() if self._shown is not self.env else self.env.render()
        file = io.BytesIO()
        Image.fromarray(np.asarray(frame, np.uint8)).save(file, "JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

    def taken(self) -> tuple[Intervention, InterventionAnswers]:
        """Return the episode as far as it went, and what was said of it. UserError: nothing was done yet."""
        if not self._actions:
            raise UserError("this episode has no step yet, so there is nothing to keep")
        signals = np.zeros((1, self.horizon), np.int64)
        signals[0, : self.step] = self._signals
        states = None if self._states[0] is None else np.array([self._states], np.float64)
        question = Intervention.watched(self._segments(), states, self.horizon)
        return question, InterventionAnswers(torch.from_numpy(signals), torch.ones(1, dtype=torch.bool))

    def close(self) -> None:
        self.env.close()

    def _do(self, action: np.ndarray, signal: int) -> None:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        self._obs.append(np.asarray(obs, np.float32))
        self._states.append(self._state())
        self._actions.append(action)
        self._rewards.append(float(reward))
        self._signals.append(signal)
        self.terminated = bool(terminated)
        self.ended = self.terminated or bool(truncated) or self.step >= self.horizon

    def _choose(self, said: Said) -> np.ndarray:
        if said.push is None:
            assert self.expert is not None
            return self.expert(self._obs[-1][None])[0]
        action = np.zeros(self.action_size, np.float32)
        action[: len(said.push)] = said.push[: self.action_size]
        return action

    def _state(self) -> Any:
        has_state = self.env.get_wrapper_attr("has_state") if _has(self.env, "has_state") else False
        return self.env.get_wrapper_attr("save_state")() if has_state else None

    def _segments(self) -> Segments:
        flat = torch.zeros(1, self.step)
        terminated = flat.clone()
        terminated[0, -1] = float(self.terminated)
        return Segments(
            obs=torch.from_numpy(np.array([self._obs])),
            actions=torch.from_numpy(np.array([self._actions])),
            mask=flat + 1,
            terminated=terminated,
            true_reward=torch.tensor([self._rewards]),
            ids=torch.tensor([self.number]),
        )


def _has(env: gym.Env, name: str) -> bool:
    return bool(env.has_wrapper_attr(name))
