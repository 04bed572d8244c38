"""SB3 agents behind the `Agent` interface: whoever acts learns from whatever reward it is given.

One file, although long: SAC and PPO share their base and the functions below them that save and restore its state.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from pbrl.agents.agent import Behave
from pbrl.agents.buffers import LearnedRewardBuffer, LearnedRewardRollout
from pbrl.agents.normalise import NormalisedObservations
from pbrl.agents.portable import load_portable, save_portable
from pbrl.checks import between, layers, whole
from pbrl.data.episodes import Episode
from pbrl.data.recorder import EpisodeRecorder, Given
from pbrl.errors import UserError, choices
from pbrl.finite import AGENT, require_finite_metrics, require_finite_weights
from pbrl.memory import GIB, free_memory
from pbrl.types import RewardSource

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU, "elu": torch.nn.ELU}

OTHER_BYTES = 24  # at most, of a stored step besides its observation and action: rewards, ends, values


class SB3Agent:
    """What SAC and PPO share: environments, episodes, state and the file of the policy."""

    kind: str
    model: SAC | PPO

    def __init__(self, model: SAC | PPO, recorders: Sequence[EpisodeRecorder]) -> None:
        self.model = model
        self.recorders = recorders
        self.n_envs = self.round_steps = len(recorders)
        self.model.set_logger(Logger(folder=None, output_formats=[]))  # the training loop alone writes logs

    @property
    def env_steps(self) -> int:
        return self.model.num_timesteps

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return self.model._n_updates

    @property
    def buffer(self) -> Any:
        raise NotImplementedError

    def learn(self, env_steps: int) -> list[Episode]:
        """Acts and learns for at least this many steps; returns the episodes that ended meanwhile."""
        never: Any = None  # which SB3 allows and its annotation does not
        try:
            self.model.learn(env_steps, log_interval=never, reset_num_timesteps=False)
        except ValueError:  # torch's distributions refuse what a policy that is not finite gives
            require_finite_weights(self.model.get_parameters(), AGENT)
            raise
        require_finite_metrics(self._logged(), AGENT)
        return [episode for recorder in self.recorders for episode in recorder.take_finished()]

    def act(self, obs: np.ndarray, deterministic: bool) -> np.ndarray:
        """Actions (M, A) in [-1, 1] for observations (M, O)."""
        return self.model.predict(obs, deterministic=deterministic)[0]

    def set_reward(self, source: RewardSource | None) -> None:
        """From now on, and for everything stored, rewards are the source's; None: what the environment gives."""
        self.buffer.source = source

    def resume_reward(self, source: RewardSource | None) -> None:
        """As `set_reward`, for a buffer that came from a checkpoint with its rewards."""
        self.buffer.source = source

    @property
    def stored_obs(self) -> np.ndarray:
        """(M, O) the observations it learns from now."""
        return self.buffer.stored_obs

    def set_behaviour(self, behave: Behave, tags: int) -> None:
        raise UserError(f"agent={self.kind} learns from what its own policy does; methods that act otherwise drive sac")

    def set_rows(self, choose: Callable[[Any, int], np.ndarray | None]) -> None:
        raise UserError(f"agent={self.kind} stores no steps to choose from; methods that choose them drive sac")

    def between_episodes(self, call: Callable[[], None]) -> None:
        """`call` is called when an episode is over, of an agent with one environment, which nobody uses meanwhile."""
        self.recorders[0].between_episodes = call

    def require_whole_episodes(self, steps: int | None) -> None:
        raise UserError(f"agent={self.kind} learns before an episode is over; methods that reward whole ones drive sac")

    def reset_critic(self) -> None:
        raise UserError(f"agent={self.kind}: its values follow a new reward anyway; set method.reset_critic=false")

    def update(self, gradient_steps: int) -> None:
        raise UserError(f"agent={self.kind} learns while it acts alone; set method.critic_updates=0")

    def metrics(self) -> dict[str, float]:
        """SB3's own `train/*` figures since the last call."""
        values = self._logged()
        self.model.logger.name_to_value.clear()
        return values

    def _logged(self) -> dict[str, float]:
        logged = self.model.logger.name_to_value.items()
        return {k: float(v) for k, v in logged if isinstance(v, (int, float, np.number))}

    def save(self, path: str) -> None:
        """A zip that SB3's `load` opens where there is no pbrl, in the units of the task; see `portable`."""
        save_portable(self.model, path, self.recorders[0])

    def close(self) -> None:
        """Lets go of the environments; the agent still acts, and is saved as before."""
        assert self.model.env is not None
        self.model.env.close()

    def load_policy(self, path: str) -> None:
        """Weights from a zip, without unpickling anything in it."""
        self.set_policy(*load_portable(path, self.model.device))

    def set_policy(self, parameters: dict[str, Any], variables: dict[str, Any]) -> None:
        """Weights and optimisers, and the tensors that SB3 saves beside them, as in `state_dict`."""
        self.model.set_parameters(parameters, exact_match=True, device=self.model.device)
        for name, value in variables.items():
            getattr(self.model, name).data.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the future: weights, optimisers, counters, environments, random states."""
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
        """fresh_episode: begin the next episode in each environment instead of playing the unfinished one again."""
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
        ent_coef: weight of the entropy; "auto" learns it from 1 on, "auto_0.1" from 0.1.
        n_envs, hidden, activation, lr, batch_size, gamma, tau, target_update_interval: as in SB3.
    """

    kind = "sac"
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
    ) -> None:
        counts: dict[str, Any] = {"n_envs": n_envs, "batch_size": batch_size, "gradient_steps": gradient_steps}
        counts |= {"target_update_interval": target_update_interval, "buffer_size": buffer_size}
        self.check(**counts, learning_starts=learning_starts, lr=lr, gamma=gamma, tau=tau, hidden=hidden)
        if algorithm is SAC and (gradient_steps * n_envs) % target_update_interval:
            raise UserError(
                f"target_update_interval={target_update_interval}: SB3's SAC counts anew at each step; valid are "
                "divisors of gradient_steps * n_envs, or agent=sac"
            )
        _check_ent_coef(ent_coef)
        asked = f"buffer_size={buffer_size}"
        if buffer_size is not None and buffer_size < n_envs:
            raise UserError(f"{asked}: expected at least {n_envs}, a step of each environment, or null")
        recorders = [EpisodeRecorder(make_env(), given) for _ in range(n_envs)]
        rows = math.ceil(steps / n_envs) * n_envs if buffer_size is None else buffer_size
        what = f"a replay buffer of all steps={steps}" if buffer_size is None else asked
        _require_memory(what, rows, recorders[0], "agent.buffer_size")
        choice: dict[str, Any] = {k: v for k, v in (("precision", precision), ("backend", backend)) if v is not None}
        model = algorithm(
            "MlpPolicy",
            _vec_env(recorders),
            learning_rate=lr,
            buffer_size=rows,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=1,
            gradient_steps=gradient_steps * n_envs,
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            policy_kwargs={"net_arch": list(hidden), "activation_fn": _activation(activation)},
            replay_buffer_class=LearnedRewardBuffer,
            seed=seed,
            device=device,
            **choice,
        )
        super().__init__(model, recorders)
        self.buffer.last_episode = lambda env: self.recorders[env].finished[-1]

    @staticmethod
    def check(
        *, learning_starts: int, lr: float, gamma: float, tau: float, hidden: Sequence[int], **counts: Any
    ) -> None:
        """ValueError for numbers that no run can use; what has no range is not looked at."""
        named = ("n_envs", "batch_size", "gradient_steps", "target_update_interval")
        whole(1, **{name: counts[name] for name in named})
        whole(0, learning_starts=learning_starts)
        if (buffer_size := counts.get("buffer_size")) is not None:
            whole(1, buffer_size=buffer_size)
        between(0, 1, lr=lr, gamma=gamma, tau=tau)
        layers(hidden=hidden)

    @property
    def buffer(self) -> LearnedRewardBuffer:
        assert isinstance(self.model.replay_buffer, LearnedRewardBuffer)
        return self.model.replay_buffer

    def set_reward(self, source: RewardSource | None) -> None:
        super().set_reward(source)
        self.buffer.relabel()

    def set_rows(self, choose: Callable[[LearnedRewardBuffer, int], np.ndarray | None]) -> None:
        """Which stored rows a batch holds, see `Method.rows`."""
        self.buffer.choose = choose

    def set_behaviour(self, behave: Behave, tags: int) -> None:
        """What is done in training is `behave(obs, actions)` of what the policy would do, see `Method.behave`.

        tags: K, how many numbers it notes at each step.
        """
        sample, buffer, model = self.model._sample_action, self.buffer, self.model
        if tags:
            buffer.tags = np.zeros((buffer.buffer_size, buffer.n_envs, tags), np.float32)

        def choose(*args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
            _, proposed = sample(*args, **kwargs)
            obs: Any = model._last_obs
            actions, noted = behave(obs, proposed)
            actions = np.clip(actions, -1, 1).astype(np.float32)
            if tags:
                buffer.next_tags = np.zeros((buffer.n_envs, tags), np.float32)
                buffer.next_tags[:] = 0 if noted is None else noted
                for recorder, own in zip(self.recorders, buffer.next_tags, strict=True):
                    recorder.next_tags = own
            return model.policy.unscale_action(actions), actions

        model._sample_action = choose  # type: ignore[method-assign]

    def require_whole_episodes(self, steps: int | None) -> None:
        """UserError where learning starts, or what is kept is forgotten, before an episode of so many steps is over."""
        starts, kept = self.model.learning_starts, self.buffer.buffer_size * self.n_envs
        needed = None if steps is None else steps * self.n_envs
        if needed is not None and starts < needed:
            why = f"whole episodes are rewarded; expected at least the {needed} steps of the first"
            raise UserError(f"agent.learning_starts={starts}: {why}")
        if needed is not None and kept < needed:
            why = f"whole episodes are rewarded; expected at least the {needed} steps of one, or null"
            raise UserError(f"agent.buffer_size={kept}: {why}")

    def reset_critic(self) -> None:
        """Both critics, their targets and their optimiser start afresh; actor and temperature stay (PEBBLE)."""
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

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any], fresh_episode: bool = False) -> None:
        self.buffer.load_state_dict(state["buffer"])
        if fresh_episode and self.buffer.rewards_whole_episodes:
            raise UserError("fresh_episode=true: whole episodes are rewarded here, so none can be left unfinished")
        if fresh_episode:
            self.buffer.running[:] = 0
        super().load_state_dict(state, fresh_episode)


