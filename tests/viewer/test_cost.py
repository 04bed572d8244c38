"""What a request costs does not grow with the label store."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shop import DrawnClips, config, fill
from test_desk import given

from pbrl.labels.store import LabelStore
from pbrl.study.desk import StudyDesk
from pbrl.study.settings import Attention, Study
from pbrl.types import Answers
from pbrl.viewer.desk import Desk
from pbrl.viewer.overview import overview

FEW, MANY = 200, 8000


def filled(folder: Path, n: int) -> LabelStore:
    """Half of the questions are answered by somebody, so that both kinds are many."""
    store = LabelStore(folder)
    queries = fill(store, n)[: n // 2]
    answers = Answers(torch.ones(len(queries)), torch.ones(len(queries), dtype=torch.bool))
    store.answer(queries, answers, "ann", kind="human")
    return store


def cpu_ms(act: Callable[[], object], calls: int = 60) -> float:
    """The median, since others use the machine too."""
    took = []
    for _ in range(calls):
        begun = time.process_time()
        act()
        took.append(time.process_time() - begun)
    return 1000 * sorted(took)[calls // 2]


def calls_of(store: LabelStore, n: int) -> dict[str, Callable[[], object]]:
    clips, about, number = DrawnClips(store.run_dir), config(store.run_dir), itertools.count()
    desk = Desk(store, about.desk, clips.ready, present=lambda: 10)
    study = StudyDesk(Study(attention=Attention(20)), store, about.desk, clips.ready, present=lambda: 10)
    return {
        "status": lambda: overview(about, desk, clips, "ann"),  # type: ignore[arg-type]
        "next": lambda: desk.next(f"P{next(number) % 10}", 1, []),
        "renew": lambda: desk.next("P1", 0, [n, n - 1, n - 2]),
        "answer": lambda: desk.answer(given(desk.next("bob", 1)[0][0], "left", next(number), "bob")),
        "history": lambda: desk.history("bob", 50),
        "counts": lambda: desk.counts("ann"),
        "study": lambda: study.tell("bob"),
        "study_next": lambda: study.next("bob", 1),
    }


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Of each call, with few questions and with many."""
    found: dict[str, list[float]] = {}
    for n in (FEW, MANY):
        with filled(tmp_path_factory.mktemp(f"run_{n}"), n) as store:
            for name, call in calls_of(store, n).items():
                call()
                found.setdefault(name, []).append(cpu_ms(call))
    return found


@pytest.mark.parametrize("call", ["status", "next", "renew", "answer", "history", "counts", "study", "study_next"])
def test_forty_times_the_questions_cost_no_more_per_call(costs: dict[str, list[float]], call: str) -> None:
    few, many = costs[call]
    assert many < 5
    assert many < 3 * few + 0.2
