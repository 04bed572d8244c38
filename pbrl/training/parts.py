"""The parts of a run, as its method sees it: see `pbrl.methods.method.Run`."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from pbrl.agents.agent import Agent
from pbrl.collection.asked_frames import AskedFrames
from pbrl.data.episodes import EpisodeStore
from pbrl.data.offline import OfflineData
from pbrl.errors import UserError
from pbrl.feedback.desk import Desk
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Act, Method
from pbrl.nets.devices import CPU
from pbrl.seeds import seed_streams, small_seed
from pbrl.training.evaluate import Evaluator
from pbrl.types import QuerySampler

# Streams of random numbers, numbered by place: those that share a place below are never in one run.
STREAMS = ("agent", "evaluation", "reward", "fit", "teacher", "queries", "preferences")
OFFLINE_STREAMS = ("learner", "evaluation", "heldout")


def stream_seed(seed: int, name: str) -> int:
    """Return the seed of a stream of a run; a name that is none of the above has a stream of its own."""
    for streams in (STREAMS, OFFLINE_STREAMS):
        if name in streams:
            return seed_streams(seed, len(streams))[streams.index(name)]
    return small_seed(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))


@dataclass
class Parts:
    """The parts of a run, all but the loop. Where there is no agent, `updates` are the steps."""

    steps: int
    run_seed: int
    path: Path
    method: Method
    desk: Desk
    env_name: str
    obs_shape: tuple[int, ...]
    action_size: int
    make_env: Callable[..., gym.Env]
    evaluator: Evaluator | None = None  # None: evaluation is off
    agent: Agent | None = None
    make_agent: Callable[..., Agent] | None = None
    episodes: EpisodeStore = field(default_factory=lambda: EpisodeStore(1))
    feedback: Feedback | None = None
    sampler: QuerySampler | None = None
    sampler_name: str = ""
    data: OfflineData | None = None
    data_folder: Path | None = None
    labels_folder: Path | None = None
    factor_names: tuple[str, ...] = ()
    time_limit: int | None = None
    frames: AskedFrames | None = None  # pictures of episodes, where they cannot be drawn again
    device: torch.device = CPU  # where networks learn
    shared_env: bool = False  # evaluation runs in the environment of training, between its episodes
    updates: int = 0
    streams: dict[str, torch.Generator] = field(default_factory=dict)

    @property
    def evaluates_beside(self) -> bool:
        return self.evaluator is not None and not self.shared_env

    @property
    def step(self) -> int:
        return self.updates if self.agent is None else self.agent.env_steps

    def seed(self, name: str) -> int:
        return stream_seed(self.run_seed, name)

    def rng(self, name: str) -> torch.Generator:
        if name not in self.streams:
            self.streams[name] = torch.Generator().manual_seed(self.seed(name))
        return self.streams[name]

    def evaluate(self, act: Act) -> dict[str, float | None]:
        if self.evaluator is None:
            raise ValueError("evaluation.every=null: nothing is evaluated in this run")
        return self.evaluator(act).row()

    def close(self) -> None:
        """Let go of the environments and the label store."""
        self.desk.close()
        if self.agent is not None:
            self.agent.close()
        if self.evaluator is not None and not self.shared_env:
            self.evaluator.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "method": self.method.state_dict(),
            "desk": self.desk.state_dict(),
            "agent": self.agent.state_dict() if self.agent is not None else None,
            "episodes": self.episodes.state_dict(),
            "updates": self.updates,
            "streams": {name: generator.get_state() for name, generator in self.streams.items()},
            "data_sha256": self.data.sha256 if self.data is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any], fresh_episode: bool = False) -> None:
        """Take over a state. fresh_episode: see `SB3Agent.load_state_dict`."""
        if self.data is not None and state["data_sha256"] != self.data.sha256:
            raise UserError(f"data={self.data_folder} is not what this run began with; put the old files back")
        self.updates = state["updates"]
        if self.agent is not None:
            more = {"fresh_episode": True} if fresh_episode else {}
            self.agent.load_state_dict(state["agent"], **more)
        self.episodes.load_state_dict(state["episodes"])
        self.desk.load_state_dict(state["desk"])
        self.method.load_state_dict(state["method"])
        for name, saved in state["streams"].items():
            self.rng(name).set_state(saved)
        if self.agent is not None:
            self.agent.resume_reward(self.method.reward())
