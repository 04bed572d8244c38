import pytest

from pbrl.feedback.schedule import session_size

STEPS, EVERY = 400_000, 20_000
SESSIONS = range(0, STEPS, EVERY)  # 20


def total(schedule, per_session=50):
    return sum(session_size(schedule, per_session, step, STEPS) for step in SESSIONS)


def test_uniform_asks_the_same_each_time():
    assert {session_size("uniform", 50, step, STEPS) for step in SESSIONS} == {50}


def test_decay_falls_linearly_from_twice_the_size():
    sizes = [session_size("decay", 50, step, STEPS) for step in (0, 100_000, 200_000, 300_000)]
    assert sizes == [100, 75, 50, 25]


def test_decay_asks_for_as_much_in_all():
    # the sum of 2 (1 - i/K) over K sessions is K + 1
    assert total("decay") == 50 * (len(SESSIONS) + 1)


def test_increase_is_inverse_to_the_time_left():
    sizes = [session_size("increase", 50, step, STEPS) for step in (0, 200_000, 300_000, 380_000)]
    assert sizes == [25, 50, 100, 500]


def test_increase_adds_up_to_a_harmonic_number():
    harmonic = sum(1 / i for i in range(1, len(SESSIONS) + 1))
    assert total("increase") == pytest.approx(50 / 2 * len(SESSIONS) * harmonic, rel=0.01)  # sizes are whole numbers


@pytest.mark.parametrize("schedule", ["uniform", "decay", "increase"])
def test_a_session_asks_at_least_one_question(schedule):
    assert session_size(schedule, 1, STEPS - 1, STEPS) >= 1


def test_an_unknown_schedule_names_the_valid_ones():
    with pytest.raises(ValueError, match="valid are uniform, decay, increase"):
        session_size("cosine", 50, 0, STEPS)
