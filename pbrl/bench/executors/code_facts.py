"""What two machines must agree on before numbers made on them may stand in one table."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from functools import cache
from pathlib import Path

from pbrl.config import config_dir
from pbrl.training.run_dir import package_versions

SUFFIXES = (".py", ".yaml", ".xml")


def code_facts() -> dict[str, str]:
    """Python, the packages that numbers depend on, and 8 hex digits of the source files and configs of pbrl."""
    packages = {name: version.split("+")[0] for name, version in package_versions().items()}  # 2.13.0+cpu is 2.13.0
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **packages, "code of pbrl": _digest()}


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Each fact that differs, in words; empty if none does. A package that one side lacks is no difference."""
    unlike = [name for name in here if there.get(name, here[name]) != here[name]]
    return ", ".join(f"{name} {there[name]} instead of {here[name]}" for name in unlike)


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    spec = importlib.util.find_spec("pbrl_envs")
    envs = spec.submodule_search_locations if spec is not None else None
    for root in (Path(__file__).resolve().parents[2], *map(Path, envs or ()), config_dir()):
        for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]
