"""A bench goes on where it was, whatever is stopped or killed, and comes to the same tables."""

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from filelock import FileLock

from pbrl.bench import runner
from pbrl.bench.executors.local import LocalExecutor
from pbrl.bench.jobs import Job, run_job, settle
from pbrl.bench.plan import Composed, make_plan
from pbrl.bench.read_grid import load_grid
from pbrl.bench.references import random_scores
from pbrl.bench.runner import _Jobs, _lock
from pbrl.cli import main

TIMES = ("wall_s",)


def bench(grid, out, *more):
    return main(["bench", f"grid={grid}", f"out={out}", "probe_s=0", *more])


def tables(out):
    """Both tables without their times."""
    return [
        [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader((out / name).open())]
        for name in ("results.csv", "curves.csv")
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bench that was never interrupted: its grid and its folder. Not to be written to."""
    import yaml
    from tiny import COMMON, REWARD, SAC

    folder = tmp_path_factory.mktemp("bench")
    tree = {
        "seeds": 2,
        "budgets": [6],
        "common": [*COMMON[2:], *SAC],
        "envs": {"point": COMMON[:2]},
        "methods": {"pebble": ["method=pebble", *REWARD], "true_reward": None},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tree))
    assert bench(folder / "tiny.yaml", folder / "out") == 0
    return folder / "tiny.yaml", folder / "out"


def test_tables_hold_a_row_per_cell_and_per_evaluation(whole):
    rows, curves = tables(whole[1])
    assert [(r["method"], r["teacher"], r["budget"], r["seed"], r["status"]) for r in rows] == [
        ("pebble", "oracle", "6", "0", "finished"),
        ("pebble", "oracle", "6", "1", "finished"),
        ("true_reward", "none", "0", "0", "finished"),
        ("true_reward", "none", "0", "1", "finished"),
    ]
    assert len(curves) == 4 * 4  # at steps 0, 110, 220, 320
    for row in rows:
        last = [c for c in curves if all(c[k] == row[k] for k in ("method", "seed"))][-1]
        assert (last["return"], last["normalised"]) == (row["return"], row["normalised"])


def test_tables_and_what_they_are_of_agree_while_a_bench_runs(whole, tmp_path, monkeypatch):
    seen = []

    def record(planned, outcome, real=runner._record):
        if (tmp_path / "out/results.csv").exists():
            finished = [r for r in tables(tmp_path / "out")[0] if r["status"] == "finished"]
            described = json.loads((tmp_path / "out/bench.json").read_text())
            seen.append((len(finished), described["finished"], described["envs"]["point"]["high"] is not None))
        real(planned, outcome)

    monkeypatch.setattr(runner, "_record", record)
    monkeypatch.setattr(runner, "WRITE_EVERY_S", -1.0)
    assert bench(whole[0], tmp_path / "out", "only=point/true_reward", "workers=1") == 0
    assert seen == [(1, 1, True)]  # as the second of two runs ends


def test_a_scale_goes_from_random_actions_to_the_mean_of_the_true_reward(whole):
    rows, _ = tables(whole[1])
    about = json.loads((whole[1] / "bench.json").read_text())["envs"]["point"]
    true = [float(r["return"]) for r in rows if r["method"] == "true_reward"]
    assert about["high"] == pytest.approx(sum(true) / 2, rel=1e-5)
    assert about["low"] == json.loads((whole[1] / "random.json").read_text())["point"]["return"]


def test_what_is_done_is_never_run_again(whole, capsys):
    logs = {log: log.stat().st_mtime_ns for log in whole[1].rglob("*.log")}
    assert bench(*whole) == 0
    assert "4 finished" in capsys.readouterr().err
    assert {log: log.stat().st_mtime_ns for log in whole[1].rglob("*.log")} == logs


def states(grid, out, any_code=False):
    grid = load_grid(str(grid))
    return [p.state for p in make_plan(grid, grid.cells, out, Composed(None), any_code)]


def test_another_config_or_other_code_makes_another_cell(whole, tmp_path, monkeypatch):
    grid, out = whole
    text = grid.read_text()
    changed = tmp_path / "tiny.yaml"
    changed.write_text(text.replace("method.fit.max_epochs=3", "method.fit.max_epochs=4"))
    assert states(changed, out) == ["stale", "done", "stale", "done"]
    changed.write_text(text.replace("- log_every=25", "- log_every=25\n- agent.tau=0.005"))  # what it is anyhow
    assert states(changed, out) == ["done"] * 4
    monkeypatch.setattr("pbrl.bench.plan.code_version", lambda: "00000000")
    assert states(grid, out) == ["stale"] * 4
    assert states(grid, out, any_code=True) == ["done"] * 4


def test_any_code_counts_what_other_code_has_finished_not_what_it_has_begun(whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    (out / "runs/point/pebble/own/6/s0/summary.json").unlink()
    assert states(whole[0], out, any_code=True) == ["begun", "done", "done", "done"]
    monkeypatch.setattr("pbrl.bench.plan.code_version", lambda: "00000000")
    assert states(whole[0], out, any_code=True) == ["stale", "done", "done", "done"]


def test_the_plan_is_told_first_and_other_envs_may_lack_their_data(tree, write, tmp_path, capsys):
    envs = {"point": tree["envs"]["point"], "later": {"set": ["env=point_reach"], "data": "nowhere"}}
    blocks = [{"envs": ["point"], "methods": ["true_reward"]}, {"envs": ["later"], "methods": ["bc"]}]
    grid, out = write(tree | {"envs": envs, "methods": ["true_reward", "bc"], "grids": blocks}), tmp_path / "out"
    assert bench(grid, out, "only=later/") == 2
    assert "envs.later.data: nowhere is no data set" in capsys.readouterr().err
    assert bench(grid, out, "only=point/true_reward/none/0/s0") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [
        "pbrl: 1 cells: 1 new",
        "pbrl: later: no normalised scores, since true_reward, its high, has no cell there",
        "pbrl: point: measuring random actions",
    ]
    assert not any("later: measuring" in line for line in lines)
    assert [r["status"] for r in tables(out)[0]] == ["finished", *["missing"] * 3]


def test_a_score_that_the_task_does_not_report_is_refused_before_anything_runs(tree, write, tmp_path, capsys):
    tree["envs"] = {"pendulum": {"score": "success"}}
    assert bench(write(tree), tmp_path / "out") == 2
    assert "envs.pendulum.score: this task reports no success; valid is return" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_what_is_made_anew_leaves_the_old_aside(whole, tmp_path):
    grid = tmp_path / "tiny.yaml"
    grid.write_text(whole[0].read_text())
    out = tmp_path / "out"
    assert bench(grid, out, "only=point/true_reward/none/0/s0") == 0
    grid.write_text(grid.read_text().replace("agent.batch_size=16", "agent.batch_size=8"))
    assert bench(grid, out, "only=point/true_reward/none/0/s0") == 0
    (old,) = (out / "old").rglob("summary.json")
    (table,) = (out / "old").rglob("results.csv")
    (row,) = [r for r in csv.DictReader(table.open()) if r["status"] == "finished"]
    assert float(row["return"]) == pytest.approx(json.loads(old.read_text())["final_return"], rel=1e-4)
    new = out / "runs/point/true_reward/none/0/s0/summary.json"
    assert json.loads(old.read_text())["final_return"] != json.loads(new.read_text())["final_return"]


def test_a_failing_cell_is_recorded_and_stops_no_other(tree, write, tmp_path, capsys):
    tree["budgets"] = [6]
    tree["methods"]["broken"] = ["method=pebble", "feedback.segment_length=31"]  # no episode is so long
    out = tmp_path / "out"
    assert bench(write(tree), out, "retries=0") == 1
    rows, _ = tables(out)
    assert {r["method"]: r["status"] for r in rows} == {
        "pebble": "finished",
        "true_reward": "finished",
        "broken": "failed",
    }
    assert json.loads((out / "bench.json").read_text())["failed"] == [f"point/broken/own/6/s{s}" for s in (0, 1)]
    printed = capsys.readouterr()
    assert "segment_length=31" in printed.err
    assert "4 of 6 cells finished" in printed.out


@pytest.mark.usefixtures("usual_signals")
def test_killed_benches_go_on_and_come_to_the_same_tables(whole, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pbrl", "bench", f"grid={whole[0]}", f"out={out}", "probe_s=0", "workers=2"]
    for signal_number, after in ((signal.SIGKILL, "curves.csv"), (signal.SIGINT, "runs/point/pebble/own/6/s1.json")):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not ((out / after).exists() or (out / "runs/point/pebble/own/6/s0/progress.csv").exists()):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal_number)
        process.wait(120)
    assert subprocess.run(command, capture_output=True, timeout=240).returncode == 0
    assert tables(out) == tables(whole[1])


def test_a_cell_killed_ten_times_at_random_ends_with_the_same_numbers(whole, tmp_path):
    # Long enough that ten lives of a second do not come to the end of it, on a machine with nothing else to do either.
    arguments = (*load_grid(str(whole[0])).cells[0].arguments, "steps=9600")
    jobs = [Job(name, tmp_path / name, arguments) for name in ("killed", "spared")]
    kills, over = [], threading.Event()

    def kill() -> None:
        rng = random.Random(0)
        while len(kills) < 10 and not over.wait(0.01):
            new = [p.pid for p in multiprocessing.active_children() if p.pid not in kills]
            if new and not over.wait(rng.uniform(0.3, 0.8)):
                os.kill(new[0], signal.SIGKILL)
                kills.append(new[0])

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = [run_job(job, retries=20, stopped=threading.Event()) for job in jobs]
    over.set()
    killer.join(60)
    assert [(o.code, o.attempts) for o in outcomes] == [(0, 11), (0, 1)]
    times = (*TIMES, "time/fps", "time/time_elapsed")
    for name in ("evaluations.csv", "progress.csv"):
        ours, theirs = (
            [{k: v for k, v in row.items() if k not in times} for row in csv.DictReader((job.folder / name).open())]
            for job in jobs
        )
        assert ours == theirs


def test_what_counts_as_0_is_the_same_whatever_is_left_to_do(whole, tmp_path):
    out = tmp_path / "out"
    assert bench(whole[0], out, "only=point/true_reward/none/0/s1") == 0
    assert json.loads((out / "random.json").read_text()) == json.loads((whole[1] / "random.json").read_text())


def test_other_code_measures_random_actions_again(whole, tmp_path, monkeypatch):
    grid = load_grid(str(whole[0]))
    configs, said = {"point": Composed(None).config(grid.cells[0])}, []
    random_scores(tmp_path, configs, grid.seeds, said.append)
    random_scores(tmp_path, configs, grid.seeds, said.append)
    assert len(said) == 1
    monkeypatch.setattr("pbrl.bench.references.code_version", lambda: "00000000")
    random_scores(tmp_path, configs, grid.seeds, said.append)
    assert len(said) == 2


def test_methods_of_one_env_are_evaluated_alike(tree, write, tmp_path, capsys):
    tree["methods"]["true_reward"] = ["method=true_reward", "evaluation.episodes=3"]
    assert bench(write(tree), tmp_path / "out") == 2
    assert "point/true_reward/none/0/s0 has other settings of env or evaluation.episodes" in capsys.readouterr().err


def test_a_bench_without_evaluation_is_refused(tree, write, tmp_path, capsys):
    tree["methods"]["true_reward"] = ["method=true_reward", "evaluation.every=null"]
    assert bench(write(tree), tmp_path / "out") == 2
    assert "s0: evaluation.every=null measures no return; a bench compares returns" in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_touched(whole, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert bench(whole[0], tmp_path) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_bench_that_was_killed_at_its_first_writing_is_gone_on_with(tmp_path):
    for name in (".lock", ".bench.partial.json", ".random.partial.json"):
        (tmp_path / name).touch()
    with _lock(tmp_path):
        pass


def test_a_stale_run_is_moved_once_nothing_writes_into_it_any_more(whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    monkeypatch.setattr("pbrl.bench.plan.code_version", lambda: "00000000")
    grid, composed = load_grid(str(whole[0])), Composed(None)
    planned = make_plan(grid, grid.cells[:1], out, composed, any_code=False)[0]
    jobs = _Jobs([planned], composed, out, LocalExecutor(1, 0), Mock())
    orphan = FileLock(planned.job.folder / ".lock", thread_local=False)
    orphan.acquire(timeout=0)
    drawing = threading.Thread(target=lambda: next(iter(jobs)))
    drawing.start()
    drawing.join(0.3)
    assert planned.job.folder.exists()
    orphan.release()
    drawing.join(10)
    assert not planned.job.folder.exists()
    assert len(list((out / "old").rglob("summary.json"))) == 1


def test_code_that_changes_under_a_bench_ends_it_with_all_saved(whole, tmp_path, monkeypatch, capsys):
    asked = []

    def changed(modules, folders):
        asked.append(modules)
        return len(asked) > 1  # when the second job is about to start

    monkeypatch.setattr("pbrl.bench.runner.changed", changed)
    out = tmp_path / "out"
    assert bench(whole[0], out, "workers=1") == 2
    assert "changed since this bench began" in capsys.readouterr().err.splitlines()[-1]
    assert [r["status"] for r in tables(out)[0]].count("finished") == 1
    monkeypatch.undo()
    assert bench(whole[0], out) == 0
    assert tables(out) == tables(whole[1])


@pytest.mark.parametrize("more", [[], ["dry_run=true"]])
def test_another_grid_does_not_replace_the_tables(whole, tmp_path, capsys, more):
    before = (whole[1] / "results.csv").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(whole[0].read_text())
    assert bench(other, whole[1], *more) == 2
    assert "is the bench of grid tiny, not of other; choose another folder" in capsys.readouterr().err
    assert (whole[1] / "results.csv").read_text() == before


def test_two_benches_do_not_share_a_folder(whole, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        assert bench(whole[0], out) == 2
    assert "another bench is at work" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["dry_run=true"]])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grid=smoke"], "out= is missing"),
        (["out=x"], "grid= is missing"),
        (["grid=smok", "out=x"], "grid=smok: valid are"),
        (["grid=smoke", "out=x", "only=nowhere"], "chooses no cell"),
        (["grid=smoke", "out=x", "only=pendulum/,nowhere"], "only=nowhere chooses no cell"),
        (["grid=smoke", "out=x", "executor=cloud"], "valid are local, stack, ray, slurm"),
        (["grid=smoke", "out=x", "worker=2"], "unknown key 'worker'"),
        (["grid=smoke", "out=x", "workers=0"], "at least 1"),
        (["grid=smoke", "out=x", "retries=-1"], "retries=-1"),
    ],
)
def test_wrong_words_are_told_in_one_line_and_make_nothing(tmp_path, monkeypatch, capsys, words, message, more):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_jobs_run_side_by_side_and_stop_saves_them(tmp_path):
    from tiny import TINY

    jobs = [Job(str(n), tmp_path / str(n), (*TINY["true_reward"], "steps=100000", f"seed={n}")) for n in range(3)]
    executor = LocalExecutor(slots=2, retries=2)

    def stop() -> None:
        while not all((tmp_path / name / "progress.csv").exists() for name in "01"):
            time.sleep(0.05)
        executor.stop()

    threading.Thread(target=stop, daemon=True).start()
    outcomes = {o.job.name: o.code for o in executor.run(jobs)}
    assert outcomes == {"0": 130, "1": 130}
    for name in outcomes:
        assert json.loads((tmp_path / name / "summary.json").read_text())["status"] == "interrupted"
    assert not Path(tmp_path / "2").exists()


def test_a_job_waits_for_the_process_that_a_dead_bench_left(tmp_path):
    job = Job("a/s0", tmp_path / "s0", ())
    job.folder.mkdir()
    (job.folder / "command.txt").touch()
    settle(job, threading.Event())
    assert not job.folder.exists()  # it never became a run, and `pbrl train` wants an empty folder

    job.folder.mkdir()
    (job.folder / "config.yaml").touch()
    lock = FileLock(job.folder / ".lock", thread_local=False)
    lock.acquire(timeout=0)
    waiting = threading.Thread(target=settle, args=(job, threading.Event()))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    lock.release()
    waiting.join(5)
    assert not waiting.is_alive()
    assert (job.folder / "config.yaml").exists()
