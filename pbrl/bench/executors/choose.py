"""Choose where the cells of a bench run: here, as one stack of seeds, on Ray or on SLURM."""

from __future__ import annotations

from pbrl.bench.jobs import Executor
from pbrl.errors import UserError, choices

EXECUTORS = {  # name: what it does
    "local": "processes of this machine",
    "stack": "many seeds of one agent as one process, whose updates are made together",
    "ray": "a cluster of Ray",
    "slurm": "a cluster of SLURM",
}


def make_executor(name: str, options: dict[str, str], retries: int) -> Executor:
    """Make the executor of that name; the options are its own."""
    if name == "local":
        from pbrl.bench.executors.local import LocalExecutor

        return LocalExecutor.from_options(options, retries)
    if name == "ray":
        from pbrl.bench.executors.on_ray import RayExecutor

        return RayExecutor.from_options(options, retries)
    if name == "slurm":
        from pbrl.bench.executors.on_slurm import SlurmExecutor

        return SlurmExecutor.from_options(options, retries)
    if name == "stack":
        from pbrl.bench.executors.on_stack import StackExecutor

        return StackExecutor.from_options(options, retries)
    raise UserError(f"executor={name}: {choices(name, EXECUTORS)}")
