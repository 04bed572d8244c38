"""SPO (Swamy et al. 2024): an episode is worth how often it wins against the policy's own last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from pbrl.checks import between, one_of, share, whole
from pbrl.data.episodes import whole_episodes
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.methods.method import Act, Method, Metrics, Run
from pbrl.question_kinds import EpisodePair, SegmentPair
from pbrl.rewards.pairwise import PairwiseJudge, update_judge
from pbrl.rewards.win_rate import Spread
from pbrl.types import Episode, RewardSource, Steps

KEPT = ("obs", "actions", "true_reward", "terminated")  # of an episode in the queue
WAYS = ("spread", "end")


class Spo(Method):
    """Rewards an episode by its normalised win rate against a queue of the last ones; no reward of steps is learned.

    Without a judge each pair of whole episodes is a question. With one, pairs of segments are asked in sessions, as
    PEBBLE does, and the judge that learns from them compares whole episodes.

    Args:
        queue: episodes that each is compared with.
        common_starts: episodes begin in so many starts in turn, and are compared with those of their own start: else
            a win is partly luck. None: all starts differ, and all are compared.
        give: "spread" evenly over the steps of an episode, or all at its "end".
        scale: of the reward of a step; an episode gets as much in all, however long it is.
        average_from: share of the run after which the policy's weights are averaged: the policy that is evaluated and
            saved. None: the last one is.
        judge: makes the judge, from obs_size, action_size and rng; None: every comparison is asked.
        judge_updates, judge_batch: gradient steps of a session, and comparisons of each.
    """

    agents = ("sac", "ppo")
    when = "episode"

    def __init__(
        self,
        *,
        queue: int,
        common_starts: int | None,
        give: str,
        scale: float,
        average_from: float | None,
        judge: Callable[..., PairwiseJudge] | None,
        judge_updates: int,
        judge_batch: int,
    ) -> None:
        whole(1, queue=queue, judge_updates=judge_updates, judge_batch=judge_batch)
        if common_starts is not None:
            whole(1, common_starts=common_starts)
        if average_from is not None:
            share(average_from=average_from)
        one_of(WAYS, give=give)
        between(0, 1e6, scale=scale)
        self.queue, self.common_starts, self.give, self.scale = queue, common_starts, give, scale
        self.average_from, self._make_judge = average_from, judge
        self.judge_updates, self.judge_batch = judge_updates, judge_batch
        self.asks = (EpisodePair,) if judge is None else (SegmentPair,)
        self.in_sessions = judge is not None

    def begin(self, run: Run) -> None:
        super().begin(run)
        run.agent.require_whole_episodes(run.time_limit, at_end=self.give == "end")
        if run.sampler_name not in ("uniform", "none"):
            asks = "asks about whole episodes, or any segments for its judge"
            raise ValueError(f"queries={run.sampler_name}: SPO {asks}; leave queries= out")
        if self._make_judge is None and run.desk.needs_people:
            raise ValueError("judge=None: people cannot compare each episode at once; choose method=spo_judge")
        if self.common_starts is not None:
            run.agent.repeat_starts(self.common_starts)
        kept = self.queue * (self.common_starts or 1)
        self.last: deque[dict[str, Any]] = deque(maxlen=kept)  # as a checkpoint can hold it
        self.numbered, self.rates = 0, Spread().rates
        self.next_session, self.updates = run.feedback.first, 0
        if self._make_judge is not None:
            run.feedback.require_sessions(run.agent.round_steps)
            run.feedback.require_segments(run.time_limit, run.agent.n_envs)
            sizes = {"obs_size": run.obs_shape[0], "action_size": run.action_size}
            self.judge = self._make_judge(**sizes, rng=run.rng("reward"))
            self.optimizer = self.judge.optimizer
            self.preferences = PreferenceDataset(run.feedback.heldout, run.rng("preferences"))
        if self.average_from is not None:
            actor = run.agent.actor
            if getattr(actor, "use_sde", False):  # whose noise has a history, which cannot be copied
                with torch.no_grad():
                    actor.reset_noise()
            self.averaged = AveragedModel(actor)  # the plain mean
        self._given: dict[int, float] = {}

    def reward(self) -> RewardSource:
        return self

    def of_steps(self, steps: Steps) -> torch.Tensor:
        raise NotImplementedError("whole episodes are compared")

    def of_episode(self, episode: Episode) -> np.ndarray:
        """Score the steps (L,) of the episode that has just ended; it joins the queue."""
        value = 0.0
        if (beats := self._beats(episode)) is not None:
            value = float(Spread(self.rates).rewards(beats[None])[0])
        self.last.append({"number": self.numbered, **{name: getattr(episode, name) for name in KEPT}})
        self.numbered += 1
        total = self.scale * value * (self.run.time_limit or len(episode))
        rewards = np.zeros(len(episode), np.float32)
        rewards[slice(None) if self.give == "spread" else -1] = total / (len(episode) if self.give == "spread" else 1)
        self._given[id(episode)] = total
        return rewards

    def _beats(self, episode: Episode) -> np.ndarray | None:
        """Judge it against each rival (m,), 1 where it wins; None where nobody can say, or there is no rival."""
        rivals = [r for r in self.last if self.common_starts is None or np.array_equal(r["obs"][0], episode.obs[0])]
        if self._make_judge is None:
            rivals = rivals[len(rivals) - self.run.desk.room(len(rivals)) :]
        elif not self.updates:
            return None
        if not rivals:
            return None
        n, episodes = len(rivals), [Episode(**{name: r[name] for name in KEPT}) for r in rivals]
        both = whole_episodes([*episodes, episode], [*(r["number"] for r in rivals), self.numbered])
        if self._make_judge is not None:
            return self.judge.beats(both[[n]], both[:n])[0]
        desk, before = self.run.desk, len(self.run.desk.answers(EpisodePair))
        desk.ask(EpisodePair(both[:n], both[[n] * n]), step=self.run.step, sampler="last episodes")
        desk.note_learned(None)
        news: np.ndarray = desk.answers(EpisodePair).prefers_right[before:]  # without those that were skipped
        return news if len(news) else None

    def observe(self, finished: Sequence[Episode]) -> None:
        self.run.desk.observe(finished)
        if self._make_judge is not None:
            for episode in finished:
                self.judge.observe(episode.obs[:-1])

    def step(self) -> Metrics:
        if self.average_from is not None and self.run.step >= self.average_from * self.run.steps:
            self.averaged.update_parameters(self.run.agent.actor)
        if self._make_judge is None or self.run.step < self.next_session:
            return {}
        f, desk, episodes = self.run.feedback, self.run.desk, self.run.episodes
        desk.look(self.run.step)
        enough = len(episodes) and episodes.count_starts(f.segment_length, f.pool_episodes).sum() > 1
        if not enough and not desk.expects_answers:
            return {}
        if enough and (n := desk.room(f.session_size(self.run.step))):
            pairs = episodes.sample_pairs(n, f.segment_length, self.run.rng("queries"), f.pool_episodes)
            desk.ask(episodes.as_question(*pairs), step=self.run.step, sampler="uniform")
        desk.wait()
        if not desk.waiting:  # if it does, Ctrl-C ended the waiting: the session goes on after a resume
            self.next_session = desk.next_look(self.next_session, f.every, self.run.step)
        return self._learn() if desk.ready else {}

    def _learn(self) -> Metrics:
        self.preferences.follow(self.run.desk)
        self.run.desk.note_learned(None)
        if (data := self.preferences.all) is None:
            return {}
        measured = update_judge(self.judge, data, self.judge_updates, self.judge_batch, self.run.rng("fit"))
        self.updates += self.judge_updates
        return {f"reward/{name}": value for name, value in measured.items()} | {"reward/updates": self.updates}

    def learned_return(self, episode: Episode) -> float | None:
        return self._given.pop(id(episode), None)

    def metrics(self) -> Metrics:
        """Return the desk's metrics and the win rates of the last episodes: their mean, and how much they differ."""
        recent = list(self.rates)
        own = {"reward/win_rate": float(np.mean(recent)), "reward/spread": float(np.std(recent))} if recent else {}
        return self.run.desk.metrics() | own

    @property
    def averages(self) -> bool:
        return self.average_from is not None and bool(self.averaged.n_averaged)

    def policy(self, context: Any = None) -> Act:
        if not self.averages:
            return partial(self.run.agent.act, deterministic=True)

        policy: Any = self.averaged.module

        @torch.no_grad()
        def act(obs: np.ndarray) -> np.ndarray:
            found = policy._predict(torch.from_numpy(np.float32(obs)), deterministic=True)
            actions: np.ndarray = found.clamp(-1, 1).numpy()  # PPO's Gaussian has no bounds
            return actions

        return act

    def save(self, folder: Path) -> None:
        """Write what every method does, but the averaged policy as policy.zip, where there is one."""
        if not self.averages:
            super().save(folder)
            return
        actor = self.run.agent.actor
        last = {name: value.clone() for name, value in actor.state_dict().items()}
        actor.load_state_dict(self.averaged.module.state_dict())
        super().save(folder)
        actor.load_state_dict(last)
