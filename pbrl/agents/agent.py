"""The contract of an agent, which acts and learns from whatever reward it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from pbrl.data.recorder import Measure
from pbrl.types import Episode, RewardSource

Behave = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, "np.ndarray | None"]]
"""(n_envs, O), (n_envs, A) what the policy would do -> (n_envs, A) what is done, and tags (n_envs, K) or None."""


class Agent(Protocol):
    """Acts in environments of its own; actions are in [-1, 1].

    kind: what `Method.agents` names it by.
    n_envs: environments that it acts in side by side.
    round_steps: environment steps from one chance to ask questions to the next, at least.
    relabels: whether a new reward is also that of steps it has stored.
    """

    kind: str
    n_envs: int
    round_steps: int
    relabels: bool

    @property
    def env_steps(self) -> int: ...  # so far

    @property
    def updates(self) -> int: ...  # gradient steps so far

    @property
    def episode_steps(self) -> list[int]: ...  # (n_envs,) so far in the episode that goes on in each environment

    @property
    def stored_obs(self) -> np.ndarray: ...  # (M, O) what it learns from now

    def learn(self, env_steps: int) -> list[Episode]: ...  # act and learn for at least so many; what ended meanwhile

    def act(self, obs: np.ndarray, deterministic: bool) -> np.ndarray: ...  # (M, O) -> (M, A)

    def set_reward(self, source: RewardSource | None) -> None: ...  # for all that is stored too; None: the given one

    def resume_reward(self, source: RewardSource | None) -> None: ...  # what is stored has its rewards already

    def set_behaviour(self, behave: Behave, tags: int) -> None: ...  # act otherwise in training, see `Method.behave`

    def set_measures(self, measure: Measure, count: int) -> None: ...  # after that: more tags, see `Method.measure`

    def set_rows(self, choose: Callable[[Any, int], np.ndarray | None]) -> None: ...  # see `Method.rows`

    def remember(self, episode: Episode) -> None: ...  # of others, to learn from as from its own; off-policy agents

    def call_between_episodes(self, call: Callable[[], None]) -> None: ...  # at each end, with the environment free

    def repeat_starts(self, starts: int) -> None: ...  # episodes begin in so many starts in turn, the same ones again

    @property
    def actor(self) -> Any: ...  # the torch module of its policy

    # Raises UserError where it cannot wait for so many steps. at_end: only the last step of an episode is rewarded.
    def require_whole_episodes(self, steps: int | None, at_end: bool = False) -> None: ...

    def gaussian(self, obs: np.ndarray) -> tuple[Tensor, Tensor]: ...  # mean and deviation (M, A) before a tanh; of SAC

    def reset_critic(self) -> None: ...  # values start afresh, the policy stays

    def update(self, gradient_steps: int) -> None: ...  # learn without acting

    def log_prob(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray: ...  # (M,) of what the policy would do

    def values(self, obs: np.ndarray) -> np.ndarray: ...  # (M,) min_k Q_k(s, a) of an action of the policy

    def set_update_times(self, times: int) -> None: ...  # as many times the updates per step that it was made with

    def metrics(self) -> dict[str, float]: ...  # train/* since the last call

    def save(self, path: str) -> None: ...

    def save_for(self, path: str, task: Any, parameters: dict[str, Any]) -> None: ...  # for a task that shows less

    def load_policy(self, path: str) -> None: ...

    def set_policy(self, parameters: dict[str, Any], variables: dict[str, Any]) -> None: ...  # as in `state_dict`

    def close(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
