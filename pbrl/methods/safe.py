"""Safe learning from few labels: a cost of what was called unsafe, a Lagrangian, and a test at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import between, one_of, positive, required, share, whole
from pbrl.feedback.settings import Feedback
from pbrl.losses import preference_accuracy
from pbrl.methods.method import Learned, Method, Metrics, Run, next_time, of_part
from pbrl.methods.safe_questions import EXAM, SAFETY, exam_questions, whether_safe
from pbrl.nets.networks import descend
from pbrl.question_kinds import Rating, SegmentPair
from pbrl.rewards.cost import CostModel, blamed, contradicted, log_safe, safer_loss, step_loss, unsafe_loss
from pbrl.statistics.safety import fewest_cases, unsafe_bound
from pbrl.types import Episode, RewardSource, Segments, Steps

KINDS = ("unsafe", "pairs")
EVEN = float(np.log(0.5))  # log P(safe) of what is as likely unsafe


class Judged(NamedTuple):
    """Segments in the order in which they were asked about."""

    segments: Segments  # (N,)
    unsafe: Tensor  # (N,) in [0, 1]


class Safe(Method):
    """Maximises the task's own reward while few segments are unsafe, by what somebody says of some of them.

        reward of a step:     r - multiplier * p(s, a),    p the probability that the step is unsafe
        after each episode:   multiplier += rate * (share of its segments with P(safe) < 1/2  -  limit)

    Args:
        model: makes the cost model, from obs_size, action_size and rng.
        labels: "unsafe": each question is whether one segment is unsafe; "pairs": which of two is safer.
        spread: weight of the cross-entropy of each step with what was said of its segment. What is unsafe as a whole
            leaves open which of its steps are; without this a few are blamed that the policy can do without.
        updates, batch_size: of the cost model after each session, from the beginning.
        radius: standard deviations of each observation within which a state counts as found safe, see `contradicted`;
            None: nothing is forgotten. With labels of pairs nothing is.
        witnesses: segments called safe later that were near what is blamed in one that is forgotten.
        limit: the share of segments that may be unsafe.
        multiplier: where it begins, once something was called unsafe; it stays within 0 and `highest`.
        rate: of the multiplier.
        exam: at the end, so many episodes of the policy without noise are played, and somebody says of one segment of
            each whether it is unsafe; 0: none. What was examined learns no more.
        confidence: with which the policy is called safe, if the bound of the exam is at most `limit`.
    """

    agents = ("sac",)
    when = "sampled"  # the multiplier changes with each episode

    def __init__(
        self,
        *,
        model: Callable[..., CostModel],
        labels: str,
        spread: float,
        updates: int,
        batch_size: int,
        radius: float | None,
        witnesses: int,
        limit: float,
        multiplier: float,
        highest: float,
        rate: float,
        exam: int,
        confidence: float,
    ) -> None:
        required(model=model)
        one_of(KINDS, labels=labels)
        whole(1, updates=updates, batch_size=batch_size, witnesses=witnesses)
        whole(0, exam=exam)
        if radius is not None:
            positive(radius=radius)
        share(limit=limit)
        between(0, 1e6, highest=highest, rate=rate, spread=spread)
        between(0, highest, multiplier=multiplier)
        between(0.5, 0.9999, confidence=confidence)
        self._make_model, self.labels, self.spread, self.updates_each, self.batch_size = (
            model,
            labels,
            spread,
            updates,
            batch_size,
        )
        self.radius, self.witnesses, self.limit, self.first_multiplier = radius, witnesses, limit, multiplier
        self.highest, self.rate, self.exam, self.confidence = highest, rate, exam, confidence
        self.asks = ((SegmentPair,) if labels == "pairs" else (Rating,)) + ((Rating,) if exam else ())

    def check(self, feedback: Feedback) -> None:
        if self.exam and unsafe_bound(0, self.exam, self.confidence) > self.limit:
            if self.limit <= 0.001:
                raise ValueError(f"limit={self.limit}: no exam can show so little; expected more than 0.001, or exam=0")
            enough = fewest_cases(self.limit, self.confidence)
            few = f"exam={self.exam} cannot show that at most {self.limit:g} of the segments are unsafe"
            raise ValueError(f"{few}; expected at least {enough}, or 0")

    def begin(self, run: Run) -> None:
        super().begin(run)
        run.feedback.require_sessions(run.agent.round_steps)
        run.feedback.require_segments(run.time_limit, run.agent.n_envs)
        if self.exam and run.desk.poll is not None:
            late = "people answer while the agent goes on (teacher.mode=async), so nobody waits for what they say of it"
            raise ValueError(f"exam={self.exam}: {late}; expected 0, or teacher.mode=block")
        sizes = {"obs_size": run.obs_shape[0], "action_size": run.action_size}
        self.model = self._make_model(**sizes, rng=run.rng("reward"))
        self.next_session, self.updates, self.multiplier = run.feedback.first, 0, 0.0
        self.begun = False  # whether anything is known to be unsafe; until then the multiplier waits
        self.unsafe, self.forgotten, self.flagged = 0, 0, 0.0
        self.examined_at, self.exam_asked, self.exam_unsafe = 0, 0, 0  # the step of the exam, and what came of it

    def reward(self) -> RewardSource:
        return self

    def given(self, reward: float, factors: Mapping[str, float]) -> float:
        return reward

    def of_steps(self, steps: Steps) -> Tensor:
        assert steps.given is not None
        if not self.begun:
            return steps.given
        return steps.given - self.multiplier * self.model.step_cost(steps.obs, steps.actions)

    def of_episode(self, episode: Episode) -> np.ndarray:
        obs, actions, given = map(torch.from_numpy, (episode.obs[:-1], episode.actions, episode.true_reward))
        return self.of_steps(Steps(obs, actions, given=given)).numpy()

    def observe(self, finished: Sequence[Episode]) -> None:
        self.run.desk.observe(finished)
        for episode in finished:
            self.model.observe(episode.obs[:-1])
            if self.begun:
                self.flagged = self._share_flagged(episode)
                step = self.rate * (self.flagged - self.limit)
                self.multiplier = min(max(self.multiplier + step, 0.0), self.highest)

    def _share_flagged(self, episode: Episode) -> float:
        """Of an episode's segments, side by side: those that are more likely unsafe than not."""
        obs, actions = torch.from_numpy(episode.obs[:-1]), torch.from_numpy(episode.actions)
        with torch.no_grad():
            windows = self.model(obs, actions).split(self.run.feedback.segment_length)
        scores = [float(log_safe(window, torch.ones(len(window)))) for window in windows]
        return sum(score < EVEN for score in scores) / len(scores)

    @property
    def exam_step(self) -> int:
        """The last at which anything is asked: an agent takes another step, without learning."""
        return self.run.steps - self.run.agent.n_envs

    @property
    def exam_open(self) -> bool:
        return self.exam > 0 and self.examined_at < self.exam_step

    def due(self) -> int:
        return min(self.next_session, self.exam_step) if self.exam_open else self.next_session

    def step(self) -> Metrics:
        metrics = Metrics()
        if self.run.step >= self.next_session:
            metrics |= self.session()
        if self.exam_open and self.run.step >= self.exam_step:
            self.examine()
        return metrics

    def session(self) -> Metrics:
        """Ask about what the agent did lately, and learn from all answers."""
        f, desk, episodes = self.run.feedback, self.run.desk, self.run.episodes
        desk.look(self.run.step)
        enough = len(episodes) and episodes.count_starts(f.segment_length, f.pool_episodes).sum() > 1
        if enough and (n := desk.room(f.session_size(self.run.step))):
            asked: Any = self.choose_pairs(n) if self.labels == "pairs" else self.choose(n)
            desk.ask(asked, step=self.run.step, sampler="uniform")
        desk.wait()
        if enough and not desk.waiting:
            self.next_session = next_time(self.next_session, desk.poll or f.every, self.run.step)
        return self.learn() if desk.ready else {}

    def choose_pairs(self, n: int) -> SegmentPair:
        f, episodes = self.run.feedback, self.run.episodes
        pairs = episodes.sample_pairs(n, f.segment_length, self.run.rng("queries"), f.pool_episodes)
        return episodes.as_question(*pairs)

    def choose(self, n: int) -> Rating:
        """Random segments, but half of them those that are most likely unsafe among `feedback.candidates` as many.

        Few are unsafe, and it is there that answers tell most: they confirm, or witness that a place is safe.
        """
        f, episodes = self.run.feedback, self.run.episodes
        drawn = episodes.draw(f.candidates * n, f.segment_length, self.run.rng("queries"), f.pool_episodes)
        rows = torch.arange(len(drawn))
        if self.updates:
            with torch.no_grad():
                likely = self.model.log_safe(drawn[:]).argsort()[: n // 2]
            rows = torch.cat([likely, rows[~torch.isin(rows, likely)]])
        return whether_safe(episodes, drawn[rows[:n]], SAFETY)

    def learn(self) -> Metrics:
        """Fits the cost model anew, so that what was forgotten leaves nothing behind."""
        found = self._learn_pairs() if self.labels == "pairs" else self._learn_unsafe()
        self.run.desk.learned(self.model.log_safe if found else None)
        if not self.begun and (self.unsafe or (found and self.labels == "pairs")):
            self.multiplier, self.begun = self.first_multiplier, True
        return {f"reward/{name}": value for name, value in found.items()}

    def _learn_unsafe(self) -> Metrics:
        if (judged := self.judged()) is None:
            return {}
        segments, unsafe = judged
        last = self._fit_unsafe(segments, unsafe)
        forgotten = self._contradicted(segments, unsafe > 0.5)
        self.unsafe, self.forgotten = int((unsafe > 0.5).sum()), int(forgotten.sum())
        if self.forgotten:
            segments, unsafe = segments[~forgotten], unsafe[~forgotten]
            last = self._fit_unsafe(segments, unsafe)
        with torch.no_grad():
            right = (self.model.log_safe(segments) < EVEN) == (unsafe > 0.5)
        return {"loss": last, "accuracy": float(right.float().mean())}

    def _fit_unsafe(self, segments: Segments, unsafe: Tensor) -> float:
        def loss(rows: Tensor) -> Tensor:
            batch = segments[rows]
            logits = self.model(batch.obs[:, :-1], batch.actions)
            whole = unsafe_loss(log_safe(logits, batch.mask), unsafe[rows])
            return whole + self.spread * step_loss(logits, batch.mask, unsafe[rows]) + self.model.penalty(batch)

        return self._fit(loss, len(segments))

    def _learn_pairs(self) -> Metrics:
        answers = self.run.desk.answers()
        if not len(answers):
            return {}
        left, right = self.run.desk.questions(answers.questions.tolist()).items
        target = torch.from_numpy(answers.prefers_right).float()

        def loss(rows: Tensor) -> Tensor:
            sides = left[rows], right[rows]
            ours, theirs = (self.model.log_safe(side) for side in sides)
            fitted = safer_loss(ours, theirs, target[rows])
            return fitted + sum(self.model.penalty(side) for side in sides)

        last = self._fit(loss, len(target))
        with torch.no_grad():
            accuracy = preference_accuracy(self.model.log_safe(left), self.model.log_safe(right), target)
        return {"loss": last, "accuracy": float(accuracy)}

    def _fit(self, loss: Callable[[Tensor], Tensor], n: int) -> float:
        """Returns the mean loss of the last quarter."""
        self.model.reset()
        rng = self.run.rng("fit")
        drawn = (torch.randint(n, (self.batch_size,), generator=rng) for _ in range(self.updates_each))
        losses = [descend(self.model.optimizer, loss(rows)) for rows in drawn]
        self.updates += self.updates_each
        return float(np.mean(losses[-max(1, self.updates_each // 4) :]))

    def judged(self, criterion: str = SAFETY) -> Judged | None:
        """All that is said of single segments by now."""
        answers = self.run.desk.answers(Rating, criterion)
        if not len(answers):
            return None
        order = np.argsort(answers.questions, kind="stable")
        asked: Any = self.run.desk.questions(answers.questions[order].tolist())
        good = (answers.values[order, 0] - asked.low) / (asked.high - asked.low)
        return Judged(asked.segments, torch.from_numpy(1 - good).float())

    def _contradicted(self, segments: Segments, unsafe: Tensor) -> Tensor:
        if self.radius is None:
            return torch.zeros(len(segments), dtype=torch.bool)
        with torch.no_grad():
            logits = self.model(segments.obs[:, :-1], segments.actions)
        states, mask = self.model.norm(segments.obs[:, 1:]), segments.mask  # what a step leads to is what is unsafe
        return contradicted(states, mask, blamed(logits, mask), unsafe, self.radius, self.witnesses)

    def examine(self) -> None:
        """Asks about a segment of each of several fresh episodes of the policy, which then stays as it is."""
        desk = self.run.desk
        if not desk.waiting:
            questions = exam_questions(self.run, self.policy(), self.exam)
            desk.ask(questions, step=self.run.step, sampler="exam")
        desk.wait()
        if desk.waiting:  # Ctrl-C: after a resume it is due again
            return
        judged = self.judged(EXAM)
        told = torch.zeros(0) if judged is None else judged.unsafe[-self.exam :]
        self.examined_at, self.exam_asked, self.exam_unsafe = self.exam_step, len(told), int((told >= 0.5).sum())
        self.run.agent.set_update_times(0)

    @property
    def bound(self) -> float:
        """The share of unsafe segments that the exam excludes everything above; 1: there was none."""
        return unsafe_bound(self.exam_unsafe, self.exam_asked, self.confidence) if self.exam_asked else 1.0

    def metrics(self) -> Metrics:
        own = {"reward/multiplier": self.multiplier, "reward/flagged": self.flagged, "reward/updates": self.updates}
        return super().metrics() | own | {"feedback/unsafe": self.unsafe, "feedback/forgotten": self.forgotten}

    def facts(self) -> dict[str, Any]:
        exam = {"exam": self.exam_asked, "exam_unsafe": self.exam_unsafe, "unsafe_bound": self.bound}
        verdict = {"safe": self.bound <= self.limit, **exam} if self.exam_asked else {"safe": None}
        return {**verdict, "reward_updates": self.updates, "unsafe": self.unsafe, "forgotten": self.forgotten}

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        return super().exported(state) if state["updates"] else {}

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        if not (own := of_part(weights, "model")):
            return Learned()
        model = self._make_model(obs_size=obs_shape[0], action_size=action_size, rng=torch.Generator())
        model.load_state_dict(own)

        def reward(obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
            """(M,) minus the probability that a step is unsafe."""
            cost: np.ndarray = model.step_cost(*(torch.from_numpy(np.float32(x)) for x in (obs, actions))).numpy()
            return -cost

        return Learned(reward=reward)

    def begin_with(self, updates: int, scale: float) -> None:
        self.updates, self.multiplier, self.begun = updates, self.first_multiplier, True

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if self.exam > 0 and not self.exam_open:
            self.run.agent.set_update_times(0)
