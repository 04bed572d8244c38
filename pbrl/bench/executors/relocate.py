"""A run directory that was moved, or whose data set was."""

from __future__ import annotations

import shlex
from pathlib import Path

from pbrl.files import replacing

CONFIG, COMMAND = "config.yaml", "command.txt"  # pbrl.training.run_dir, which names them too, imports torch


def relocate(folder: Path, run_dir: str, data: str | None, config_dir: str | None) -> None:
    """Make config and command of the run in `folder` name where it and its data lie now."""
    from omegaconf import OmegaConf

    if (path := folder / CONFIG).exists():
        config = OmegaConf.load(path)
        config.run_dir = run_dir
        if data is not None:
            config.data = data
        with replacing(path) as partial:
            OmegaConf.save(config, partial)
    if (path := folder / COMMAND).exists():
        words = shlex.split(path.read_text())
        named = {"run_dir": run_dir, "data": data}
        for i, word in enumerate(words):
            key = word.split("=", 1)[0]
            if "=" in word and named.get(key) is not None:
                words[i] = f"{key}={named[key]}"
            if i and words[i - 1] == "--config-dir" and config_dir is not None:
                words[i] = config_dir
        path.write_text(shlex.join(words) + "\n")
