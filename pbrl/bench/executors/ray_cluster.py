"""The connection to a Ray cluster, made at first use and quietly; one that was there before is left as it is."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pbrl.bench.jobs import cores
from pbrl.errors import UserError, one_line
from pbrl.install import install_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK_S = 120.0  # for a node to start a process and import pbrl
LOOK_S = 2.0  # between looks at what nodes there are


class RayCluster:
    """A cluster at an address; `local` is one of this machine that lives as long as the connection."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._ours = False
        self._left = False
        self._looked = -LOOK_S
        self._nodes: list[dict[str, Any]] = []

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many runs with these resources the nodes have room for when they do nothing else."""
        nodes = self._nodes if self._left else self.nodes()  # nobody who asks what it was wants to start it again
        return sum(_room(node["Resources"], cpus, gpus) for node in nodes)

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive, as Ray describes them."""
        import ray

        self._join()
        if time.monotonic() - self._looked >= LOOK_S:
            self._nodes = [node for node in ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    def ask_nodes(self, question: Callable[[], dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
        """Ask every node that has CPUs; return names and answers. UserError where one cannot run pbrl."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self.nodes() if node["Resources"].get("CPU")]
        answers = []
        task = ray.remote(question)
        asked = [
            task.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            for node in nodes
        ]
        for node, answer in zip(nodes, [each.remote() for each in asked], strict=True):
            name = node["NodeManagerHostname"]
            try:
                answers.append((name, ray.get(answer, timeout=ASK_S)))
            except ray.exceptions.RayError as error:
                raise UserError(f"Ray node {name} cannot run pbrl: {reason(error)}; install it there") from error
        return answers

    def leave(self) -> None:
        """End what `nodes` began, and nothing else."""
        import ray

        if self._ours:
            ray.shutdown()
        self._ours, self._left, self._looked = False, True, -LOOK_S

    def _join(self) -> None:
        ray = _import_ray()
        self._left = False
        if ray.is_initialized():
            return
        local = self.address == "local"
        # Nobody asked for reports of use, or for a dashboard; a cluster that is there has its own settings.
        own = {"num_cpus": cores(), "include_dashboard": False} if local else {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            with _keep_signals():
                ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UserError(f"address={self.address}: no Ray cluster can be joined there: {one_line(error)}") from error
        self._ours = True


def reason(error: Exception) -> str:
    """The first line of what went wrong, which Ray puts below the name of the task."""
    return one_line(getattr(error, "cause", None) or error)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(f"executor=ray needs Ray: {install_extra('ray')}") from None
    return ray


@contextmanager
def _keep_signals() -> Iterator[None]:
    """Keep our handlers of signals: Ray takes SIGTERM for itself, and whoever runs us may have plans for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    room = int(resources.get("CPU", 0) / cpus + 1e-9)
    if gpus == 0:
        return room
    devices = resources.get("GPU", 0)
    # A share of a device stays on one device, so that 0.4 fits twice and not 2.5 times.
    return min(room, int(devices) * int(1 / gpus + 1e-9) if gpus < 1 else int(devices / gpus))
