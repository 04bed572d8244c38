"""Safe learning from few labels: a cost of what was called unsafe, a Lagrangian, and a test at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import between, one_of, required, share, whole
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Learned, Method, Metrics, Run, of_part
from pbrl.methods.safe_questions import EXAM, SAFETY, exam_questions, whether_safe
from pbrl.question_kinds import Rating, SegmentPair
from pbrl.rewards.cost import CostModel, log_safe
from pbrl.rewards.cost_fit import EVEN, CostFit, Fitted, Judged
from pbrl.statistics.safety import fewest_cases, unsafe_bound
from pbrl.types import Episode, RewardSource, Steps

KINDS = ("unsafe", "pairs")


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
        whole(0, exam=exam)
        share(limit=limit)
        between(0, 1e6, highest=highest, rate=rate)
        between(0, highest, multiplier=multiplier)
        between(0.5, 0.9999, confidence=confidence)
        self._make_model, self.labels = model, labels
        self.fit = CostFit(updates, batch_size, spread, radius, witnesses)
        self.limit, self.first_multiplier = limit, multiplier
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
        self.exam_after = -1  # number of the last question of the exam before, if there was one

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
        """Return the share of an episode's segments, side by side, that are more likely unsafe than not."""
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
            self.next_session = desk.next_look(self.next_session, f.every, self.run.step)
        return self.learn() if desk.ready else {}

    def choose_pairs(self, n: int) -> SegmentPair:
        f, episodes = self.run.feedback, self.run.episodes
        pairs = episodes.sample_pairs(n, f.segment_length, self.run.rng("queries"), f.pool_episodes)
        return episodes.as_question(*pairs)

    def choose(self, n: int) -> Rating:
        """Choose random segments, but half of them the most likely unsafe ones of `feedback.candidates` times as many.

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
        found = self._fit_pairs() if self.labels == "pairs" else self._fit_unsafe()
        self.run.desk.note_learned(self.model.log_safe if found else None)
        if found is None:
            return {}
        self.updates += found.updates
        self.unsafe, self.forgotten = found.unsafe, found.forgotten
        if not self.begun and (self.unsafe or self.labels == "pairs"):
            self.multiplier, self.begun = self.first_multiplier, True
        return {"reward/loss": found.loss, "reward/accuracy": found.accuracy}

    def _fit_unsafe(self) -> Fitted | None:
        judged = self.judged()
        return None if judged is None else self.fit.of_unsafe(self.model, judged, self.run.rng("fit"))

    def _fit_pairs(self) -> Fitted | None:
        answers = self.run.desk.answers()
        if not len(answers):
            return None
        left, right = self.run.desk.questions(answers.questions.tolist()).items
        prefers_right = torch.from_numpy(answers.prefers_right).float()
        return self.fit.of_pairs(self.model, left, right, prefers_right, self.run.rng("fit"))

    def judged(self, criterion: str = SAFETY, after: int = -1) -> Judged | None:
        """Return what is said of single segments by now, in questions of numbers above `after`; None: nothing."""
        answers = self.run.desk.answers(Rating, criterion)
        new = answers.questions > after
        if not new.any():
            return None
        questions, of = np.unique(answers.questions[new], return_inverse=True)  # several people may answer one
        asked: Any = self.run.desk.questions(questions.tolist())
        mean = np.bincount(of, answers.values[new, 0]) / np.bincount(of)
        return Judged(asked.segments, torch.from_numpy(1 - (mean - asked.low) / (asked.high - asked.low)).float())

    def examine(self) -> None:
        """Asks about a segment of each of several fresh episodes of the policy, which then stays as it is."""
        desk = self.run.desk
        if not desk.waiting:
            questions = exam_questions(self.run, self.policy(), self.exam)
            self.exam_after = int(desk.answers(Rating, EXAM).questions.max(initial=-1))
            desk.ask(questions, step=self.run.step, sampler="exam")
        desk.wait()
        if desk.waiting:  # Ctrl-C: after a resume it is due again
            return
        judged = self.judged(EXAM, self.exam_after)  # a run that became longer was examined before
        told = torch.zeros(0) if judged is None else judged.unsafe
        self.examined_at, self.exam_asked, self.exam_unsafe = self.exam_step, len(told), int((told >= 0.5).sum())
        self.run.agent.set_update_times(0)

    @property
    def bound(self) -> float:
        """The largest share of unsafe segments that the exam leaves possible, at `confidence`; 1: there was none."""
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
