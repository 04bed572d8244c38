"""Checks of what a run needs (`pbrl doctor`), each in a process of its own where a bad driver or wheel could crash."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pbrl.commands.arguments import Arguments
from pbrl.commands.probes import COUNT_TASKS, DRAW, KERNEL, MULTIPLY_ON_GPU, STEP_MUJOCO, TORCH, attempt
from pbrl.errors import UserError
from pbrl.install import pip_install, reinstall

HELP = """usage: pbrl doctor

Says what works on this machine, by trying it: packages, GPU, rendering, video, environment suites, disk. "missing" is
optional and comes with how to get it; "broken" keeps runs from working, and the exit code is then 1."""

CORE = {  # module -> distribution
    **{name: name for name in ("numpy", "torch", "gymnasium", "mujoco")},
    **{"stable_baselines3": "stable-baselines3", "hydra": "hydra-core"},
    **{name: name for name in ("safetensors", "tensorboard")},
}


class Finding(NamedTuple):
    state: str  # ok, missing (optional) or broken (needed)
    what: str
    text: str


Check = Callable[[], Iterator[Finding]]


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    if parsed.words or parsed.values:
        raise UserError(f"pbrl doctor takes no arguments, {parsed.overrides[0]!r} given")
    broken = 0
    with ThreadPoolExecutor(2) as pool:  # each mostly waits for a process
        for findings in pool.map(run, CHECKS):
            for state, what, text in findings:
                print(f"{state:<8} {what:<18} {text}", flush=True)
                broken += state == "broken"
    print(f"\n{broken} needed thing(s) broken" if broken else "\neverything that a run needs works here")
    return 1 if broken else 0


def run(check: Check) -> list[Finding]:
    """Return what a check finds; one that fails itself is a finding too."""
    try:
        return list(check())
    except Exception as error:  # a half-installed package can raise anything
        return [Finding("broken", check.__name__, f"{type(error).__name__}: {error}")]


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    enough = sys.version_info >= (3, 10)
    yield Finding("ok" if enough else "broken", "Python", version if enough else f"{version}; 3.10 or later is needed")


def packages() -> Iterator[Finding]:
    """Check the packages that runs need, in one process, since each start of torch takes a second."""
    from importlib.metadata import version

    output, together = attempt("\n".join([*map(_use, CORE), TORCH]))
    for module, distribution in CORE.items():
        problem = together and attempt(_use(module))[1]  # one by one only to find who it is
        if problem is None:
            yield Finding("ok", module, version(distribution))
        elif "MUJOCO_GL" in problem:
            yield Finding("broken", module, f"{problem}; unset MUJOCO_GL")
        else:
            yield Finding("broken", module, f"{problem}; get it with: {reinstall()}")
    yield from torch(output if together is None else None)


def torch(output: str | None = None) -> Iterator[Finding]:
    """Check torch. output: what `TORCH` printed, where it was tried already."""
    if output is None:
        output, problem = attempt(TORCH)
        if problem is not None:
            yield Finding("broken", "torch products", problem)
            return
    threads, float32, bfloat16, cuda, gpus = output.split("|")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("ok", "torch threads", f"{threads} by default on {cores} cores; a run takes threads=1 unless told")
    yield Finding("ok", "float32 products", f"computed {float32}")
    if bfloat16 == "True":
        yield Finding("ok", "bfloat16", "the processor multiplies it in hardware; wide networks are faster in it")
    else:
        yield Finding("missing", "bfloat16", "this processor does not multiply it in hardware; float32 is used")
    if gpus:
        wrong = attempt(MULTIPLY_ON_GPU)[1]
        told = f"does not compute ({wrong})" if wrong else "computes; use it with: device=cuda (or auto)"
        yield Finding("missing" if wrong else "ok", "GPU", f"{gpus} {told}")
    elif cuda == "None":
        yield Finding("missing", "GPU", "this torch is built without CUDA; pytorch.org has others. Runs use the CPU")
    else:
        yield Finding("missing", "GPU", "none is visible to torch. Runs use the CPU")


def kernel() -> Iterator[Finding]:
    output, problem = attempt(KERNEL)
    kind, half, text = ("", "", problem) if problem is not None else output.split("|", 2)
    if kind:
        precisions = "float32 and bfloat16" if half == "True" else "float32"
        yield Finding(
            "ok", "SAC kernel", f"{kind}, updates in {precisions} on the CPU ({text}); device=cuda uses torch"
        )
    else:
        yield Finding("missing", "SAC kernel", f"{text}; updates run in torch, about half as fast")


def rendering() -> Iterator[Finding]:
    from pbrl_envs.gl import HOW_TO_GET, has_display

    if sys.platform == "linux":
        backends = ["egl", "osmesa", *(["glfw"] if has_display() else [])]
    else:
        backends = ["cgl" if sys.platform == "darwin" else "wgl"]
    drawn = {name: attempt(DRAW, {"MUJOCO_GL": name}) for name in backends}
    for name, (drawer, problem) in drawn.items():
        if problem is None:
            yield Finding("ok", f"rendering, {name}", f"drew a frame with {drawer}")
        else:
            yield Finding("missing", f"rendering, {name}", problem)
    if all(problem for _, problem in drawn.values()):
        yield Finding("missing", "clips", f"no back end draws, so there are none; {HOW_TO_GET}")
    chosen = os.environ.get("MUJOCO_GL")
    if chosen and drawn.get(chosen, (None, "not one of these"))[1] is not None:
        yield Finding("missing", "MUJOCO_GL", f"is set to {chosen}, which does not draw; unset it or choose another")


def video() -> Iterator[Finding]:
    _, problem = attempt("from pbrl.commands.probes import film_and_read; film_and_read()")
    if problem is None:
        yield Finding("ok", "video", "wrote and read a clip, H.264 in yuv420p")
    else:
        install = pip_install("--force-reinstall", "imageio[pyav]")
        yield Finding("missing", "video", f"{problem}; get it with: {install}")


def suites() -> Iterator[Finding]:
    from pbrl_envs import registry

    found = registry.suites()
    installed = [name for name, suite in found.items() if suite.version is not None]
    output, together = attempt(COUNT_TASKS.format(installed)) if installed else ("", None)
    counts = dict(zip(installed, output.split(), strict=True)) if together is None else {}
    for name, suite in found.items():
        if suite.version is None:
            yield Finding("missing", f"suite {name}", f"not installed; get it with: {suite.install}")
            continue
        count, problem = counts.get(name), None
        if count is None:
            count, problem = attempt(COUNT_TASKS.format([name]))
        if problem is None:
            yield Finding("ok", f"suite {name}", f"{suite.version}, {count} tasks")
        else:
            yield Finding("missing", f"suite {name}", f"{problem}; get it with: {suite.install}")


def disk(folder: Path | None = None) -> Iterator[Finding]:
    """Check the disk where runs go by default."""
    folder = folder or Path.cwd()
    try:
        with tempfile.TemporaryDirectory(prefix=".pbrl_doctor_", dir=folder) as there:
            file = Path(there) / "file"
            with file.open("wb") as stream:
                stream.write(bytes(1 << 20))
                os.fsync(stream.fileno())
            file.rename(file.with_suffix(".renamed"))
        free = shutil.disk_usage(folder).free / 2**30
        yield Finding("ok", "disk", f"{folder} can be written, {free:.0f} GiB free")
    except OSError as error:
        yield Finding("broken", "disk", f"{folder} cannot be written ({error.strerror}); work in another folder")


def database(folder: Path | None = None) -> Iterator[Finding]:
    """Check that SQLite's write-ahead log works here: labels need it, and network file systems may refuse it."""
    folder = folder or Path.cwd()
    try:
        with tempfile.TemporaryDirectory(prefix=".pbrl_doctor_", dir=folder) as there:
            path = Path(there) / "labels.sqlite"
            one, two = sqlite3.connect(path), sqlite3.connect(path)
            mode = one.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            with one:
                one.execute("CREATE TABLE answers (value REAL)")
            one.execute("BEGIN IMMEDIATE")
            one.execute("INSERT INTO answers VALUES (1)")
            seen = two.execute("SELECT count(*) FROM answers").fetchone()[0]  # a reader while another writes
            one.commit()
            one.close()
            two.close()
        if mode != "wal" or seen:
            raise sqlite3.OperationalError(f"journal mode is {mode}")
        yield Finding("ok", "labels", f"SQLite {sqlite3.sqlite_version} reads while it writes")
    except (OSError, sqlite3.Error) as error:
        yield Finding("broken", "labels", f"SQLite fails in {folder} ({error}); put runs on a local disk")


CHECKS: tuple[Check, ...] = (python, packages, kernel, rendering, video, suites, disk, database)


def _use(module: str) -> str:
    return STEP_MUJOCO if module == "mujoco" else f"import {module}"
