"""The folder of a run: what was asked for, with what versions, and what came out."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from pbrl.errors import StorageError, UserError, typed
from pbrl.files import LOCK, make_folder, remove_empty, replacing, write_json
from pbrl.overrides import PATHS
from pbrl.storage import storing

PACKAGES = ("pbrl", "gymnasium", "mujoco", "numpy", "torch", "stable-baselines3", "dm_control", "metaworld")


class RunDir:
    """Paths and small files of a run; README.md lists them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / LOCK)
        self._made: list[Path] = []  # folders that were not there before `create`

    @staticmethod
    def create(config: DictConfig, command: list[str]) -> RunDir:
        """Make a new folder, never in one that is there and not empty. Paths in the config become absolute."""
        _make_absolute(config)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        default = Path("runs", config.env.name, config.method.name, f"{stamp}_s{config.seed}")
        path = Path(str(config.run_dir)) if config.run_dir else default
        run = RunDir(path)
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                hint = f", or go on with: {typed('train', f'resume={path}')}" if run.config.is_file() else ""
                raise UserError(f"run_dir={path} exists; choose another{hint}")
            run._made = make_folder(path)
        except OSError as error:
            raise UserError(f"run_dir={path} cannot be made: {error.strerror}") from error
        try:
            with storing(path):
                (path / "command.txt").write_text(shlex.join(command) + "\n")
                write_json(path / "versions.json", versions(config.threads, config.device))
                run.write_config(config)  # last and whole: a folder that has it is a run
        except StorageError:
            run.discard()
            raise
        return run

    def write_config(self, config: DictConfig) -> None:
        with replacing(self.config) as partial:
            OmegaConf.save(config, partial)

    def discard(self) -> None:
        """Takes back a folder whose run could not even be built, so that a corrected command can use the name."""
        for content in self.path.iterdir():
            shutil.rmtree(content) if content.is_dir() else content.unlink()
        remove_empty(self._made)

    @contextmanager
    def discard_if_refused(self) -> Iterator[None]:
        """Takes the folder back if its run is refused, and says how to begin again if somebody ends it meanwhile."""
        try:
            with storing(self.path):
                yield
        except Exception:
            self.discard()
            raise
        except KeyboardInterrupt:
            print(
                f"pbrl: before the first step; begin again with: {typed('train', f'resume={self.path}')}",
                file=sys.stderr,
            )
            raise

    def lock(self) -> None:
        """Lock the folder for one process, until `unlock`; the lock of a process that was killed is free again."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.path} is being trained by another process") from None

    def unlock(self) -> None:
        self._lock.release()

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def policy(self) -> Path:
        return self.path / "policy.zip"

    @property
    def offline_policy(self) -> Path:
        return self.path / "policy.safetensors"

    @property
    def reward(self) -> Path:
        return self.path / "reward.safetensors"


def _make_absolute(config: DictConfig) -> None:
    """Make every folder that a run reads absolute, since it is resumed from anywhere."""
    for key in PATHS:
        if key != "run_dir" and (value := OmegaConf.select(config, key)) is not None:
            OmegaConf.update(config, key, str(Path(value).resolve()))


def versions(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Return what a number depends on besides the config; device: as the config has it."""
    import torch

    from pbrl.nets.devices import chosen_device

    where = chosen_device(device).type

    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "git": _git_hash(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": where,
        "sac_kernel": _kernel() if where == "cpu" else f"none: it runs on the CPU alone, and the device is {where}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _kernel() -> str:
    """Return what makes SAC's updates here where agent.backend leaves it open."""
    from pbrl.native.binding import load

    library, reason = load()
    return f"none: {reason}" if library is None else library.kind


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on and that are installed."""
    return {name: v for name in PACKAGES if (v := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_hash() -> str | None:
    """Return the commit of the checkout that runs, with a mark if it was changed since; None for an installed wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
