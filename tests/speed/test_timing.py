import math
import time

import pytest
import torch

from pbrl.speed.timing import Timing, alternate, speed_up, timed, units_in


def test_jobs_take_turns():
    turns = []

    def job(name, pace):
        def work(units):
            turns.append(name)
            return units * pace

        return work

    times = alternate({"a": job("a", 2.0), "b": job("b", 0.5)}, repeats=3, seconds=8)
    assert turns[-6:] == ["a", "b"] * 3
    assert times["a"].seconds == (2.0,) * 3
    assert times["b"].seconds == (0.5,) * 3


@pytest.mark.parametrize("pace", [1e-6, 1e-3, 0.3, 50.0])
def test_a_turn_lasts_about_as_long_as_asked_but_has_a_unit_at_least(pace):
    assert units_in(lambda units: units * pace, 2.0) == pytest.approx(max(2.0 / pace, 1), rel=0.2)


def test_given_units_are_done_at_once():
    asked = []
    alternate({"a": lambda units: asked.append(units) or 1.0}, repeats=2, seconds=1, units=400)
    assert asked == [400, 400]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_one_thread_is_timed_by_its_work_and_several_by_the_clock(threads):
    calls = []
    job = timed(lambda: calls.append(time.sleep(0.02)))
    threads(2)
    assert job(3) == pytest.approx(0.06, abs=0.03)
    threads(1)
    assert job(3) < 0.03  # sleeping is no work
    assert len(calls) == 6


def test_the_speed_up_is_that_of_the_repeats_not_of_the_medians():
    # A machine that slows both down tenfold in the last repeats: each repeat says 2.
    ours, theirs = Timing((1.0, 1.0, 10.0)), Timing((2.0, 20.0, 20.0))
    assert speed_up(ours, theirs) == (2.0, 2.0, 20.0)
    assert math.isclose(Timing((3.0, 1.0, 2.0)).median, 2.0)
