"""Preference-based reinforcement learning for control and robotics. See README.md and docs/."""

__version__ = "0.1.0"
