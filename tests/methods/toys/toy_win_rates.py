"""Whole episodes compared with each other; how often one wins is what it is worth (as in Swamy et al. 2024)."""

from collections import deque

import numpy as np

from pbrl.data.episodes import whole_episodes
from pbrl.methods.method import Method
from pbrl.question_kinds import EpisodePair
from pbrl.types import Episode

KEPT = ("obs", "actions", "true_reward", "terminated")


class WinRates(Method):
    """An episode's reward is its share of wins against the last few, spread over its steps.

    Args:
        opponents: how many it is compared with.
    """

    agents = ("sac",)
    asks = (EpisodePair,)
    when = "episode"

    def __init__(self, *, opponents):
        self.opponents = opponents

    def begin(self, run):
        super().begin(run)
        run.agent.require_whole_episodes(run.time_limit)
        self.numbered, self.last = 0, deque(maxlen=self.opponents)  # as a checkpoint can hold it
        self._given = {}

    def reward(self):
        return self

    def of_episode(self, episode):
        rate = self.win_rate(episode) if self.last and not self.run.desk.exhausted else 0.5
        self.last.append({"number": self.numbered, **{name: getattr(episode, name) for name in KEPT}})
        self.numbered += 1
        self._given[id(episode)] = rate
        return np.full(len(episode), rate / len(episode), np.float32)

    def win_rate(self, episode):
        rivals = list(self.last)[-self.run.desk.room(len(self.last)) :]
        n, episodes = len(rivals), [Episode(**{name: rival[name] for name in KEPT}) for rival in rivals]
        both = whole_episodes([*episodes, episode], [*(rival["number"] for rival in rivals), self.numbered])
        self.run.desk.ask(EpisodePair(both[:n], both[[n] * n]), step=self.run.step, sampler="last episodes")
        return float(self.run.desk.answers(EpisodePair).prefers_right[-n:].mean())

    def learned_return(self, episode):
        return self._given.pop(id(episode))

    def metrics(self):
        return self.run.desk.metrics() | {"reward/episodes": self.numbered}
