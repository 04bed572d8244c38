"""A reward as a LeRobot reward model: a folder with config.json, model.safetensors and the code that reads them.

LeRobot 0.6 finds reward models of others by modules named configuration_NAME, modeling_NAME and processor_NAME, which
must have been imported; the three in the folder need LeRobot and torch alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pbrl.export.plain import PlainReward

NAME = "pbrl"
CODE = ("configuration_pbrl.py", "modeling_pbrl.py", "processor_pbrl.py")


def write_lerobot(folder: Path, reward: PlainReward, about: Mapping[str, Any]) -> None:
    """Write the folder that `PbrlRewardModel.from_pretrained` reads.

    about: as in reward.json: inputs, with the range of actions, and scale.
    """
    folder.mkdir()
    actions = about["inputs"]["actions"]
    config = {
        "type": NAME,
        "input_features": {
            "observation.state": {"type": "STATE", "shape": [reward.description["obs_size"]]},
            "action": {"type": "ACTION", "shape": [reward.description["action_size"]]},
        },
        "output_features": {"reward": {"type": "REWARD", "shape": [1]}},
        "device": "cpu",
        **{k: v for k, v in reward.description.items() if k != "kind"},
        "scale": about["scale"],
        "action_low": actions["low"],
        "action_high": actions["high"],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(reward.weights, str(folder / "model.safetensors"))
    for name in CODE:
        source = Path(__file__).parent / "lerobot_code" / f"{name}.txt"
        (folder / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
