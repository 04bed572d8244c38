"""PrefPPO (Christiano et al. 2017 as in Lee et al. 2021, B-Pref): PEBBLE's reward drives PPO, without relabelling."""

from __future__ import annotations

from pbrl.methods.pebble import Pebble


class PrefPPO(Pebble):
    """Holds the same sessions; each rollout is rewarded once, when it is whole, by the reward of that moment."""

    learns_lists = True
    accelerated = True
    agents = ("ppo",)
