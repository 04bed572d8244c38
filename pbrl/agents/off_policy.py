"""SAC behind the `Agent` interface: it learns from whatever reward it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.sac.policies import Actor

from pbrl.agents import lean
from pbrl.agents.agent import Behave
from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.portable import save_portable
from pbrl.agents.sb3_base import SB3Agent, vec_env
from pbrl.agents.sb3_checks import activation_class, check_ent_coef, require_memory
from pbrl.checks import between, layers, whole
from pbrl.data.recorder import EpisodeRecorder, Given, Measure
from pbrl.errors import UserError
from pbrl.types import Episode, RewardSource

INSIDE = 1e-4  # how far from the bounds of the box an action is thought to be
BLOCK = 8192  # rows per forward pass of what is asked between updates


class SACAgent(SB3Agent):
    """Soft actor-critic (Haarnoja et al. 2018) on rewards that may be relabelled.

    Args:
        make_env: makes one task; called n_envs times.
        algorithm: SB3's SAC or a subclass.
        given: what the agent gets of the environment's reward and factors; None: the reward.
        steps: length of the whole run.
        buffer_size: steps that the replay buffer holds, of all environments together and as many of each; the newest
            replace the oldest. None for all of the run.
        learning_starts: steps with uniformly random actions and no updates.
        gradient_steps: updates per environment step.
        precision: of an algorithm that has a choice, as FastSAC: float32, bfloat16 or auto; null for SB3's own.
        backend: likewise: what makes the updates, torch, native or auto.
        callback: one of SB3's, see `SB3Agent`; with it, SB3's own loop runs, which is slower.
        ent_coef: weight of the entropy; "auto" learns it from 1 on, "auto_0.1" from 0.1.
        n_envs, hidden, activation, lr, batch_size, gamma, tau, target_update_interval: as in SB3.
    """

    kind = "sac"
    relabels = True
    model: SAC

    def __init__(
        self,
        make_env: Callable[[], gym.Env],
        *,
        algorithm: type[SAC],
        given: Given | None = None,
        steps: int,
        seed: int,
        device: str,
        n_envs: int,
        hidden: Sequence[int],
        activation: str,
        lr: float,
        batch_size: int,
        gamma: float,
        tau: float,
        ent_coef: str | float,
        learning_starts: int,
        gradient_steps: int,
        target_update_interval: int,
        precision: str | None,
        backend: str | None = None,
        buffer_size: int | None = None,
        callback: BaseCallback | None = None,
    ) -> None:
        counts: dict[str, Any] = {"n_envs": n_envs, "batch_size": batch_size, "gradient_steps": gradient_steps}
        counts |= {"target_update_interval": target_update_interval, "buffer_size": buffer_size}
        self.check(**counts, learning_starts=learning_starts, lr=lr, gamma=gamma, tau=tau, hidden=hidden)
        if algorithm is SAC and (gradient_steps * n_envs) % target_update_interval:
            raise UserError(
                f"target_update_interval={target_update_interval}: SB3's SAC counts anew at each step; valid are "
                "divisors of gradient_steps * n_envs, or agent=sac"
            )
        check_ent_coef(ent_coef)
        recorders = [EpisodeRecorder(make_env(), given) for _ in range(n_envs)]
        choice: dict[str, Any] = {k: v for k, v in (("precision", precision), ("backend", backend)) if v is not None}
        model = algorithm(
            "MlpPolicy",
            vec_env(recorders),
            learning_rate=lr,
            buffer_size=_rows(steps, recorders, buffer_size),
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=1,
            gradient_steps=gradient_steps * n_envs,
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            policy_kwargs={"net_arch": list(hidden), "activation_fn": activation_class(activation)},
            replay_buffer_class=LearnedRewardBuffer,
            seed=seed,
            device=device,
            **choice,
        )
        super().__init__(model, recorders, callback)
        self.gradient_steps = gradient_steps * n_envs
        self.buffer.last_episode = lambda env: self.recorders[env].finished[-1]

    @staticmethod
    def check(
        *, learning_starts: int, lr: float, gamma: float, tau: float, hidden: Sequence[int], **counts: Any
    ) -> None:
        """Raise ValueError for numbers that no run can use; what has no range is not looked at."""
        named = ("n_envs", "batch_size", "gradient_steps", "target_update_interval")
        whole(1, **{name: counts[name] for name in named})
        whole(0, learning_starts=learning_starts)
        if (buffer_size := counts.get("buffer_size")) is not None:
            whole(1, buffer_size=buffer_size)
        between(0, 1, lr=lr, gamma=gamma, tau=tau)
        layers(hidden=hidden)

    @property
    def buffer(self) -> LearnedRewardBuffer:
        buffer: Any = self.model.replay_buffer
        own: LearnedRewardBuffer = buffer
        return own

    def _learn(self, env_steps: int) -> None:
        if self.callback is None and lean.covers(self.model):
            lean.learn(self.model, self.recorders, env_steps)
        else:
            super()._learn(env_steps)

    def set_reward(self, source: RewardSource | None) -> None:
        super().set_reward(source)
        self.buffer.relabel()

    def set_rows(self, choose: Callable[[LearnedRewardBuffer, int], np.ndarray | None]) -> None:
        """Let `choose` say which stored rows a batch holds, see `Method.rows`."""
        self.buffer.choose = choose

    def set_behaviour(self, behave: Behave, tags: int) -> None:
        """Act in training by `behave(obs, actions)` of what the policy would do itself, see `Method.behave`.

        tags: K, how many numbers it notes at each step.
        """
        sample, buffer, model = self.model._sample_action, self.buffer, self.model
        if tags:
            buffer.make_tags(tags)

        def choose(*args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
            _, proposed = sample(*args, **kwargs)
            obs: Any = model._last_obs
            actions, noted = behave(obs, proposed)
            actions = np.clip(actions, -1, 1).astype(np.float32)
            if buffer.tags is not None:
                buffer.next_tags = np.zeros(buffer.tags.shape[1:], np.float32)
                buffer.next_tags[:, :tags] = 0 if noted is None else noted
                for recorder, own in zip(self.recorders, buffer.next_tags, strict=True):
                    recorder.next_tags = own
            return model.policy.unscale_action(actions), actions

        model._sample_action = choose  # type: ignore[method-assign]

    def set_measures(self, measure: Measure, count: int) -> None:
        """Store `count` numbers of what came of each step, behind the tags of `set_behaviour`."""
        tags = self.buffer.tags
        self.buffer.make_tags(count + (0 if tags is None else tags.shape[2]))
        for recorder in self.recorders:
            recorder.measure = measure

    def remember(self, episode: Episode) -> None:
        """Stores an episode that somebody else acted in, with its tags, as if it were its own; of one environment."""
        buffer = self.buffer
        if buffer.n_envs != 1:
            raise ValueError(f"n_envs={buffer.n_envs}: expected 1, as an episode is a row of steps")
        for t in range(len(episode)):
            done = np.array([t == len(episode) - 1])
            if episode.tags is not None:
                buffer.next_tags = episode.tags[t][None]
            step = episode.obs[t][None], episode.obs[t + 1][None], episode.actions[t][None]
            buffer.put(*step, np.zeros(1, np.float32), done & episode.terminated, done)

    def require_whole_episodes(self, steps: int | None, at_end: bool = False) -> None:
        """Raise UserError where learning starts, or rows are forgotten, before an episode of so many steps is over."""
        starts, kept = self.model.learning_starts, self.buffer.buffer_size * self.n_envs
        needed = None if steps is None else steps * self.n_envs
        if needed is not None and starts < needed:
            why = f"whole episodes are rewarded; expected at least the {needed} steps of the first"
            raise UserError(f"agent.learning_starts={starts}: {why}")
        if needed is not None and kept < needed:
            why = f"whole episodes are rewarded; expected at least the {needed} steps of one, or null"
            raise UserError(f"agent.buffer_size={kept}: {why}")

    @torch.no_grad()
    def gaussian(self, obs: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation (M, A) of what the policy squashes by tanh, at observations (M, O)."""
        mean, log_std, _ = self.model.actor.get_action_dist_params(torch.from_numpy(np.asarray(obs, np.float32)))
        return mean, log_std.exp()

    def reset_critic(self) -> None:
        """Start both critics, their targets and their optimiser afresh; actor and temperature stay (PEBBLE)."""
        model = self.model
        if hasattr(model, "reset_critic"):
            model.reset_critic()
            return
        fresh = model.policy.make_critic(features_extractor=None)
        for net in (model.critic, model.critic_target):
            net.load_state_dict(fresh.state_dict())
        model.critic.optimizer.state.clear()

    def update(self, gradient_steps: int) -> None:
        """Learns from the buffer without acting."""
        self.model.train(gradient_steps=gradient_steps, batch_size=self.model.batch_size)

    @torch.no_grad()
    def log_prob(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return log densities (M,) of actions (M, A), which are cut off 1e-4 inside the bounds of the box."""
        actor, inside = self.model.actor, np.clip(actions, -1 + INSIDE, 1 - INSIDE)
        blocks = zip(torch.from_numpy(obs).split(BLOCK), torch.from_numpy(inside).split(BLOCK), strict=True)
        return torch.cat([_density(actor, o).log_prob(a) for o, a in blocks]).numpy()

    @torch.no_grad()
    def values(self, obs: np.ndarray) -> np.ndarray:
        """Return the smaller of both critics' values (M,) of an action drawn by the policy at observations (M, O)."""
        model = self.model
        blocks = torch.from_numpy(obs).split(BLOCK)
        return torch.cat([torch.stack(model.critic(o, model.actor(o))).amin(0)[:, 0] for o in blocks]).numpy()

    def set_update_times(self, times: int) -> None:
        """Make `times` as many updates per environment step as it was made with; a checkpoint does not hold this."""
        self.model.gradient_steps = times * self.gradient_steps

    def save_for(self, path: str, task: gym.Env, parameters: dict[str, Any] | None = None) -> None:
        alone = {"gradient_steps": self.model.gradient_steps // self.n_envs}
        save_portable(self.model, path, task, algorithm=SAC, bounded=True, settings=alone, parameters=parameters)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any], fresh_episode: bool = False) -> None:
        self.buffer.load_state_dict(state["buffer"])
        if fresh_episode and self.buffer.rewards_whole_episodes:
            raise UserError("fresh_episode=true: whole episodes are rewarded here, so none can be left unfinished")
        if fresh_episode:
            self.buffer.running[:] = 0
        super().load_state_dict(state, fresh_episode)


def _rows(steps: int, recorders: Sequence[EpisodeRecorder], buffer_size: int | None) -> int:
    """Return the steps that the replay buffer holds of all environments, once it is sure that memory has room."""
    n, what = len(recorders), f"a replay buffer of all steps={steps}"
    rows = math.ceil(steps / n) * n
    if buffer_size is not None:
        rows, what = buffer_size, f"buffer_size={buffer_size}"
    if rows < n:
        raise UserError(f"{what}: expected at least {n}, a step of each environment, or null")
    require_memory(what, rows, recorders[0], "agent.buffer_size")
    return rows


def _density(actor: Actor, obs: torch.Tensor) -> Distribution:
    """Return the density of the policy's squashed actions at observations (M, O)."""
    mean, log_std, _ = actor.get_action_dist_params(obs)
    distribution: Any = actor.action_dist  # of states of noise, were there any
    return distribution.proba_distribution(mean, log_std)
