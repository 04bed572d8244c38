"""Processes on this machine whose updates are made together: runs with one problem are one stack of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig

from pbrl.bench.executors.local import LocalExecutor
from pbrl.bench.executors.options import check_names, whole
from pbrl.bench.executors.stack_server import StackServer
from pbrl.bench.jobs import Job, Outcome, cores, run_job
from pbrl.building import build, maker_of
from pbrl.errors import UserError
from pbrl.nets.devices import chosen_device

COVERED = "it covers methods that drive an agent, with agent=sac"


class StackExecutor(LocalExecutor):
    """Each run is a process with its environments, its replay buffer and its folder, as with executor=local.

    What it would compute alone for an update of SAC is computed here, for all runs at once, on `device`.
    """

    def __init__(self, slots: int, retries: int, device: str) -> None:
        super().__init__(slots, retries)
        self.server = StackServer(chosen_device(device))

    @classmethod
    def from_options(cls, options: dict[str, str], retries: int) -> StackExecutor:
        """Make one from `workers`, by default as many as there are cores, and `device`, where the updates are made."""
        check_names("stack", options, ("workers", "device"))
        return cls(whole(options, "workers", cores(), least=1), retries, options.get("device", "cpu"))

    def check(self, name: str, config: DictConfig) -> None:
        """Raise UserError where a run would have to make its updates alone."""
        if (reason := _reason_against(config)) is not None:
            raise UserError(f"executor=stack: {name}: {reason}")

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        self.server.start()
        try:
            yield from super().run(jobs)
        finally:
            self.server.end()
            self.server.join()

    def _run_one(self, job: Job) -> Outcome:
        return run_job(job, self.retries, self._stopped, self.server.line)


def _reason_against(config: DictConfig) -> str | None:
    """Return what of a run no stack covers."""
    from pbrl.agents.fast_sac import FastSAC

    method: Any = build(config.method)
    if not method.agents:
        return f"method={config.method.name} learns a policy of its own; {COVERED}"
    maker = maker_of(config.agent, "agent")
    algorithm = build(config.agent.algorithm) if "algorithm" in config.agent else maker.target
    if algorithm is not FastSAC:
        return f"the agent is {algorithm.__name__}; {COVERED}"
    settings = maker.settings
    wanted = {"precision": ("float32",), "backend": ("auto", "torch"), "target_update_interval": (1,)}
    for key, valid in wanted.items():
        if settings[key] not in valid:
            return f"agent.{key}={settings[key]}; valid is {' or '.join(map(str, valid))}"
    if config.device != "cpu":
        return f"device={config.device}; expected cpu in each run, and the stack's own is given beside executor=stack"
    return None
