"""The suites of few labels: published figures say under which circumstances they were got, and reports show it."""

import pytest
from made_bench import MadeBench

from pbrl.bench.grid import OWN_TEACHER
from pbrl.bench.read_grid import load_grid
from pbrl.config import compose_config
from pbrl.reports.bench_report import write_bench_report


@pytest.mark.parametrize("name", ["few_labels_dmc", "few_labels_metaworld"])
def test_published_figures_say_how_sure_they_are_and_whether_they_were_picked(name):
    grid = load_grid(name)
    assert grid.published
    for one in grid.published:
        assert one.env in grid.envs
        assert all((one.source, one.sure, one.schedule, one.picked))
    assert min(cell.seed for cell in grid.cells) >= 100  # settings are chosen on others
    assert OWN_TEACHER not in {cell.teacher for cell in grid.cells}


@pytest.mark.parametrize("preset", ["few_labels_dmc", "few_labels_cpu"])
@pytest.mark.parametrize(("method", "asks"), [("qpa", "uniform"), ("pebble", "disagreement"), ("policer", "uniform")])
def test_a_preset_with_another_method_asks_as_that_method_does(preset, method, asks):
    config = compose_config([f"experiment={preset}", f"method={method}"])
    assert config.queries._target_.endswith(f".{asks}")


@pytest.mark.parametrize("task", ["dmc", "cpu", "metaworld"])
def test_the_presets_take_what_was_chosen(task):
    config = compose_config([f"experiment=few_labels_{task}"])
    assert (config.method.name, config.queries._target_.rsplit(".")[-1]) == ("few_labels", "disagreement")


def test_the_best_published_figure_is_marked_as_picked():
    figures = {(p.env, p.method): p for p in load_grid("few_labels_dmc").published}
    assert (figures["walker-walk", "ppe"].value, figures["walker-walk", "ppe"].picked[:4]) == (908, "yes:")
    assert (figures["walker-walk", "qpa"].value, figures["walker-walk", "qpa"].picked) == (796, "no")


def test_a_report_shows_the_circumstances_and_what_labels_cost(tmp_path):
    bench = MadeBench("walk").add("true_reward", {"walk": [1.0, 0.9]}).add("pebble", {"walk": [0.5, 0.6]})
    numbers = {"labels": 100, "steps": 9, "value": 271.5, "low": None, "high": None, "measure": "return"}
    told = {"source": "Somebody", "sure": "a table", "schedule": "10 every 20k", "networks": "2 x 8", "picked": "no"}
    bench.json["published"] = [{"env": "walk", "method": "pebble", **numbers, **told}]
    folder = bench.write(tmp_path / "bench")
    rows = (folder / "results.csv").read_text().splitlines()
    more = ["relabels,last_label_step,bonus_half_life" if not i else "14,190000,69300" for i in range(len(rows))]
    (folder / "results.csv").write_text("\n".join(f"{row},{new}" for row, new in zip(rows, more, strict=True)) + "\n")
    write_bench_report(folder, folder / "report", [])
    page = (folder / "report" / "report.html").read_text()
    for text in ("10 every 20k", "2 x 8", "picked", "190,000", "69,300", "bonus half life"):
        assert text in page
