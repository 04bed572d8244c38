"""Runs on a cluster of two nodes that work in another folder and share the disk."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import LONG, job, numbers
from omegaconf import OmegaConf
from tiny import collect, offline

from pbrl.bench.executors.choose import make_executor
from pbrl.bench.executors.code_facts import code_facts, differences
from pbrl.bench.executors.on_ray import RayExecutor, RayRun
from pbrl.bench.executors.ray_cluster import RayCluster, _room
from pbrl.bench.jobs import Job
from pbrl.cli import main
from pbrl.errors import UserError

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'pbrl[ray]'")
PATIENCE_S = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """Two nodes with a core each, started in a folder that is not the driver's."""
    from ray.cluster_utils import Cluster

    elsewhere, home = tmp_path_factory.mktemp("nodes"), os.getcwd()
    os.chdir(elsewhere)
    settings = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    settings["worker_niceness"] = 0  # or tests beside these would starve the runs
    own = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**own, "_system_config": settings})
    try:
        cluster.second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        cluster.elsewhere = elsewhere
        os.chdir(home)
        yield cluster
    finally:
        os.chdir(home)
        cluster.shutdown()


def executor(cluster: Any, retries: int = 1) -> RayExecutor:
    made = make_executor("ray", {"address": cluster.address}, retries=retries)
    assert isinstance(made, RayExecutor)
    return made


