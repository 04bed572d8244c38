"""SB3's replay buffer with rewards that are learned, never the environment's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from pbrl.agents.rewarding import rewards_of_episode, rewards_of_steps
from pbrl.append_only import AppendOnly, as_array
from pbrl.errors import UserError
from pbrl.types import Episode, RewardSource, Steps

NOT_LAST = -1


class LearnedRewardBuffer(ReplayBuffer):
    """A replay buffer whose rewards are those of a `RewardSource`; without one it keeps what the environment gives.

    Each observation is stored once: what follows row i is row i+1, but for the last step of an episode, whose next
    observation lies in `last_obs[last_index[i]]`, and for the newest row, whose next one is `newest`. The rewards of
    new steps are computed in one block, as soon as one of them is sampled.

    A source of "episode" rewards cannot be changed later: what was rewarded stays so.

    last_episode: the episode that ended last in an environment.
    choose: which rows a batch of so many steps holds; None where it has no opinion, and rows are drawn uniformly.
    tags: (size, n_envs, K) what the method noted at each step, where it notes anything.
    next_tags: (n_envs, K) of the step that is about to be added.
    """

    source: RewardSource | None = None
    last_episode: Callable[[int], Episode]
    choose: Callable[[LearnedRewardBuffer, int], np.ndarray | None] | None = None
    tags: np.ndarray | None = None
    next_tags: np.ndarray | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shape = (self.buffer_size, self.n_envs)
        del self.next_observations, self.dones, self.timeouts
        self.observations = np.zeros((*shape, *self.obs_shape), np.float32)
        self.terminated = np.zeros(shape, bool)
        self.last_index = np.full(shape, NOT_LAST, np.int32)
        self.last_obs = np.zeros((0, *self.obs_shape), np.float32)
        self.free: list[int] = []  # rows of last_obs that hold nothing
        self.newest = np.zeros((self.n_envs, *self.obs_shape), np.float32)
        self.added = 0  # rows that there ever were
        self.loaded = 0  # times that other rows were put in their place
        self.pending = 0  # newest rows whose reward is not computed yet
        self.running = np.zeros(self.n_envs, np.int64)  # steps of the unfinished episode in each environment

    def make_tags(self, count: int) -> None:
        """Make room for so many numbers with each step, before the first one."""
        self.tags = np.zeros((self.buffer_size, self.n_envs, count), np.float32)

    def __len__(self) -> int:
        return self.buffer_size if self.full else self.pos

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        cut_off = np.array([info.get("TimeLimit.truncated", False) for info in infos], bool)
        done = done.astype(bool)  # numbers in SB3's own signature
        self.put(obs, next_obs, action, reward, done & ~cut_off, done)

    def put(
        self,
        obs: np.ndarray,  # (n_envs, O)
        next_obs: np.ndarray,  # (n_envs, O) where an episode ended its last observation, not the first of the next
        action: np.ndarray,  # (n_envs, A)
        reward: np.ndarray,  # (n_envs,)
        terminated: np.ndarray,  # (n_envs,) by itself, not by a time limit
        done: np.ndarray,  # (n_envs,) one way or the other
    ) -> None:
        """Stores a step of each environment."""
        row = self.pos
        obs = obs.astype(np.float32, copy=False)
        if len(self):
            self._keep_last(row - 1, np.flatnonzero((self.newest != obs).any(axis=1)))
        if self.full:
            self._forget_last(row)
        self.observations[row], self.newest[:] = obs, next_obs
        self.actions[row] = action
        self.rewards[row], self.terminated[row] = reward, terminated
        if self.tags is not None:
            self.tags[row] = self.next_tags
        if self._when == "stored":
            self.pending = min(self.pending + 1, self.buffer_size)
        self._end_episodes(row, done)
        self.added += 1
        self.pos = (row + 1) % self.buffer_size
        self.full = self.full or self.pos == 0

    @property
    def settled(self) -> int:
        """The number of rows, from the oldest on, that may be sampled."""
        return len(self) - (int(self.running.max()) if self.rewards_whole_episodes else 0)

    @property
    def stored_obs(self) -> np.ndarray:
        """All stored observations (M, O), in no order that means anything."""
        return self.observations[: len(self)].reshape(-1, *self.obs_shape)

    def recent_rows(self, rows: int) -> np.ndarray:
        """Return the newest rows that may be sampled, the newest first; fewer where there are fewer."""
        unsettled = len(self) - self.settled
        return (self.pos - 1 - unsettled - np.arange(min(rows, self.settled))) % self.buffer_size

    def relabel(self) -> None:
        """Gives every stored transition the reward of a source of "stored" rewards."""
        if self._when != "stored" or len(self) == 0:
            return
        self.pending = 0
        self._label(slice(0, len(self)))

    def label_pending(self) -> None:
        """Computes the rewards of new steps that nothing has asked for yet."""
        if self.pending:
            newest = (self.pos - 1 - np.arange(self.pending)) % self.buffer_size
            self.pending = 0
            self._label(newest)

    def sample_arrays(self, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return obs (B, O), actions (B, A), next_obs (B, O), dones (B, 1) without time limits, rewards (B, 1)."""
        return self.transitions(self._draw(batch_size))

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Sample a batch; same contract as `ReplayBuffer.sample` of SB3."""
        return self._get_samples(self._draw(batch_size), env)

    def transitions(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what `sample_arrays` gives, of these rows; which environment's is drawn."""
        envs = self._draw_envs(len(rows))
        obs, actions, next_obs = self.observations[rows, envs], self.actions[rows, envs], self._next_obs(rows, envs)
        if self._when == "sampled":
            tags = None if self.tags is None else self.tags[rows, envs]
            rewards = self._rewards_of(obs, actions, next_obs, tags, self.rewards[rows, envs])
        else:
            self._label_drawn(rows)
            rewards = self.rewards[rows, envs]
        dones = self.terminated[rows, envs].astype(np.float32)
        return obs, actions, next_obs, dones[:, None], rewards[:, None]

    def draw_places(self, batch_size: int, batches: int = 1) -> dict[str, Any] | None:
        """Draws as `sample_arrays` does, for whoever gathers the steps elsewhere: `struct source` of native/sac.c.

        Several batches lie one after another. None where rewards are computed for each batch, or where actions are not
        float32.
        """
        if self._when == "sampled" or self.actions.dtype != np.float32:
            return None
        rows = self._draw_batches(batch_size, batches).astype(np.int64, copy=False)
        envs = self._draw_envs(len(rows)).astype(np.int64, copy=False)
        self._label_drawn(rows)
        names = ("actions", "rewards", "terminated", "last_index", "last_obs", "newest", "n_envs", "pos")
        arrays = {name: getattr(self, name) for name in names}
        return arrays | {"obs": self.observations, "size": self.buffer_size, "rows": rows, "envs": envs}

    @property
    def columns(self) -> dict[str, bool]:
        """Names of what has a row per step, and whether a row that is there may still change."""
        tags = {"tags": False} if self.tags is not None else {}
        return {"observations": False, "actions": False, "rewards": True, "terminated": True, "last_index": True} | tags

    def state_dict(self) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for name, changes in self.columns.items():
            array = getattr(self, name)[: len(self)]
            array = array.copy() if changes or self.full else array  # a full buffer writes over its oldest rows
            rows[name] = array if changes else AppendOnly(array, self.added - len(self), self.pos if self.full else 0)
        last = {"last_obs": self.last_obs.copy(), "free": np.array(self.free, np.int64), "newest": self.newest.copy()}
        counters = {"pending": self.pending, "pos": self.pos, "full": self.full, "running": self.running.copy()}
        return rows | last | counters | {"added": self.added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        rows, first = len(state["rewards"]), int(state["pos"]) if state["full"] else 0
        if rows > self.buffer_size:
            raise ValueError(f"a replay buffer of {self.buffer_size} rows for {rows}")
        self.last_index[:] = NOT_LAST  # also in rows that the state does not have
        order = np.arange(rows) if rows == self.buffer_size else (first + np.arange(rows)) % max(rows, 1)
        for name in self.columns:  # in a larger buffer than it was, from the oldest row on
            getattr(self, name)[:rows] = as_array(state[name])[order]
        self.last_obs, self.newest = state["last_obs"].copy(), state["newest"].copy()
        self.free = state["free"].tolist()
        self.pending, self.full = int(state["pending"]), rows == self.buffer_size
        self.pos = int(state["pos"]) if self.full else rows
        self.added = int(state.get("added", rows))
        self.loaded += 1
        self.running[:] = state["running"]

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        return ReplayBufferSamples(*map(self.to_torch, self.transitions(batch_inds)))

    def _draw_batches(self, batch_size: int, batches: int) -> np.ndarray:
        """Draw rows of uniform batches at once; a method that chooses rows is asked for each batch."""
        if self.choose is None:
            return self._draw(batch_size * batches)
        return np.concatenate([self._draw(batch_size) for _ in range(batches)])

    def _draw(self, batch_size: int) -> np.ndarray:
        if self.settled <= 0:
            raise UserError(self._why_nothing_settled())
        if self.choose is not None and (chosen := self.choose(self, batch_size)) is not None:
            self._require_rows(chosen, batch_size)
            return chosen
        return self.draw_uniformly(batch_size)

    def _require_rows(self, chosen: np.ndarray, count: int) -> None:
        """Refuse rows that are not stored: whoever gathers them by their addresses would read outside the buffer."""
        if chosen.shape != (count,) or chosen.min() < 0 or chosen.max() >= len(self):
            what = f"{chosen.shape} from {chosen.min()} to {chosen.max()}" if chosen.size else "none"
            raise ValueError(f"a method's rows are {what}; expected {count} of the {len(self)} that are stored")

    def draw_uniformly(self, n: int) -> np.ndarray:
        """Draw n rows (n,) that may be sampled, with replacement, from NumPy's global stream as SB3 does."""
        rows = np.random.randint(0, self.settled, size=n)  # noqa: NPY002
        if self.full and self.rewards_whole_episodes:
            return (self.pos + rows) % self.buffer_size  # the oldest row is the next to be written
        return rows

    def _draw_envs(self, count: int) -> np.ndarray:
        return np.random.randint(0, self.n_envs, size=count) if self.n_envs > 1 else np.zeros(count, np.int64)  # noqa: NPY002

    def _label_drawn(self, rows: np.ndarray) -> None:
        if self.pending and ((self.pos - 1 - rows) % self.buffer_size < self.pending).any():
            self.label_pending()

    def _why_nothing_settled(self) -> str:
        if not self.full:
            return "no episode has ended before learning starts; set agent.learning_starts to its steps or more"
        return (
            f"the {self.buffer_size} steps that are kept of each environment lie all in an episode that has not ended, "
            "and only whole episodes are rewarded; set agent.buffer_size to the steps of several episodes"
        )

    @property
    def rewards_whole_episodes(self) -> bool:
        return self._when == "episode"

    @property
    def _when(self) -> str | None:
        return None if self.source is None else self.source.when

    def _rewards_of(
        self,
        obs: np.ndarray,
        actions: np.ndarray,
        next_obs: np.ndarray | None,
        tags: np.ndarray | None,
        given: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the rewards (M,) of these steps by the source."""
        assert self.source is not None
        follow, noted, got = (None if a is None else torch.from_numpy(a) for a in (next_obs, tags, given))
        steps = Steps(torch.from_numpy(obs), torch.from_numpy(actions), follow, noted, got)
        return rewards_of_steps(self.source, steps)

    def _end_episodes(self, row: int, done: np.ndarray) -> None:
        self.running += 1
        for env in np.flatnonzero(done):
            if self.source is not None and self.source.when == "episode":
                rows = (row - np.arange(self.running[env])[::-1]) % self.buffer_size
                self.rewards[rows, env] = rewards_of_episode(self.source, self.last_episode(int(env)), len(rows))
            self.running[env] = 0

    def _label(self, rows: slice | np.ndarray) -> None:
        rewards = self.rewards[rows]
        flat = rewards.size, -1
        obs, actions = self.observations[rows].reshape(flat), self.actions[rows].reshape(flat)
        tags = None if self.tags is None else self.tags[rows].reshape(rewards.size, -1)
        self.rewards[rows] = self._rewards_of(obs, actions, None, tags).reshape(rewards.shape)

    def _next_obs(self, rows: np.ndarray, envs: np.ndarray) -> np.ndarray:
        following = self.observations[(rows + 1) % self.buffer_size, envs]
        last = self.last_index[rows, envs]
        ends = np.flatnonzero(last != NOT_LAST)
        following[ends] = self.last_obs[last[ends]]
        newest = np.flatnonzero(rows == (self.pos - 1) % self.buffer_size)
        following[newest] = self.newest[envs[newest]]
        return following

    def _keep_last(self, row: int, envs: np.ndarray) -> None:
        """Stores what followed this row where it is not what the next row starts with."""
        for env in envs:
            if not self.free:
                taken = len(self.last_obs)
                self.free = list(range(2 * taken, taken - 1, -1))
                self.last_obs = np.concatenate([self.last_obs, np.zeros((taken + 1, *self.obs_shape), np.float32)])
            self.last_index[row, env] = place = self.free.pop()
            self.last_obs[place] = self.newest[env]

    def _forget_last(self, row: int) -> None:
        self.free += self.last_index[row][self.last_index[row] != NOT_LAST].tolist()
        self.last_index[row] = NOT_LAST
