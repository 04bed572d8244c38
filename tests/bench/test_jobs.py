"""Every job ends with an outcome that says why, whatever becomes of its process."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from tiny import TINY, collect, offline

from pbrl.bench import jobs
from pbrl.bench.child import Child
from pbrl.bench.data_sets import _collect
from pbrl.bench.executors.local import LocalExecutor
from pbrl.bench.grid import EnvEntry
from pbrl.bench.jobs import Job, Outcome, last_words, run_job, side_by_side
from pbrl.errors import UserError
from pbrl.training.interrupt import StopOnInterrupt


def test_a_job_that_cannot_be_started_is_a_failure_and_stops_no_other(tmp_path, monkeypatch):
    class NoProcess:
        def __init__(self, *_):
            raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(jobs, "Child", NoProcess)
    two = [Job(name, tmp_path / name, ()) for name in "ab"]
    outcomes = list(LocalExecutor(slots=1, retries=1).run(two))
    assert [(o.job.name, o.code, o.attempts) for o in outcomes] == [("a", 1, 2), ("b", 1, 2)]
    assert {o.message for o in outcomes} == {"BlockingIOError: Resource temporarily unavailable"}


def test_a_job_that_a_signal_killed_says_which(tmp_path):
    job = Job("a", tmp_path / "a", ())
    assert last_words(-signal.SIGKILL, job.log) == "killed by signal 9"
    assert last_words(1, job.log) == "it printed nothing"  # it ended before it opened its log
    job.log.write_text("run: a\npbrl: out of disk\n\n")
    assert last_words(1, job.log) == "pbrl: out of disk"


def test_a_stop_while_a_job_is_drawn_starts_nothing(tmp_path):
    executor = LocalExecutor(slots=2, retries=0)

    def draw():
        executor.stop()
        yield Job("a", tmp_path / "a", ())

    assert list(executor.run(draw())) == []
    assert os.listdir(tmp_path) == []


def test_a_job_that_is_stopped_before_it_has_printed_anything_is_interrupted(tmp_path):
    stopped = threading.Event()
    stopped.set()
    assert run_job(Job("a", tmp_path / "a", ()), retries=0, stopped=stopped).code == jobs.INTERRUPTED


@pytest.mark.parametrize(("code", "told", "becomes"), [(1, True, 130), (255, True, 130), (2, True, 2), (1, False, 1)])
def test_a_job_that_ends_with_an_error_once_told_to_stop_has_not_failed(code, told, becomes, tmp_path, monkeypatch):
    class StillImporting:
        def __init__(self, *_):
            self.left = 2

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

        def stop(self): ...

        def wait(self, seconds):
            self.left -= 1
            if told:
                stopped.set()
            return code if self.left == 0 else None

    stopped = threading.Event()
    monkeypatch.setattr(jobs, "Child", StillImporting)
    assert run_job(Job("a", tmp_path / "a", ()), retries=0, stopped=stopped).code == becomes


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="Linux says there what a process has blocked")
def test_the_server_of_runs_outlives_a_signal_to_all_processes_of_a_job(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
from multiprocessing import forkserver
from pbrl.bench import child
child.IMPORTED = ()
with child.Child(["list"], Path({str(tmp_path / "log")!r})) as one:
    print(Path(f"/proc/{{forkserver._forkserver._forkserver_pid}}/status").read_text())
    while one.wait(1.0) is None:
        pass
"""
    status = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        assert blocked >> (name - 1) & 1, name


def test_a_run_that_is_told_to_end_before_it_has_begun_says_that_it_was_stopped(tmp_path):
    with Child(["train", "env=pendulum"], tmp_path / "log") as child:
        child.stop()
        while (code := child.wait(1.0)) is None:
            pass
    assert code == jobs.INTERRUPTED


def test_a_signal_that_comes_while_a_run_is_forked_is_heard_by_it():
    code = """
import os, signal
from pbrl.bench import child
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as the server has it
os.kill(os.getpid(), signal.SIGTERM)
try:
    child._set_signals()
    signal.pause()
except KeyboardInterrupt:
    print("heard")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "heard\n")


def interrupt_in_this_thread():
    """As a Ctrl-C that comes just before the main thread waits: it is noted, and wakes nobody."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def interrupt_this_process():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("interrupt", [interrupt_this_process, interrupt_in_this_thread])
