"""The facts that two machines must agree on before numbers made on them may stand in one table."""

from __future__ import annotations

import platform

from pbrl.bench.sources import code_version, yamls_version
from pbrl.config import config_dir
from pbrl.training.run_dir import package_versions


def code_facts() -> dict[str, str]:
    """Python, the packages that numbers depend on, and versions of the code and the configs of pbrl."""
    packages = {name: version.split("+")[0] for name, version in package_versions().items()}  # 2.13.0+cpu is 2.13.0
    python = ".".join(platform.python_version_tuple()[:2])
    ours = {"code of pbrl": code_version(), "configs of pbrl": yamls_version(config_dir())}
    return {"python": python, **packages, **ours}


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Each fact that differs, in words; empty if none does. A package that one side lacks is no difference."""
    unlike = [name for name in here if there.get(name, here[name]) != here[name]]
    return ", ".join(f"{name} {there[name]} instead of {here[name]}" for name in unlike)
