"""Many people at one viewer: what a call costs, how long people wait, and whether a day leaves anything behind.

python scripts/viewer_load.py cost OUT                 CPU per call at 200, 2,000 and 10,000 questions
python scripts/viewer_load.py people OUT [SECONDS]     ten people, as fast as people are, at 10,000 questions
python scripts/viewer_load.py soak OUT [MINUTES]       24 hours of ten people's actions in so many minutes
python scripts/viewer_load.py figure OUT               the figures of what these wrote

The server is `pbrl label` as it is; only its clips are made beforehand, all of them the same picture.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from pbrl.config import compose_config
from pbrl.labels.store import LabelStore
from pbrl.reports.video import write_mp4
from pbrl.types import Segments
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.clips import ENCODER, clip_path, item_clips
from pbrl.viewer.settings import clip_style
from pbrl.viewer.sources import Simulated

SIZES, PEOPLE, PER_SESSION, STEPS = (200, 2000, 10_000), 10, 100, 12
THINK_S = 3.0  # between two answers of one person: 20 a minute, as measured of people who label 2-second clips
POLL_S, RENEW_S = 1.0, 30.0  # as the page does
DAY_ANSWERS, DAY_HOURS = 2000, 24.0  # of one person in the soak


def make_run(folder: Path, questions: int) -> None:
    """Make a run with so many open questions, all of whose clips are drawn."""
    folder.mkdir(parents=True)
    config = compose_config(["env=point_reach", "teacher=human"])
    OmegaConf.save(config, folder / "config.yaml")
    (folder / "clips").mkdir(mode=0o700)
    write_mp4(folder / "picture.mp4", iter(np.full((STEPS + 1, 384, 384, 3), 128, np.uint8)), 25, encoder=ENCODER)
    with LabelStore(folder) as store:
        for session in range(questions // PER_SESSION):
            left, right = _segments(2 * session), _segments(2 * session + 1)
            states = {f"{side}_states": _states(2 * session + i) for i, side in enumerate(("left", "right"))}
            picture = Path(shutil.copy(folder / "picture.mp4", folder / f"picture_{session}.mp4"))  # few links to each
            ids = store.ask(session, 100 * session, left, right, sampler="load", **states)
            for clips in item_clips(store.pairs(ids), Simulated(config.env).look, clip_style(config.viewer)):
                for clip in clips:
                    os.link(picture, clip_path(folder, clip.name))


def _segments(seed: int) -> Segments:
    rng = torch.Generator().manual_seed(seed)
    ones, n = torch.ones(PER_SESSION, STEPS), PER_SESSION
    obs, actions = torch.rand(n, STEPS + 1, 6, generator=rng), torch.rand(n, STEPS, 2, generator=rng)
    return Segments(obs, actions, ones, 0 * ones, 0 * ones, torch.arange(n) + n * seed)


def _states(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((PER_SESSION, STEPS + 1, 8))


class Server:
    """`pbrl label` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "pbrl", "label", f"run={folder}", "open_browser=false", "repeats=0.05"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[2]
        self.proc = Path("/proc") / str(self.process.pid)
        client = self.client("first")
        while not client.next(1):  # the renderer says how many frames a clip has
            time.sleep(0.2)
        client.post("/api/release", {"annotator": "first", "holding": []})

    def client(self, name: str) -> ViewerClient:
        client = ViewerClient(self.url, name)
        for _ in range(100):
            try:
                client.enter()
                return client
            except OSError:  # noqa: PERF203
                time.sleep(0.1)
        raise SystemExit("the viewer does not answer")

    def cpu_s(self) -> float:
        """Return the CPU seconds of the server alone, not of the renderer."""
        user, system = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        lines = dict(line.split(":", 1) for line in (self.proc / "status").read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) / 1024

    def descriptors(self) -> int:
        return len(os.listdir(self.proc / "fd"))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def serving(folder: Path, questions: int) -> Iterator[Server]:
    if not folder.exists():
        make_run(folder, questions)
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def cost(out: Path, calls: int = 300) -> None:
    rows = []
    for size in SIZES:
        with serving(out / f"run_{size}", size) as server:
            client = server.client("ann")
            for pair in client.next(3):
                client.answer(pair, "left")
            acts = {
                "status": client.status,
                "next + answer": lambda client=client: [client.answer(p, "left") for p in client.next(1)],
                "history": lambda client=client: client.get("/api/history?annotator=ann&n=50"),
            }
            for name, act in acts.items():
                n = min(calls, size // 4)
                before = server.cpu_s()
                for _ in range(n):
                    act()
                row = {"questions": size, "call": name, "cpu_ms": round(1000 * (server.cpu_s() - before) / n, 2)}
                rows.append(row)
                print(row, flush=True)
    _write(out / "cost.csv", rows)


class Person(threading.Thread):
    """Acts as a page does for somebody who labels: polls, keeps three pairs ahead, fetches clips, answers."""

    def __init__(self, server: Server, name: str, think_s: float, poll_s: float, until: float) -> None:
        super().__init__(daemon=True)
        self.client, self.think_s, self.poll_s, self.until = server.client(name), think_s, poll_s, until
        self.took: dict[str, list[float]] = defaultdict(list)
        self.rng, self.pairs = random.Random(name), []  # type: ignore[var-annotated]
        self.starved = self.answers = 0

    def run(self) -> None:
        answer_at = time.monotonic() + self.rng.uniform(0, self.think_s)
        poll_at = renew_at = time.monotonic()
        while (now := time.monotonic()) < self.until:
            if now >= poll_at:
                self._time("status", self.client.status)
                poll_at = now + self.poll_s
            if now >= renew_at:
                self._ask(0)
                renew_at = now + RENEW_S * self.poll_s
            if now >= answer_at:
                self._answer()
                answer_at = max(answer_at, now - self.think_s) + self.think_s * self.rng.uniform(0.5, 1.5)
            time.sleep(max(0.0, min(answer_at, poll_at) - time.monotonic()))

    def _answer(self) -> None:
        if len(self.pairs) < 4:
            self._ask(4 - len(self.pairs))
        if not self.pairs:
            self.starved += 1
            return
        self._time("answer", lambda: self.client.answer(self.pairs.pop(0), self.rng.choice(["left", "right", "equal"])))
        self.answers += 1

    def _ask(self, n: int) -> None:
        body = {"annotator": self.client.name, "n": n, "holding": [pair["query"] for pair in self.pairs]}
        found = self._time("next", lambda: self.client.post("/api/next", body))
        self.pairs = [pair for pair in self.pairs if pair["query"] not in found["gone"]] + found["pairs"]
        for pair in found["pairs"]:
            for side in ("left", "right"):
                self._time("clip", lambda clip=pair[side]["clip"]: self.client.fetch(f"/clips/{clip}.mp4"))

    def _time(self, name: str, act: Any) -> Any:
        begun = time.monotonic()
        done = act()
        self.took[name].append(1000 * (time.monotonic() - begun))
        return done


def label(server: Server, seconds: float, think_s: float, poll_s: float) -> list[Person]:
    until = time.monotonic() + seconds
    people = [Person(server, f"P{number:02}", think_s, poll_s, until) for number in range(PEOPLE)]
    for person in people:
        person.start()
    return people


def people(out: Path, seconds: float) -> None:
    with serving(out / f"run_{max(SIZES)}", max(SIZES)) as server:
        before, begun = server.cpu_s(), time.monotonic()
        crowd = label(server, seconds, THINK_S, POLL_S)
        for person in crowd:
            person.join()
        share = (server.cpu_s() - before) / (time.monotonic() - begun)
    rows = []
    for name in ("status", "next", "answer", "clip"):
        took = np.array([ms for person in crowd for ms in person.took[name]])
        low, high = np.percentile(took, (50, 95))
        rows.append({"call": name, "n": len(took), "median_ms": round(float(low), 1), "p95_ms": round(float(high), 1)})
    answers, starved = sum(p.answers for p in crowd), sum(p.starved for p in crowd)
    told = {"cores": round(share, 3), "answers": answers, "without a pair": starved, "seconds": seconds}
    print(*rows, told, sep="\n")
    _write(out / "people.csv", rows)
    (out / "people.json").write_text(json.dumps(told) + "\n")


def soak(out: Path, minutes: float) -> None:
    """Play every action of the day, that much sooner after the one before."""
    faster = DAY_HOURS * 60 / minutes
    think_s, poll_s = DAY_HOURS * 3600 / DAY_ANSWERS / faster, 10.0 / faster  # hidden tabs ask less often
    folder, rows = out / "run_soak", []
    with serving(folder, PEOPLE * DAY_ANSWERS * 6 // 5) as server:
        begun, before = time.monotonic(), server.cpu_s()
        crowd = label(server, 60 * minutes, think_s, poll_s)
        while any(person.is_alive() for person in crowd):
            time.sleep(minutes * 60 / 240)
            hours = (time.monotonic() - begun) / 3600 * faster
            answers, descriptors = sum(p.answers for p in crowd), server.descriptors()
            state = {"hours": round(hours, 2), "answers": answers, "memory_mb": round(server.memory_mb(), 1)}
            rows.append(state | {"descriptors": descriptors, "cpu_s": round(server.cpu_s() - before, 1)})
            _write(out / "soak.csv", rows)
    print(rows[len(rows) // 10], rows[-1], sep="\n")


def figure(out: Path) -> None:
    """Draw cost.png and soak.png beside what they show."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = _read(out / "cost.csv")
    fig, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for call in dict.fromkeys(row["call"] for row in rows):
        found = [(float(row["questions"]), float(row["cpu_ms"])) for row in rows if row["call"] == call]
        axis.plot(*zip(*found, strict=True), "o-", label=call)
    axis.set(xscale="log", xlabel="questions in the store", ylabel="CPU of the server, ms per call", ylim=(0, None))
    axis.legend()
    fig.savefig(out / "cost.png", dpi=150)
    rows = _read(out / "soak.csv")
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    names = {"memory_mb": "memory, MB", "descriptors": "open descriptors", "answers": "answers stored"}
    for axis, (column, name) in zip(axes, names.items(), strict=True):
        axis.plot([float(row["hours"]) for row in rows], [float(row[column]) for row in rows])
        axis.set(xlabel="hours of ten people's actions", ylabel=name, ylim=(0, None))
    fig.savefig(out / "soak.png", dpi=150)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cost", out]:
            cost(Path(out))
        case ["people", out, *rest]:
            people(Path(out), float(rest[0]) if rest else 120)
        case ["soak", out, *rest]:
            soak(Path(out), float(rest[0]) if rest else 20)
        case ["figure", out]:
            figure(Path(out))
        case _:
            sys.exit(__doc__)
