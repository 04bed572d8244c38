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
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_offline import part_of, read_weights
from pbrl.training.saved_run import chosen_checkpoint, read, read_summary

Weights = dict[str, Tensor]
# What weights mean depends on these as well, and no size tells.
OF_AGENTS = ("_target_", "hidden", "activation")
OF_REWARDS = ("_target_", "hidden", "activation", "head", "members")
NOTHING = "nothing of that run fits this one"


@dataclass
class Given:
    """What another run has learned."""

    config: DictConfig
    policy: Weights
    variables: Weights  # that SB3 keeps beside its networks
    reward: Weights  # empty where it has learned none
    updates: int  # gradient steps of the reward
    scale: float  # of the reward, for the agent


def check_init(config: DictConfig) -> None:
    """UserError where its keys make no sense, or its folder is no run."""
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


def begin_with_another(run: Any) -> None:
    """Gives an OnlineRun or OfflineRun that has not begun what `init` names; says what that is."""
    init = run.config.get("init")
    if init is None or init.run is None:
        return
    given = _read(RunDir(Path(init.run)))
    takes = {"policy": init.policy is not False, "reward": _takes_reward(run, given)}
    if not any(takes.values()):
        without = "init.policy=false leaves its policy out, and it has no reward that this run could take"
        raise UserError(f"{_named(run.config)}: {NOTHING}: {without}")
    # Without the one there must be the other.
    if takes["policy"]:
        _take_policy(run, given, "init.policy=false leaves it out" if takes["reward"] else NOTHING)
    if takes["reward"]:
        _take_reward(run, given, "init.reward=false leaves it out" if takes["policy"] else NOTHING)
    taken = " and the ".join(part for part, is_taken in takes.items() if is_taken)
    print(f"pbrl: begins with the {taken} of {init.run}", file=sys.stderr)


def _takes_reward(run: Any, given: Given) -> bool:
    init, has_model = run.config.init, _reward_model(run) is not None
    if init.reward and not has_model:
        raise UserError(f"init.reward=true: method={run.config.method.name} learns no reward")
    if init.reward and not given.reward:
        raise UserError(f"init.reward=true: {init.run} has learned no reward")
    return bool(init.reward or (init.reward is None and has_model and given.reward))


def _named(config: DictConfig) -> str:
    return typed_value("init.run", config.init.run)


def _take_policy(run: Any, given: Given, leave_out: str) -> None:
    named = _named(run.config)
    if ("learner" in given.config.method) != ("learner" in run.config.method):
        raise UserError(f"{named}: policies of online and of offline methods do not fit; {leave_out}")
    require_finite_weights(given.policy, AGENT)
    if "learner" in run.config.method:
        _require_fit(given.policy, run.learner.policy.state_dict(), f"{named}: its policy", leave_out)
        run.learner.policy.load_state_dict(given.policy)
        return
    _require_same(given.config, run.config, "agent", OF_AGENTS, leave_out)
    agent = run.parts.agent
    own = agent.state_dict()["parameters"]  # optimisers start afresh
    _require_fit(given.policy, own["policy"], f"{named}: its policy", leave_out)
    temperature = {
        k: v for k, v in given.variables.items() if k == "log_ent_coef" and agent.model.log_ent_coef is not None
    }
    agent.set_policy(own | {"policy": given.policy}, temperature)


def _take_reward(run: Any, given: Given, leave_out: str) -> None:
    model = _reward_model(run)
    require_finite_weights(given.reward, REWARD_MODEL)
    _require_same(given.config, run.config, _model_key(run.config), OF_REWARDS, leave_out, _model_key(given.config))
    _require_fit(given.reward, model.state_dict(), f"{_named(run.config)}: its reward", leave_out)
    model.load_state_dict(given.reward)
    if "learner" not in run.config.method:
        feedback = run.parts.feedback
        feedback.updates, feedback.scale = given.updates, given.scale
        run.adopt_reward(feedback, first=False)


def _reward_model(run: Any) -> Any:
    if "learner" in run.config.method:
        return getattr(run.learner, "model", None)
    return None if run.parts.feedback is None else run.parts.feedback.model


def _model_key(config: DictConfig) -> str:
    return "method.learner.model" if "learner" in config.method else "method.model"


def _require_same(
    there: DictConfig, here: DictConfig, key: str, names: tuple[str, ...], leave_out: str, their_key: str | None = None
) -> None:
    for name in names:
        theirs = OmegaConf.select(there, f"{their_key or key}.{name}")
        ours = OmegaConf.select(here, f"{key}.{name}")
        if theirs != ours:
            raise UserError(f"{_named(here)}: {key}.{name} is {theirs} there and {ours} here; {leave_out}")


def _require_fit(given: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, leave_out: str) -> None:
    """The same names and shapes."""
    for name in {**own, **given}:
        theirs, ours = (tuple(w[name].shape) if name in w else "missing" for w in (given, own))
        if theirs != ours:
            raise UserError(
                f"{what} does not fit this run: {name} has shape {theirs} there and {ours} here; {leave_out}"
            )


def _read(run: RunDir) -> Given:
    """From the files of its end, or from its last checkpoint if it is newer."""
    config = load_config(run.config)
    folder = chosen_checkpoint(run, None)
    if "learner" in config.method:
        weights = read_weights(run, folder)[0]
        return Given(config, part_of(weights, "policy"), {}, part_of(weights, "model"), 0, 1.0)
    if folder is None:
        parameters, variables = read(run.policy, lambda: load_portable(str(run.policy), torch.device("cpu")))
        return Given(config, parameters["policy"], variables, *_read_reward(run, config))
    state = Checkpoints(run.checkpoints, keep=1).load(folder)
    agent, feedback = state["agent"], state["feedback"] or {"updates": 0}
    learned = (feedback["model"], feedback["updates"], feedback["scale"]) if feedback["updates"] else ({}, 0, 1.0)
    return Given(config, agent["parameters"]["policy"], agent["variables"], *learned)


def _read_reward(run: RunDir, config: DictConfig) -> tuple[Weights, int, float]:
    """Weights, updates and scale of reward.safetensors; no weights where nothing was learned."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    if config.method.model is None or not (read_summary(run) or {}).get("reward_updates"):
        return {}, 0, 1.0
    weights = read(run.reward, lambda: load_file(str(run.reward)))
    with safe_open(str(run.reward), framework="pt") as file:
        facts = file.metadata() or {}
    return weights, int(facts.get("updates", 1)), float(facts.get("scale", 1.0))
