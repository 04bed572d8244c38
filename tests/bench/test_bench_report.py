"""The report as a reader finds it: files, page, figures and what they say."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_bench import MadeBench

from pbrl.errors import UserError
from pbrl.reports import figures
from pbrl.reports.bench_report import write_bench_report
from pbrl.reports.tables import NOTHING, Table

FIVE = [0.30, 0.35, 0.40, 0.45, 0.50]
HIGHER = [score + 0.3 for score in FIVE]
TOP = [0.98, 0.99, 1.0, 1.01, 1.02]
NONE = [-0.02, -0.01, 0.0, 0.01, 0.02]


class Page(HTMLParser):
    """Tags that are closed, addresses that would be fetched, names, and the text."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.source = file.read_text()
        self.feed(self.source)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def made() -> MadeBench:
    """Two tasks, two budgets; `few` has two seeds; a failed cell and a published number."""
    bench = MadeBench("reach", "walk").add("true_reward", {"reach": TOP, "walk": TOP})
    for budget in (100, 400):
        bench.add("pebble", {"reach": HIGHER, "walk": HIGHER}, budget)
        bench.add("few", {"reach": [0.3, 0.5], "walk": FIVE}, budget)
        bench.add("random_labels", {"reach": NONE, "walk": NONE}, budget)
    gone = {"env": "reach", "method": "few", "teacher": "oracle", "budget": 100, "seed": 2, "status": "failed"}
    bench.rows.append(gone)
    bench.failed.append("reach/few/oracle/100/s2")
    source = {"source": "Somebody et al., table 1", "sure": "read off a figure"}
    published = {
        "env": "walk",
        "method": "pebble",
        "labels": 500,
        "steps": 9,
        "value": 271.5,
        "low": None,
        "high": None,
    }
    bench.json["published"] = [published | {"measure": "return"} | source]
    return bench


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made().write(tmp_path_factory.mktemp("made") / "bench")
    write_bench_report(folder, folder / "report", [])
    return folder / "report"


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report / "report.html")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def quick(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, reach: float = 0.9) -> Page:
    """A report whose figures are left out."""
    monkeypatch.setattr(figures.Picture, "write", lambda self, folder: f"<p>{self.title}</p>")
    write_bench_report(folder, out, [], reach)
    return Page(out / "report.html")


def test_page_is_whole_and_needs_nothing_else(page: Page):
    assert page.open == []
    assert all(address.startswith("#") for address in page.addresses)
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert not re.findall(r"https?://|@import|url\((?!#)", page.source)
    assert "Made up &lt;for&gt; a test." in page.source


def test_figures_take_the_colours_of_the_page(page: Page):
    drawn = re.findall(r"<svg.*?</svg>", page.source, flags=re.DOTALL)
    assert len(drawn) >= 10
    for figure in drawn:
        assert "var(--ink)" in figure
        assert not [c for c in figures.VARIABLES if c in figure]
    for i in range(len(figures.SERIES)):
        assert page.source.count(f"--s{i}:") == 2  # by day and by night


def test_figures_are_there_as_files_too(report: Path):
    names = {file.name for file in (report / "figures").iterdir()}
    for name in ("overall", "profile", "improvement", "labels", "steps"):
        for budget in (100, 400):
            assert {f"{name}_oracle_{budget}.png", f"{name}_oracle_{budget}.svg"} <= names
    assert {"budgets_oracle.png", "task_reach_oracle_100.svg"} <= names


def test_a_task_is_drawn_where_something_learns_from_labels_on_it_and_else_once(tmp_path, monkeypatch):
    bench = MadeBench("reach", "walk", "maze")
    bench.add("true_reward", {"reach": TOP, "walk": TOP, "maze": TOP})
    bench.add("pebble", {"reach": FIVE}, 100).add("cpl", {"walk": FIVE}, 400)
    page = quick(bench.write(tmp_path / "bench"), tmp_path / "report", monkeypatch)
    for task, shown in (("reach", 100), ("walk", 400), ("maze", 100)):
        drawn = [budget for budget in (100, 400) if f"{task}, {budget} labels by oracle" in page.text]
        assert drawn == [shown]


def test_page_says_what_was_run(page: Page):
    assert "64 of 65 cells finished, 1 failed" in page.text
    assert "reach/few/oracle/100/s2" in page.text
    assert "pbrl bench grid=made out=OUT" in page.text
    assert "python: '3.11'" in page.text


