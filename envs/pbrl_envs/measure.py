"""Figures for docs/: `python -m pbrl_envs.measure WHAT`.

WHAT is policies, speed, experts [TASK ...], or, about our own tasks, sweeping, maze, tabletop, cost, sheet FILE.png.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np

from pbrl_envs import measure_own
from pbrl_envs.experts import find_expert
from pbrl_envs.point_reach import scripted_policy


def policy_table(skills: tuple[float, ...] = (0.0, 0.5, 1.0), episodes: int = 50) -> list[str]:
    """Measure PointReach: return (mean +- sd over episodes) and share of episodes that end inside the goal."""
    from pbrl_envs.suites.gym import make_gym

    env = make_gym("pbrl_envs/PointReach-v0")
    rows = []
    for skill in skills:
        rng = np.random.default_rng(0)
        returns, successes = zip(*(_episode(env, seed, skill, rng) for seed in range(episodes)), strict=True)
        rows.append(f"| {skill:g} | {np.mean(returns):.1f} ± {np.std(returns):.1f} | {np.mean(successes):.2f} |")
    return ["| skill | return | success |", "| --- | --- | --- |", *rows]


def speed_table(steps: int = 3000) -> list[str]:
    """Steps per second of one environment in one process under random actions, resets included."""
    rows = [f"| {name} | {measure_own.steps_per_second(env, steps):.0f} |" for name, env in _some()]
    return ["| environment | steps/s |", "| --- | --- |", *rows]


def expert_table(tasks: Sequence[str] = (), starts: int = 50) -> Iterator[str]:
    """Measure Meta-World's scripted experts (all, or of these tasks) over so many starts, line by line.

    Shares of episodes with a success at any step, and at the last one; median steps until the first; mean return.
    """
    from pbrl_envs.suites import metaworld

    yield "| task | success | at the end | steps until it | return |"
    yield "| --- | --- | --- | --- | --- |"
    for task in tasks or metaworld.tasks():
        env = metaworld.make_metaworld(task, goal_observable=True)
        expert = find_expert(env)
        assert expert is not None
        episodes = [_follow(env, seed, expert.act) for seed in range(starts)]
        first = [int(np.argmax(success)) + 1 for success, _ in episodes if success.any()]
        ever, at_end = np.mean([s.any() for s, _ in episodes]), np.mean([s[-1] for s, _ in episodes])
        steps = f"{np.median(first):.0f}" if first else "never"
        yield f"| {task} | {ever:.2f} | {at_end:.2f} | {steps} | {np.mean([r for _, r in episodes]):.0f} |"


def _follow(env: gym.Env, seed: int, act: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, float]:
    """Success (L,) at each step of the policy's episode from this seed, and its return."""
    obs, _ = env.reset(seed=seed)
    success, total, done = [], 0.0, False
    while not done:
        obs, reward, terminated, truncated, info = env.step(act(obs))
        success.append(info["success"] > 0)
        total, done = total + float(reward), terminated or truncated
    return np.array(success), total


def _episode(env: gym.Env, seed: int, skill: float, rng: np.random.Generator) -> tuple[float, float]:
    obs, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        obs, reward, terminated, truncated, info = env.step(scripted_policy(obs, skill, rng))
        total, done = total + float(reward), terminated or truncated
    return total, info["success"]


def _some() -> list[tuple[str, gym.Env]]:
    from pbrl_envs.suites.dmc import make_dmc
    from pbrl_envs.suites.gym import make_gym
    from pbrl_envs.suites.metaworld import make_metaworld
    from pbrl_envs.suites.robotics import make_robotics

    ids = ("pbrl_envs/PointReach-v0", "HalfCheetah-v5", "Hopper-v5", "Ant-v5", "Humanoid-v5", "Pendulum-v1")
    envs: list[tuple[str, gym.Env]] = [(id, make_gym(id)) for id in ids]
    envs += [(task, make_dmc(task)) for task in ("walker-walk", "cheetah-run", "quadruped-walk")]
    envs += [
        ("drawer-open-v3", make_metaworld("drawer-open-v3", True)),
        ("FetchReach-v4", make_robotics("FetchReach-v4")),
    ]
    return envs


if __name__ == "__main__":
    what, *names = sys.argv[1:] or ["speed"]
    tables: dict[str, Callable[[], Iterable[str]]] = {
        "policies": policy_table,
        "speed": speed_table,
        "experts": lambda: expert_table(names),
        "sweeping": measure_own.sweeping_table,
        "maze": measure_own.maze_table,
        "tabletop": measure_own.tabletop_table,
        "cost": measure_own.cost_table,
        "sheet": lambda: measure_own.contact_sheet(Path(names[0])),
    }
    for line in tables[what]():
        print(line, flush=True)
