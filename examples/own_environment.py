"""A policy for an environment of your own, which has no reward: python examples/own_environment.py [STEPS]"""

import sys

import gymnasium
import numpy as np

import pbrl


class Cart(gymnasium.Env):
    """A cart on a line of 2 m that is pushed left and right; `step` gives no reward."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)  # position, speed
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self.state.astype(np.float32), {}

    def step(self, action):
        position, speed = self.state
        speed = 0.9 * speed + 0.02 * float(action[0])
        self.state = np.array([np.clip(position + speed, -1, 1), speed])
        near = float(abs(self.state[0]) < 0.1)
        return self.state.astype(np.float32), 0.0, False, False, {"success": near}


gymnasium.register("Cart-v0", entry_point=Cart, max_episode_steps=100)


def nearer_the_middle(left, right):
    """The teacher: 1 where the right segment is nearer the middle on average; a person would see this in two clips."""
    distance = [side.obs[:, :, 0].abs().mean(1) for side in (left, right)]
    return (distance[1] < distance[0]).float()


if __name__ == "__main__":
    run = pbrl.train(
        env="gym",
        env__id="Cart-v0",
        teacher=nearer_the_middle,
        steps=int(sys.argv[1]) if len(sys.argv) > 1 else 5000,
        feedback={"first": 500, "every": 500, "per_session": 20, "budget": 100, "segment_length": 20},
        evaluation__every=1000,
        run_dir="runs/cart",
    )
    for row in run.evaluations:
        print(f"step {row['env_steps']:.0f}: {row['success_at_end']:.0%} of the episodes end in the middle")
    print("report:", run.path / "report.html")
