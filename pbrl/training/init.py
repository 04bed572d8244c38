"""A new run that begins with the policy and the reward of another: `init=RUN_DIR`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pbrl.agents.portable import load_portable
from pbrl.config import load_config
from pbrl.errors import UserError, typed_value
from pbrl.finite import AGENT, REWARD_MODEL, require_finite_weights
from pbrl.methods.method import of_part
from pbrl.training.check import build_method
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run import Run
from pbrl.training.run_dir import RunDir
from pbrl.training.saved import saved_weights
from pbrl.training.saved_run import chosen_checkpoint, read

Weights = dict[str, Tensor]
# The meaning of weights depends on these as well, which no size tells.
OF_AGENTS = ("_target_", "hidden", "activation")
OF_REWARDS = ("_target_", "hidden", "activation", "head", "members")
NOTHING = "nothing of that run fits this one"


@dataclass
class Given:
    """The learned parts of another run."""

    config: DictConfig
    has_agent: bool
    policy: Weights
    variables: Weights  # that SB3 keeps beside its networks
    reward: Weights  # empty where it has learned none
    updates: int  # gradient steps of the reward
    scale: float  # of the reward, for the agent


def check_init(config: DictConfig) -> None:
    """Raise UserError where its keys make no sense, or its folder is no run."""
    init = config.get("init")
    if init is None:
        return
    for key in ("policy", "reward"):
        if not isinstance(init[key], bool | None):
            raise UserError(f"init.{key}={init[key]}: expected true, false or null")
        if init.run is None and init[key] is not None:
            raise UserError(f"init.{key}={init[key]} needs the folder of a run: init.run=RUN_DIR")
    if init.run is not None:
        if init.policy is False and init.reward is False:
            raise UserError(f"{_named(config)}: with init.policy=false and init.reward=false nothing is taken")
        load_config(Path(init.run) / "config.yaml")


def begin_with_another(run: Run, config: DictConfig) -> None:
    """Give a run that has not begun what `init` names; say what that is."""
    init = config.get("init")
    if init is None or init.run is None:
        return
    given, named = _read(RunDir(Path(init.run))), _named(config)
    takes = {"policy": init.policy is not False, "reward": _takes_reward(run, config, given)}
    if not any(takes.values()):
        without = "init.policy=false leaves its policy out, and it has no reward that this run could take"
        raise UserError(f"{named}: {NOTHING}: {without}")
    # A part that does not fit may be left out as long as there is the other one.
    if takes["policy"]:
        _take_policy(run, config, given, "init.policy=false leaves it out" if takes["reward"] else NOTHING)
    if takes["reward"]:
        _take_reward(run, config, given, "init.reward=false leaves it out" if takes["policy"] else NOTHING)
    taken = " and the ".join(part for part, is_taken in takes.items() if is_taken)
    print(f"pbrl: begins with the {taken} of {init.run}", file=sys.stderr)


def _takes_reward(run: Run, config: DictConfig, given: Given) -> bool:
    init, has_model = config.init, getattr(run.method, "model", None) is not None
    if init.reward and not has_model:
        raise UserError(f"init.reward=true: method={config.method.name} learns no reward")
    if init.reward and not given.reward:
        raise UserError(f"init.reward=true: {init.run} has learned no reward")
    return bool(init.reward or (init.reward is None and has_model and given.reward))


def _named(config: DictConfig) -> str:
    return typed_value("init.run", config.init.run)


def _take_policy(run: Run, config: DictConfig, given: Given, leave_out: str) -> None:
    named, agent = _named(config), run.agent
    if given.has_agent != (agent is not None):
        raise UserError(f"{named}: policies of online and of offline methods do not fit; {leave_out}")
    require_finite_weights(given.policy, AGENT)
    if agent is None:
        actor = run.method.actor  # type: ignore[attr-defined]
        _require_fit(given.policy, actor.state_dict(), f"{named}: its policy", leave_out)
        actor.load_state_dict(given.policy)
        return
    _require_same(given.config, config, "agent", OF_AGENTS, leave_out)
    own = agent.state_dict()  # optimisers start afresh
    _require_fit(given.policy, own["parameters"]["policy"], f"{named}: its policy", leave_out)
    learned = own["variables"].keys() & {"log_ent_coef"}  # the temperature, where it is learned
    temperature = {k: v for k, v in given.variables.items() if k in learned}
    agent.set_policy(own["parameters"] | {"policy": given.policy}, temperature)


def _take_reward(run: Run, config: DictConfig, given: Given, leave_out: str) -> None:
    method: Any = run.method
    require_finite_weights(given.reward, REWARD_MODEL)
    _require_same(given.config, config, "method.model", OF_REWARDS, leave_out)
    _require_fit(given.reward, method.model.state_dict(), f"{_named(config)}: its reward", leave_out)
    method.model.load_state_dict(given.reward)
    method.begin_with(given.updates, given.scale)


def _require_same(there: DictConfig, here: DictConfig, key: str, names: tuple[str, ...], leave_out: str) -> None:
    for name in names:
        theirs, ours = (OmegaConf.select(config, f"{key}.{name}") for config in (there, here))
        if theirs != ours:
            raise UserError(f"{_named(here)}: {key}.{name} is {theirs} there and {ours} here; {leave_out}")


def _require_fit(given: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, leave_out: str) -> None:
    """Require the same names and shapes."""
    for name in {**own, **given}:
        theirs, ours = (tuple(w[name].shape) if name in w else "missing" for w in (given, own))
        if theirs != ours:
            raise UserError(
                f"{what} does not fit this run: {name} has shape {theirs} there and {ours} here; {leave_out}"
            )


def _read(run: RunDir) -> Given:
    """Read weights from the files of its end, or from its last checkpoint if it is newer."""
    config = load_config(run.config)
    method, folder = build_method(config), chosen_checkpoint(run, None)
    weights, about = saved_weights(run, method, folder)
    reward = of_part(weights, "model")
    learned = (reward, int(about.get("updates", 1)), float(about.get("scale", 1.0))) if reward else ({}, 0, 1.0)
    if not method.agents:
        return Given(config, False, of_part(weights, "policy"), {}, *learned)
    if folder is None:
        parameters, variables = read(run.policy, lambda: load_portable(str(run.policy), torch.device("cpu")))
    else:
        agent = Checkpoints(run.checkpoints, keep=1).load(folder)["parts"]["agent"]
        parameters, variables = agent["parameters"], agent["variables"]
    return Given(config, True, parameters["policy"], variables, *learned)
