"""What `pbrl export` writes, opened where there is no pbrl, says what the run says."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from named_task import ACTIONS, NAMED, observations, stacked, trained
from safetensors.numpy import load_file
from tiny import collect, offline, train

import pbrl
from pbrl.export.write import export

SITE = Path(stable_baselines3.__file__).parents[1]
ELSEWHERE = f"""
import importlib.util, json, sys
sys.path.append({str(SITE)!r})
assert not importlib.util.find_spec("pbrl") and not importlib.util.find_spec("pbrl_envs")
import numpy as np, torch, onnxruntime
folder, inputs = sys.argv[1], {{k: np.array(v, np.float32) for k, v in json.load(sys.stdin).items()}}
found = {{}}
for name, keys in (("policy", ["obs"]), ("reward", ["obs", "actions"])):
    given = {{k: inputs[k] for k in keys}}
    found[name + ".pt"] = torch.jit.load(f"{{folder}}/{{name}}.pt")(*map(torch.from_numpy, given.values())).tolist()
    session = onnxruntime.InferenceSession(f"{{folder}}/{{name}}.onnx", providers=["CPUExecutionProvider"])
    found[name + ".onnx"] = session.run(None, given)[0].tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A run in dictionaries and odd units."""
    with trained(tmp_path_factory.mktemp("named") / "run") as run:
        yield run


def elsewhere(folder, obs, actions):
    """What the files say in a Python that has no pbrl."""
    given = json.dumps({"obs": np.asarray(obs).tolist(), "actions": np.asarray(actions).tolist()})
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(folder)]
    # -I leaves PYTHONPATH out; the site's own .pth files are not read from a path that is appended.
    done = subprocess.run([command[0], "-S", *command[1:]], input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: np.array(value) for name, value in json.loads(done.stdout).items()}


def in_box(n):
    return (ACTIONS.low + np.linspace(0, 1, 2 * n).reshape(n, 2) * (ACTIONS.high - ACTIONS.low)).astype(np.float32)


def test_graphs_say_what_the_run_says_in_own_units(named, tmp_path):
    graphs = ["torchscript", "onnx"]
    files = named.export(tmp_path / "out", policy=graphs, reward=graphs)
    assert [f.name for f in files] == [
        "policy.json", "policy.onnx", "policy.pt", "reward.json", "reward.onnx", "reward.pt"
    ]  # fmt: skip
    several, actions = observations(7), in_box(7)
    found = elsewhere(tmp_path / "out", [gym.spaces.flatten(NAMED, obs) for obs in several], actions)
    acted, rewarded = named.policy()(stacked(several)), named.reward()(stacked(several), actions)
    for kind in ("pt", "onnx"):
        np.testing.assert_allclose(found[f"policy.{kind}"], acted, atol=1e-5)
        np.testing.assert_allclose(found[f"reward.{kind}"], rewarded, atol=1e-5)


def test_the_description_says_where_each_part_stands(named, tmp_path):
    export(named.path, tmp_path / "out", policy=["torchscript"])
    about = json.loads((tmp_path / "out" / "policy.json").read_text())
    obs = observations(1)[0]
    flat = gym.spaces.flatten(NAMED, obs)
    for part in about["inputs"]["obs"]["parts"]:
        key = part["name"].split("'")[1]
        own = np.eye(3)[obs[key]] if part["one_hot"] else np.ravel(obs[key])
        np.testing.assert_allclose(flat[part["from"] : part["to"]], own, rtol=1e-6)
    assert about["outputs"]["actions"]["low"] == [-2, 3]


def test_weights_alone_are_enough_to_build_the_reward(named, tmp_path):
    export(named.path, tmp_path / "out", reward=["safetensors"])
    weights, about = (
        load_file(tmp_path / "out" / "reward.safetensors"),
        json.loads((tmp_path / "out/reward.json").read_text()),
    )
    model, several, actions = about["model"], observations(5), in_box(5)
    assert (model["activation"], model["head"], about["scale"]) == ("leaky_relu", "tanh", 1.0)
    obs = np.stack([gym.spaces.flatten(NAMED, one) for one in several]).astype(np.float64)
    if model["normalise"]:
        obs = ((obs - weights["norm.mean"]) / np.sqrt(weights["norm.var"] + model["epsilon"])).clip(
            -model["clip"], model["clip"]
        )
    low, high = (np.array(about["inputs"]["actions"][end]) for end in ("low", "high"))
    x = np.concatenate([obs, 2 * (actions - low) / (high - low) - 1], 1)[None]
    for i in range(len(model["hidden"]) + 1):
        x = x @ weights[f"net.weights.{i}"] + weights[f"net.biases.{i}"]
        x = np.where(x > 0, x, 0.01 * x) if i < len(model["hidden"]) else np.tanh(x)
    np.testing.assert_allclose(about["scale"] * x[..., 0].mean(0), named.reward()(stacked(several), actions), atol=1e-5)


def test_ppo_and_its_normalised_observations(finished, tmp_path):
    run = pbrl.load_run(finished(method="prefppo"))
    export(run.path, tmp_path / "out", policy=["torchscript", "onnx", "zip"], reward=["torchscript", "onnx"])
    rng = np.random.default_rng(0)
    obs, actions = rng.normal(size=(6, 6)).astype(np.float32), rng.uniform(-1, 1, (6, 2)).astype(np.float32)
    found = elsewhere(tmp_path / "out", obs, actions)
    for kind in ("pt", "onnx"):
        np.testing.assert_allclose(found[f"policy.{kind}"], run.policy()(obs), atol=1e-5)
        np.testing.assert_allclose(found[f"reward.{kind}"], run.reward()(obs, actions), atol=1e-5)
    alone = stable_baselines3.PPO.load(tmp_path / "out" / "policy.zip")
    np.testing.assert_allclose(alone.predict(obs, deterministic=True)[0], run.policy()(obs), atol=1e-5)


@pytest.mark.parametrize("method", ["piql", "vpl"])
def test_offline_policies_and_rewards(method, tmp_path):
    data = collect(tmp_path / "data")
    assert main_train(tmp_path / "run", method, data) == 0
    run = pbrl.load_run(tmp_path / "run")
    export(run.path, tmp_path / "out", policy=["torchscript", "onnx"], reward=["torchscript", "onnx"])
    rng = np.random.default_rng(0)
    obs, actions = rng.normal(size=(4, 6)).astype(np.float32), rng.uniform(-1, 1, (4, 2)).astype(np.float32)
    found = elsewhere(tmp_path / "out", obs, actions)
    for kind in ("pt", "onnx"):
        np.testing.assert_allclose(found[f"policy.{kind}"], run.policy()(obs), atol=1e-5)
        np.testing.assert_allclose(found[f"reward.{kind}"], run.reward()(obs, actions), atol=1e-5)
    with pytest.raises(pbrl.UserError, match="policy=zip is for Stable-Baselines3"):
        export(run.path, tmp_path / "other", policy=["zip"])
    assert not (tmp_path / "other").exists()


def test_one_format_needs_no_list(finished, tmp_path):
    run = pbrl.load_run(finished())
    assert [file.name for file in run.export(tmp_path / "out", policy="zip", reward="safetensors")] == [
        "policy.zip", "reward.json", "reward.safetensors"
    ]  # fmt: skip
    with pytest.raises(pbrl.UserError, match="policy=zop: valid are zip, torchscript, onnx; did you mean zip"):
        run.export(tmp_path / "other", policy="zop")


def main_train(folder, method, data):
    return train(folder, *offline(method, data), method=None)[0]


def test_the_command(finished, output, refusal, tmp_path):
    run = finished()
    said = output("export", run, "policy=zip,torchscript", "reward=onnx", f"out={tmp_path / 'out'}")
    assert [line.rsplit("/", 1)[1] for line in said.splitlines()] == [
        "policy.json", "policy.pt", "policy.zip", "reward.json", "reward.onnx"
    ]  # fmt: skip
    assert "exists" in refusal("export", run, "policy=zip", f"out={tmp_path / 'out'}")
    assert "policy=onxx: valid are zip, torchscript, onnx; did you mean onnx?" in refusal("export", run, "policy=onxx")
    assert "nothing to export; give policy= (zip, torchscript, onnx)" in refusal("export", run)
    assert "data= is missing: reward=progress_parquet needs" in refusal("export", run, "reward=progress_parquet")
    assert "data= is for reward=progress_parquet" in refusal("export", run, "policy=zip", "data=x")
    assert "has no learned reward of single steps" in refusal("export", finished(method="true_reward"), "reward=onnx")
    for name in ("surf", "reed"):
        assert "written to" in output("export", finished(method=name), "reward=onnx", f"out={tmp_path / name}")
    assert "valid for it are reward=torchscript and reward=onnx" in refusal(
        "export", finished(method="reed"), "reward=lerobot", f"out={tmp_path / 'lerobot'}"
    )
    assert not (tmp_path / "lerobot").exists()
    assert not list(tmp_path.glob(".*"))


LEROBOT = {  # as much of LeRobot 0.6 as its own `from_pretrained` needs of these classes, for a machine without it
    "lerobot/configs/rewards.py": """
