"""Environments for preference-based RL: our own MuJoCo tasks, and other suites brought to one shape."""

import gymnasium

from pbrl_envs.tabletop import TASKS as _TABLETOP

for _name, _entry, _steps in (
    ("PointReach", "point_reach:PointReach", 100),
    ("PointMaze", "point_maze:PointMaze", 150),
    ("SweepAvoiding", "sweeping.avoiding:SweepAvoiding", 50),
    ("SweepGrouping", "sweeping.grouping:SweepGrouping", 70),
    *((f"Tabletop{task}", f"tabletop.{task.lower()}:Tabletop{task}", steps) for task, steps in _TABLETOP.items()),
):
    gymnasium.register(id=f"pbrl_envs/{_name}-v0", entry_point=f"pbrl_envs.{_entry}", max_episode_steps=_steps)
