"""Runs that take a second: point_reach in episodes of 30 steps, and networks of a few units."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from pbrl.cli import main

COMMON = [
    "env=point_reach",
    "+env.make.max_episode_steps=30",
    "steps=320",
    "feedback.first=120",
    "feedback.every=60",
    "feedback.per_session=6",
    "feedback.segment_length=10",
    "feedback.candidates=3",
    "evaluation.every=110",
    "evaluation.episodes=2",
    "log_every=25",
    "checkpoint.every=75",
    "report=false",
]
REWARD = ["method.model.hidden=[8]", "method.fit.max_epochs=3", "method.explore.reference=64"]
SAC = ["agent.hidden=[16,16]", "agent.batch_size=16", "agent.learning_starts=30"]
PPO = ["agent.hidden=[16]", "agent.n_envs=2", "agent.n_steps=20", "agent.batch_size=20", "agent.n_epochs=2"]
TINY = {
    "pebble": ["method=pebble", *COMMON, *REWARD, *SAC, "method.critic_updates=3"],
    "prefppo": ["method=prefppo", *COMMON, *REWARD, *PPO],
    "true_reward": ["method=true_reward", *COMMON, *SAC],
}


def train(folder: Path, *overrides: str, method: str | None = "pebble") -> tuple[int, str, str]:
    """`pbrl train` in this process, tiny if a method is named; the exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["train", *TINY.get(method, ["report=false"]), f"run_dir={folder}", *overrides])
    return code, out.getvalue(), err.getvalue()
