"""The trials of `pbrl doctor`, each in a process of its own where a bad driver or wheel may crash without harm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 120.0

STEP_MUJOCO = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_step(model, data, 100)
assert data.qpos[2] < -0.1, f"a body fell to {data.qpos[2]}"
print(mujoco.__version__)
"""

DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><visual><headlight ambient='1 1 1'/></visual><worldbody><camera pos='0 0 1'/>"
    "<geom type='box' size='.2 .2 .1' rgba='1 0 0 1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data, camera=0)
    frame = renderer.render().astype(int)
    from OpenGL import GL
    drawer = GL.glGetString(GL.GL_RENDERER).decode()
red, corner = frame[24, 32], frame[0, 0]
assert red[0] > 100 > red[1] and corner[0] < 100, f"a red box came out as {red.tolist()} on {corner.tolist()}"
print(drawer)
"""

TORCH = """
import torch
from pbrl.nets.precision import choose_float32_products, has_bfloat16_hardware
torch.ones(8, 8) @ torch.ones(8, 8)
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(torch.get_num_threads(), choose_float32_products(), has_bfloat16_hardware(), torch.version.cuda, "; ".join(gpus),
      sep="|")
"""

KERNEL = """
from pbrl.native.binding import load
library, reason = load()
if library is not None:
    assert abs(library.normals(0, 1 << 16).std() - 1) < 0.05
print("" if library is None else library.kind, library is not None and library.has_half,
      reason if library is None else library.path, sep="|")
"""

COUNT_TASKS = """
from pbrl_envs.registry import tasks
print(*(len(tasks(name)) for name in {}))
"""

MULTIPLY_ON_GPU = """
import torch
ones = torch.ones(8, 8, device="cuda")
assert float((ones @ ones).sum()) == 512
"""


def attempt(script: str, environment: dict[str, str] | None = None) -> tuple[str, str | None]:
    """Run Python code by itself; return its last line of output, and None or what went wrong."""
    command = [sys.executable, "-c", script]
    settings = dict(os.environ) if environment is None else {**os.environ, **environment}
    if environment is not None:
        settings.pop("PYOPENGL_PLATFORM", None)  # it would overrule MUJOCO_GL
    try:
        run = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {TIMEOUT_S:g} s"
    if run.returncode == 0:
        return (run.stdout.strip().splitlines() or [""])[-1], None
    errors = [line for line in run.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return "", errors[0] if errors else f"ended with exit code {run.returncode}"


def film_and_read() -> None:
    """Write a short clip and read it back; RuntimeError where it comes out otherwise."""
    import av
    import numpy as np

    from pbrl.reports.video import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_mp4(file, (np.full((48, 64, 3), 20 * i, np.uint8) for i in range(12)), fps=10)
        with av.open(str(file)) as clip:
            stream = clip.streams.video[0]
            found = stream.codec_context.name, stream.pix_fmt, len(list(clip.decode(stream)))
    if found != ("h264", "yuv420p", 12):
        raise RuntimeError(f"a clip of 12 frames came out as {found}")
