"""Environments for preference-based RL: our own MuJoCo tasks, and other suites brought to one shape."""

import gymnasium

from pbrl_envs.tabletop import TASKS

gymnasium.register(id="pbrl_envs/PointReach-v0", entry_point="pbrl_envs.point_reach:PointReach", max_episode_steps=100)

for _task, _steps in TASKS.items():
    gymnasium.register(
        id=f"pbrl_envs/Tabletop{_task}-v0",
        entry_point=f"pbrl_envs.tabletop.{_task.lower()}:Tabletop{_task}",
        max_episode_steps=_steps,
    )
