"""Trainings of one command, one after another or in processes of their own."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context

from pbrl.errors import UserError

SIGNALLED = 128  # exit codes above: what a signal ended


def train_all(jobs: Iterable[list[str]], workers: int) -> list[int]:
    """Run commands of pbrl; return their exit codes, after the first that failed perhaps none.

    KeyboardInterrupt: a signal to this process alone has ended the others too.
    """
    return _one_by_one(jobs) if workers == 1 else _in_processes(jobs, workers)


def train(job: list[str]) -> int:
    from pbrl.cli import main as pbrl

    return pbrl(job)


def _one_by_one(jobs: Iterable[list[str]]) -> list[int]:
    """Run commands in turn; return their exit codes, up to the first that is not 0."""
    codes: list[int] = []
    for job in jobs:
        codes.append(train(job))
        if codes[-1]:
            break
    return codes


def _in_processes(jobs: Iterable[list[str]], workers: int) -> list[int]:
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        return list(pool.map(train_unless_stopped, jobs))
    except BrokenProcessPool:
        raise UserError("a training was killed from outside, perhaps since memory ran out") from None
    except KeyboardInterrupt:  # perhaps of this process alone: the trainings save a checkpoint and end too
        for child in active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_stopped = 0  # in a worker: the exit code of a training that a signal ended, after which it begins no other


def train_unless_stopped(job: list[str]) -> int:
    global _stopped
    code = _stopped or train(job)
    if code > SIGNALLED:
        _stopped = code
    return code
