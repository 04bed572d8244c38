"""Reading a bench and results of others: what is valid, and what is said of what is not."""

import json
from pathlib import Path

import pytest
from made_bench import HIGH, LOW, MadeBench, write_csv

from pbrl.bench.records import read_bench
from pbrl.errors import UserError

FIVE = [0.1, 0.2, 0.3, 0.4, 0.5]
NEEDED = ["env", "method", "teacher", "budget", "seed"]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return (
        MadeBench("reach").add("pebble", {"reach": FIVE}).add("true_reward", {"reach": [1.0] * 5}).write(tmp_path / "b")
    )


def changed(bench: Path, name: str, before: str, after: str) -> Path:
    text = (bench / name).read_text()
    assert before in text
    (bench / name).write_text(text.replace(before, after, 1))
    return bench


def others(tmp_path: Path, rows: list[dict], columns: list[str]) -> Path:
    return write_csv(tmp_path / "theirs.csv", columns, rows)


def row(**changes: object) -> dict:
    return {"env": "reach", "method": "surf", "teacher": "oracle", "budget": 100, "seed": 0, "return": 200} | changes


def test_cells_are_read_with_their_numbers(bench: Path):
    results = read_bench(bench, [])
    assert [cell.numbers["normalised"] for cell in results.cells[:5]] == pytest.approx(FIVE)
    assert {cell.method for cell in results.cells} == {"pebble", "true_reward"}
    assert "success" not in results.cells[0].numbers
    assert len(results.evaluations) == 30
    assert results.notes == []


def test_a_half_done_bench_has_cells_that_do_not_count(bench: Path):
    results = read_bench(changed(bench, "results.csv", "finished", "interrupted"), [])
    assert [cell.counts for cell in results.cells] == [False, *[True] * 9]


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("results.csv", "seed", "sead", "line 1: no column 'seed'; needed are env, method"),
        ("results.csv", "status", "agent", "line 1: no column 'status'"),
        ("results.csv", "wall_s", "code", "no column 'wall_s'"),
        ("results.csv", ",,140.0,", ",,abc,", "line 3: return is 'abc'; valid is a finite number, or nothing"),
        ("results.csv", ",120,c0ffee00", ",nan,c0ffee00", "line 2: wall_s is 'nan'"),
        (
            "results.csv",
            "oracle,sac,100,1",
            "oracle,sac,100,0",
            "line 3: the same env, method, teacher, budget, seed as line 2",
        ),
        ("results.csv", "oracle,sac,100,1", "oracle,sac,100,1.5", "line 3: seed is '1.5'; valid is a whole number"),
        ("results.csv", "oracle,sac,100,1", "oracle,sac,-1,1", "line 3: budget is '-1'; valid is a whole number"),
        ("results.csv", "reach,pebble", "walk,pebble", "line 2: env is 'walk'; valid are those of bench.json, reach"),
        ("results.csv", "reach,pebble", "reach,", "line 2: method is empty"),
        ("results.csv", "finished", "done", "line 2: status is 'done'; valid are finished, failed"),
        ("results.csv", "reach,pebble", "reach,x,pebble", "line 2: 24 values; valid are 23"),
        ("curves.csv", "labels", "label", "curves.csv, line 1: no column 'labels'"),
        ("curves.csv", "oracle,100,0,0", "oracle,100,0,x", "line 2: env_steps is 'x'"),
        ("bench.json", '"seeds"', '"sods"', "has no 'seeds'"),
        ("bench.json", '"low": 100.0', '"low": "x"', "env reach: low is 'x'; valid is a number or null"),
        ("bench.json", '"score": "return"', '"score": "luck"', "score is 'luck'; valid are return, success"),
        ("bench.json", '"cells": 10', '"cells": "10"', "cells is '10'; valid is a whole number"),
        ("bench.json", '"labels": true', '"labels": 1', "method pebble: labels is 1; valid is true or false"),
        ("bench.json", '"published": []', '"published": [{"value": 1}]', "published number 1 has no 'env'"),
        ("bench.json", "{", "[", "is damaged or not JSON"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(bench: Path, name: str, before: str, after: str, message: str):
    with pytest.raises(UserError) as caught:
        read_bench(changed(bench, name, before, after), [])
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_files_that_are_not_there_or_not_text(bench: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"no.csv does not exist"):
        read_bench(bench, [tmp_path / "no.csv"])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        read_bench(bench, [tmp_path / "binary.csv"])
    (bench / "results.csv").unlink()
    with pytest.raises(UserError, match=r"results.csv does not exist"):
        read_bench(bench, [])


def test_imported_rows_need_few_columns_and_stand_on_our_scale(bench: Path, tmp_path: Path):
    rows = [row(seed=seed, **{"return": value}) for seed, value in enumerate((LOW, HIGH))]
    file = others(tmp_path, [*rows, row(env="elsewhere")], [*NEEDED, "return"])
    results = read_bench(bench, [file])
    theirs = [cell for cell in results.cells if cell.source]
    assert [cell.numbers["normalised"] for cell in theirs] == [0, 1]
    assert {cell.source for cell in theirs} == {"theirs.csv"}
    assert all(cell.counts for cell in theirs)
    assert results.notes == ["Tasks of theirs.csv that this bench does not have, which are left out: elsewhere."]


def test_a_normalised_score_of_others_does_not_replace_our_scale(bench: Path, tmp_path: Path):
    file = others(tmp_path, [row(normalised=0.99)], [*NEEDED, "return", "normalised"])
    assert read_bench(bench, [file]).cells[-1].numbers["normalised"] == 0.5


def test_imports_that_cannot_be_used(bench: Path, tmp_path: Path):
    def refused(rows: list[dict], columns: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            read_bench(bench, [others(tmp_path, rows, columns)])

    refused(
        [{k: v for k, v in row().items() if k != "seed"}], ["env", "method", "teacher", "budget", "return"], "'seed'"
    )
    refused([row(success=1, **{"return": ""})], [*NEEDED, "return", "success"], "line 2: no score; .* score or return")
    refused([row(), row()], [*NEEDED, "return"], "line 3: the same .* as line 2")
    refused([row(**{"return": "1,5"})], [*NEEDED, "return"], "line 2: return is '1,5'")
    refused([row(teacher="")], [*NEEDED, "return"], "line 2: teacher is empty")
    file = others(tmp_path, [row()], [*NEEDED, "return"])
    (tmp_path / "more").mkdir()
    again = file.rename(tmp_path / "more" / file.name)
    file.write_text(again.read_text())
    with pytest.raises(UserError, match=r"two files named theirs.csv"):
        read_bench(bench, [file, again])


@pytest.mark.parametrize("high", [None, LOW, LOW - 1])
def test_without_a_scale_nothing_is_normalised(tmp_path: Path, high: float | None):
    bench = MadeBench("reach", high=high).add("pebble", {"reach": FIVE}).write(tmp_path / "b")
    assert json.loads((bench / "bench.json").read_text())["envs"]["reach"]["high"] == high
    cells = read_bench(bench, []).cells
    assert all("normalised" not in cell.numbers and cell.counts for cell in cells)
