"""`policy.zip`: a policy as plain Stable-Baselines3 opens it, where pbrl is not installed.

Inside pbrl every task has flat observations and actions in [-1, 1]. The file has the spaces of the task itself, so that
`predict` reads its observations and answers in its own units, and `set_env(gym.make(id))` takes it.
"""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.save_util import load_from_zip_file, save_to_zip_file
from torch import Tensor

from pbrl.agents import normalise
from pbrl.nets import networks
from pbrl_envs.action_box import is_unit

OF_THIS_RUN = ("env", "seed", "device", "replay_buffer_class", "rollout_buffer_class", "clip_range")
LARGEST_END = 1e16  # of a box of actions: PPO takes squares in float32, which end at 1e38
UNIT_ACTIONS = "unit_actions.safetensors"  # a member of the zip that SB3 passes over
State = dict[str, Any]


def save_portable(
    model: SAC | PPO,
    path: str,
    env: gym.Env,
    *,
    algorithm: type[SAC] | type[PPO],
    bounded: bool,
    settings: Mapping[str, Any],
    parameters: State | None = None,
) -> None:
    """Writes the policy with SB3's own classes alone, one environment, and the spaces of the task.

    model: with observations and actions as `env` has them.
    algorithm: SB3's own class that opens it.
    bounded: whether its policy squashes a Gaussian into a box; else it is cut off there.
    settings: in place of the model's, so that updates go with steps in one environment as they did in all together.
    parameters: in place of the model's.
    """
    obs_space, action_space = task_spaces(env)
    obs_space = obs_space if _reads(obs_space) else env.observation_space
    action_space = _acts(action_space, bounded) or env.action_space
    numbers = inspect.signature(algorithm).parameters.keys() - OF_THIS_RUN
    data = {name: value for name, value in vars(model).items() if name in numbers}
    data |= {"num_timesteps": model.num_timesteps, "n_envs": 1, **settings}
    data |= {"policy_class": _policy(algorithm, obs_space)}
    data |= {"observation_space": obs_space, "action_space": action_space}
    params, unit = model.get_parameters() if parameters is None else parameters, {}
    if not bounded and not is_unit(action_space):
        unit = _to_own_units(params, action_space)
    variables = {name: getattr(model, name) for name in model._get_torch_save_params()[1]}
    with _include_code(normalise, networks):
        save_to_zip_file(path, data=data, params=params, pytorch_variables=variables)
    if unit:
        from safetensors.torch import save

        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(UNIT_ACTIONS, save(unit))


def load_portable(path: str, device: torch.device) -> tuple[State, State]:
    """Read the parameters for actions in [-1, 1], and the other tensors, of a file written by this or an older pbrl."""
    from safetensors.torch import load

    params: Any  # which SB3 annotates as tensors; they are dictionaries of those
    _, params, variables = load_from_zip_file(path, load_data=False, device=device)
    with zipfile.ZipFile(path) as archive:
        if UNIT_ACTIONS in archive.namelist():
            params["policy"] |= load(archive.read(UNIT_ACTIONS))
    return params, variables or {}


def task_spaces(env: gym.Env) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Return the spaces of observations and actions as the task has them, before pbrl flattens and rescales them."""
    known = env.has_wrapper_attr("task_spaces")
    return env.get_wrapper_attr("task_spaces") if known else (env.observation_space, env.action_space)


def _reads(space: gym.Space[Any]) -> bool:
    """Return whether SB3 makes the same vector of it as pbrl does."""
    if isinstance(space, spaces.Dict):
        return all(not isinstance(part, (spaces.Dict, spaces.Tuple)) and _reads(part) for part in space.values())
    if np.any(getattr(space, "start", 0)):
        return False  # SB3 counts from 0
    numbers = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    return isinstance(space, numbers) or (isinstance(space, spaces.Box) and not is_image_space(space))


def _acts(space: gym.Space[Any], bounded: bool) -> spaces.Box | None:
    """Find the box to which SB3 scales, and in which it learns, as pbrl does; None where float32 has no numbers for it.

    SB3 stores actions in the box's own type, before it clips them or in [-1, 1]: whole numbers and float16 become
    float64. Its SAC divides by high - low: where they are the same, ends in float64 are the least bit apart.
    """
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if max(abs(low).max(), abs(high).max()) > LARGEST_END:
        return None
    stores = space.dtype in (np.float32, np.float64)
    moves = not bounded or bool((high > low).all())
    if stores and moves:
        return space
    wide = spaces.Box(low, high if moves else np.where(high > low, high, np.nextafter(high, np.inf)), dtype=np.float64)
    if stores:
        wide.dtype = space.dtype  # so that SB3 still takes the environment's own box for the same one
    return wide


def _policy(algorithm: type[BaseAlgorithm], obs_space: gym.Space[Any]) -> Any:
    return algorithm.policy_aliases["MultiInputPolicy" if isinstance(obs_space, spaces.Dict) else "MlpPolicy"]


def _to_own_units(params: State, space: gym.Space[Any]) -> dict[str, Tensor]:
    """Rescale the Gaussian of PPO, which unlike SAC's has no bounds to scale to; return what it replaced."""
    assert isinstance(space, spaces.Box)
    policy = params["policy"]
    where = policy["action_net.bias"].device
    low, high = (torch.from_numpy(bound).double().to(where) for bound in (space.low, space.high))
    half, middle = (high - low) / 2, (high + low) / 2
    unit = {name: policy[name].clone() for name in ("action_net.weight", "action_net.bias", "log_std")}
    spread = torch.where(half > 0, half, 1.0).log()  # a component that cannot move may have any spread
    scaled = {
        "action_net.weight": unit["action_net.weight"] * half[:, None],
        "action_net.bias": unit["action_net.bias"] * half + middle,
        "log_std": unit["log_std"] + spread,  # (A,), or (H, A) where exploration hangs on the state
    }
    params["policy"] = policy | {name: value.to(unit[name].dtype) for name, value in scaled.items()}
    params["policy.optimizer"]["state"] = {}  # its moments were in the other units
    return unit


@contextmanager
def _include_code(*modules: Any) -> Iterator[None]:
    """Save classes of these modules with their code, not by a name that only pbrl can find."""
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