class PPOAgent(SB3Agent):
    """PPO (Schulman et al. 2017) with the settings of PrefPPO; rewards are computed once per rollout.

    Observations are normalised inside the network, with statistics that move only between rollouts: what is stored
    stays raw, so labels and reward model never depend on the statistics of the day.

    Args:
        clip_range: at the first step; falls linearly to 0 at step `steps` if `anneal_clip`.
        given: as for SAC.
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
    ) -> None:
        counts = {"n_envs": n_envs, "n_epochs": n_epochs, "batch_size": batch_size}
        self.check(**counts, n_steps=n_steps, lr=lr, gamma=gamma, gae_lambda=gae_lambda, hidden=hidden)
        if isinstance(ent_coef, (str, bool)) or not 0 <= ent_coef < math.inf:
            raise UserError(f"ent_coef={ent_coef}: expected a number >= 0")
        recorders = [EpisodeRecorder(make_env(), given) for _ in range(n_envs)]
        _require_memory(f"n_steps={n_steps} of {n_envs} environments", n_steps * n_envs, recorders[0], None)
        extractor = {"features_extractor_class": NormalisedObservations} if normalise_obs else {}
        net = list(hidden)
        model = PPO(
            "MlpPolicy",
            _vec_env(recorders),
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
            policy_kwargs={
                "net_arch": {"pi": net, "vf": net},
                "activation_fn": _activation(activation),
                "log_std_init": log_std_init,
                **extractor,
            },
            rollout_buffer_class=LearnedRewardRollout,
            seed=seed,
            device=device,
        )
        super().__init__(model, recorders)
        self.round_steps = n_steps * n_envs
        self.clip_range = clip_range
        if anneal_clip:
            # SB3's own progress restarts with each call of learn(); the run's does not.
            model.clip_range = lambda _: clip_range * max(0.0, 1 - model.num_timesteps / steps)

    @staticmethod
    def check(
        *, n_steps: int, lr: float, gamma: float, gae_lambda: float, hidden: Sequence[int], **counts: Any
    ) -> None:
        """As for SAC."""
        whole(1, **{name: counts[name] for name in ("n_envs", "n_epochs", "batch_size")})
        whole(2, n_steps=n_steps)
        between(0, 1, lr=lr, gamma=gamma, gae_lambda=gae_lambda)
        layers(hidden=hidden)

    @property
    def buffer(self) -> LearnedRewardRollout:
        assert isinstance(self.model.rollout_buffer, LearnedRewardRollout)
        return self.model.rollout_buffer

    def learn(self, env_steps: int) -> list[Episode]:
        """One rollout after the other, so that the observation statistics move between them."""
        episodes: list[Episode] = []
        target = self.env_steps + env_steps
        while self.env_steps < target:
            episodes += super().learn(1)
            extractor = self.model.policy.features_extractor
            if isinstance(extractor, NormalisedObservations):
                extractor.observe(self.buffer.observations)
        return episodes

    def save(self, path: str) -> None:
        save_portable(self.model, path, self.recorders[0], clip_range=self.clip_range)


def _vec_env(recorders: Sequence[EpisodeRecorder]) -> DummyVecEnv:
    if len(recorders[0].observation_space.shape or ()) != 1:
        raise UserError("the environment shows images, and agents that learn online read vectors")

    def given(env: gym.Env) -> Callable[[], gym.Env]:
        return lambda: env

    return DummyVecEnv([given(r) for r in recorders])


def _require_memory(what: str, steps: int, env: gym.Env, key: str | None) -> None:
    """Refuses a buffer of so many steps before any of it is allocated. key: what sets its size directly."""
    obs, action = (math.prod(space.shape or ()) for space in (env.observation_space, env.action_space))
    step = 4 * (obs + action) + OTHER_BYTES
    if steps * step <= (free := free_memory()):
        return
    most = int(free * 0.8 / step)
    valid = f"set {key} to at most {most}" if key is not None else f"valid are {most} steps together"
    raise UserError(f"{what} would take {steps * step / GIB:,.1f} GiB, and {free / GIB:,.1f} GiB are free; {valid}")


def _variables(model: BaseAlgorithm) -> list[str]:
    """Tensors that SB3 saves but `get_parameters` leaves out: SAC's temperature."""
    return model._get_torch_save_params()[1]


def _check_ent_coef(given: str | float) -> None:
    """SB3 takes any word that begins with auto, and any number; what makes sense is less."""
    learned, text = str(given).startswith("auto"), str(given).removeprefix("auto_")
    try:
        number = 1.0 if given == "auto" else float(text)
    except ValueError:
        number = math.nan
    if isinstance(given, bool) or not 0 <= number < math.inf or (learned and number == 0):
        valid = "a number >= 0, auto, or auto_NUMBER with one > 0, such as auto_0.1"
        raise UserError(f"ent_coef={given}: expected {valid}")


def _activation(name: str) -> type[torch.nn.Module]:
    if name not in ACTIVATIONS:
        raise UserError(f"activation={name!r}: {choices(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def global_random_state() -> dict[str, Any]:
    state: Any = np.random.get_state()  # noqa: NPY002  because SB3 draws from the global streams
    kind, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }


def set_global_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
