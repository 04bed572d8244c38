"""SAC of SBX on the true reward of HalfCheetah, with the sizes of agent=sac.

python scripts/sbx_run.py STEPS SEED    in the environment that compare_peers.sh makes
"""

import sys

import gymnasium as gym
from sbx import SAC


def main(steps: int, seed: int) -> None:
    model = SAC(
        "MlpPolicy",
        gym.make("HalfCheetah-v5"),
        learning_rate=5e-4,
        qf_learning_rate=5e-4,
        batch_size=256,
        buffer_size=steps,
        learning_starts=1000,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
    )
    model.learn(steps)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
