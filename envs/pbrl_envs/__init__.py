"""Environments for preference-based RL: our own MuJoCo tasks, and other suites brought to one shape."""

import gymnasium

gymnasium.register(id="pbrl_envs/PointReach-v0", entry_point="pbrl_envs.point_reach:PointReach", max_episode_steps=100)
