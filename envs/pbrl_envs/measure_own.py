"""Figures about our own tasks for docs/: tables of what policies reach, cost of steps and pictures, contact sheets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl_envs.experts import find_expert
from pbrl_envs.point_maze import GOALS, LAYOUTS
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.sweeping.world import EMBODIMENTS
from pbrl_envs.tabletop import TASKS as TABLETOP

STARTS = 50
TASKS = ("PointReach", "PointMaze", "SweepAvoiding", "SweepGrouping", *(f"Tabletop{task}" for task in TABLETOP))
SIZES = (64, 128, 256)  # pixels a side


def sweeping_table() -> Iterator[str]:
    """Yield return (mean, standard deviation over starts), share with all blocks in the goal zone at last, success."""
    yield "| task | embodiment | policy | return | in the zone | success |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for task in ("SweepAvoiding", "SweepGrouping"):
        for embodiment in EMBODIMENTS:
            env = make_gym(f"pbrl_envs/{task}-v0", {"embodiment": embodiment})
            owner: Any = env.unwrapped
            for name, act in _policies(env, {"naive": owner.naive_action, "expert": owner.expert_action}):
                returns, infos = zip(*(_play(env, act, seed) for seed in range(STARTS)), strict=True)
                inside = np.mean([info["factors"]["distance"] == 0 for info in infos])
                yield f"| {task} | {embodiment} | {name} | {_spread(returns)} | {inside:.2f} | {_success(infos)} |"


def maze_table() -> Iterator[str]:
    """Yield return and success at the end in each layout for each goal."""
    yield "| layout | goal | policy | return | success |"
    yield "| --- | --- | --- | --- | --- |"
    for layout in LAYOUTS:
        for goal in GOALS.values():
            env = make_gym("pbrl_envs/PointMaze-v0", {"layout": layout, "goal": goal})
            owner: Any = env.unwrapped
            for name, act in _policies(env, {"expert": owner.expert_action}):
                returns, infos = zip(*(_play(env, act, seed) for seed in range(STARTS)), strict=True)
                yield f"| {layout} | {goal} | {name} | {_spread(returns)} | {_success(infos)} |"


def tabletop_table(starts: int = STARTS) -> Iterator[str]:
    """Yield return (mean, standard deviation over starts) and success at the last step, by skill of the expert.

    Skill 0 is chance; a half-skilled expert is the one of `pbrl collect`, without its noise.
    """
    from pbrl.collection.behaviour import SkilledExpert

    yield "| task | random | half skilled | scripted |"
    yield "| --- | --- | --- | --- |"
    for task in TABLETOP:
        env, cells = make_gym(f"pbrl_envs/Tabletop{task}-v0"), []
        expert = find_expert(env)
        assert expert is not None
        size = env.action_space.shape[0]  # type: ignore[index]
        for skill in (0.0, 0.5, 1.0):
            policy = SkilledExpert(expert, size, skill=skill, noise=0)
            policy.begin(np.random.default_rng(0))
            returns, infos = zip(*(_play(env, policy.act, seed) for seed in range(starts)), strict=True)
            cells.append(f"{_spread(returns)}, {_success(infos)}")
        yield f"| {task} | {' | '.join(cells)} |"


def cost_table(rounds: int = 5, steps: int = 2000, frames: int = 40) -> Iterator[str]:
    """CPU time of a step and of a picture as multiples of PointReach's; medians over rounds in which all take turns.

    CPU time, of all threads, as other work on the machine changes it little.
    """
    yield f"| task | step | {' | '.join(f'picture {size}' for size in SIZES)} |"
    yield f"| --- | --- | {' | '.join('---' for _ in SIZES)} |"
    plain = {task: make_gym(f"pbrl_envs/{task}-v0") for task in TASKS}
    drawn = {
        (task, size): make_gym(f"pbrl_envs/{task}-v0", render_mode="rgb_array", width=size, height=size)
        for task in TASKS
        for size in SIZES
    }
    times = np.array([[_costs(task, plain[task], drawn, steps, frames) for task in TASKS] for _ in range(rounds)])
    ratios, first = np.median(times / times[:, :1], axis=0), np.median(times[:, 0], axis=0)
    for task, row in zip(TASKS, ratios, strict=True):
        yield f"| {task} | {' | '.join(f'{ratio:.1f}' for ratio in row)} |"
    yield f"PointReach itself: {1e6 * first[0]:.0f} us a step; {', '.join(f'{1e3 * t:.1f}' for t in first[1:])} ms"


def contact_sheet(path: Path, size: int = 128) -> Iterator[str]:
    """A row of pictures of each sweeping task's expert and naive controller, and one of mazes."""
    import imageio.v3 as imageio

    rows = []
    for task in ("SweepAvoiding", "SweepGrouping"):
        for way, embodiment in (("expert_action", "medium"), ("naive_action", "gripper")):
            env = _to_draw(task, size, embodiment=embodiment)
            rows.append(_film(env, getattr(env.unwrapped, way), columns=2 * len(LAYOUTS)))
    kinds = [{"layout": layout, "show_goal": shown} for layout in LAYOUTS for shown in (False, True)]
    rows.append([_first_picture(_to_draw("PointMaze", size, **kind)) for kind in kinds])
    imageio.imwrite(path, np.vstack([np.hstack(row) for row in rows]))
    yield f"{path}: {path.stat().st_size / 1000:.0f} kB"


