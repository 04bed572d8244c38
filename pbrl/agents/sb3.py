"""SB3's agents, under the names by which configs and saved runs know them."""

from __future__ import annotations

from pbrl.agents.off_policy import SACAgent
from pbrl.agents.on_policy import PPOAgent
from pbrl.agents.sb3_base import SB3Agent

__all__ = ["PPOAgent", "SACAgent", "SB3Agent"]
