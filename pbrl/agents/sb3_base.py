"""The base of the agents made of SB3's algorithms: environments, episodes, state and the file of the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from pbrl.agents.agent import Behave
from pbrl.agents.portable import load_portable
from pbrl.agents.random_state import global_random_state, set_global_random_state
from pbrl.data.episodes import Episode
from pbrl.data.recorder import EpisodeRecorder, Measure
from pbrl.errors import UserError
from pbrl.finite import AGENT, require_finite_metrics, require_finite_weights
from pbrl.types import RewardSource


class SB3Agent:
    """The base of SAC and PPO: environments, episodes, state and the file of the policy.

    callback: one of SB3's, called as in `BaseAlgorithm.learn`, which a run calls every hundred steps or so; what it
        keeps is not saved with the run. None: nobody listens.
    """

    kind: str
    relabels = False
    model: SAC | PPO

    def __init__(
        self, model: SAC | PPO, recorders: Sequence[EpisodeRecorder], callback: BaseCallback | None = None
    ) -> None:
        if callback is not None and not isinstance(callback, BaseCallback):
            raise UserError(f"callback={callback}: expected null or an SB3 callback, as {{_target_: mine.Callback}}")
        self.model, self.callback = model, callback
        self.stopped = False  # by the callback
        self.recorders = recorders
        self.n_envs = self.round_steps = len(recorders)
        self.model.set_logger(Logger(folder=None, output_formats=[]))  # the training loop alone writes logs

    @property
    def env_steps(self) -> int:
        return self.model.num_timesteps

    @property
    def updates(self) -> int:
        """The number of gradient steps so far."""
        return self.model._n_updates

    @property
    def episode_steps(self) -> list[int]:
        """The steps so far (n_envs,) in the episode that goes on in each environment."""
        return [recorder.steps for recorder in self.recorders]

    @property
    def buffer(self) -> Any:
        raise UserError(f"agent={self.kind} squashes no Gaussian; methods that move one drive sac")

    def learn(self, env_steps: int) -> list[Episode]:
        """Acts and learns for at least this many steps; returns the episodes that ended meanwhile.

        Fewer where the callback returns False, as in SB3; `stopped` is then true.
        """
        target = self.env_steps + env_steps
        try:
            self._learn(env_steps)
        except ValueError:  # torch's distributions refuse what a policy that is not finite gives
            require_finite_weights(self.model.get_parameters(), AGENT)
            raise
        require_finite_metrics(self._logged(), AGENT)
        self.stopped = self.env_steps < target
        return [episode for recorder in self.recorders for episode in recorder.take_finished()]

    def _learn(self, env_steps: int) -> None:
        """Train by SB3's own loop."""
        never: Any = None  # which SB3 allows and its annotation does not
        self.model.learn(env_steps, self.callback, log_interval=never, reset_num_timesteps=False)

    def act(self, obs: np.ndarray, deterministic: bool) -> np.ndarray:
        """Return actions (M, A) in [-1, 1] for observations (M, O)."""
        return self.model.predict(obs, deterministic=deterministic)[0]

    def set_reward(self, source: RewardSource | None) -> None:
        """Use the source's rewards from now on and for everything stored; None: what the environment gives."""
        self.buffer.source = source

    def resume_reward(self, source: RewardSource | None) -> None:
        """Do what `set_reward` does, for a buffer that came from a checkpoint with its rewards."""
        self.buffer.source = source

    @property
    def stored_obs(self) -> np.ndarray:
        """The observations (M, O) that it learns from now."""
        return self.buffer.stored_obs

    def set_behaviour(self, behave: Behave, tags: int) -> None:
        raise UserError(f"agent={self.kind} learns from what its own policy does; methods that act otherwise drive sac")

    def set_measures(self, measure: Measure, count: int) -> None:
        raise UserError(f"agent={self.kind} stores no steps to note anything with; methods that measure drive sac")

    def set_rows(self, choose: Callable[[Any, int], np.ndarray | None]) -> None:
        raise UserError(f"agent={self.kind} stores no steps to choose from; methods that choose them drive sac")

    def call_between_episodes(self, call: Callable[[], None]) -> None:
        """Call `call` whenever an episode is over, of an agent with one environment, which nobody uses meanwhile."""
        self.recorders[0].between_episodes = call

    def repeat_starts(self, starts: int) -> None:
        """Begin the episodes of each environment in so many starts of its own in turn; called before the first one."""
        for recorder in self.recorders:
            recorder.starts = starts

    @property
    def actor(self) -> Any:
        """The network of the policy: observations (M, O) and `deterministic` to actions (M, A)."""
        return getattr(self.model, "actor", self.model.policy)

    def require_whole_episodes(self, steps: int | None, at_end: bool = False) -> None:
        """Raise UserError where updates may come before an episode of so many steps is over.

        steps: None: nobody knows how many. at_end: only its last step is rewarded, so that nothing is refused.
        """
        if at_end:
            return
        if steps is None:
            raise UserError(f"agent={self.kind} would learn before an episode is over, as nobody knows how long one is")
        if (each := self.model.n_steps) % steps:
            why = "all steps of an episode are rewarded once it is over"
            raise UserError(f"agent.n_steps={each}: {why}; expected a multiple of its {steps} steps")

    def gaussian(self, obs: np.ndarray) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def reset_critic(self) -> None:
        raise UserError(f"agent={self.kind}: its values follow a new reward anyway; set method.reset_critic=false")

    def update(self, gradient_steps: int) -> None:
        raise UserError(f"agent={self.kind} learns while it acts alone; set method.critic_updates=0")

    def log_prob(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        raise UserError(f"agent={self.kind} does not say how likely actions are; methods that ask for it drive sac")

    def values(self, obs: np.ndarray) -> np.ndarray:
        raise UserError(f"agent={self.kind} has no Q function; methods that watch one drive sac")

    def set_update_times(self, times: int) -> None:
        raise UserError(f"agent={self.kind} updates once per rollout; methods that change how often drive sac")

    def metrics(self) -> dict[str, float]:
        """SB3's own `train/*` figures since the last call."""
        values = self._logged()
        self.model.logger.name_to_value.clear()
        return values

    def _logged(self) -> dict[str, float]:
        logged = self.model.logger.name_to_value.items()
        return {k: float(v) for k, v in logged if isinstance(v, (int, float, np.number))}

    def save(self, path: str) -> None:
        """Write a zip that SB3's `load` opens where there is no pbrl, in the units of the task; see `portable`."""
        self.save_for(path, self.recorders[0])

    def save_for(self, path: str, task: gym.Env, parameters: dict[str, Any] | None = None) -> None:
        """Write the same for another task, as one that shows less than its own. parameters: in place of its own."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of the environments; the agent still acts, and is saved as before."""
        assert self.model.env is not None
        self.model.env.close()

    def load_policy(self, path: str) -> None:
        """Read weights from a zip, without unpickling anything in it."""
        self.set_policy(*load_portable(path, self.model.device))

    def set_policy(self, parameters: dict[str, Any], variables: dict[str, Any]) -> None:
        """Take over weights and optimisers, and the tensors that SB3 saves beside them, as in `state_dict`."""
        self.model.set_parameters(parameters, exact_match=True, device=self.model.device)
        for name, value in variables.items():
            getattr(self.model, name).data.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides the future: weights, optimisers, counters, environments, random states."""
        model = self.model
        return {
            "parameters": model.get_parameters(),
            "variables": {k: getattr(model, k).data for k in _variables(model)},
            "counters": {k: getattr(model, k) for k in ("num_timesteps", "_n_updates", "_episode_num")},
            "started": model._last_obs is not None,
            "recorders": [r.state_dict() for r in self.recorders],
            "action_space": model.action_space.np_random.bit_generator.state,
            "random": global_random_state(),
        }

    def load_state_dict(self, state: dict[str, Any], fresh_episode: bool = False) -> None:
        """Take over a state. fresh_episode: begin new episodes instead of playing the unfinished ones again."""
        model = self.model
        self.set_policy(state["parameters"], state["variables"])
        for name, value in state["counters"].items():
            setattr(model, name, value)
        if state["started"]:
            self._restore_environments(state["recorders"], fresh_episode)
        model.action_space.np_random.bit_generator.state = state["action_space"]
        set_global_random_state(state["random"])

    def _restore_environments(self, states: list[dict[str, Any]], fresh: bool) -> None:
        both = list(zip(self.recorders, states, strict=True))
        if fresh:
            obs = np.stack([r.begin(int(s["seed"]), int(s["episode"]) + 1) for r, s in both])
        else:
            obs = np.stack([r.load_state_dict(s) for r, s in both])
        env: Any = self.model.env  # DummyVecEnv; what follows is private to it
        env.reset_infos = [{} for _ in self.recorders]
        env._reset_seeds()  # the recorders have theirs already
        for i, row in enumerate(obs):
            env._save_obs(i, row)
        self.model._last_obs = env._obs_from_buf()
        self.model._last_episode_starts = np.array([fresh or len(s["actions"]) == 0 for s in states])


def vec_env(recorders: Sequence[EpisodeRecorder]) -> DummyVecEnv:
    if len(recorders[0].observation_space.shape or ()) != 1:
        raise UserError("the environment shows images, and agents that learn online read vectors")

    def given(env: gym.Env) -> Callable[[], gym.Env]:
        return lambda: env

    return DummyVecEnv([given(r) for r in recorders])


def _variables(model: BaseAlgorithm) -> list[str]:
    """Return the names of tensors that SB3 saves but `get_parameters` leaves out: SAC's temperature."""
    return model._get_torch_save_params()[1]
