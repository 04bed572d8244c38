"""The learned reward in a training script of your own: python examples/reward_elsewhere.py [STEPS]

First pbrl learns a reward of Pendulum from comparisons; then plain Stable-Baselines3 learns from that reward alone.
"""

import sys

import gymnasium
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import pbrl

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6000

run = pbrl.train(
    env="pendulum",
    steps=steps,
    feedback={"first": 1000, "every": 1000, "per_session": 20, "budget": 100},
    evaluation__every=steps,
    run_dir="runs/pendulum",
)

reward = pbrl.load_reward(run.path)  # numbers in the environment's own units
env = gymnasium.make("Pendulum-v1")
obs, _ = env.reset(seed=0)
print("reward of one step:", reward(obs, env.action_space.sample()))

model = SAC("MlpPolicy", pbrl.RewardWrapper(env, reward), learning_starts=1000, seed=0)
model.learn(steps)

mean, deviation = evaluate_policy(model, Monitor(gymnasium.make("Pendulum-v1")), n_eval_episodes=5)
print(f"true return of the agent that never saw it: {mean:.0f} ± {deviation:.0f}")
