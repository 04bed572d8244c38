"""Seeds fit into a signed integer of 32 bits, which is all that many simulators and libraries take."""

from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sb3 import SACAgent
from pbrl.data.recorder import EpisodeRecorder, hidden
from pbrl.seeds import episode_seed, seed_streams
from pbrl.training.evaluate import Evaluator
from pbrl.training.rollout import roll_out

LARGE = 10**12  # a user's own seed may be any number


class Signed(gym.Env):
    """Keeps its seed as a C simulator does: numpy raises OverflowError for what does not fit."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    seeds: ClassVar[list[np.int32]] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Signed.seeds.append(np.int32(seed))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, True, False, {}


@pytest.fixture
def seeds():
    Signed.seeds = []
    return Signed.seeds


def idle(obs):
    return np.zeros((len(obs), 1), np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2**31, LARGE])
def test_every_stream_and_every_episode_has_a_seed_of_its_own_below_two_to_the_31(seed):
    streams = seed_streams(seed, 100)
    episodes = [episode_seed(stream, number) for stream in streams for number in range(100)]
    assert all(0 <= s < 2**31 for s in streams + episodes)
    assert len(set(streams)) == 100
    assert len(set(episodes)) > 9_990  # of 10,000: chance makes 0.02 equal pairs


def test_a_recorder_an_evaluator_and_a_roll_out_seed_a_simulator_of_32_bits(seeds):
    recorder = EpisodeRecorder(Signed(), hidden)
    recorder.reset(seed=LARGE)
    for _ in range(40):
        recorder.step(np.zeros(1, np.float32))
        recorder.reset()
    recorded = seeds[:40]
    seeds.clear()
    Evaluator(Signed, 40, LARGE)(idle)
    assert seeds[-40:] == recorded  # the same episodes, whoever runs them
    seeds.clear()
    roll_out(Signed, idle, 40, LARGE)
    assert seeds[-40:] == recorded


def test_an_agent_seeds_a_simulator_of_32_bits(seeds):
    (seed,) = seed_streams(LARGE, 1)
    agent = SACAgent(
        Signed, algorithm=FastSAC, given=hidden, steps=50, seed=seed, device="cpu", n_envs=2, hidden=[4],
        activation="relu", lr=1e-3, batch_size=4, gamma=0.9, tau=0.01, ent_coef="auto", learning_starts=100,
        gradient_steps=1, target_update_interval=1, precision=None,
    )  # fmt: skip
    agent.learn(20)
    assert len(seeds) == 2 + 20