def test_ctrl_c_stops_all_that_runs_side_by_side(interrupt):
    both, ended = threading.Barrier(2), []

    def work(item, stopped):
        both.wait(10)
        if item == 0:
            interrupt()
        assert stopped.wait(10)
        ended.append(item)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(5), slots=2)
    assert sorted(ended) == [0, 1]


def test_a_failure_ends_what_has_not_begun_and_is_raised():
    begun = []

    def work(item, stopped):
        begun.append(item)
        if item == 1:
            raise UserError("item 1")
        time.sleep(0.3)

    with pytest.raises(UserError, match="item 1"):
        side_by_side(work, range(5), slots=1)
    assert begun in ([0, 1], [0, 1, 2])  # one more may begin until the failure is seen


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_stops_the_jobs_of_a_bench_though_it_wakes_nobody(tmp_path, monkeypatch):
    def run_until_stopped(job, retries, stopped):
        interrupt_in_this_thread()
        return Outcome(job, jobs.INTERRUPTED if stopped.wait(10) else 0, 0.0, 1)

    monkeypatch.setattr("pbrl.bench.executors.local.run_job", run_until_stopped)
    executor = LocalExecutor(slots=1, retries=0)
    with StopOnInterrupt(executor.stop):
        outcomes = list(executor.run([Job(name, tmp_path / name, ()) for name in "ab"]))
    assert [(o.job.name, o.code) for o in outcomes] == [("a", jobs.INTERRUPTED)]


def test_a_run_that_does_not_save_and_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("pbrl.bench.child._run", sleep_through_it)
    monkeypatch.setattr("pbrl.bench.child.SAVE_S", 0.2)
    begun = time.monotonic()
    with Child([], tmp_path / "log") as child:
        child.stop()
        while (code := child.wait(0.05)) is None:
            assert time.monotonic() - begun < 60
    assert code == -signal.SIGKILL
    with Child([], tmp_path / "log") as left_alone:
        pass
    assert left_alone.wait(0) == -signal.SIGKILL


def sleep_through_it(arguments, log, lifeline):
    time.sleep(300)


def test_a_collection_that_is_stopped_is_no_mistake_of_the_user(tmp_path):
    stopped = threading.Event()
    stopped.set()
    endless = EnvEntry("point", ("env=point_reach",), collect=("episodes=1000000",))
    _collect(tmp_path, None, (endless, {}), stopped)
    assert not (tmp_path / "data" / "point").exists()


def stop_at_first_checkpoint(job):
    stopped = threading.Event()

    def stop():
        while not (job.folder / "checkpoints" / "last").exists():
            time.sleep(0.02)
        stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    assert run_job(job, 0, stopped).code == jobs.INTERRUPTED


@pytest.fixture
def damaged(tmp_path):
    """A run that was stopped half way, and its only checkpoint lost its numbers."""
    job = Job("s0", tmp_path / "s0", (*TINY["true_reward"], "steps=100000"), old=tmp_path / "old" / "s0")
    stop_at_first_checkpoint(job)
    (tensors,) = job.folder.glob("checkpoints/*/tensors.pt")
    tensors.write_bytes(b"")
    return job


def test_a_run_with_a_damaged_checkpoint_is_begun_anew(damaged):
    outcome = run_job(replace(damaged, arguments=tuple(TINY["true_reward"])), 0, threading.Event())
    assert (outcome.code, outcome.attempts) == (0, 2)
    assert (damaged.old / "s0" / "config.yaml").exists()


def test_a_run_stays_where_it_is_if_a_new_one_is_refused_too(damaged):
    before = sorted(damaged.folder.rglob("*"))
    outcome = run_job(replace(damaged, arguments=("env=nowhere",)), 0, threading.Event())
    assert (outcome.code, outcome.attempts) == (jobs.WRONG_INPUT, 2)
    assert "env=nowhere: valid are" in outcome.message
    assert sorted(damaged.folder.rglob("*")) == before
    assert not damaged.old.exists()


def test_a_run_goes_on_with_its_data_where_that_lies_now(tmp_path):
    data = collect(tmp_path / "data")
    rare = ("steps=2000", "evaluation.every=2000", "log_every=2000", "checkpoint.every=100")
    job = Job("s0", tmp_path / "s0", (*offline("bc", data), *rare), data)
    stop_at_first_checkpoint(job)
    moved = replace(job, data=data.rename(tmp_path / "elsewhere"))
    outcome = run_job(moved, 0, threading.Event())
    assert (outcome.code, outcome.attempts) == (0, 1)
    assert "from step 0" not in job.log.read_text()
