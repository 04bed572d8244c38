"""Preference-based reinforcement learning for control and robotics. See README.md and docs/.

What docs/api.md lists is here, and is imported when it is first used: `import pbrl` alone loads nothing else.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {  # name: the module that has it
    "Callback": "pbrl.training.callbacks",
    "Dataset": "pbrl.data.datasets",
    "Labels": "pbrl.api",
    "Policy": "pbrl.use.policy",
    "Reward": "pbrl.use.reward",
    "RewardVecEnvWrapper": "pbrl.use.sb3_wrapper",
    "RewardWrapper": "pbrl.use.wrapper",
    "RslRlRewardWrapper": "pbrl.use.rsl_rl",
    "Run": "pbrl.use.run",
    "Runs": "pbrl.use.compare",
    "UserError": "pbrl.errors",
    "compare": "pbrl.use.compare",
    "load_dataset": "pbrl.api",
    "load_labels": "pbrl.api",
    "load_policy": "pbrl.api",
    "load_reward": "pbrl.api",
    "load_run": "pbrl.api",
    "resume": "pbrl.api",
    "train": "pbrl.api",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name == "api":
        return import_module("pbrl.api")
    raise AttributeError(f"module 'pbrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "api"])
