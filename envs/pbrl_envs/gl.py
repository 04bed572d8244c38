"""The OpenGL back end that MuJoCo renders with. Nothing here is needed to train without pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache

from pbrl.errors import UserError

HOW_TO_GET = (
    "set MUJOCO_GL=egl (Debian: apt-get install libegl1 libgl1-mesa-dri) "
    "or MUJOCO_GL=osmesa (Debian: apt-get install libosmesa6)"
)

_DRAW_NOTHING = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100).free()
context.free()
"""


def choose_backend() -> str | None:
    """Set MUJOCO_GL if it is unset and there is no display; return the back end in use, None if none works.

    EGL comes first because it uses a GPU where there is one. The choice must be made before the first frame: PyOpenGL
    binds to one platform per process.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen or has_display():
        return chosen or "glfw"
    for backend in ("egl", "osmesa"):
        if probe(backend) is None:
            os.environ["MUJOCO_GL"] = backend
            return backend
    return None


def require_backend() -> None:
    """Raise UserError, with how to get one, where no back end works. A failed attempt in this process could end it."""
    backend = choose_backend()
    reason = "neither EGL nor OSMesa works here" if backend is None else probe(backend)
    if reason is not None:
        raise UserError(f"cannot render with MUJOCO_GL={backend or ''} ({reason}); {HOW_TO_GET}")


def has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@cache
def probe(backend: str, timeout_s: float = 60) -> str | None:
    """Return None if the back end really draws, else why not; in a process of its own, as a bad driver may crash it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    command = [sys.executable, "-c", _DRAW_NOTHING]
    try:
        run = subprocess.run(
            command, env=environment | {"MUJOCO_GL": backend}, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s"
    if run.returncode == 0:
        return None
    errors = [line for line in run.stderr.splitlines() if re.match(r"[\w.]*Error: ", line)]  # later ones are clean-up
    return errors[0] if errors else f"exit code {run.returncode}"
