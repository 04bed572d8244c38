"""The contract of a method: what is learned from people, and how it drives behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from pbrl.agents.agent import Agent
from pbrl.data.episodes import EpisodeStore
from pbrl.data.offline import OfflineData
from pbrl.errors import UserError
from pbrl.feedback.schedule import next_time as next_time
from pbrl.feedback.settings import Feedback
from pbrl.files import replacing
from pbrl.methods.state import attributes_without_state, found_state, restore_state
from pbrl.nets.policies import Policy
from pbrl.questions import Question
from pbrl.rewards.objective import PLAIN, Objective
from pbrl.types import Episode, QuerySampler, RewardFn, RewardSource

Metrics = dict[str, float]
Act = Callable[[np.ndarray], np.ndarray]
"""Actions (M, A) in [-1, 1] of observations (M, *obs_shape), without noise."""

ONE_POLICY = (
    "weights=: this run has one policy; method=cmorl learns several along a front, cmorl_conditioned one that sees them"
)
REWARD_FILE = "reward.safetensors"


class Run(Protocol):
    """A run as a method sees it."""

    steps: int  # of the whole run: environment steps, or updates where there is no agent
    env_name: str
    obs_shape: tuple[int, ...]
    action_size: int  # A
    factor_names: tuple[str, ...]
    time_limit: int | None  # steps after which episodes are cut off, where that is known
    agent: Agent  # of methods that have one
    episodes: EpisodeStore  # the last ones that the agent ended
    data: OfflineData  # of methods without an agent
    data_folder: Path | None  # data=
    labels_folder: Path | None  # labels=
    desk: Any  # a `Desk`
    feedback: Feedback
    sampler: QuerySampler
    sampler_name: str
    path: Path  # its folder
    device: torch.device  # where networks learn; questions, answers and generators stay on the CPU

    @property
    def evaluates_beside(self) -> bool: ...  # whether `evaluate` can be called while an episode of the agent goes on

    @property
    def step(self) -> int: ...  # so far

    def rng(self, name: str) -> torch.Generator: ...  # one of its own for each name, saved with the run

    def seed(self, name: str) -> int: ...  # that of the same stream

    def make_agent(self, **changes: Any) -> Agent: ...  # another of the same kind, in environments of its own

    def make_env(self, **options: Any) -> gym.Env: ...

    def evaluate(self, act: Act) -> dict[str, float | None]: ...  # as a row of evaluations.csv


class Learned(NamedTuple):
    """The parts of a finished run by which it is used."""

    policy: Policy | None = None  # None: that of the agent
    reference: Policy | None = None  # what the policy was learned relative to
    reward: RewardFn | None = None  # of single steps
    choosing: Callable[[int], Any] | None = None  # the policy that does the best of so many actions, where there is one


class Method:
    """A way to learn from people, and to drive behaviour by it. One file and one YAML per method.

    The constructor takes the numbers of the YAML; `begin` makes networks of them, once the run is there. Every hook
    has a default that does nothing. Modules, optimisers, generators, numbers and arrays in attributes are saved with
    each checkpoint; what begins with an underscore is not.

    agents: kinds of agent it can drive; () = it is the policy itself and learns from `run.data` alone.
    asks: kinds of question that it asks while it learns.
    in_sessions: it asks when `feedback.first`, `every` and `per_session` say, rather than about each episode.
    of_videos: it asks about recorded videos, before an agent starts.
    needs_data: it learns from a data set, alone or before an agent starts.
    chooses: it can learn actions that are one of n, where it learns from data alone.
    reads_labels: whether answers have any part in what it learns; False for yardsticks.
    learns_lists: it can learn from answers about lists of segments too; said by each class that can.
    fits: keys of the `fit` section that change how it learns.
    tags: how many numbers `behave` notes at each step.
    measures: how many `measure` notes behind them.
    accelerated: whether its networks can learn on a GPU, `run.device`; each class says it for itself, docs/speed.md.
    contexts: what `policy` is evaluated with, each in turn; None where there is nothing to choose.
    exports: what is saved for others, and the attribute with the network that it is of.
    """

    agents: ClassVar[tuple[str, ...]] = ()
    asks: tuple[type[Question], ...] = ()
    in_sessions: bool = True
    of_videos: ClassVar[bool] = False
    needs_data: bool = False
    reads_labels: bool = True
    learns_lists: ClassVar[bool] = False
    fits: ClassVar[tuple[str, ...]] = ()
    chooses: bool = False
    tags: int = 0
    measures: int = 0
    accelerated: ClassVar[bool] = False
    contexts: tuple[Any, ...] = (None,)
    exports: ClassVar[Mapping[str, str]] = {"model": "model"}
    run: Run
    objective: Objective = PLAIN  # how it learns from answers: the `fit` section

    def check(self, feedback: Feedback) -> None:
        """Raise ValueError where its numbers do not fit those of the `feedback` section; before there is a run."""

    def learn_by(self, objective: Objective) -> None:
        """Take the objective, before anything else, where the `fit` section says anything."""
        self.objective = objective

    def check_objective(self, heldout: float | None) -> None:
        """Raise UserError where its reward model cannot learn by `objective`; before there is a run.

        heldout: share of the answers that are held out.
        """
        if self.objective.loss.lists and not vars(type(self)).get("learns_lists"):
            asks = self.objective.loss.asks.kind
            raise UserError(
                f"{self.objective.changed['loss']} learns from answers of kind {asks}, {type(self).__name__} from pairs"
            )
        for key, said in self.objective.changed.items():
            if key not in self.fits:
                raise UserError(f"{said}: {type(self).__name__} has nothing that it would change; leave it out")
        if self.objective.changed:
            self.objective.check(self.small_model(), heldout)

    def small_model(self) -> Any:
        """Make a reward model of one observation and one action, to see its numbers; of methods with `fits`."""
        raise NotImplementedError

    def shown_task(self, env: gym.Env, factor_names: tuple[str, ...]) -> gym.Env:
        """Return what its agent acts in, made of the task: a wrapper where the policy sees more; before `begin`."""
        return env

    def for_task(self, parameters: dict[str, Any], obs_size: int) -> dict[str, Any]:
        """Return the parameters of the run's agent as one has them that sees the task alone; without a run."""
        return parameters

    def begin(self, run: Run) -> None:
        """Begin with a run, once, before anything happens; an extension calls this first."""
        self._settings = attributes_without_state(self)  # what the YAML says is no state
        self.run = run

    def prepare(self) -> bool:
        """Waits for what people say before an agent starts, beside the viewer; False: the run was told to stop."""
        return True

    def observe(self, finished: Sequence[Episode]) -> None:
        """Hear of episodes that the agent has just ended."""

    def due(self) -> int | None:
        """Return the step (environment steps, or updates where there is no agent) at which `step` is wanted.

        None: each round. A step that is over and still due is asked for again after the next round.
        """
        return None

    def step(self) -> Metrics:
        """Ask, learn and adopt what was learned; return what was measured, under names such as reward/loss."""
        return {}

    def reward(self) -> RewardSource | None:
        """Return what drives the agent now; None: what `given` passes on of the environment's own."""
        return None

    def given(self, reward: float, factors: Mapping[str, float]) -> float:
        """Return what the environment gives the agent at a step: nothing, but where the method is a yardstick."""
        return 0.0

    def rows(self, buffer: Any, n: int) -> np.ndarray | None:
        """Return n rows of a `LearnedRewardBuffer` for a batch; None: drawn uniformly."""
        return None

    @property
    def behaves(self) -> bool:
        """Return whether `behave` has a say in this run, once it has begun."""
        return type(self).behave is not Method.behave

    def behave(self, obs: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what is done in training for `actions` (n_envs, A) at `obs` (n_envs, O), and tags (n_envs, K)."""
        return actions, None

    def measure(self, reward: float, factors: Mapping[str, float]) -> Sequence[float]:
        """Return what of a step's outcome is stored with it, as its last tags: so many numbers as `measures` says."""
        raise NotImplementedError

    def policy(self, context: Any = None) -> Act:
        """Return what is evaluated; several policies where the method has several contexts."""
        return partial(self.run.agent.act, deterministic=True)

    def evaluated(self, context: Any, row: Mapping[str, Any]) -> None:
        """Hear what `policy(context)` reached just now, a row of evaluations.csv."""

    def learned_return(self, episode: Episode) -> float | None:
        """Return what the learned reward gave a whole episode; None: nothing is learned yet, or ever."""
        return None

    def recent_rewards(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return learned and true rewards (M,) of recent steps, to be drawn; None: no reward of steps is learned."""
        return None

    def why_nothing(self) -> str | None:
        """Say why nothing can be learned from the answers so far; None: something can, or there are none."""
        return self.run.desk.counts.why_nothing() if self.reads_labels else None

    @property
    def reward_trained(self) -> bool:
        """Return whether a reward that is not finite can have come from training."""
        return True

    def metrics(self) -> Metrics:
        """Return what stands at each row of progress.csv, besides what `step` returned."""
        return self.run.desk.metrics()

    def facts(self) -> dict[str, Any]:
        """Return what summary.json says of it."""
        return {}

    def save(self, folder: Path) -> None:
        """Writes what others use of it: policy.zip, and reward.safetensors where a reward was learned."""
        with replacing(folder / "policy.zip") as partial_file:
            self.run.agent.save(str(partial_file))
        save_weights(folder / REWARD_FILE, of_part(self.exported(self.state_dict()), "model"), self.about_reward())

    def about_reward(self) -> dict[str, str]:
        """Return what reward.safetensors says beside its weights."""
        return {}

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights in a `state_dict` that `exports` names: model.NAME, policy.NAME, ..."""
        found = {part: state.get(attribute) for part, attribute in self.exports.items()}
        return {f"{part}.{k}": v.contiguous() for part, weights in found.items() if weights for k, v in weights.items()}

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        """Return what these `exported` weights are of; without a run, on a method that has not begun."""
        return Learned()

    def personal(self, user: str) -> Learned:
        """Return what is learned for one user, a name or the folder of their label set; after `of_weights`."""
        raise UserError(f"user={user}: this run has one policy for everybody; method=vpl learns one for each user")

    def along(self, weights: Sequence[float]) -> tuple[Mapping[str, Tensor], str]:
        """Return the actor's weights for these weights of objectives, and what it is in words; after `of_weights`."""
        raise UserError(ONE_POLICY)

    def shown(self, most: int) -> list[int]:
        """Return the numbers of policies that people choose from; after `of_weights`."""
        raise UserError(ONE_POLICY)

    def policy_of(self, number: int) -> tuple[Mapping[str, Tensor], str]:
        """Return the weights of an actor, and what it is in words."""
        raise UserError(ONE_POLICY)

    def begin_with(self, updates: int, scale: float) -> None:
        """Begin with the weights of another run in `model`, of so many updates, which drove an agent at `scale`."""

    def state_dict(self) -> dict[str, Any]:
        return found_state(self, self._settings)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        restore_state(self, state, self._settings)


def of_part(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the weights of model, policy, ..., under the names that the network has for them."""
    return {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}


def save_weights(file: Path, weights: Mapping[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write the weights to a file; nothing where there are none."""
    from safetensors.torch import save_file

    if weights:
        with replacing(file) as partial_file:
            save_file(dict(weights), str(partial_file), metadata=about)
