import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from omegaconf import DictConfig
from point_run import ask, make_pairs, make_run

from pbrl.labels.questions import lease, retire
from pbrl.labels.store import LabelStore
from pbrl.types import Answers
from pbrl.viewer import clips, drawing, renderer
from pbrl.viewer.clips import ClipStyle, clip_path, item_clips
from pbrl.viewer.drawing import Stopped, Worker
from pbrl.viewer.renderer import Renderer
from pbrl.viewer.sources import Simulated

STYLE = ClipStyle(width=64, height=64)
pytestmark = pytest.mark.usefixtures("gl_backend")


class Requests:
    """An inbox that holds some requests, and ends once the worker has nothing to do."""

    def __init__(self, *waiting: dict) -> None:
        self.waiting = list(waiting)

    def take(self, timeout_s: float = 0.0) -> dict | None:
        if self.waiting:
            return self.waiting.pop(0)
        if timeout_s:
            raise Stopped
        return None


def work(run_dir: Path, *requests: dict, **settings: object) -> list[str]:
    """Names of the clips that a worker draws before it has nothing to do, in order."""
    order: list[str] = []
    given = {"style": STYLE, "ahead": 3, "overlap": 1, "scripts_count": True} | settings
    worker = Worker(run_dir, Requests(*requests), **given)  # type: ignore[arg-type]
    draw = worker._draw
    worker._draw = lambda missing: (order.append(missing.clip.name), draw(missing))  # type: ignore[assignment]
    with pytest.raises(Stopped):
        worker.run()
    worker.drawer.close()
    return order


def names(run_dir: Path, config: DictConfig, queries: list[int], style: ClipStyle = STYLE) -> list[str]:
    with LabelStore(run_dir) as store:
        return [
            clip.name for pair in item_clips(store.pairs(queries), Simulated(config.env).look, style) for clip in pair
        ]


def report(run_dir: Path) -> dict:
    return json.loads((run_dir / "clips" / "renderer.json").read_text())


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def config(tmp_path: Path) -> DictConfig:
    return make_run(tmp_path)


def test_the_first_open_questions_are_drawn_in_the_order_people_get_them(tmp_path: Path, config: DictConfig):
    old = ask(tmp_path, make_pairs(config, 2, seed=0), session=0)
    new = ask(tmp_path, make_pairs(config, 2, seed=9), session=1)
    assert work(tmp_path) == names(tmp_path, config, [*new, old[0]])
    drawn = {file.stem for file in (tmp_path / "clips").glob("*.mp4")}
    assert drawn == set(names(tmp_path, config, [*new, old[0]]))
    told = report(tmp_path)
    assert 0 < told.pop("s_per_clip") < 10
    assert told == {
        "state": "ok",
        "message": None,
        "clips": 6,
        "cameras": ["default", "front", "above"],
        "fps": 25.0,
        "every": 1,
    }
    assert work(tmp_path) == []  # nothing twice
    assert report(tmp_path)["clips"] == 6


def test_answers_make_room_for_the_next(tmp_path: Path, config: DictConfig):
    queries = ask(tmp_path, make_pairs(config, 5))
    with LabelStore(tmp_path) as store:
        store.answer(queries[:1], Answers(torch.tensor([1.0]), torch.tensor([True])), "ann", kind="human")
        retire(store.db, queries[1:2], "too old")
    assert work(tmp_path, ahead=2) == names(tmp_path, config, queries[2:4])
    # Who answered the first one must not wait for the second person: it takes no place.
    assert work(tmp_path, ahead=3, overlap=2) == names(tmp_path, config, [queries[0], queries[4]])


def test_what_people_have_takes_no_place_of_what_comes_next(tmp_path: Path, config: DictConfig):
    queries = ask(tmp_path, make_pairs(config, 6))
    with LabelStore(tmp_path) as store:
        lease(store.db, queries[:2], "ann", 60)
        lease(store.db, queries[2:4], "bob", 60)
    assert work(tmp_path, ahead=1) == names(tmp_path, config, queries[:5])


