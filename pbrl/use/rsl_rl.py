"""A vectorised environment of rsl_rl whose reward is a learned one, on the environment's own device.

The contract is that of `rsl_rl.env.VecEnv`, which mjlab, Isaac Lab and MuJoCo Playground follow: `step(actions)` gives
observations in groups, rewards (n,), dones (n,) and extras with `time_outs` (n,). Nothing here imports rsl_rl.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.data.cut import cut_segments, split_episodes
from pbrl.data.datasets import Dataset, load_dataset, write_dataset
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.errors import UserError
from pbrl.use.load import reward_of
from pbrl.use.reward import Reward

TensorReward = Callable[[Tensor, Tensor], Tensor]
SHARES = (0.8, 0.1, 0.1)  # of episodes in the splits of a data set


class RslRlRewardWrapper:
    """Gives learned rewards (n,) at each step; the environment's own are in `extras["true_reward"]`.

    All else is the environment's, so a runner takes this in its place. `extras["log"]` has the means of both rewards.

    Args:
        env: of rsl_rl's `VecEnv` contract.
        reward: of `pbrl.load_reward`, a `Run` or the folder of one, or a function of obs (n, O) and actions (n, A) in
            the environment's units to (n,), on its device. None: the environment's own, to record what it does.
        group: of observations, which the reward reads; None where observations are one tensor.
        record: remember so many of the last steps, of all environments, for `save`; 0: none.
        state: what a moment is drawn from later, (n, D) of the environment, as its qpos and qvel; None: nothing is.

    UserError where the reward was learned from observations or actions of other sizes.
    """

    def __init__(
        self,
        env: Any,
        reward: Reward | str | PathLike[str] | TensorReward | None,
        group: str | None = "policy",
        record: int = 0,
        state: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self.env, self.group, self.state = env, group, state
        self._seen: Tensor | None = None  # (n, O) that the next action is an answer to
        self._reward = None if reward is None else _on_device(reward, self._read(env.get_observations()), env)
        self._steps: deque[dict[str, Tensor]] = deque(maxlen=max(record // env.num_envs, 1) if record else 0)

    def __getattr__(self, name: str) -> Any:
        if name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def episode_length_buf(self) -> Tensor:
        """Return the steps (n,) of the episodes so far; runners write it."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: Tensor) -> None:
        self.env.episode_length_buf = value

    def get_observations(self) -> Any:
        """Return the environment's observations, by which, noise included, the next step is rewarded."""
        obs = self.env.get_observations()
        self._seen = self._read(obs).clone()
        return obs

    def reset(self, *args: Any, **options: Any) -> Any:
        """Reset the environment, where it has a reset."""
        self._seen = None
        return self.env.reset(*args, **options)

    def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, dict[str, Any]]:
        """Step the environment, with the reward of acting so at the observations before the step."""
        before = self._seen if self._seen is not None else self._read(self.get_observations()).clone()
        acted = actions.clone()
        state = self.state(self.env).clone() if self.state is not None else None
        obs, true_reward, dones, extras = self.env.step(actions)
        self._seen = self._read(obs).clone()  # environments write into their buffers
        with torch.no_grad():
            learned = true_reward if self._reward is None else self._reward(before, acted).to(true_reward)
        if self._steps.maxlen:
            self._remember(before, acted, true_reward, dones, extras, state)
        log = {**extras.get("log", {}), "/reward/learned": learned.mean(), "/reward/true": true_reward.mean()}
        return obs, learned, dones, {**extras, "true_reward": true_reward, "log": log}

    def save(
        self,
        out: str | Path,
        *,
        name: str,
        segment_length: int,
        segments: int = 2000,
        limit: float = 1.0,
        seed: int = 0,
    ) -> Dataset:
        """Write the remembered steps as the new data set `out`, whose segments people can compare; return it.

        name: of the environment. limit: actions from -limit to limit become -1 to 1, what is beyond counts as an end.
        segments: at most so many of segment_length steps. UserError where nothing is remembered.
        """
        if not self._steps:
            raise UserError("nothing is recorded; give record=STEPS, and step the environment")
        episodes = self._episodes(limit)
        store = EpisodeStore(len(episodes))
        store.add(episodes)
        rng = np.random.default_rng(seed)
        source = np.zeros(len(episodes), np.int64)
        split = split_episodes(source, SHARES, rng)
        cut = cut_segments(store, split, segments, segment_length, rng)
        about = {"env_name": name, "env": None, "sources": ["rsl_rl"], "teacher": None, "seed": seed}
        write_dataset(
            Path(out),
            meta={**about, "command": "pbrl.RslRlRewardWrapper.save", "last_obs": False},
            episodes=episodes,
            source=source,
            segment_length=segment_length,
            ids=cut.segments.ids.numpy(),
            split=cut.split,
            scores={},
            comparisons={},
        )
        return load_dataset(Path(out))

    def _read(self, obs: Any) -> Tensor:
        """Return the observations (n, O) of the group that the reward reads."""
        if isinstance(obs, Tensor):
            return obs
        if self.group is None or self.group not in obs.keys():  # noqa: SIM118 - a TensorDict iterates over rows
            raise UserError(f"group={self.group!r}: the environment has the groups {', '.join(map(str, obs.keys()))}")
        group: Tensor = obs[self.group]
        return group

    def _remember(
        self,
        obs: Tensor,
        actions: Tensor,
        reward: Tensor,
        dones: Tensor,
        extras: Mapping[str, Any],
        state: Tensor | None,
    ) -> None:
        time_outs = extras.get("time_outs", torch.zeros_like(dones)).bool()
        step = {"obs": obs, "actions": actions, "reward": reward, "ends": dones.bool(), "time_outs": time_outs}
        self._steps.append(
            {k: v.detach().cpu() for k, v in (step | ({} if state is None else {"state": state})).items()}
        )

    def _episodes(self, limit: float) -> list[Episode]:
        """Return what each environment did between two ends; the observation after its last step is not known."""
        columns = {name: torch.stack([step[name] for step in self._steps], 1) for name in self._steps[0]}  # (n, T, ...)
        episodes = []
        for i in range(columns["obs"].shape[0]):
            ends = torch.nonzero(columns["ends"][i])[:, 0].tolist()
            last = columns["obs"].shape[1] - 1
            for first, end in zip([0, *(e + 1 for e in ends)], [*ends, last], strict=True):
                if first <= end:
                    episodes.append(_episode({k: v[i, first : end + 1] for k, v in columns.items()}, limit))
        return episodes


def _episode(steps: Mapping[str, Tensor], limit: float) -> Episode:
    obs, states = steps["obs"].float().numpy(), steps["state"].double().numpy() if "state" in steps else None
    return Episode(
        obs=np.concatenate([obs, obs[-1:]]),
        actions=(steps["actions"].float() / limit).clamp(-1, 1).numpy(),
        true_reward=steps["reward"].float().numpy(),
        terminated=bool(steps["ends"][-1] & ~steps["time_outs"][-1]),
        states=None if states is None else np.concatenate([states, states[-1:]]),
    )


def _on_device(given: Any, obs: Tensor, env: Any) -> TensorReward:
    if callable(given) and not isinstance(given, Reward):
        function: TensorReward = given
        return function
    reward = reward_of(given)
    sizes = (reward.observation_space.shape, reward.action_space.shape)
    if (found := ((obs.shape[1],), (env.num_actions,))) != sizes:
        raise UserError(f"the environment has observations {found[0]} and actions {found[1]}; the reward {sizes}")
    return reward.on(env.device)
