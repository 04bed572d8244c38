"""Commands that install what is missing, as they work here: from a checkout, a wheel file or an index."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path


def install_extra(name: str) -> str:
    """The command that adds an extra of pyproject.toml to this pbrl, such as `pip install -e '/home/ann/pbrl[dmc]'`."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return pip_install("-e", f"{checkout}[{name}]")
    return pip_install(f"pbrl[{name}]{_origin()}")


def reinstall() -> str:
    """The command that brings what this pbrl needs and is broken."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return pip_install("--force-reinstall", "-e", str(checkout))
    return pip_install("--force-reinstall", f"pbrl{_origin()}")


def pip_install(*what: str) -> str:
    """`pip install` of the Python that runs, whichever one `pip` belongs to in the user's shell."""
    beside = Path(sys.executable).parent
    ours = shutil.which("pip") in {str(beside / name) for name in ("pip", "pip.exe")}
    return shlex.join([*(["pip"] if ours else [sys.executable, "-m", "pip"]), "install", *what])


def _origin() -> str:
    """` @ URL` of the file that it was installed from; empty if an index had it, or if the file is gone."""
    try:
        url = json.loads(metadata.distribution("pbrl").read_text("direct_url.json") or "{}").get("url", "")
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    gone = url.startswith("file://") and not Path(url.removeprefix("file://")).exists()
    return f" @ {url}" if url and not gone else ""