def test_page_says_what_is_resolved_and_what_to_beware_of(page: Page):
    assert re.search(r"learns from labels, pebble reaches most: 0.70 \[.*?\]. Everything else is resolved", page.text)
    assert "Fewer than 5 seeds: few, oracle 100 on reach (2), few, oracle 400 on reach (2)" in page.text
    # 3 methods with labels at each budget and one without: 6 pairs each.
    assert "12 differences of IQMs were looked at" in page.text
    assert "about 1 of 12 would look resolved" in page.text
    assert "9 \N{DAGGER}" not in page.text
    assert "7 \N{DAGGER}" in page.text


def test_published_numbers_stand_beside_ours_and_in_no_aggregate(page: Page, report: Path):
    # 240 is the mean of 220, 230, ..., 260, whose interval is 2.776 times its standard error of 7.07.
    assert "271.5 500 9 Somebody et al., table 1 read off a figure 240.0 [220.4, 259.6] oracle 100 1,000 5" in page.text
    assert "Somebody" not in (report / "summary.csv").read_text()


def test_summary_has_the_known_numbers(report: Path):
    found = {(row["method"], row["budget"]): row for row in rows(report / "summary.csv") if row["method"] == "pebble"}
    pebble = found["pebble", "100"]
    assert pebble["tasks"] == "reach walk"
    assert (pebble["n"], pebble["few_seeds"]) == ("10", "false")
    assert [float(pebble[name]) for name in ("iqm", "mean", "median", "optimality_gap")] == pytest.approx(
        [0.7, 0.7, 0.7, 0.3]
    )
    assert float(pebble["iqm_low"]) < 0.7 < float(pebble["iqm_high"])
    assert (pebble["median_reward_updates"], pebble["median_minutes"]) == ("7", "2")
    few = next(row for row in rows(report / "summary.csv") if row["method"] == "few")
    assert (few["n"], few["few_seeds"]) == ("7", "true")


def test_per_task_has_the_known_numbers(report: Path):
    found = {(r["env"], r["method"], r["budget"]): r for r in rows(report / "per_task.csv")}
    assert len(found) == 14
    row = found["walk", "pebble", "400"]
    assert [float(row[name]) for name in ("n", "return", "normalised", "labels", "minutes")] == [5, 240, 0.7, 400, 2]
    assert row["success"] == ""
    assert found["reach", "true_reward", "0"]["reward_updates"] == ""


def test_comparisons_have_both_verdicts(report: Path):
    found = {(r["higher"], r["lower"]): r for r in rows(report / "comparisons.csv")}
    assert len(found) == 12
    row = found["pebble, oracle 100", "random_labels, oracle 100"]
    assert float(row["difference"]) == pytest.approx(0.7)
    assert row["verdict"] == "resolved, also after Holm"


def test_markdown_tables_are_whole(report: Path):
    text = (report / "tables.md").read_text()
    for title in ("100 labels by oracle", "Which tasks tell methods apart", "Published numbers", "reach", "walk"):
        assert f"## {title}\n" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_markdown_escapes_what_would_end_a_cell():
    assert "| a\\|b | c |" in Table("t", "", ["x", "y"], [["a|b", "c"]]).markdown()


