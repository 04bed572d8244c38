"""The tables of runs that were made by hand: what stands in them, and that a report can read them."""

import csv
import json

import pytest
import yaml

from pbrl.bench.plan import Composed, make_plan
from pbrl.bench.read_grid import load_grid
from pbrl.bench.records import read_bench
from pbrl.bench.results import Results
from pbrl.bench.runner import Options, _describe
from pbrl.bench.sources import code_version

TREE = {
    "seeds": 2,
    "common": ["steps=1000"],
    "envs": {"point": {"set": ["env=point_reach"], "collect": ["episodes=5"]}},
    "methods": ["true_reward", "pebble", "cpl"],
}
EVALUATION = {"env_steps": 1000, "return_mean": "", "success_rate": "", "success_at_end": "", "wall_s": 1}


class Made:
    """Runs of the grid are added by hand; `tables` writes what `pbrl bench` would."""

    def __init__(self, folder, tree):
        self.out, path = folder / "out", folder / "made.yaml"
        path.write_text(yaml.safe_dump(tree))
        self.grid = load_grid(str(path))

    def add(self, name, value, status="finished", labels=0, updates=None, config_budget=None):
        (p,) = (p for p in self.planned() if p.cell.name == name)
        p.job.folder.mkdir(parents=True)
        summary = {"status": status, "final_return": value, "labels": labels, "env_steps": 1000, "teacher": "none"}
        row = EVALUATION | {"labels": labels, "return_mean": value}
        if updates is not None:
            summary["updates"] = row["updates"] = updates
        (p.job.folder / "summary.json").write_text(json.dumps(summary))
        with (p.job.folder / "evaluations.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow(row)
        p.write_record(stamp=p.stamp, code=code_version(), budget=config_budget, status="started")

    def planned(self):
        return make_plan(self.grid, self.grid.cells, self.out, Composed(None), any_code=False)

    def tables(self, low=0.0):
        results = Results(self.out, self.grid, self.planned(), {"point": {"return": low, "success": None}})
        results.write()
        _describe(Options(self.grid, self.grid.cells, self.out, None, False, 0, "pbrl bench"), results)
        with (self.out / "results.csv").open() as file:
            return {(row["method"], row["seed"]): row for row in csv.DictReader(file)}


@pytest.fixture
def made(tmp_path):
    return lambda **changes: Made(tmp_path, TREE | changes)


def test_budgets_of_the_yamls_are_known_once_a_run_has_begun_and_a_report_reads_what_is_not_finished(made):
    bench = made(published=[{"env": "point", "method": "cpl", "value": 1, "measure": "return", "source": "a paper"}])
    bench.add("point/pebble/own/default/s0", 10.0, config_budget=500)
    bench.add("point/cpl/data/default/s0", 10.0, labels=90, updates=1000)
    bench.add("point/cpl/data/default/s1", 10.0, status="interrupted", labels=90, updates=500)
    rows = bench.tables()
    assert {key: row["budget"] for key, row in rows.items()} == {
        ("true_reward", "0"): "0",
        ("true_reward", "1"): "0",
        ("pebble", "0"): "500",
        ("pebble", "1"): "",
        ("cpl", "0"): "90",
        ("cpl", "1"): "90",
    }
    read = read_bench(bench.out, [])
    assert [(c.method, c.budget) for c in read.cells if c.counts] == [("pebble", 500), ("cpl", 90)]
    assert [one.sure for one in read.bench.published] == [""]


def test_random_actions_score_0_and_the_true_reward_1_on_average(made):
    bench = made()
    for name, value in (
        ("true_reward/none/0/s0", 10.0),
        ("true_reward/none/0/s1", 20.0),
        ("pebble/own/default/s0", 5.0),
    ):
        bench.add(f"point/{name}", value)
    rows = bench.tables(low=5.0)
    found = [rows[key]["normalised"] for key in (("true_reward", "0"), ("true_reward", "1"), ("pebble", "0"))]
    assert found == ["0.5", "1.5", "0"]


def test_where_the_high_method_is_not_above_random_actions_nothing_is_normalised(made):
    bench = made()
    bench.add("point/true_reward/none/0/s0", 10.0)
    bench.add("point/pebble/own/default/s0", 15.0, config_budget=500)
    assert bench.tables(low=0.0)["pebble", "0"]["normalised"] == "1.5"
    for low in (10.0, 20.0):
        rows = bench.tables(low)
        assert (rows["pebble", "0"]["score"], rows["pebble", "0"]["normalised"]) == ("15", "")


def test_a_number_that_is_none_is_missing_and_leaves_the_scale_to_the_others(made):
    bench = made()
    bench.add("point/true_reward/none/0/s0", 10.0)
    bench.add("point/true_reward/none/0/s1", float("nan"))
    rows = bench.tables()
    assert [rows["true_reward", seed]["score"] for seed in "01"] == ["10", ""]
    read = read_bench(bench.out, [])
    assert read.bench.envs["point"].high == 10
    assert [c.counts for c in read.cells[:2]] == [True, False]
