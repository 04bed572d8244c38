"""What is said of the time that is left."""

import pytest

from pbrl.bench.estimate import Estimate
from pbrl.bench.grid import Cell
from pbrl.bench.jobs import Job, Outcome
from pbrl.bench.live import Spoken, step_of
from pbrl.bench.plan import Planned

HEADER = "time/total_timesteps,time/time_elapsed\n"


@pytest.fixture
def bench(tmp_path):
    """`bench(*states)`: cells of 1000 steps, each foreseen to take 100 s, two at a time."""

    def begin(*states):
        cells = [Cell("env", "method", "none", 0, seed, (), False) for seed in range(len(states))]
        jobs = [Job(cell.name, tmp_path / str(cell.seed), ()) for cell in cells]
        todo = [Planned(c, j, "", "", state) for c, j, state in zip(cells, jobs, states, strict=True)]
        listener = Spoken()
        listener.begin(todo, {c.name: 1000 for c in cells}, Estimate({("env", "method"): 100.0}), slots=2)
        return listener, todo

    return begin


def at(planned, step, more=""):
    planned.job.folder.mkdir(exist_ok=True)
    (planned.job.folder / "progress.csv").write_text(f"{HEADER}{step},7\n{more}")


def test_what_running_cells_have_done_is_taken_off(bench):
    listener, (one, two, _) = bench("new", "new", "new")
    assert listener.left_s() == pytest.approx(150)  # of three cells, two at a time
    listener.on_start(one)
    listener.on_start(two)
    at(one, 500)
    assert listener.left_s() == pytest.approx(125)
    at(two, 1000)
    assert listener.left_s() == pytest.approx(100)  # the third, which has not begun
    assert list(listener.running.values()) == [one, two]


def test_what_lies_there_counts_only_if_it_is_gone_on_with(bench):
    listener, (begun, stale) = bench("begun", "stale")
    at(begun, 900)
    at(stale, 900)
    assert listener.left_s() == pytest.approx(100)  # the stale one, from its beginning
    listener.on_start(stale)
    assert listener.left_s() == pytest.approx(10)


@pytest.mark.parametrize(("state", "code", "left"), [("new", 0, 200), ("begun", 0, 100), ("new", 1, 100)])
def test_only_runs_that_were_seen_whole_correct_the_estimate(bench, state, code, left):
    listener, (ended, _) = bench(state, "new")
    listener.on_start(ended)
    listener.note(Outcome(ended.job, code, wall_s=200.0, attempts=1))
    assert listener.left_s() == pytest.approx(left)


def test_the_last_whole_row_says_the_step(bench):
    _, (planned,) = bench("new")
    assert step_of(planned) is None
    at(planned, "", "")
    assert step_of(planned) is None
    at(planned, 10, "20,8\n" * 5000 + "30,9\n4")
    assert step_of(planned) == 30