def test_what_was_asked_for_goes_first(tmp_path: Path, config: DictConfig):
    queries = ask(tmp_path, make_pairs(config, 3))
    front = ClipStyle(width=64, height=64, camera="front")
    nonsense = [{"query": 99, "camera": "front"}, {"query": 1, "camera": "below"}, {}, "what"]
    order = work(tmp_path, *nonsense, {"query": queries[2], "camera": "front"}, ahead=1)
    assert order == [*names(tmp_path, config, queries[2:], front), *names(tmp_path, config, queries[:1])]


def test_segments_in_several_questions_are_drawn_once(tmp_path: Path, config: DictConfig):
    pairs = make_pairs(config, 2)
    ask(tmp_path, pairs)
    ask(tmp_path, pairs[[1, 0]], session=1)
    assert len(work(tmp_path, ahead=9)) == 4


def test_half_clips_of_a_killed_process_are_removed(tmp_path: Path, config: DictConfig):
    ask(tmp_path, make_pairs(config, 1))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / ".abc.123.partial.mp4").write_text("half")
    work(tmp_path)
    assert not list((tmp_path / "clips").glob(".*.partial.*"))


def test_a_full_disk_is_told_and_tried_again(tmp_path: Path, config: DictConfig, monkeypatch: pytest.MonkeyPatch):
    queries = ask(tmp_path, make_pairs(config, 1))
    told: list[dict] = []

    class Full(Requests):
        """After the first failed clip there is room again."""

        def take(self, timeout_s: float = 0.0) -> dict | None:
            if timeout_s == drawing.RETRY_S:
                told.append(report(tmp_path))
                monkeypatch.setattr(clips.ClipDrawer, "draw", whole)
                return None
            return super().take(timeout_s)

    def no_room(*args: object) -> None:
        raise OSError(28, "No space left on device")

    whole = clips.ClipDrawer.draw
    monkeypatch.setattr(clips.ClipDrawer, "draw", no_room)
    worker = Worker(tmp_path, Full(), style=STYLE, ahead=3, overlap=1, scripts_count=True)  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        worker.run()
    assert told[0]["state"] == "failed"
    assert told[0]["message"] == "clips cannot be written: No space left on device; make room on the disk"
    assert (report(tmp_path)["state"], report(tmp_path)["message"]) == ("ok", None)
    assert all(clip_path(tmp_path, name).is_file() for name in names(tmp_path, config, queries))


def test_questions_without_states_cannot_be_shown(tmp_path: Path, config: DictConfig):
    pairs = make_pairs(config, 1)
    with LabelStore(tmp_path) as store:
        store.ask(0, 100, pairs.left, pairs.right, sampler="test")
    assert work(tmp_path) == []
    assert (report(tmp_path)["state"], "no simulator states" in report(tmp_path)["message"]) == ("failed", True)


def test_drawing_goes_on_once_a_damaged_file_of_questions_is_mended(tmp_path: Path, config: DictConfig):
    queries = ask(tmp_path, make_pairs(config, 1))
    (file,) = (tmp_path / "episodes").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert work(tmp_path) == []
    assert report(tmp_path)["state"] == "failed"
    file.write_bytes(whole)
    assert work(tmp_path) == names(tmp_path, config, queries)
    assert (report(tmp_path)["state"], report(tmp_path)["message"]) == ("ok", None)


def test_a_full_disk_is_told_although_no_report_can_be_written(tmp_path: Path, config: DictConfig):
    ask(tmp_path, make_pairs(config, 1))
    with Renderer(tmp_path, STYLE, ahead=1) as running:
        until(lambda: running.report()["clips"] == 2)
        (tmp_path / "clips" / "renderer.json").unlink()
        (tmp_path / "clips" / "renderer.json").mkdir()  # nothing can take its name
        ask(tmp_path, make_pairs(config, 1, seed=5), session=1)
        until(lambda: running.report()["clips"] == 4)


