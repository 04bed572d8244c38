import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.device_rows import DeviceRows

SIZE, ENVS = 20, 2


def make_buffer():
    return LearnedRewardBuffer(SIZE * ENVS, Box(-1, 1, (3,)), Box(-1, 1, (1,)), n_envs=ENVS)


def fill(buffer, steps, rng):
    """Episodes of 4 steps, every second of which ends by itself."""
    for step in range(steps):
        done = np.full(ENVS, step % 4 == 3)
        obs, next_obs = rng.normal(size=(2, ENVS, 3)).astype(np.float32)
        terminated = done & (step % 8 == 3)
        buffer.put(
            obs, next_obs, rng.normal(size=(ENVS, 1)).astype(np.float32), rng.normal(size=ENVS), terminated, done
        )


@pytest.mark.parametrize("steps", [3, SIZE, SIZE + 7, 5 * SIZE])
def test_batches_are_those_of_the_buffer(steps):
    buffer, rng = make_buffer(), np.random.default_rng(0)
    rows = DeviceRows(buffer, torch.device("cpu"))
    for more in (steps, 1, 2, SIZE + 3, 0):  # some between batches, more than there is room for too
        fill(buffer, more, rng)
        buffer.rewards += 1  # as a new reward does
        np.random.seed(more)  # noqa: NPY002  as SB3 draws
        expected = buffer.sample_arrays(64)
        np.random.seed(more)  # noqa: NPY002  as SB3 draws
        obs, actions, next_obs, dones, rewards = rows.batch(64)
        for there, array in zip((obs, actions, next_obs, dones, rewards), expected, strict=True):
            np.testing.assert_array_equal(there.numpy(), array)


@pytest.mark.parametrize("before", [0, 5, SIZE + 2])
def test_rows_follow_a_buffer_that_is_loaded(before):
    whole, rng = make_buffer(), np.random.default_rng(0)
    fill(whole, SIZE + 7, rng)
    fresh = make_buffer()
    rows = DeviceRows(fresh, torch.device("cpu"))
    if before:  # other steps, of which batches were drawn
        fill(fresh, before, np.random.default_rng(1))
        rows.batch(64)
    fresh.load_state_dict(whole.state_dict())
    np.random.seed(0)  # noqa: NPY002  as SB3 draws
    expected = fresh.sample_arrays(64)
    np.random.seed(0)  # noqa: NPY002  as SB3 draws
    np.testing.assert_array_equal(rows.batch(64).obs.numpy(), expected[0])
