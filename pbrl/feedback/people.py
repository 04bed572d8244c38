"""Feedback from people: questions wait in the label store, answers are taken as they come, and minds may change."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from pbrl.blocks import score_in_blocks
from pbrl.data.episodes import EpisodeStore
from pbrl.feedback.loop import Counts, FeedbackLoop
from pbrl.feedback.schedule import session_size
from pbrl.feedback.status import LEARNED_FILE, read_drawing_problem, write_status
from pbrl.labels.questions import HUMAN, answers_given, drop_leases, last_answer, last_signal, retire, unretire
from pbrl.labels.rows import StandingAnswer
from pbrl.reports.label_report import wilson_interval
from pbrl.teachers.human import HumanTeacher
from pbrl.training.run_dir import write_json
from pbrl.types import Answers

STAND_IN = "scripted:stand-in"
LOOK_S = 0.2  # seconds between looks into the store while waiting
TELL_S = 2.0
RANKED_QUERIES, RANKED = 40, 3  # the newest queries whose segments are ranked, and how many are shown of each end


class PeopleFeedback(FeedbackLoop):
    """Like `FeedbackLoop`, but answers arrive later, in any order, and may be taken back.

    The label store is the truth: what the reward learns from is, at each look, the answers that stand there, those
    given before a crash and those to questions taken back included. Questions that nobody has answered yet are
    charged to the budget until they are taken back.
    """

    teacher: HumanTeacher

    def __init__(self, *, overlap: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.overlap = overlap
        self.waiting: Sequence[int] = []
        self.taken: list[int] = []  # ids of the answers in `preferences`, in its order
        self.judged: set[int] = set()  # queries whose first answer was compared with what the reward said
        self.news = 0  # answers that came or went since the reward learned last
        self.foreseen, self.foretold = 0, 0  # decisive first answers that the reward said right, and that it said
        self.waited_s = 0.0
        self._seen = -1  # the newest row of answers at the last look
        self._continue = last_signal(self.labels.db, "continue")
        self._told: dict[str, Any] = {}

    @property
    def every(self) -> int:
        return self.teacher.poll if self.teacher.mode == "async" else self.config.every

    @property
    def spent(self) -> int:
        if self.config.counts == "asked":
            return super().spent
        given = answers_given(self.labels.db)
        return super().spent + sum(self.overlap - given.get(query, 0) for query in self.open)

    @property
    def affordable(self) -> int:
        """New questions that the budget is good for."""
        return (self.config.budget - self.spent) // (1 if self.config.counts == "asked" else self.overlap)

    @property
    def exhausted(self) -> bool:
        return self.affordable < 1

    @property
    def open(self) -> list[int]:
        """Queries that wait for an answer, the newest first."""
        return [query.id for query in self.labels.open_queries(self.overlap)]

    def can_ask(self, episodes: EpisodeStore) -> bool:
        """Once there were questions there may be answers, so it always looks; also after a crash forgot the session."""
        return (len(episodes) > 0 and bool(self.labels.queries())) or super().can_ask(episodes)

    def session(self, episodes: EpisodeStore, env_steps: int) -> dict[str, float]:
        """Takes what was answered, learns if that is enough, and asks what is due; empty if nothing was learned."""
        self._told["env_steps"] = env_steps
        self._learn_scales()
        self.collect()
        return (
            self._keep_asking(episodes, env_steps) if self.teacher.mode == "async" else self._wait(episodes, env_steps)
        )

    def collect(self) -> None:
        """Brings `preferences` and `counts` up to what stands in the store."""
        if (newest := last_answer(self.labels.db)) != self._seen:
            self._seen = newest
            standing = [a for a in self.labels.standing_answers() if a.prefers_right is not None]
            ids, known = {a.id for a in standing}, set(self.taken)
            new = sorted((a for a in standing if a.id not in known), key=lambda a: a.id)
            self._judge(new)
            kept = [row for row, answer in enumerate(self.taken) if answer in ids]
            self.news += len(new) + len(self.taken) - len(kept)
            if len(kept) < len(self.taken):  # minds were changed
                self.preferences.keep(kept)
            self._add(new)
            self.taken = [self.taken[row] for row in kept] + [a.id for a in new]
        self._count_all()

    def metrics(self) -> dict[str, float]:
        waiting = {"feedback/queue": len(self.open), "feedback/wait_s": round(self.waited_s, 1)}
        return super().metrics() | waiting

    def tell(self, state: str, env_steps: int, next_at: int | None) -> None:
        soon = next_at if not self.exhausted else None
        self._told = {"env_steps": env_steps, "steps": self.steps, "next_questions_at": soon}
        self._write_status(state)

    def _keep_asking(self, episodes: EpisodeStore, env_steps: int) -> dict[str, float]:
        """Old questions go, new ones come when half of them are answered; learns after enough answers."""
        learned: dict[str, float] = {}
        if self.news and (self.news >= self.teacher.learn_every or not self.open):
            learned = self._learn_from_people(episodes, {})
        if self.teacher.max_age_steps is not None:
            old = env_steps - self.teacher.max_age_steps
            waiting = self.labels.open_queries(self.overlap)
            with self.labels.transaction():
                retire(self.labels.db, [q.id for q in waiting if q.env_steps < old], "too old")
            self._count_all()
        open_now = len(self.open)
        if open_now <= self.config.per_session // 2 and super().can_ask(episodes):
            self._ask_people(episodes, env_steps, self.config.per_session - open_now)
        return learned

    def _wait(self, episodes: EpisodeStore, env_steps: int) -> dict[str, float]:
        """One session, until it is answered, its time is over or somebody says to go on; Ctrl-C leaves it waiting."""
        metrics: dict[str, float] = {}
        if not self.waiting:
            if not self.open and super().can_ask(episodes):  # what is open was asked by a process that was killed
                n = session_size(self.config.schedule, self.config.per_session, env_steps, self.steps)
                metrics = self._ask_people(episodes, env_steps, n)
            self.waiting = self.open
        if self.waiting:
            print(f"pbrl: waiting for answers to {len(self.waiting)} questions", file=sys.stderr)
        self._continue = last_signal(self.labels.db, "continue")
        begun, told, problem = time.monotonic(), 0.0, None
        while (left := set(self.waiting) & set(self.open)) and not self.stopped():
            waited = time.monotonic() - begun
            if self._told_to_go_on() or (self.teacher.timeout_s is not None and waited > self.teacher.timeout_s):
                self._do_without(left)
                break
            if not told or time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._write_status("waiting", waiting_s=round(waited, 1))
                before, problem = problem, read_drawing_problem(self.labels.run_dir)
                if problem not in (None, before):
                    print(f"pbrl: nobody can answer: {problem}", file=sys.stderr)
            time.sleep(LOOK_S)
        self.waited_s += time.monotonic() - begun
        self.collect()
        if set(self.waiting) & set(self.open) and self.stopped():
            return {}
        self.waiting = []
        return self._learn_from_people(episodes, metrics) if self.news else {}

    def _ask_people(self, episodes: EpisodeStore, env_steps: int, n: int) -> dict[str, float]:
        pairs, disagreement = self._choose(episodes, min(n, self.affordable))
        queries = self._ask(pairs, env_steps)
        with self.labels.transaction():
            unretire(self.labels.db, queries)  # a resumed run asks again what it asked before it was killed
        self._count_all()
        return {"disagreement": disagreement}

    def _do_without(self, queries: set[int]) -> None:
        """The time for these is over: a script answers them, or nobody. What people still say takes its place."""
        with self.labels.transaction():
            left_over = sorted(queries & set(self.open))  # somebody may have answered since
            if self.teacher.script is None:
                drop_leases(self.labels.db, left_over)
                retire(self.labels.db, left_over, "went on without")
            elif left_over:
                left, right = self.labels.segments(left_over)
                self.labels.answer(left_over, self.teacher.answer(left, right), STAND_IN)

    def _told_to_go_on(self) -> bool:
        newest, before = last_signal(self.labels.db, "continue"), self._continue
        self._continue = newest
        return newest > before

    def _learn_from_people(self, episodes: EpisodeStore, metrics: dict[str, float]) -> dict[str, float]:
        self.news = 0
        learned = self._learn(episodes, metrics)
        if self.has_reward:
            self._rank()
        return learned

    @torch.no_grad()
    def _judge(self, new: list[StandingAnswer]) -> None:
        """Counts how many of the new answers the reward foresaw."""
        first = {a.query: a for a in reversed(new) if a.kind == HUMAN and a.query not in self.judged}
        self.judged |= first.keys()
        decisive = [a for a in first.values() if a.prefers_right != 0.5]
        if not self.has_reward or not decisive:
            return
        left, right = self.labels.segments([a.query for a in decisive])
        left_score, right_score = self._mean_scores(left, right)
        advantage = right_score - left_score
        says_right = [a.prefers_right is not None and a.prefers_right > 0.5 for a in decisive]
        self.foreseen += int(((advantage > 0) == torch.tensor(says_right)).sum())
        self.foretold += len(decisive)

    def _add(self, answers: list[StandingAnswer]) -> None:
        if not answers:
            return
        left, right = self.labels.segments([a.query for a in answers])
        self._check_shape(left, f"labels in {self.labels.path}")
        numbers = {name: number for number, name in self.labels.annotators().items()}
        who = torch.tensor([numbers[a.annotator] for a in answers])
        values = torch.tensor([a.prefers_right for a in answers], dtype=torch.float32)
        self.preferences.add(left, right, Answers(values, torch.ones(len(answers), dtype=torch.bool)), who)

    def _count_all(self) -> None:
        asked_here = {q.id for q in self.labels.queries() if q.session >= 0}
        answers = [a for a in self.labels.standing_answers() if a.query in asked_here]
        values = [a.prefers_right for a in answers]
        equal, skipped = values.count(0.5), values.count(None)
        asked = len({a.query for a in answers} | set(self.open))
        self.counts = Counts(asked=asked, decisive=len(values) - equal - skipped, equal=equal, skipped=skipped)

    @torch.no_grad()
    def _rank(self) -> None:
        """Writes which of the newest segments the reward likes most and least, and how well it foresaw answers."""
        queries = sorted(q.id for q in self.labels.queries() if q.session >= 0)[-RANKED_QUERIES:]
        ranked = []
        if queries:
            for side, segments in zip(("left", "right"), self.labels.segments(queries), strict=True):
                scores = score_in_blocks(self.model.score, segments).mean(0).tolist()
                ranked += [{"query": q, "side": side, "score": s} for q, s in zip(queries, scores, strict=True)]
        ranked.sort(key=lambda clip: -float(clip["score"]))
        n = self.foretold
        low, high = wilson_interval(self.foreseen, n)
        foreseen = {"share": self.foreseen / n, "low": low, "high": high, "of": n} if n else None
        learned = {"answers": self.counts.labels, "foreseen": foreseen}
        write_json(
            self.labels.run_dir / LEARNED_FILE, learned | {"best": ranked[:RANKED], "worst": ranked[: -RANKED - 1 : -1]}
        )

    def _write_status(self, state: str, **more: Any) -> None:
        feedback = {"budget": self.config.budget, "spent": self.spent, "mode": self.teacher.mode}
        feedback |= {"timeout_s": self.teacher.timeout_s if self.teacher.mode != "async" else None}
        write_status(self.labels.run_dir, state, **self._told, **feedback, **more)

    def state_dict(self) -> dict[str, Any]:
        people = {"waiting": list(self.waiting), "taken": self.taken, "news": self.news, "waited_s": self.waited_s}
        foreseen = {"foreseen": [self.foreseen, self.foretold], "judged": sorted(self.judged)}
        return super().state_dict() | people | foreseen

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.waiting, self.taken, self.news = list(state["waiting"]), list(state["taken"]), state["news"]
        self.foreseen, self.foretold = state["foreseen"]
        self.judged = set(state["judged"])
        self.waited_s = state["waited_s"]
