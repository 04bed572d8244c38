"""The figures of the docs can be made again."""

import imageio.v3 as imageio
import pytest

from pbrl_envs import measure_own


def rows(table):
    return [line.strip("| ").split(" | ") for line in table if line.startswith("|")][2:]


@pytest.fixture
def one_start(monkeypatch):
    monkeypatch.setattr(measure_own, "STARTS", 1)


@pytest.mark.usefixtures("one_start")
def test_the_table_of_sweeping_has_each_policy_of_each_shape():
    table = rows(measure_own.sweeping_table())
    assert len(table) == 2 * 4 * 3
    assert {(row[2], row[4], row[5]) for row in table} == {
        ("random", "0.00", "0.00"),
        ("naive", "1.00", "0.00"),
        ("expert", "1.00", "1.00"),
    }


@pytest.mark.usefixtures("one_start")
def test_the_table_of_mazes_has_each_goal_of_each_layout():
    table = rows(measure_own.maze_table())
    assert len(table) == 3 * 4 * 2
    assert all(row[4] == "1.00" for row in table if row[2] == "expert")


@pytest.mark.usefixtures("gl_backend")
def test_costs_are_multiples_of_those_of_point_reach():
    table = rows(measure_own.cost_table(rounds=1, steps=200, frames=2))
    assert table[0] == ["PointReach", "1.0", "1.0", "1.0", "1.0"]
    assert all(float(cost) > 0 for row in table for cost in row[1:])


@pytest.mark.usefixtures("gl_backend")
def test_the_contact_sheet_has_a_row_for_each_behaviour_and_one_of_mazes(tmp_path):
    (line,) = measure_own.contact_sheet(tmp_path / "sheet.png", size=32)
    assert "sheet.png" in line
    assert imageio.imread(tmp_path / "sheet.png").shape == (5 * 32, 6 * 32, 3)
