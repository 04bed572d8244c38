"""HERON (Bukharin et al. 2023): a reward from comparisons that a ranking of factors decides."""

from __future__ import annotations

from pbrl.methods.pebble import Pebble


class Heron(Pebble):
    """PEBBLE's sessions without exploration or a new critic; what is its own is the teacher, see docs/heron.md."""

    learns_lists = True
    accelerated = True
    agents = ("sac", "ppo")