import json
from pathlib import Path
class RewardModelConfig:
    known = {}
    @classmethod
    def register_subclass(cls, name):
        return lambda kind: cls.known.setdefault(name, kind)
""",
    "lerobot/rewards/pretrained.py": """
import json, torch
from dataclasses import fields
from pathlib import Path
from safetensors.torch import load_model
from lerobot.configs.rewards import RewardModelConfig
class PreTrainedRewardModel(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
    @classmethod
    def from_pretrained(cls, folder):
        told = json.loads((Path(folder) / "config.json").read_text())
        kind = RewardModelConfig.known[told.pop("type")]
        of_the_base = {"input_features", "output_features", "device"}
        assert set(told) - of_the_base == {f.name for f in fields(kind)} - of_the_base | set()
        model = cls(kind(**{k: v for k, v in told.items() if k not in of_the_base}))
        load_model(model, str(Path(folder) / "model.safetensors"), strict=True)
        return model
""",
}
READ = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import torch
from modeling_pbrl import PbrlRewardModel
given = {k: torch.tensor(v) for k, v in json.load(sys.stdin).items()}
print(json.dumps(PbrlRewardModel.from_pretrained(sys.argv[1]).compute_reward(given).tolist()))
"""


def test_the_code_for_lerobot_computes_the_reward(named, tmp_path):
    """By stand-ins for LeRobot's two base classes: LeRobot itself needs Python 3.12 and is not installed here."""
    export(named.path, tmp_path / "out", reward=["lerobot"])
    for name, code in LEROBOT.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(code)
    several, actions = observations(5), in_box(5)
    state = [gym.spaces.flatten(NAMED, obs).tolist() for obs in several]
    given = json.dumps({"observation.state": state, "action": actions.tolist()})
    command = [sys.executable, "-c", READ, str(tmp_path / "out" / "reward_lerobot"), str(tmp_path / "site")]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), named.reward()(stacked(several), actions), atol=1e-5)
    config = json.loads((tmp_path / "out" / "reward_lerobot" / "config.json").read_text())
    assert (config["type"], config["input_features"]["action"]) == ("pbrl", {"type": "ACTION", "shape": [2]})


def test_without_onnx_the_line_says_how_to_get_it(finished, refusal, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = refusal("export", finished(), "policy=onnx", f"out={tmp_path / 'out'}")
    assert "onnx is not installed" in line
    assert "[onnx]" in line
    assert not (tmp_path / "out").exists()
