"""The steps of a replay buffer on an accelerator, where batches of them are gathered.

The buffer stays as it is, on the CPU, and draws which steps a batch holds. Observations and actions, which never change
once they are stored, are copied here as they come; what may still change, a number per step, goes over with each batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.buffers import NOT_LAST, LearnedRewardBuffer
from pbrl.agents.sac_update import Batch


class DeviceRows:
    """The rows of one buffer, kept on the device."""

    def __init__(self, buffer: LearnedRewardBuffer, device: torch.device) -> None:
        self.buffer, self.device = buffer, device
        shape = (buffer.buffer_size * buffer.n_envs, -1)
        self.obs, self.actions = (
            torch.zeros(array.shape, dtype=torch.float32, device=device).view(shape)
            for array in (buffer.observations, buffer.actions)
        )
        self.seen, self.loaded = 0, buffer.loaded  # rows that were ever copied, since the buffer was last loaded

    def batch(self, count: int) -> Batch | None:
        """Return what `sample_arrays` would give, there; None where rewards are computed for each batch."""
        buffer = self.buffer
        if (drawn := buffer.draw_places(count)) is None:
            return None
        self._follow()
        rows, envs, size = drawn["rows"], drawn["envs"], buffer.buffer_size
        places = np.stack([rows, (rows + 1) % size]) * buffer.n_envs + envs
        here, after = torch.from_numpy(places).to(self.device)
        next_obs = self.obs[after]
        self._fill_ends(next_obs, rows, envs)
        numbers = np.stack([buffer.terminated[rows, envs].astype(np.float32), buffer.rewards[rows, envs]])
        dones, rewards = torch.from_numpy(numbers).to(self.device)[..., None]
        return Batch(self.obs[here], self.actions[here], next_obs, dones, rewards)

    def _fill_ends(self, next_obs: Tensor, rows: np.ndarray, envs: np.ndarray) -> None:
        """Fill in what follows the last step of an episode, and the newest step, which lies elsewhere in a buffer."""
        buffer = self.buffer
        last = buffer.last_index[rows, envs]
        ends = np.flatnonzero(last != NOT_LAST)
        newest = np.flatnonzero(rows == (buffer.pos - 1) % buffer.buffer_size)
        if len(which := np.concatenate([ends, newest])):
            values = np.concatenate([buffer.last_obs[last[ends]], buffer.newest[envs[newest]]])
            next_obs[torch.from_numpy(which).to(self.device)] = torch.from_numpy(values).to(self.device)

    def _follow(self) -> None:
        """Copies the rows that came since the last batch; all of them after a checkpoint was loaded."""
        buffer = self.buffer
        new = buffer.added - self.seen
        if new > len(buffer) or self.loaded != buffer.loaded:
            new = len(buffer)
        first = (buffer.pos - new) % buffer.buffer_size
        for begin, end in ((first, min(first + new, buffer.buffer_size)), (0, first + new - buffer.buffer_size)):
            if end > begin:
                flat = slice(begin * buffer.n_envs, end * buffer.n_envs)
                for there, array in ((self.obs, buffer.observations), (self.actions, buffer.actions)):
                    there[flat] = torch.from_numpy(array[begin:end]).to(self.device).view(there[flat].shape)
        self.seen, self.loaded = buffer.added, buffer.loaded
