"""PEBBLE: unsupervised exploration, a reward ensemble from comparisons, relabelling (Lee et al. 2021)."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from pbrl.agents.exploration import StateEntropy
from pbrl.blocks import PartOf, ScoredOnce
from pbrl.checks import between, required, whole
from pbrl.errors import UserError
from pbrl.feedback.fit import Fit
from pbrl.feedback.lists import ListDataset
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.feedback.samplers import LEAST_MEMBERS, preference_probability, uniform
from pbrl.feedback.settings import Feedback
from pbrl.methods.learned_reward import LearnedReward
from pbrl.methods.method import Metrics, Run
from pbrl.nets.devices import move
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question
from pbrl.rewards.objective import USUAL, Objective
from pbrl.types import Episode, RewardModel, RewardSource

DISAGREEMENT_PAIRS = 1000


class Pebble(LearnedReward):
    """Rewards each step by an ensemble whose sums over segments explain the answers.

    What is stored gets the new reward after each session. As a `RewardSource`, it gives the mean member's reward.

    Args:
        model: makes the reward model from obs_size, action_size and rng.
        fit: trains it on all answers in each session; None where `learn_model` is a method's own.
        explore: the intrinsic reward before the first session; None: nothing is rewarded until then.
        reset_critic: at the first session, since the critic has valued exploring.
        critic_updates: after that, without acting.
        reward_std: of the learned reward over recent steps, to which it is scaled after each fit; None: as learned.
    """

    accelerated = True
    agents: ClassVar[tuple[str, ...]] = ("sac",)
    asks: tuple[type[Question], ...] = (SegmentPair,)
    when = "stored"
    fits, learns_lists = tuple(USUAL), True
    uses_objective: ClassVar[bool] = True  # said by each class whose own `learn_model` reads `objective`
    fits_itself: ClassVar[bool] = False  # a `learn_model` that reads no `fit`

    def __init__(
        self,
        *,
        model: Callable[..., RewardModel],
        fit: Fit | None,
        explore: StateEntropy | None,
        reset_critic: bool,
        critic_updates: int,
        reward_std: float | None = None,
    ) -> None:
        required(model=model)
        whole(0, critic_updates=critic_updates)
        if reward_std is not None:
            between(1e-6, 1e6, reward_std=reward_std)
        self._make_model, self.fit, self.explore = model, fit, explore
        self.resets_critic, self.critic_updates, self.reward_std = reset_critic, critic_updates, reward_std

    def check(self, feedback: Feedback) -> None:
        if self.fit is None and type(self).learn_model is Pebble.learn_model:
            raise ValueError("fit=None: this method has no other way to train its model")
        if self.fit is not None and self.fits_itself:
            raise ValueError("fit is given: this method trains its model in a way of its own; set fit=null")
        if self.fit is not None and self.fit.patience is not None and feedback.heldout == 0:
            patience = f"fit.patience={self.fit.patience}"
            raise ValueError(f"{patience} watches held-out answers; set feedback.heldout, as to 0.1")
        crop = getattr(self.small_model(), "crop", None)
        if crop is not None and hasattr(self, "crop"):
            raise ValueError(f"model.crop={list(crop)}: this method learns from crops of its own; leave it out")
        if crop is not None and crop[-1] > feedback.segment_length:
            raise ValueError(f"model.crop={list(crop)} exceeds feedback.segment_length={feedback.segment_length}")

    def learn_by(self, objective: Objective) -> None:
        super().learn_by(objective)
        self.asks = (objective.loss.asks,)

    def check_objective(self, heldout: float | None) -> None:
        owner = next(kind for kind in type(self).__mro__ if "learn_model" in vars(kind))
        for key, said in self.objective.changed.items():
            if key in ("loss", "score") and not vars(owner).get("uses_objective"):
                raise UserError(f"{said}: {owner.__name__} has a loss of its own; leave it out")
        if self.objective.calibrate and self.reward_std is not None:
            scale = f"method.reward_std={self.reward_std}"
            both = f"fit.calibrate=true and {scale} both set the scale of the reward"
            raise UserError(f"{both}; set method.reward_std=null, or leave fit.calibrate out")
        super().check_objective(heldout)

    def begin(self, run: Run) -> None:
        super().begin(run)
        run.feedback.require_sessions(run.agent.round_steps)
        if not run.agent.relabels and (self.resets_critic or self.critic_updates):
            both = "set method.reset_critic=false and method.critic_updates=0"
            raise UserError(f"agent={run.agent.kind} has no critic that learns from stored steps again; {both}")
        if run.desk.needed > 1:  # or a file brings its segments along
            run.feedback.require_segments(run.time_limit, run.agent.n_envs)
            if run.feedback.budget and run.time_limit == run.feedback.segment_length:
                run.feedback.require_pool(run.feedback.segment_length, 1)
        self.model = self.make_model(run.obs_shape, run.action_size, run.rng("reward"))
        if self.model.members < (least := LEAST_MEMBERS.get(run.sampler_name, 1)):
            few = f"model.members={self.model.members}"
            raise ValueError(f"{few}: queries={run.sampler_name} asks by their disagreement; expected at least {least}")
        if hasattr(self.model, "to"):  # a model of numbers stays where it is
            move(self.model, run.device)
            move(self.objective, run.device)
        self.optimizer = self.model.optimizer
        self.preferences = self.make_dataset(run.feedback.heldout, run.rng("preferences"))
        self.next_session, self.updates, self.scale = run.feedback.first, 0, 1.0
        self.relabels, self.labels, self.last_label_step = 0, 0, math.nan
        self.observed: list[np.ndarray] = []  # observations since the last session, for the input statistics
        self._fitted = self._warned = False
        if self.explore is not None:
            self.explore.begin(run)

    def make_dataset(self, heldout: float, rng: torch.Generator) -> Any:
        loss: Any = self.objective.loss
        if not loss.lists:
            return PreferenceDataset(heldout, rng, self.objective.targets)
        if self.run.sampler_name != "uniform":
            raise ValueError(f"segments for {loss.asks.kind} are drawn uniformly; choose queries=uniform")
        return ListDataset(heldout, rng, loss.asks, loss.read)

    def observe(self, finished: Sequence[Episode]) -> None:
        self.run.desk.observe(finished)
        if not self.run.desk.exhausted:
            self.observed.extend(e.obs[:-1] for e in finished)

    @property
    def behaves(self) -> bool:
        return type(self).behave is not Pebble.behave or (self.explore is not None and self.explore.acts)

    def behave(self, obs: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Let what explores act until a reward is learned, if it acts itself."""
        if self.explore is None or not self.explore.acts or self.updates:
            return actions, None
        return self.explore.behave(obs), None

    def due(self) -> int | None:
        return self.next_session

    def step(self) -> Metrics:
        """Hold a session: ask about recent behaviour, learn from all answers, adopt what was learned."""
        desk, metrics = self.run.desk, Metrics()
        if not (self.can_ask() or (len(self.run.episodes) and desk.expects_answers)):
            return {}  # stays due: it waits for an episode that is long enough
        self.learn_scales()
        desk.look(self.run.step)
        self.preferences.follow(desk)
        if desk.ready:
            metrics |= self.learn()
        if (n := desk.room(self.run.feedback.session_size(self.run.step))) and self.can_ask():
            metrics |= self.ask(n)
        desk.wait()
        if desk.ready:
            metrics |= self.learn()
        if not desk.waiting:  # if it does, Ctrl-C ended the waiting: the session goes on after a resume
            self.next_session = desk.next_look(self.next_session, self.run.feedback.every, self.run.step)
        return metrics

    def ask(self, n: int) -> Metrics:
        """Ask n questions about what the agent did lately."""
        brought = self.run.desk.own_questions(n)
        if brought is None and self.objective.loss.lists:
            brought = self.choose_lists(n)
        questions, disagreement = (brought, math.nan) if brought is not None else self.choose(n)
        if len(questions):  # a sampler may find nothing worth asking
            self.run.desk.ask(questions, step=self.run.step, sampler=self.sampler_name)
        return {"reward/disagreement": disagreement}

    @property
    def sampler_name(self) -> str:
        """The name under which questions are stored."""
        return self.run.sampler_name

    def choose_lists(self, n: int) -> Question:
        """Choose random segments, those of a list different ones."""
        f, loss, rng = self.run.feedback, self.objective.loss, self.run.rng("queries")
        items = self.run.episodes.sample_lists(n, loss.items, f.segment_length, rng, f.pool_episodes)
        states = [self.run.episodes.states(item.ids.numpy(), item.steps) for item in items]
        asked: Any = loss
        question: Question = asked.question(items, None if states[0] is None else tuple(states))
        return question

    def choose(self, n: int) -> tuple[SegmentPair, float]:
        """Choose the pairs that the sampler wants most among random ones; return them and the members' disagreement."""
        f, episodes, rng = self.run.feedback, self.run.episodes, self.run.rng("queries")
        # Candidates are gathered in blocks, and only what is asked with the states of the simulator.
        drawn = episodes.draw_pairs(f.candidates * n, f.segment_length, rng, f.pool_episodes)
        left, right = map(ScoredOnce, drawn)  # by the sampler, and not again for what is measured
        # Before the first answer the model knows nothing: any choice by it would be noise with a bias.
        sampler = self.run.sampler if self.updates else uniform
        rows = sampler(self.model, left, right, n, self.preferences.all, rng)
        some = torch.arange(min(len(left), DISAGREEMENT_PAIRS))  # candidates come in no order
        measured = preference_probability(self.model, PartOf(left, some), PartOf(right, some))
        return episodes.as_question(left[rows], right[rows]), float(measured.std(0, unbiased=False).mean())

    def learn(self) -> Metrics:
        """Fits the reward to all answers that stand, and hands it to the agent."""
        first, desk = self.updates == 0, self.run.desk
        fresh = desk.judge(self.score, trained=not first)
        self.preferences.follow(desk)
        if first:
            self.recent_rewards()  # what is not finite now, no fit has spoilt
        self._fitted = True
        fitted = _checked_fit(self.learn_model(), type(self).__name__)
        self.updates += int(fitted.pop("updates"))
        if "heldout_loss" not in fitted:
            fitted |= self.heldout_figures()
        self.settle(fitted.get("heldout_temperature", 1.0))
        desk.note_learned(self.score if self.updates else None)
        found = fitted | self.objective.facts()
        metrics = {"fresh_accuracy": fresh, "updates": self.updates} | found | self.quality()
        if desk.counts.labels > self.labels:
            self.last_label_step = float(self.run.step)
        self.labels = desk.counts.labels
        if self.updates:
            self.adopt(first)
        return {f"reward/{name}": value for name, value in metrics.items()}

    def learn_model(self) -> Metrics:
        """Trains the model on all answers; returns what `Fit` does."""
        assert self.fit is not None
        return self.fit(self.model, self.preferences, self.run.rng("fit"), self.objective)

    def why_nothing(self) -> str | None:
        return super().why_nothing() or self.preferences.why_nothing()

    def adopt(self, first: bool) -> None:
        """Give the agent's past and future the new reward; replace the critic that valued exploring, once."""
        agent = self.run.agent
        self.relabel()
        if first and self.resets_critic:
            agent.reset_critic()
        if first and self.critic_updates:
            agent.update(self.critic_updates)

    def relabel(self) -> None:
        """Give what the agent does, and what it has stored where it learns from that again, the current reward."""
        self.run.agent.set_reward(self)
        self.relabels += self.run.agent.relabels

    def begin_with(self, updates: int, scale: float) -> None:
        """Note that the model's weights are those of another run now, after so many updates."""
        self.updates, self.scale = updates, scale
        self.run.agent.set_reward(self)

    def reward(self) -> RewardSource | None:
        return self if self.updates else self.explore

    def metrics(self) -> Metrics:
        """Return what equal comparisons of methods need: gradient steps, relabels, and when labels ended."""
        spent = {"reward/updates": self.updates, "reward/relabels": self.relabels}
        last = {} if math.isnan(self.last_label_step) else {"feedback/last_label_step": self.last_label_step}
        return super().metrics() | spent | last

    def facts(self) -> dict[str, Any]:
        accuracy = self.quality()["true_accuracy"] if self.updates else math.nan
        return {
            "reward_accuracy": None if math.isnan(accuracy) else accuracy,
            "reward_updates": self.updates,
            "relabels": self.relabels,
            "last_label_step": None if math.isnan(self.last_label_step) else int(self.last_label_step),
            **self.heldout_figures(),
            **self.objective.told(self.run.desk.annotators),
        }

    def can_ask(self) -> bool:
        """Return whether there is budget left, and segments to ask about; if not, the session waits for them."""
        f, episodes, desk = self.run.feedback, self.run.episodes, self.run.desk
        if desk.exhausted or len(episodes) == 0:
            return False
        starts = int(episodes.count_starts(f.segment_length, f.pool_episodes).sum())
        if starts >= max(desk.needed, self.objective.loss.items):
            return True
        if desk.sessions == 0 and not episodes.any_terminated:  # time limits alone: later episodes are no longer
            f.require_pool(int(episodes.lengths.max()), starts)
        if starts and not self._warned:
            self._warned = True
            print("pbrl: questions wait for a second segment: one alone cannot be compared", file=sys.stderr)
        return False

    def learn_scales(self) -> None:
        """Learn input statistics from all observations since the last session."""
        if self.observed:
            self.model.observe(np.concatenate(self.observed))
            self.observed.clear()


def _checked_fit(found: Any, name: str) -> dict[str, Any]:
    """Return what `learn_model` of the class of this name returned; UserError where it does not say its updates."""
    if not isinstance(found, Mapping) or "updates" not in found:
        said = f"{name}.learn_model returned {found!r:.60}"
        raise UserError(f"{said}; expected a dictionary with 'updates', the number of gradient steps")
    return dict(found)
