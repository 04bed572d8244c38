"""Numbers of SB3's agents that its constructors would take, or fail on in words of their own."""

from __future__ import annotations

import math

import gymnasium as gym
import torch

from pbrl.errors import UserError, choices
from pbrl.memory import GIB, free_memory

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU, "elu": torch.nn.ELU}

OTHER_BYTES = 24  # at most, of a stored step besides its observation and action: rewards, ends, values


def require_memory(what: str, steps: int, env: gym.Env, key: str | None) -> None:
    """Refuses a buffer of so many steps before any of it is allocated. key: what sets its size directly."""
    obs, action = (math.prod(space.shape or ()) for space in (env.observation_space, env.action_space))
    step = 4 * (obs + action) + OTHER_BYTES
    if steps * step <= (free := free_memory()):
        return
    most = int(free * 0.8 / step)
    valid = f"set {key} to at most {most}" if key is not None else f"valid are {most} steps together"
    raise UserError(f"{what} would take {steps * step / GIB:,.1f} GiB, and {free / GIB:,.1f} GiB are free; {valid}")


def check_ent_coef(given: str | float) -> None:
    """Refuse an ent_coef that makes no sense: SB3 takes any word that begins with auto, and any number."""
    learned, text = str(given).startswith("auto"), str(given).removeprefix("auto_")
    try:
        number = 1.0 if given == "auto" else float(text)
    except ValueError:
        number = math.nan
    if isinstance(given, bool) or not 0 <= number < math.inf or (learned and number == 0):
        valid = "a number >= 0, auto, or auto_NUMBER with one > 0, such as auto_0.1"
        raise UserError(f"ent_coef={given}: expected {valid}")


def check_fixed_ent_coef(given: float) -> None:
    """Refuse an ent_coef that is no number from 0 on: SB3's PPO learns none."""
    if isinstance(given, (str, bool)) or not 0 <= given < math.inf:
        raise UserError(f"ent_coef={given}: expected a number >= 0")


def activation_class(name: str) -> type[torch.nn.Module]:
    if name not in ACTIVATIONS:
        raise UserError(f"activation={name!r}: {choices(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