def wait_until(fact: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_checkpoint(job: Job) -> bool:
    return (job.folder / "checkpoints" / "last").exists()


def who(actor: Any) -> tuple[str, int]:
    """The node on which a run's actor works, and its process."""
    return ray.get(actor.__ray_call__.remote(lambda _: (ray.get_runtime_context().get_node_id(), os.getpid())))


def process_of(job: Job) -> int:
    """The process that writes the run's log as its output."""
    outputs = (path for path in Path("/proc").glob("[0-9]*/fd/1") if os.access(path, os.R_OK))
    return next(int(path.parts[2]) for path in outputs if os.readlink(path) == str(job.log.resolve()))


def test_a_node_that_dies_costs_no_number(cluster, alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the paths below are not those of the nodes, which work elsewhere
    jobs = [job(Path("out"), n, LONG, "seed=0") for n in (0, 1)]  # either of them may be on that node
    ours = executor(cluster)
    assert ours.slots == 2

    def kill() -> None:
        wait_until(lambda: len(ours._cells) == 2)
        workers = {node: (cell, pid) for cell in list(ours._cells.values()) for node, pid in [who(cell.actor)]}
        lost, worker = workers[cluster.second.node_id]
        wait_until(lambda: has_checkpoint(lost.job))
        run = process_of(lost.job)
        os.kill(run, signal.SIGSTOP)  # or it may end while its node does, and has nothing left to do elsewhere
        cluster.remove_node(cluster.second, allow_graceful=False)
        wait_until(lambda: not Path(f"/proc/{worker}").exists())
        os.kill(run, signal.SIGCONT)  # what it does from here on is what its parent's death makes it do

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = list(ours.run(jobs))
    killer.join(60)
    assert not ray.is_initialized()
    assert ours.slots in (1, 2)  # as last seen, maybe before the loss showed; the cluster is not joined again to say so
    assert not ray.is_initialized()
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert sorted(outcome.attempts for outcome in outcomes) == [1, 2]
    moved = next(outcome.job for outcome in outcomes if outcome.attempts == 2)
    assert "from step" in moved.log.read_text()
    assert [numbers(each.folder) for each in jobs] == [numbers(alone)] * 2
    assert (moved.folder / "policy.zip").exists()
    assert OmegaConf.load(moved.folder / "config.yaml").run_dir == str(moved.folder.resolve())
    assert list(cluster.elsewhere.iterdir()) == []
    assert sorted(path.name for path in moved.folder.parent.iterdir()) == ["s0", "s0.log", "s1", "s1.log"]


def test_data_travel_and_failures_stay_alone(cluster, tmp_path):
    data, own, out = collect(tmp_path / "data"), tmp_path / "own", tmp_path / "out"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\nsteps: 21\n")
    arguments = [word for word in offline("bc", data) if not word.startswith(("data=", "steps="))]
    good = Job("a/s0", out / "a" / "s0", (*arguments, "experiment=mine"), data, own)
    wrong = Job("a/s1", out / "a" / "s1", ("method=nonsense",), data, own)
    lost = Job("a/s2", out / "a" / "s2", (*arguments,), tmp_path / "nothing")
    found = {outcome.job: outcome for outcome in executor(cluster).run([lost, wrong, good])}
    assert found[lost].code == 2
    assert "nothing" in found[lost].message
    assert found[wrong].code == 2
    assert found[wrong].attempts == 1
    assert "method=nonsense: valid are" in found[wrong].message
    assert not wrong.folder.exists()
    assert found[good].code == 0, found[good].message
    config = OmegaConf.load(good.folder / "config.yaml")
    assert (config.steps, config.data, config.run_dir) == (21, str(data.resolve()), str(good.folder))
    command = (good.folder / "command.txt").read_text().split()
    assert f"data={data}" in command
    assert command[-2:] == ["--config-dir", str(own)]
    assert str(good.folder) in good.log.read_text()
    assert [next(executor(cluster).run([good])).attempts] == [0]  # what has finished is not run again


def test_a_stopped_run_goes_on_anywhere(cluster, alone, tmp_path):
    first = executor(cluster)
    begun = [job(tmp_path / "out", seed, LONG) for seed in range(first.slots)]
    waiting = job(tmp_path, 9)  # never started

    def stop() -> None:
        wait_until(lambda: has_checkpoint(begun[0]))
        first.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    outcomes = {outcome.job: outcome for outcome in first.run([*begun, waiting])}
    stopper.join(60)
    stopped = begun[0]
    assert waiting not in outcomes
    assert outcomes[stopped].code == 130
    code, said = resume(stopped.folder)
    assert code == 0
    assert "from step" in said
    assert numbers(stopped.folder) == numbers(alone)


def resume(folder: Path) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return main(["train", f"resume={folder}"]), said.getvalue()


def test_other_code_is_refused_before_anything_runs(cluster, tmp_path, monkeypatch):
    here = code_facts() | {"code of pbrl": "00000000", "python": "3.0"}
    monkeypatch.setattr("pbrl.bench.executors.on_ray.code_facts", lambda: here)
    monkeypatch.setattr(RayCluster, "ask_nodes", lambda self, question: [("far", code_facts())])
    says = r"Ray node {} has python .* instead of 3.0, code of pbrl .* instead of 0000"
    with pytest.raises(UserError, match=says.format("far")):
        next(executor(cluster).run([job(tmp_path, 0)]))
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(RayCluster, "ask_nodes", lambda self, question: [])  # of a node that came later
    (outcome,) = executor(cluster).run([job(tmp_path, 0)])
    assert (outcome.code, outcome.attempts) == (2, 1)
    assert re.match(says.format(platform.node()), outcome.message)


def test_a_node_that_does_not_see_the_folder_is_refused(tmp_path):
    elsewhere = job(tmp_path / "on another disk", 0)
    with pytest.raises(UserError, match="must lie on a disk that all nodes see under the same path"):
        RayRun().run(elsewhere, 0, False, code_facts())
    assert not (tmp_path / "on another disk").exists()


def test_differences_are_those_of_what_both_have():
    assert differences({"python": "3.11", "a": "1"}, {"python": "3.11", "b": "2"}) == ""
    assert differences({"python": "3.11", "a": "1"}, {"python": "3.10", "a": "2"}) == (
        "python 3.10 instead of 3.11, a 2 instead of 1"
    )


def test_a_running_ray_is_left_running(cluster, tmp_path):
    ray.init(cluster.address, log_to_driver=False)
    try:
        ours = executor(cluster)
        assert list(ours.run([])) == []
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cpu": "1"}, "unknown key 'cpu' for executor=ray: valid are address, cpus, gpus"),
        ({"cpus": "0"}, "cpus=0: expected a number above 0"),
        ({"gpus": "1.5"}, "gpus=1.5: expected a share of one, such as 0.25, or a whole number"),
        ({"gpus": "-1"}, "gpus=-1: expected a number of at least 0"),
        ({"cpus": "soon"}, "cpus=soon: expected a number above 0"),
        ({"cpus": "nan"}, "cpus=nan: expected a number above 0"),
    ],
)
def test_wrong_options_are_said(options, says):
    with pytest.raises(UserError, match=says):
        make_executor("ray", options, retries=0)


def test_room_for_runs():
    assert _room({"CPU": 8.0}, 1, 0) == 8
    assert _room({"CPU": 8.0}, 3, 0) == 2
    assert _room({"CPU": 8.0}, 0.5, 0) == 16
    assert _room({"CPU": 8.0, "GPU": 1.0}, 1, 0.25) == 4
    assert _room({"CPU": 8.0, "GPU": 2.0}, 1, 0.4) == 4  # two on each device
    assert _room({"CPU": 8.0, "GPU": 4.0}, 1, 2) == 2
    assert _room({"CPU": 8.0}, 1, 1) == 0


def test_no_cluster_at_the_address_is_said():
    with pytest.raises(UserError, match=r"address=nowhere: no Ray cluster can be joined there"):
        make_executor("ray", {"address": "nowhere"}, retries=0).slots  # noqa: B018