def test_again_gives_the_same_and_drops_old_figures(tmp_path: Path):
    bench = MadeBench("reach").add("pebble", {"reach": HIGHER}).add("true_reward", {"reach": TOP})
    folder = bench.write(tmp_path / "b", curves=False)
    out = folder / "report"
    write_bench_report(folder, out, [])
    before = {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()}
    (out / "figures" / "old.png").write_text("of an earlier report")
    (out / "notes.txt").write_text("mine")
    write_bench_report(folder, out, [])
    after = {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()}
    assert after.pop(out / "notes.txt") == b"mine"
    assert before == after


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    folder = MadeBench("reach").add("pebble", {"reach": HIGHER}).write(tmp_path / "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("<p>a page of my own</p>")
    for out in (tmp_path / "mine", folder, folder / "bench.json"):
        with pytest.raises(UserError, match="holds something else"):
            write_bench_report(folder, out, [])
    assert (tmp_path / "mine" / "report.html").read_text() == "<p>a page of my own</p>"


def test_single_seed_has_numbers_without_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench = MadeBench("reach").add("pebble", {"reach": [0.5]}).add("true_reward", {"reach": [1.0]})
    out = tmp_path / "out"
    page = quick(bench.write(tmp_path / "b"), out, monkeypatch)
    assert "pebble reaches most: 0.50." in page.text
    row = next(row for row in rows(out / "summary.csv") if row["method"] == "pebble")
    assert (row["iqm"], row["iqm_low"], row["few_seeds"]) == ("0.5", "", "true")


def test_single_seed_is_drawn(tmp_path: Path):
    bench = MadeBench("reach").add("pebble", {"reach": [0.5]}).add("true_reward", {"reach": [1.0]})
    assert write_bench_report(bench.write(tmp_path / "b"), tmp_path / "out", []).figures == 6


def test_without_true_reward_there_are_tables_but_no_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench = MadeBench("reach", high=None).add("pebble", {"reach": HIGHER}).add("cpl", {"reach": FIVE})
    page = quick(bench.write(tmp_path / "b"), tmp_path / "out", monkeypatch)
    assert "reach has no scale: true_reward has not finished a run. It is in no aggregate." in page.text
    assert "nothing is compared" in page.text
    assert len(rows(tmp_path / "out" / "per_task.csv")) == 2
    assert "reach, 100 labels by oracle" in page.text


def test_without_curves_the_rest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = quick(made().write(tmp_path / "b", curves=False), tmp_path / "out", monkeypatch)
    assert "has no curves.csv" in page.text
    assert "Performance profiles" in page.text
    assert "Score over" not in page.text


def test_nothing_finished_is_said(tmp_path: Path):
    bench = MadeBench("reach").add("pebble", {"reach": FIVE})
    for row in bench.rows:
        row["status"] = "interrupted"
    with pytest.raises(UserError, match="no finished run"):
        write_bench_report(bench.write(tmp_path / "b"), tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_names_that_are_markup_or_paths_stay_names(tmp_path: Path):
    bench = MadeBench("reach").add("<b>$x_1$", {"reach": FIVE}, 100, "../mean/teacher")
    folder = bench.add("_hidden", {"reach": HIGHER}, 100, "../mean/teacher").write(tmp_path / "b")
    write_bench_report(folder, tmp_path / "out", [])
    page = Page(tmp_path / "out" / "report.html")
    assert page.open == []
    assert "<b>$x_1$" in page.text
    assert json.loads((folder / "bench.json").read_text())["finished"] == 10
    assert {file.parent.name for file in tmp_path.rglob("*.png")} == {"figures"}


def test_how_soon_runs_reach_a_share_of_the_true_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = made().write(tmp_path / "bench")
    quick(folder, folder / "report", monkeypatch, reach=0.35)
    text = (folder / "report" / "tables.md").read_text()
    (part,) = (part for part in text.split("\n#") if "How soon runs reach 0.35" in part)
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    found = {tuple(row[:4]): row[4:] for row in told}
    assert found["walk", "true_reward", NOTHING, NOTHING] == ["5 of 5", NOTHING, "500 [500, 500]"]
    # half of 0.6 and 0.65 is not enough at half of the labels, half of 0.7, 0.75 and 0.8 is
    assert found["walk", "pebble", "oracle", "400"][0] == "5 of 5"
    assert found["walk", "pebble", "oracle", "400"][1].startswith("200 [200, 400]")
    # two runs: at the end, and never
    assert found["reach", "few", "oracle", "100"] == ["1 of 2 \N{DAGGER}", "never [100, never]", "never [1,000, never]"]
    assert found["reach", "few", "oracle", "400"][0] == "1 of 2 \N{DAGGER}"
    assert ("walk", "random_labels", "oracle", "100") not in found


def test_the_page_says_how_soon_too(page: Page):
    assert "How soon runs reach 0.9" in page.text


def test_runs_that_were_evaluated_only_at_their_end_are_not_said_to_arrive_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bench = made()
    bench.curves = [row for row in bench.curves if row["env_steps"] != 500]
    folder = bench.write(tmp_path / "bench")
    quick(folder, folder / "report", monkeypatch)
    assert "How soon" not in (folder / "report" / "tables.md").read_text()


def test_a_share_that_no_run_reaches_is_never_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = made().write(tmp_path / "bench")
    quick(folder, folder / "report", monkeypatch, reach=2)
    assert "| walk | pebble | oracle | 400 | 0 of 5 | never | never |" in (folder / "report" / "tables.md").read_text()
