"""Scores of segments: the return, and the negated regret by an expert's roll-outs or by an agent's critics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
import torch

from pbrl.collection.behaviour import noisy
from pbrl.collection.episodes import watched
from pbrl.data.cut import Cut
from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl_envs.experts import find_expert, time_limit

if TYPE_CHECKING:
    from stable_baselines3 import SAC

ACTION_SAMPLES = 64  # per state, as jhejna/cpl:scripts/add_pref_labels.py
STATES_AT_ONCE = 512  # times ACTION_SAMPLES rows go through the critics together
TANH_EPSILON = 1e-6  # as in SB3


def partial_return(cut: Cut) -> np.ndarray:
    """Return the sum of the true rewards of each segment (N,)."""
    return cut.segments.true_reward.double().sum(1).numpy()


def no_rollouts(env: gym.Env) -> str | None:
    """Return why `regret_mc` cannot be had in this environment, or None if it can."""
    if find_expert(env) is None:
        return "there is no expert of this environment"
    if not (env.has_wrapper_attr("has_state") and env.get_wrapper_attr("has_state")):
        return "the simulator's state cannot be restored"
    return None if time_limit(env) is not None else "its episodes have no time limit"


@dataclass(frozen=True)
class Rollouts:
    """The measure of a state's V: the mean return of roll-outs of the expert."""

    number: int = 1
    noise: float = 0.0  # standard deviation, on every action of the expert
    max_error: float | None = None  # standard error of a score, over the spread of all scores; above it is unknown


ONE_ROLLOUT = Rollouts()


def regret_mc(
    cut: Cut,
    episodes: Sequence[Episode],
    make_env: Callable[[], gym.Env],
    rollouts: Rollouts = ONE_ROLLOUT,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Return sum r + V(s_T) - V(s_0) (N,), V = mean return of the expert's roll-outs over the steps left.

    This is minus the regret that an expert finds in the segment: about 0 where the expert acted, and positive only
    where the expert is not optimal. After termination V is 0. The roll-outs start in the stored simulator states.
    rng: of the noise. NaN where the roll-outs from its ends disagree more than `rollouts.max_error`.
    """
    env = make_env()
    if reason := no_rollouts(env):
        raise UserError(f"labels=regret_mc needs expert roll-outs: {reason}")
    values = ExpertValue(env, rollouts.noise, rng)
    starts = [(int(k), int(t)) for k, t in zip(cut.episode, cut.start, strict=True)]
    steps = cut.segments.mask.sum(1).long().tolist()
    ends = [(k, t + n) for (k, t), n in zip(starts, steps, strict=True)]
    value = {}
    for k, t in watched(sorted({*starts, *ends}), "expert roll-outs"):
        episode = episodes[k]
        assert episode.states is not None  # as `has_state` says
        over = episode.terminated and t == len(episode)
        value[k, t] = [0.0 if over else values(episode.states[t], episode.obs[t], t) for _ in range(rollouts.number)]
    env.close()
    start, end = (np.array([value[node] for node in nodes]) for nodes in (starts, ends))  # (N, number)
    score = partial_return(cut) + end.mean(1) - start.mean(1)
    if rollouts.max_error is not None:
        error = np.sqrt((start.var(1, ddof=1) + end.var(1, ddof=1)) / rollouts.number)
        score[error > rollouts.max_error * score.std()] = np.nan
    return score


class ExpertValue:
    """The return of the expert from a stored state to the end of the episode.

    noise: standard deviation of Gaussian noise on its actions, drawn from `rng`.
    """

    def __init__(self, env: gym.Env, noise: float = 0.0, rng: np.random.Generator | None = None) -> None:
        expert, horizon = find_expert(env), time_limit(env)
        assert expert is not None
        assert horizon is not None
        self.env, self.expert, self.horizon = env, expert, horizon
        self.noise, self.rng = noise, rng or np.random.default_rng(0)
        self.load_state = env.get_wrapper_attr("load_state")
        self.taken = horizon  # steps since the last reset, as the environment's own counter has them

    def __call__(self, state: np.ndarray, obs: np.ndarray, step: int) -> float:
        """Return V. state: (D,) of the simulator at `step` of an episode, where obs (O,) was seen."""
        left = self.horizon - step
        if self.taken + left > self.horizon:  # else the counter would cut the roll-out short
            self.env.reset(seed=0)
            self.taken = 0
        self.load_state(state)
        self.taken += left
        total = 0.0
        for _ in range(left):
            action = self.expert.act(obs)
            obs, reward, terminated, _, _ = self.env.step(noisy(action, self.noise, self.rng) if self.noise else action)
            total += float(reward)
            if terminated:
                self.taken = self.horizon
                break
        return total


def likelihood(cut: Cut, act: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return minus the squared distance (N,) of actions to what an expert would do: its log-density in CPL.

    act: observations (M, O) -> actions (M, A).
    """
    scores = []
    for segments in (cut.segments[i : i + STATES_AT_ONCE] for i in range(0, len(cut.segments), STATES_AT_ONCE)):
        wanted = torch.from_numpy(act(segments.obs[:, :-1].flatten(0, 1).numpy())).view_as(segments.actions)
        error = (segments.actions - wanted).double().square().sum(-1)
        scores.append(-(error * segments.mask).sum(1))
    return torch.cat(scores).numpy()


def regret_critic(cut: Cut, model: SAC, rng: torch.Generator) -> np.ndarray:
    """Return sum gamma^t r_t + gamma^T V(s_T) - V(s_0) (N,) by the critics of a SAC agent, with its gamma.

    V(s) = E_a[min_k Q_k(s, a) - alpha log pi(a|s)] over 64 actions of the policy. After termination V is 0.
    """
    segments = cut.segments
    steps = segments.mask.sum(1).long()
    last = segments.obs[torch.arange(len(segments)), steps]
    start, end = (soft_value(model, obs, rng) for obs in (segments.obs[:, 0], last))
    end = torch.where(segments.terminated.sum(1) > 0, 0.0, end)
    discount = model.gamma ** torch.arange(segments.steps, dtype=torch.float64)
    gained = segments.true_reward.double() @ discount
    return (gained + model.gamma ** steps.double() * end - start).numpy()


def soft_value(model: SAC, obs: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return V of observations (N, O) as (N,) float64."""
    with torch.no_grad():
        return torch.cat([_soft_value(model, block, rng) for block in obs.float().split(STATES_AT_ONCE)])


def _soft_value(model: SAC, obs: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    obs = obs.repeat_interleave(ACTION_SAMPLES, 0)
    mean, log_std, _ = model.actor.get_action_dist_params(obs)
    noise = torch.randn(mean.shape, generator=rng)
    actions = torch.tanh(mean + log_std.exp() * noise)
    log_density = -log_std - 0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - (1 - actions**2 + TANH_EPSILON).log()
    q = torch.cat(model.critic(obs, actions), 1).min(1).values
    soft = q - temperature(model) * log_density.sum(1)
    return soft.double().reshape(-1, ACTION_SAMPLES).mean(1)


def temperature(model: SAC) -> float:
    """Return alpha, learned or fixed."""
    return float(model.ent_coef_tensor if model.log_ent_coef is None else model.log_ent_coef.detach().exp())
