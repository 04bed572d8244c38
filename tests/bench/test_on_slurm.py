"""Runs through submitit: on its stand-in for a cluster, and on a real SLURM of one node."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cells import LONG, job, numbers
from slurm_here import HOW_TO_GET, missing, slurm_here

from pbrl.bench.executors.choose import make_executor
from pbrl.bench.executors.on_slurm import SlurmExecutor, _Cell
from pbrl.bench.executors.slurm_queue import in_queue
from pbrl.bench.jobs import Job
from pbrl.errors import UserError

pytest.importorskip("submitit", reason="needs submitit: pip install 'pbrl[slurm]'")
PATIENCE_S = 120
QUICK = ("steps=100", "feedback.first=50")


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    if missing():
        pytest.skip(HOW_TO_GET)
    with pytest.MonkeyPatch.context() as patch, slurm_here() as conf:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setattr("pbrl.bench.executors.on_slurm.QUEUE_S", 1.0)
        yield


def executor(retries: int = 0, **options: str) -> SlurmExecutor:
    made = make_executor("slurm", options, retries)
    assert isinstance(made, SlurmExecutor)
    return made


def wait_until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_checkpoint(job: Job) -> bool:
    return (job.folder / "checkpoints" / "last").exists()


def running(then: Callable[[], None], *jobs: Job) -> threading.Thread:
    """A thread that acts once all these jobs have a checkpoint."""

    def act() -> None:
        wait_until(lambda: all(map(has_checkpoint, jobs)))
        then()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_the_local_stand_in_runs_all_and_records_what_fails(tmp_path):
    good, wrong = job(tmp_path, 0, *QUICK), replace(job(tmp_path, 1), arguments=("method=nonsense",))
    ours = executor(cluster="local", array_parallelism="2")
    assert ours.slots == 2
    found = {outcome.job: outcome for outcome in ours.run([wrong, good])}
    assert found[good].code == 0, found[good].message
    assert found[good].attempts == 1
    assert found[wrong].code == 2
    assert "method=nonsense: valid are" in found[wrong].message
    assert (tmp_path / "slurm").is_dir()
    assert [outcome.attempts for outcome in executor(cluster="local").run([good])] == [0]


def test_slurm_runs_an_array_and_a_preempted_run_loses_nothing(slurm, alone, tmp_path):
    long = job(tmp_path, 0, LONG)
    wrong = replace(job(tmp_path, 1), arguments=("method=nonsense",))
    ours = executor(array_parallelism="2", partition="all", mem_gb="0.5", time="0.5")

    def preempt() -> None:
        task = next(cell.handle.job_id for cell in ours._cells if cell.job == long)
        # As SLURM does before the time is up.
        subprocess.run(["scancel", "--signal=USR2", task], check=True, timeout=60)
        wait_until(lambda: _state(task) == "PENDING")
        while _state(task) == "PENDING":  # what SLURM requeues waits two minutes, which this cuts short
            time.sleep(3)  # a start in the second of the requeue is refused: "Job credential revoked"
            subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now"], check=False, timeout=60)
            time.sleep(4)  # another update would put off the start that this one has allowed

    thread = running(preempt, long)
    found = {outcome.job: outcome for outcome in ours.run([long, wrong])}
    thread.join(60)
    assert found[wrong].code == 2
    assert found[long].code == 0, found[long].message
    said = long.log.read_text()
    assert "stopped at step" in said
    assert "from step" in said
    assert numbers(long.folder) == numbers(alone)
    wait_until(lambda: in_queue() == set())


def test_a_bench_finds_the_jobs_of_one_that_was_killed_and_a_stop_saves_them(slurm, tmp_path):
    jobs = [job(tmp_path, seed, "steps=100000") for seed in (0, 1)]
    killed, ours = executor(array_parallelism="1"), executor(array_parallelism="1")
    assert list(killed._fill(map(_Cell, jobs))) == []  # submitted, and never heard of again
    known = {cell.handle.job_id for cell in killed._cells}

    def stop() -> None:
        assert {cell.handle.job_id for cell in ours._cells} == known
        ours.stop()

    thread = running(stop, jobs[0])
    outcomes = list(ours.run(jobs))
    thread.join(60)
    assert [outcome.code for outcome in outcomes] == [130, 130]
    said = jobs[0].log.read_text()
    assert said.count("run: ") == 1
    assert "stopped at step" in said
    assert not jobs[1].folder.exists()  # it waited, and was cancelled
    wait_until(lambda: in_queue() == set())


def test_a_job_that_slurm_loses_is_recorded(slurm, tmp_path):
    long = job(tmp_path, 0, "steps=100000")
    ours = executor()

    def lose() -> None:
        wait_until(lambda: bool(ours._cells) and _state(ours._cells[0].handle.job_id) == "RUNNING")
        subprocess.run(["scancel", "--signal=KILL", "--full", ours._cells[0].handle.job_id], check=True, timeout=60)

    thread = threading.Thread(target=lose)
    thread.start()
    (outcome,) = ours.run([long])
    thread.join(60)
    assert outcome.code == -9
    assert "left SLURM's queue without a result" in outcome.message


def _state(task: str) -> str:
    command = ["squeue", "--noheader", "--array", f"--jobs={task}", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hours": "1"}, "unknown key 'hours' for executor=slurm: valid are partition, time, mem_gb"),
        ({"cluster": "far"}, "cluster=far: valid are slurm, local, debug"),
        ({"time": "0"}, "time=0: expected a number above 0"),
        ({"cpus": "0.5"}, "cpus=0.5: expected a whole number of at least 1"),
        ({"gpus": "-1"}, "gpus=-1: expected a whole number of at least 0"),
        ({"mem_gb": "much"}, "mem_gb=much: expected a number above 0"),
    ],
)
def test_wrong_options_are_said(options, says):
    with pytest.raises(UserError, match=says):
        make_executor("slurm", options, retries=0)


def test_slurm_that_is_not_here_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UserError, match="executor=slurm needs SLURM's commands"):
        next(executor().run([job(tmp_path, 0)]))
