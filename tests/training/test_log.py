"""Tables of a run: a metric is a column once somebody reports it, and a resumed run goes on as if never stopped."""

import csv
import json

import pytest

from pbrl.errors import UserError
from pbrl.training.log import PROGRESS, RunLog, read_table

ROWS = [{"train/loss": 1.0}, {"train/loss": 2.0, "reward/bonus": 0.5}, {"reward/bonus": 0.25, "feedback/late": 3.0}]


def write(log, rows, first=0):
    for step, row in enumerate(rows, first):
        log.write(step, row)


def test_a_metric_that_nobody_listed_is_a_column_empty_before_it_was_reported(tmp_path):
    write(RunLog(tmp_path), ROWS)
    rows = read_table(tmp_path / "progress.csv")
    assert list(rows[0]) == [*PROGRESS, "reward/bonus", "feedback/late"]
    assert [row["reward/bonus"] for row in rows] == [None, 0.5, 0.25]
    assert [row["feedback/late"] for row in rows] == [None, None, 3.0]
    assert [row["train/loss"] for row in rows] == [1.0, 2.0, None]


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_resumed_table_is_the_unbroken_one_whatever_columns_came_after_the_checkpoint(kept, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    write(RunLog(whole), ROWS)
    log = RunLog(broken)
    write(log, ROWS[:kept])
    state = json.loads(json.dumps(log.state_dict()))  # of the checkpoint
    write(log, ROWS[kept:], kept)
    with (broken / "progress.csv").open("a") as file:
        file.write("7,half a r")  # a row that a kill cut short
    write(RunLog(broken, state), ROWS[kept:], kept)
    assert (broken / "progress.csv").read_bytes() == (whole / "progress.csv").read_bytes()


def test_rows_that_the_checkpoint_saw_must_be_there(tmp_path):
    log = RunLog(tmp_path)
    write(log, ROWS)
    state = log.state_dict()
    lines = (tmp_path / "progress.csv").read_text().splitlines(keepends=True)
    (tmp_path / "progress.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"progress\.csv lacks rows that the checkpoint has seen"):
        RunLog(tmp_path, state)


def test_numbers_stay_to_the_last_digit_when_a_column_comes(tmp_path):
    log = RunLog(tmp_path)
    log.write(0, {"train/loss": 0.1 + 0.2})
    log.write(1, {"reward/new": 1.0})
    with (tmp_path / "progress.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["train/loss"] == repr(0.1 + 0.2)
