"""SIGKILL for the trainer and the viewer, over and over, while somebody labels: what was acknowledged stays."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn
from shop import HOST, PORT, TOKEN, DrawnClips
from tiny import TINY

from pbrl.cli import main
from pbrl.labels.store import LabelStore
from pbrl.viewer.cards import DeskSettings
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.server import make_app
from pbrl.viewer.settings import ViewerConfig

KILLS = 50


def fork(action: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            action()
            code = 0
        finally:
            os._exit(code)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def train(folder: Path) -> None:
    """Goes on if there is something to go on with."""
    if (folder / "config.yaml").exists():
        main(["train", f"resume={folder}"])
        return
    human = ["teacher=human", "viewer.start=false", "teacher.poll=20", "teacher.learn_every=5", "feedback.budget=5000"]
    sizes = ["steps=1500", "feedback.per_session=20", "checkpoint.every=100", "evaluation.every=500"]
    main(["train", *TINY["pebble"], *human, *sizes, f"run_dir={folder}"])


def view(folder: Path) -> None:
    config = ViewerConfig(
        run_dir=folder,
        env="point_reach",
        mode="async",
        instructions="",
        question="?",
        desk=DeskSettings(repeats=0.1, lease_s=1.0),
        hold_s=0.3,
        token=TOKEN,
        port=PORT,
        hosts=frozenset({HOST}),
    )
    app = make_app(config, DrawnClips(folder))
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error")


class Labelling(threading.Thread):
    """Labels as fast as pairs come, through all interruptions."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.robot = ViewerClient(f"http://{HOST}/#token={TOKEN}", name)
        self.over = threading.Event()
        self.rng = random.Random(name)
        self.undone: set[str] = set()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.robot.enter()
                for pair in self.robot.next(2):
                    answer = self.robot.answer(pair, self.rng.choice(["left", "right", "equal", "skip"]), patience_s=60)
                    if self.rng.random() < 0.05:
                        self._undo(answer)
            except OSError:  # noqa: PERF203
                time.sleep(0.02)

    def _undo(self, answer: str) -> None:
        while not self.over.is_set():
            try:
                self.robot.post("/api/undo", {"id": answer, "annotator": self.robot.name})
                self.undone.add(answer)
                return
            except OSError:  # noqa: PERF203
                time.sleep(0.02)


def port_is_free() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which Linux and macOS have")
def test_no_acknowledged_answer_is_lost_or_doubled(tmp_path):
    if not port_is_free():
        pytest.skip(f"port {PORT} is in use; stop what listens there")
    folder, rng = tmp_path / "run", random.Random(0)
    alive = {"trainer": fork(lambda: train(folder))}
    while not (folder / "labels.sqlite").exists():
        time.sleep(0.02)
    alive["viewer"] = fork(lambda: view(folder))
    people = [Labelling("ann"), Labelling("bob")]
    for person in people:
        person.start()
    acts = {"trainer": lambda: train(folder), "viewer": lambda: view(folder)}
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 0.9))
        victim = rng.choice(list(alive))
        kill(alive[victim])
        alive[victim] = fork(acts[victim])
    time.sleep(1)
    for person in people:
        person.over.set()
        person.join(70)
    kill(alive["viewer"])
    kill(alive["trainer"])

    with LabelStore(folder, create=False) as store:
        rows = store.db.execute("SELECT client_id, query, prefers_right FROM answers WHERE retracts IS NULL").fetchall()
        checks = {row[0]: row[1] for row in store.db.execute("SELECT client_id, query FROM checks")}
        standing = store.standing_answers()
        integrity = store.db.execute("PRAGMA integrity_check").fetchone()[0]
    assert integrity == "ok"
    stored = {client: query for client, query, _ in rows}
    assert len(stored) == len(rows)  # none is doubled
    given = {k: v for person in people for k, v in person.robot.acknowledged.items()}
    assert len(given) > 100
    for client, body in given.items():  # none is lost
        assert (checks if body["repeat"] else stored)[client] == body["query"]
    undone = {client for person in people for client in person.undone}
    assert len(standing) >= len(given.keys() & stored.keys()) - len(undone)
    pairs = [(a.query, a.annotator) for a in standing]
    assert len(set(pairs)) == len(pairs)
    if not (folder / "summary.json").exists():
        assert main(["train", f"resume={folder}"]) == 0
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"  # and the run ends well
