"""`pbrl export`: a policy and a reward as files that other programs open without pbrl."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

import pbrl
from pbrl.errors import UserError, choices
from pbrl.export import graphs
from pbrl.export.lerobot import write_lerobot
from pbrl.export.plain import plain_reward
from pbrl.files import new_folder
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import SavedRun
from pbrl.use.load import Checkpoint, load_saved_run, reward_scale
from pbrl.use.units import Units

POLICIES = ("zip", "torchscript", "onnx")
REWARDS = ("safetensors", "torchscript", "onnx", "lerobot")
SUFFIX = {"torchscript": "pt", "onnx": "onnx"}


def export(
    run: str | Path,
    out: str | Path,
    *,
    policy: str | Sequence[str] = (),
    reward: str | Sequence[str] = (),
    checkpoint: Checkpoint = None,
    user: str | None = None,
    weights: Sequence[float] | None = None,
) -> list[Path]:
    """Write the new folder `out` whole or not at all; return the files and folders in it.

    policy: of zip (Stable-Baselines3), torchscript, onnx. reward: of safetensors, torchscript, onnx, lerobot. One, or
        several.
    checkpoint, user, weights: as in `pbrl.load_policy`.

    Each graph is tried on random observations before it is kept. UserError where the run has nothing of the kind.
    """
    policy, reward = ([names] if isinstance(names, str) else names for names in (policy, reward))
    for what, names, valid in (("policy", policy, POLICIES), ("reward", reward, REWARDS)):
        for name in names:
            if name not in valid:
                raise UserError(f"{what}={name}: {choices(name, valid)}")
    if not policy and not reward:
        raise UserError(f"nothing to export; give policy= ({', '.join(POLICIES)}) or reward= ({', '.join(REWARDS)})")
    saved = load_saved_run(run, checkpoint, user, weights)
    exporter = Exporter(saved, reward_scale(saved, checkpoint))
    with new_folder(Path(out)) as folder:
        for name in policy:
            exporter.write_policy(folder, name)
        for name in reward:
            exporter.write_reward(folder, name)
        names = sorted(path.name for path in folder.iterdir())
    return [Path(out) / name for name in names]


class Exporter:
    """Writes one run in several formats; beside graphs and weights a JSON file says what goes in and what comes out."""

    def __init__(self, saved: SavedRun, scale: float) -> None:
        self.saved, self.scale, self.units = saved, scale, Units.of_run(saved)
        box = self.units.action_space
        assert isinstance(box, spaces.Box)
        self.box, rng = box, np.random.default_rng(0)
        obs = rng.normal(size=(graphs.ROWS, *saved.obs_shape)).astype(np.float32)
        unit = rng.uniform(-1, 1, (graphs.ROWS, saved.action_size)).astype(np.float32)
        self.obs, self.actions = torch.from_numpy(obs), torch.from_numpy(self.units.own_actions(unit))
        self.unit = self.units.unit_actions(self.actions.numpy(), graphs.ROWS)

    def write_policy(self, folder: Path, kind: str) -> None:
        if kind == "zip":
            if self.saved.agent is None:
                raise UserError(
                    f"policy=zip is for Stable-Baselines3, which has no offline policy; {_others(POLICIES)}"
                )
            self.saved.agent.save(str(folder / "policy.zip"))
            return
        graph, examples = graphs.PolicyGraph(self.saved, self.box), (self.obs,)
        graphs.require_same(graph, examples, self.units.own_actions(self.saved.act(self.obs.numpy())))
        _write_graph(folder, "policy", kind, graph, examples)
        about = {"inputs": {"obs": self._obs()}, "outputs": {"actions": self._actions()}}
        _write_json(folder / "policy.json", self._about() | about)

    def write_reward(self, folder: Path, kind: str) -> None:
        if self.saved.reward is None:
            raise UserError(f"{self.saved.path} has no learned reward of single steps, so there is none to export")
        about = self._about() | {"inputs": {"obs": self._obs(), "actions": self._actions()}, "scale": self.scale}
        about |= {"outputs": {"reward": {"shape": ["M"], "dtype": "float32"}}}
        if kind in SUFFIX:
            graph, examples = graphs.RewardGraph(self.saved, self.scale, self.box), (self.obs, self.actions)
            graphs.require_same(graph, examples, self.scale * self.saved.reward(self.obs.numpy(), self.unit))
            _write_graph(folder, "reward", kind, graph, examples)
        elif kind == "lerobot":
            write_lerobot(folder / "reward_lerobot", plain_reward(self.saved), about)
            return
        else:
            source = RunDir(self.saved.path).reward
            if not source.is_file() or self.saved.source.startswith("checkpoints"):
                raise UserError(
                    f"reward=safetensors is the file of a run's end, and {self.saved.path} has not got there"
                )
            shutil.copyfile(source, folder / "reward.safetensors")
            about["model"] = plain_reward(self.saved).description
        _write_json(folder / "reward.json", about)

    def _about(self) -> dict[str, Any]:
        config = self.saved.config
        return {
            "made_by": f"pbrl {pbrl.__version__}",
            "env": config.env.name,
            "method": config.method.name,
            "step": self.saved.step,
        }

    def _obs(self) -> dict[str, Any]:
        parts = list(_parts(self.units.obs_space, "observation")) if len(self.saved.obs_shape) == 1 else []
        return {"shape": ["M", *self.saved.obs_shape], "dtype": "float32", "parts": parts}

    def _actions(self) -> dict[str, Any]:
        low, high = (end.astype(float).tolist() for end in (self.box.low, self.box.high))
        dtype = str(self.actions.dtype).removeprefix("torch.")
        return {"shape": ["M", self.saved.action_size], "dtype": dtype, "low": low, "high": high}


def _write_graph(folder: Path, name: str, kind: str, graph: Any, examples: tuple[Tensor, ...]) -> None:
    write: Callable[..., bytes] = {"torchscript": graphs.torchscript, "onnx": graphs.onnx}[kind]
    (folder / f"{name}.{SUFFIX[kind]}").write_bytes(write(graph, examples))


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _parts(space: Any, name: str, start: int = 0) -> Any:
    """Return where each part of an observation stands in the flat vector, in Gymnasium's order; choices are one-hot."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts: Any = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _parts(part, f"{name}[{key!r}]", start)
            start += spaces.flatdim(part)
    else:
        end = start + spaces.flatdim(space)
        yield {"name": name, "from": start, "to": end, "one_hot": not isinstance(space, spaces.Box)}


def _others(names: Sequence[str]) -> str:
    return f"valid here are {' and '.join(names[1:])}"
