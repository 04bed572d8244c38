"""A policy and a reward for programs that have no pbrl: python examples/export_run.py [STEPS]"""

import subprocess
import sys

import pbrl
from pbrl.cli import main as pbrl_command

# What another program does, on a robot for example: it needs torch and Stable-Baselines3, and nothing of pbrl.
ELSEWHERE = """
import sys

import torch
from stable_baselines3 import SAC

obs, actions = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.5, 0.5]]), torch.tensor([[1.0, 1.0]])
print("policy (torch):", torch.jit.load("exported/policy.pt")(obs).tolist())
print("policy (SB3):  ", SAC.load("exported/policy.zip").predict(obs.numpy(), deterministic=True)[0].tolist())
print("reward (torch):", torch.jit.load("exported/reward.pt")(obs, actions).tolist())
assert "pbrl" not in sys.modules
"""

run = pbrl.train(
    env="point_reach",
    steps=int(sys.argv[1]) if len(sys.argv) > 1 else 6000,
    feedback={"first": 500, "every": 500, "per_session": 20, "budget": 100},
    evaluation__every=1000,
    run_dir="runs/exported",
)
pbrl_command(["export", str(run.path), "policy=torchscript,zip", "reward=torchscript", "out=exported"])
subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)
