"""Figures for docs, by name: `python -m pbrl_envs.measure NAME`.

NAME is policies, speed, experts (then names of tasks, or all of them), tabletop, or pictures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import gymnasium as gym
import numpy as np

from pbrl_envs.experts import find_expert
from pbrl_envs.point_reach import scripted_policy
from pbrl_envs.tabletop import TASKS


def policy_table(skills: tuple[float, ...] = (0.0, 0.5, 1.0), episodes: int = 50) -> list[str]:
    """PointReach: return (mean +- sd over episodes) and share of episodes that end inside the goal."""
    from pbrl_envs.suites.gym import make_gym

    env = make_gym("pbrl_envs/PointReach-v0")
    rows = []
    for skill in skills:
        rng = np.random.default_rng(0)
        returns, successes = zip(*(_episode(env, seed, skill, rng) for seed in range(episodes)), strict=True)
        rows.append(f"| {skill:g} | {np.mean(returns):.1f} ± {np.std(returns):.1f} | {np.mean(successes):.2f} |")
    return ["| skill | return | success |", "| --- | --- | --- |", *rows]


def tabletop_table(starts: int = 50) -> Iterator[str]:
    """Tabletop tasks: return (mean +- sd over starts) and share of success at the last step, by skill of the expert.

    Skill 0 is chance; a half-skilled expert is the one of `pbrl collect`, without its noise.
    """
    from pbrl.collection.behaviour import SkilledExpert
    from pbrl_envs.suites.gym import make_gym

    yield "| task | random | half skilled | scripted |"
    yield "| --- | --- | --- | --- |"
    for task in TASKS:
        env, cells = make_gym(f"pbrl_envs/Tabletop{task}-v0"), []
        expert = find_expert(env)
        assert expert is not None
        size = env.action_space.shape[0]  # type: ignore[index]
        for skill in (0.0, 0.5, 1.0):
            policy, rng = (
                SkilledExpert(expert, size, skill=skill, noise=0),
                np.random.default_rng(0),
            )
            policy.begin(rng)
            success, returns = zip(*(_follow(env, seed, policy.act) for seed in range(starts)), strict=True)
            at_end = np.mean([steps[-1] for steps in success])
            cells.append(f"{np.mean(returns):.1f} ± {np.std(returns):.1f}, {at_end:.2f}")
        yield f"| {task} | {' | '.join(cells)} |"


def picture_table(frames: int = 100) -> Iterator[str]:
    """Processor time in ms of a picture, which other programs disturb less than the time on the clock."""
    from pbrl_envs.suites.gym import make_gym

    yield "| environment | 64 x 64 | 128 x 128 | 256 x 256 |"
    yield "| --- | --- | --- | --- |"
    for task in ("PointReach", *(f"Tabletop{task}" for task in TASKS)):
        times = []
        for size in (64, 128, 256):
            env = make_gym(f"pbrl_envs/{task}-v0", render_mode="rgb_array", width=size, height=size)
            env.reset(seed=0)
            env.render()  # opens OpenGL
            start = time.process_time()
            for _ in range(frames):
                env.render()
            times.append((time.process_time() - start) / frames * 1000)
            env.close()
        yield f"| {task} | {' | '.join(f'{ms:.1f}' for ms in times)} |"


def speed_table(steps: int = 3000) -> list[str]:
    """Steps per second of one environment in one process under random actions, resets included."""
    return ["| environment | steps/s |", "| --- | --- |", *(f"| {n} | {_speed(e, steps):.0f} |" for n, e in _some())]


def expert_table(tasks: Sequence[str] = (), starts: int = 50) -> Iterator[str]:
    """Meta-World's scripted experts (all, or of these tasks) over so many starts, line by line.

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


def _speed(env: gym.Env, steps: int) -> float:
    size = (steps, *env.action_space.shape)  # type: ignore[misc]
    actions = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    env.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - start)


def _some() -> list[tuple[str, gym.Env]]:
    from pbrl_envs.suites.dmc import make_dmc
    from pbrl_envs.suites.gym import make_gym
    from pbrl_envs.suites.metaworld import make_metaworld
    from pbrl_envs.suites.robotics import make_robotics

    ids: tuple[str, ...] = (
        "pbrl_envs/PointReach-v0",
        "HalfCheetah-v5",
        "Hopper-v5",
        "Ant-v5",
        "Humanoid-v5",
        "Pendulum-v1",
    )
    ids = (*ids, *(f"pbrl_envs/Tabletop{task}-v0" for task in TASKS))
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
        "tabletop": tabletop_table,
        "pictures": picture_table,
    }
    for line in tables[what]():
        print(line, flush=True)
