"""PPO behind the `Agent` interface, as PrefPPO drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from pbrl.agents.normalise import NormalisedObservations
from pbrl.agents.portable import save_portable
from pbrl.agents.rollout_buffer import LearnedRewardRollout
from pbrl.agents.sb3_base import SB3Agent, vec_env
from pbrl.agents.sb3_checks import activation_class, check_fixed_ent_coef, require_memory
from pbrl.checks import between, layers, whole
from pbrl.data.recorder import EpisodeRecorder, Given
from pbrl.types import Episode


class PPOAgent(SB3Agent):
    """PPO (Schulman et al. 2017) with the settings of PrefPPO; rewards are computed once per rollout.

    Observations are normalised inside the network, with statistics that move only between rollouts: what is stored
    stays raw, so labels and reward model never depend on the statistics of the day.

    Args:
        clip_range: at the first step; falls linearly to 0 at step `steps` if `anneal_clip`.
        given, callback: as for SAC.
        others: as in SB3.
    """

    kind = "ppo"
    model: PPO

    def __init__(
        self,
        make_env: Callable[[], gym.Env],
        *,
        given: Given | None = None,
        steps: int,
        seed: int,
        device: str,
        n_envs: int,
        n_steps: int,
        hidden: Sequence[int],
        activation: str,
        lr: float,
        batch_size: int,
        n_epochs: int,
        gamma: float,
        gae_lambda: float,
        clip_range: float,
        anneal_clip: bool,
        ent_coef: float,
        vf_coef: float,
        max_grad_norm: float,
        use_sde: bool,
        sde_sample_freq: int,
        log_std_init: float,
        normalise_obs: bool,
        callback: BaseCallback | None = None,
    ) -> None:
        counts = {"n_envs": n_envs, "n_epochs": n_epochs, "batch_size": batch_size}
        self.check(**counts, n_steps=n_steps, lr=lr, gamma=gamma, gae_lambda=gae_lambda, hidden=hidden)
        check_fixed_ent_coef(ent_coef)
        recorders = [EpisodeRecorder(make_env(), given) for _ in range(n_envs)]
        require_memory(f"n_steps={n_steps} of {n_envs} environments", n_steps * n_envs, recorders[0], None)
        model = PPO(
            "MlpPolicy",
            vec_env(recorders),
            learning_rate=lr,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            policy_kwargs=_policy(hidden, activation, log_std_init, normalise_obs),
            rollout_buffer_class=LearnedRewardRollout,
            seed=seed,
            device=device,
        )
        super().__init__(model, recorders, callback)
        self.buffer.finished = lambda: [recorder.finished for recorder in recorders]
        self.round_steps = n_steps * n_envs
        self.clip_range, self.normalises = clip_range, normalise_obs
        if anneal_clip:
            # SB3's own progress restarts with each call of learn(); the run's does not.
            model.clip_range = lambda _: clip_range * max(0.0, 1 - model.num_timesteps / steps)

    @staticmethod
    def check(
        *, n_steps: int, lr: float, gamma: float, gae_lambda: float, hidden: Sequence[int], **counts: Any
    ) -> None:
        """Refuse numbers that are out of range; same contract as SAC's."""
        whole(1, **{name: counts[name] for name in ("n_envs", "n_epochs", "batch_size")})
        whole(2, n_steps=n_steps)
        between(0, 1, lr=lr, gamma=gamma, gae_lambda=gae_lambda)
        layers(hidden=hidden)

    @property
    def buffer(self) -> LearnedRewardRollout:
        buffer: Any = self.model.rollout_buffer
        own: LearnedRewardRollout = buffer
        return own

    def learn(self, env_steps: int) -> list[Episode]:
        """Learn one rollout after the other, so that the observation statistics move between them."""
        episodes: list[Episode] = []
        target = self.env_steps + env_steps
        while self.env_steps < target:
            episodes += super().learn(self.round_steps)
            if self.stopped:
                break
            if self.normalises:
                extractor: Any = self.model.policy.features_extractor
                extractor.observe(self.buffer.observations)
        return episodes

    def save_for(self, path: str, task: gym.Env, parameters: dict[str, Any] | None = None) -> None:
        alone = {"n_steps": self.model.n_steps * self.n_envs, "clip_range": self.clip_range}
        save_portable(self.model, path, task, algorithm=PPO, bounded=False, settings=alone, parameters=parameters)


def _policy(hidden: Sequence[int], activation: str, log_std_init: float, normalise_obs: bool) -> dict[str, Any]:
    """Return what SB3 makes the networks of policy and values from, which are alike."""
    net = list(hidden)
    extractor = {"features_extractor_class": NormalisedObservations} if normalise_obs else {}
    arch = {"net_arch": {"pi": net, "vf": net}, "activation_fn": activation_class(activation)}
    return arch | {"log_std_init": log_std_init} | extractor