def test_two_viewers_of_one_run_do_not_draw_at_once(tmp_path: Path, config: DictConfig):
    ask(tmp_path, make_pairs(config, 1))
    (tmp_path / "clips").mkdir()
    with FileLock(tmp_path / "clips" / ".lock"):
        worker = Worker(tmp_path, Requests(), style=STYLE, ahead=3, overlap=1, scripts_count=True)  # type: ignore[arg-type]
        with pytest.raises(Stopped):
            worker.run()
    assert [file.name for file in (tmp_path / "clips").iterdir()] == [".lock"]
    assert len(work(tmp_path)) == 2


@contextlib.contextmanager
def started(run_dir: Path) -> Iterator[Renderer]:
    with Renderer(run_dir, STYLE, ahead=2) as handle:
        yield handle


def test_it_waits_for_the_run_and_is_started_again_when_killed(tmp_path: Path):
    with started(tmp_path) as handle:
        until(lambda: (tmp_path / "clips" / "renderer.json").exists())
        assert handle.report()["state"] == "starting"
        config = make_run(tmp_path)
        until(lambda: handle.report()["state"] == "ok")
        ours, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, handle.process.pid))
        assert its == min(ours + 10, 19)
        (first,) = ask(tmp_path, make_pairs(config, 1))
        until(lambda: handle.report()["clips"] == 2)
        assert all(clip_path(tmp_path, name).is_file() for name in names(tmp_path, config, [first]))

        killed = handle.process
        killed.kill()
        (second,) = ask(tmp_path, make_pairs(config, 1, seed=5), session=1)
        until(lambda: all(clip_path(tmp_path, name).is_file() for name in names(tmp_path, config, [second])))
        assert handle.process is not killed

        above = ClipStyle(width=64, height=64, camera="above")
        handle.request(first, "above")
        until(lambda: all(clip_path(tmp_path, name).is_file() for name in names(tmp_path, config, [first], above)))
        process = handle.process
    assert process.returncode == 0  # ended by itself
    assert not list((tmp_path / "clips").glob(".*.partial.*"))


def test_it_gives_up_where_it_always_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    handle = Renderer(tmp_path, STYLE, ahead=2)
    handle._command = [sys.executable, "-c", "import os; os.abort()"]
    handle.start()
    until(lambda: handle.report()["state"] == "failed")
    assert f"died {renderer.RESTARTS + 1} times (exit code -6)" in handle.report()["message"]
    handle.stop()


def test_a_report_of_an_earlier_viewer_is_not_believed(tmp_path: Path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "renderer.json").write_text('{"state": "failed", "message": "no GL then"}')
    handle = Renderer(tmp_path, STYLE, ahead=2)
    handle._begun = time.time() + 1
    assert handle.report() == {"state": "starting", "message": None, **renderer.UNKNOWN}


def test_without_graphics_it_says_what_to_do_and_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_run(tmp_path)
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with started(tmp_path) as handle:
        until(lambda: handle.report()["state"] == "failed")
        message = handle.report()["message"]
        assert message.endswith("MUJOCO_GL: nonsense; unset MUJOCO_GL; `pbrl doctor` tries what works here")
        assert "\n" not in message
        handle.process.wait(10)
        time.sleep(0.3)
        assert handle.process.returncode == renderer.FAILED  # and no other one was started


PARENT = """
import sys, time
from pathlib import Path
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.renderer import Renderer
renderer = Renderer(Path(sys.argv[1]), ClipStyle(width=64, height=64), ahead=2)
renderer.start()
print(renderer.process.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_its_parent(tmp_path: Path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        until(lambda: (tmp_path / "clips" / "renderer.json").exists())
        assert _runs(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
    until(lambda: not _runs(child), timeout_s=10)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_both_sides_of_every_pair_have_names_of_their_own(tmp_path: Path, config: DictConfig):
    queries = ask(tmp_path, make_pairs(config, 4))
    assert len(np.unique(names(tmp_path, config, queries))) == 8
