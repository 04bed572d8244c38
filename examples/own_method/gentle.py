"""A method of your own, PEBBLE with one thing changed: python examples/own_method/gentle.py [STEPS]

The same from the command line, in this folder: pbrl train --config-dir . method=gentle env=point_reach
"""

import sys
from pathlib import Path

import numpy as np

import pbrl
from pbrl.checks import positive
from pbrl.methods.pebble import Pebble


class Gentle(Pebble):
    """Subtracts `cost` times the squared length of the action from what is learned, so that the robot moves gently."""

    def __init__(self, *, cost: float, **numbers) -> None:
        super().__init__(**numbers)
        positive(cost=cost)
        self.cost = cost

    def step_reward(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """(M,) what the agent gets for acting so."""
        return super().step_reward(obs, actions) - self.cost * np.square(actions).sum(-1)


if __name__ == "__main__":
    here = Path(__file__).parent
    sys.path.insert(0, str(here))  # where `gentle.Gentle` of the YAML is found
    run = pbrl.train(
        config_dir=here,
        method="gentle",
        env="point_reach",
        steps=int(sys.argv[1]) if len(sys.argv) > 1 else 6000,
        feedback={"first": 500, "every": 500, "per_session": 20, "budget": 100},
        evaluation__every=1000,
        run_dir="runs/gentle",
    )
    policy, reward = run.policy(), run.reward()
    obs = np.zeros((2, 6), np.float32)
    actions = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    print("to rest, and to push:", reward(obs, actions), "it does:", policy(obs[0]))
    print(run)
