"""SLURM's own commands. Its accounting, which submitit asks, is not set up everywhere; the queue is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from pbrl.errors import UserError

COMMAND_S = 60.0


def in_queue() -> set[str]:
    """Jobs of this user that wait, run or are about to end; tasks of arrays as ID_TASK."""
    return set(_call("squeue", "--noheader", "--me", "--array", "--format=%i").split())


def cancel(jobs: Iterable[str], *, only_waiting: bool) -> None:
    """Cancel these jobs; those that have ended by now are passed over."""
    state = ["--state=PENDING"] if only_waiting else []
    if ids := sorted(set(jobs)):
        subprocess.run(["scancel", "--quiet", *state, *ids], capture_output=True, timeout=COMMAND_S)


def _call(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_S).stdout
    except FileNotFoundError:
        raise UserError(f"executor=slurm needs SLURM's command {command[0]}, which is not here") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} has not answered for {COMMAND_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[0]
        raise UserError(f"{command[0]} failed and said: {said}") from None
