"""Preference comparisons of `imitation` 1.0.1 on Hopper; runs in the environment of compare_peers.sh.

python scripts/imitation_run.py STEPS LABELS SESSIONS SEED

The sizes are those that compare_peers.sh gives to ours: SAC with 2 x 256 networks and batches of 256, three reward
networks of 3 x 256, batches of 32 pairs of 20 steps (untrained Hoppers fall after about 20, and imitation cannot use
shorter episodes), three epochs after each session.
"""

import sys

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms import preference_comparisons as pc
from imitation.policies.replay_buffer_wrapper import ReplayBufferRewardWrapper
from imitation.rewards.reward_nets import BasicRewardNet, RewardEnsemble
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv


def main(steps: int, labels: int, sessions: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    env = gym.make("Hopper-v4")
    venv = DummyVecEnv([lambda: env])
    spaces = env.observation_space, env.action_space
    members = [BasicRewardNet(*spaces, use_next_state=False, hid_sizes=(256, 256, 256)) for _ in range(3)]
    reward = RewardEnsemble(*spaces, members)
    agent = SAC(
        "MlpPolicy",
        venv,
        learning_rate=5e-4,
        batch_size=256,
        buffer_size=steps,
        learning_starts=1000,
        policy_kwargs={"net_arch": [256, 256]},
        replay_buffer_class=ReplayBufferRewardWrapper,
        replay_buffer_kwargs={"replay_buffer_class": ReplayBuffer, "reward_fn": reward.predict_processed},
        seed=seed,
        device="cpu",
    )
    trainer = pc.PreferenceComparisons(
        pc.AgentTrainer(agent, reward, venv, rng),
        reward,
        num_iterations=sessions - 1,  # besides a first one, which trains for as many steps as each of these
        fragmenter=pc.RandomFragmenter(rng, warning_threshold=0),
        preference_gatherer=pc.SyntheticGatherer(temperature=0, rng=rng),
        reward_trainer=pc.EnsembleTrainer(
            pc.PreferenceModel(reward), pc.CrossEntropyRewardLoss(), rng, batch_size=32, epochs=3, lr=3e-4
        ),
        fragment_length=20,
        initial_comparison_frac=1 / sessions,
        initial_epoch_multiplier=1,
        allow_variable_horizon=True,
        query_schedule="constant",
    )
    trainer.train(total_timesteps=steps * (sessions - 1) // sessions, total_comparisons=labels)
    if agent.num_timesteps != steps:
        raise SystemExit(f"imitation learned for {agent.num_timesteps} steps, not {steps}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))
