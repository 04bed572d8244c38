"""The place of the compiled sac.c: the wheel, a cache folder, or what a C compiler puts there at first use.

sac.c is compiled once for each kind of processor, and the best kind that this one can run is taken:

    avx512bf16   x86-64 with AVX-512 and its bfloat16 products        neon-bf16   the same of arm64
    avx512       x86-64 with AVX-512                                  neon        any arm64
    avx2         x86-64 with AVX2 and FMA

PBRL_NATIVE takes another: the name of a kind, or "off" for none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent / "sac.c"
VARIABLE = "PBRL_NATIVE"
COMMON = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math",
          "-ffp-contract=fast")  # fmt: skip
COMPILE_TIMEOUT_S = 120
AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")


class Kind(NamedTuple):
    machines: tuple[str, ...]  # as platform.machine() calls them
    features: frozenset[str]  # as /proc/cpuinfo calls them
    flags: tuple[str, ...]


X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
WIDE = (*(f"-m{name}" for name in AVX512), "-mfma", "-mprefer-vector-width=512")
KINDS = {  # the best first
    "avx512bf16": Kind(X86, frozenset({*AVX512, "avx512_bf16", "fma"}), (*WIDE, "-mavx512bf16")),
    "avx512": Kind(X86, frozenset({*AVX512, "fma"}), WIDE),
    "avx2": Kind(X86, frozenset({"avx2", "fma"}), ("-mavx2", "-mfma")),
    "neon-bf16": Kind(ARM, frozenset({"bf16"}), ("-march=armv8.2-a+bf16",)),
    "neon": Kind(ARM, frozenset(), ()),
}


class Found(NamedTuple):
    """A library, or why there is none."""

    kind: str | None
    path: Path | None
    reason: str = ""  # in words that follow "the compiled kernel is not used: "


@cache
def find() -> Found:
    """Find the library for this processor; compile it where neither the wheel nor the cache has it."""
    asked = os.environ.get(VARIABLE, "")
    if asked == "off":
        return Found(None, None, f"{VARIABLE}=off")
    possible = runnable()
    if asked and asked not in possible:
        return Found(None, None, f"{VARIABLE}={asked}: valid here are off{''.join(f', {name}' for name in possible)}")
    if not possible:
        return Found(None, None, f"this processor ({platform.machine()}) has neither AVX2 nor NEON")
    kind = asked or possible[0]
    packaged = SOURCE.parent / library_name(kind)
    return Found(kind, packaged) if packaged.is_file() else _find_or_compile(kind)


def runnable() -> list[str]:
    """Return the kinds that this processor can run, the best first."""
    return [name for name in kinds_of_machine() if KINDS[name].features <= processor_features()]


def kinds_of_machine() -> list[str]:
    """Return the kinds of this machine's family of processors, the best first."""
    return [name for name, kind in KINDS.items() if platform.machine() in kind.machines]


def processor_features() -> frozenset[str]:
    """Return the processor's own flags; a system without /proc/cpuinfo counts as without any."""
    return frozenset(_cpuinfo("flags", "Features").split())


def processor_vendor() -> str:
    """Return the vendor as x86 processors name it, such as AuthenticAMD; "" where it is not known."""
    return _cpuinfo("vendor_id")


@cache
def _cpuinfo(*names: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def compiler() -> str | None:
    """Return the compiler that CC names, or the first there is of cc, gcc and clang."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def compile_library(kind: str, out: Path, using: str) -> None:
    """Compile it; `subprocess.SubprocessError` or `OSError` where the compiler fails."""
    command = [using, *COMMON, *KINDS[kind].flags, str(SOURCE), "-o", str(out), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise subprocess.SubprocessError(f"{using}: {next((x for x in lines if 'error' in x), lines[0])}") from error


def library_name(kind: str) -> str:
    return f"sac_{kind}.so"


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pbrl"


def _find_or_compile(kind: str) -> Found:
    text = " ".join((*COMMON, *KINDS[kind].flags)).encode() + SOURCE.read_bytes()
    path = cache_folder() / hashlib.sha256(text).hexdigest()[:16] / library_name(kind)
    if path.is_file():
        return Found(kind, path)
    if (using := compiler()) is None:
        return Found(None, None, "there is no C compiler (cc, gcc or clang) to build it with")
    print("pbrl: compiling the SAC kernel (seconds, once)", file=sys.stderr, flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            compile_library(kind, made, using)
            made.replace(path)  # whole or not at all: other runs may be doing the same
    except (OSError, subprocess.SubprocessError) as error:
        return Found(None, None, f"it could not be compiled ({error})")
    return Found(kind, path)