def steps_per_second(env: gym.Env, steps: int) -> float:
    """Measure one environment under random actions, resets included."""
    size = (steps, *env.action_space.shape)  # type: ignore[misc]
    actions = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    env.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - start)


def _policies(env: gym.Env, scripted: dict[str, Callable[..., Any]]) -> Iterator[tuple[str, Callable[..., Any]]]:
    rng, size = np.random.default_rng(0), env.action_space.shape
    yield "random", lambda obs: rng.uniform(-1, 1, size).astype(np.float32)
    yield from scripted.items()


def _play(env: gym.Env, act: Callable[..., Any], seed: int) -> tuple[float, dict[str, Any]]:
    obs, info = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        obs, reward, terminated, truncated, info = env.step(act(obs))
        total, done = total + float(reward), terminated or truncated
    return total, info


def _spread(returns: tuple[float, ...]) -> str:
    return f"{np.mean(returns):.1f} ± {np.std(returns):.1f}"


def _success(infos: tuple[dict[str, Any], ...]) -> str:
    return f"{np.mean([info['success'] for info in infos]):.2f}"


def _costs(task: str, env: gym.Env, drawn: Mapping[tuple[str, int], gym.Env], steps: int, frames: int) -> list[float]:
    """CPU seconds of a step, and of a picture of each size."""
    start = time.process_time()
    steps_per_second(env, steps)
    costs = [(time.process_time() - start) / steps]
    for size in SIZES:
        view = drawn[task, size]
        view.reset(seed=0)
        view.render()
        start = time.process_time()
        for _ in range(frames):
            view.render()
        costs.append((time.process_time() - start) / frames)
    return costs


def _to_draw(task: str, size: int, **kwargs: Any) -> gym.Env:
    return make_gym(f"pbrl_envs/{task}-v0", kwargs, render_mode="rgb_array", width=size, height=size)


def _first_picture(env: gym.Env) -> np.ndarray:
    env.reset(seed=1)
    picture: Any = env.render()
    return picture


def _film(env: gym.Env, act: Callable[..., Any], columns: int) -> list[np.ndarray]:
    """Film so many pictures, evenly spaced from the start until the blocks are in the goal zone."""
    obs, info = env.reset(seed=1)
    pictures: list[Any] = [env.render()]
    done = False
    while info["factors"]["distance"] > 0 and not done:
        obs, _, _, done, info = env.step(act(obs))
        pictures.append(env.render())
    return [pictures[i] for i in np.linspace(0, len(pictures) - 1, columns).astype(int)]
