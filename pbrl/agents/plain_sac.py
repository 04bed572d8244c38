"""The models that the hand-written update of `FastSAC` covers."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn
from torch.optim import Adam


def require_plain_sac(model: SAC) -> None:
    """Refuse a model that the hand-written update does not cover, and say which part of it."""
    policy, space = model.policy, model.observation_space
    optimizers = [model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer]
    modules = [model.actor.latent_pi, *model.critic.q_networks]
    layers = [layer for module in modules for layer in module.children()]
    wrong = {
        "the policy is not MlpPolicy": type(policy) is not SACPolicy,
        f"the observation space is {space}, not a Box of numbers": not isinstance(space, spaces.Box)
        or is_image_space(space),
        "use_sde is on": model.use_sde,
        f"n_steps is {model.n_steps}, not 1": model.n_steps != 1,
        "the features extractor is not Flatten": policy.features_extractor_class is not FlattenExtractor,
        "there are not exactly 2 critics": len(model.critic.q_networks) != 2,
        "a network is not an MLP of Linear and ReLU": any(type(x) not in (nn.Linear, nn.ReLU) for x in layers),
        "a network has no hidden layer": any(len(list(module.children())) < 2 for module in modules),
        "an optimizer is not plain Adam": any(not _is_plain_adam(x) for x in optimizers if x is not None),
    }
    reasons = [reason for reason, found in wrong.items() if found]
    if reasons:
        instead = "Use stable_baselines3.SAC instead: agent=sac_sb3."
        raise ValueError(f"FastSAC does not cover this model: {'; '.join(reasons)}. {instead}")


def _is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    flags = ("amsgrad", "maximize", "decoupled_weight_decay")
    return type(optimizer) is Adam and not any(optimizer.defaults.get(flag) for flag in flags)
