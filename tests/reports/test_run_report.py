import base64
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from pbrl.cli import main
from pbrl.reports import figures
from pbrl.reports.run_report import random_episodes, write_report
from pbrl.reports.video import film
from pbrl.training.log import read_table
from pbrl.training.rollout import mean_return
from pbrl.training.saved import load_run
from pbrl_envs import gl

FIGURES = (
    "Evaluation return against environment steps",
    "Evaluation return against labels",
    "Learned reward against true reward, one point per step",
    "Accuracy of the learned reward against labels",
)


class Page(HTMLParser):
    """What a browser would see: tags that are closed, addresses that are fetched, names, and the text."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def _note(self, attrs):
        for name, value in attrs:
            if name in ("src", "href", "data", "poster", "srcset", "action"):
                self.addresses.append(value)
            elif name == "aria-label":
                self.labels.append(value)
            elif name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def copied(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target / "run"))


@pytest.fixture
def run_dir(finished: Callable[..., Path], tmp_path: Path) -> Path:
    return copied(finished(), tmp_path)


@pytest.fixture
def no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without OpenGL; it is quicker, too."""
    monkeypatch.setattr(gl, "choose_backend", lambda: None)


def write(run_dir: Path) -> str:
    return write_report(load_run(run_dir)).file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reported(finished: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report, without a clip. Read only."""
    run_dir = copied(finished(), tmp_path_factory.mktemp("reported"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gl, "choose_backend", lambda: None)
        write(run_dir)
    return run_dir


def test_needs_nothing_but_itself(reported: Path):
    text = (reported / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"@import|<script|<link|url\((?!#)", text)


def test_names_within_the_page_are_unique_and_point_somewhere(reported: Path):
    text = (reported / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    used = {a[1:] for a in page.addresses if a.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(page.ids)


def test_has_all_figures_numbers_settings_and_the_command(reported: Path):
    page = Page((reported / "report.html").read_text(encoding="utf-8"))
    assert tuple(page.labels) == FIGURES
    last, summary = read_table(reported / "evaluations.csv")[-1], json.loads((reported / "summary.json").read_text())
    shown = re.search(rf"point_reach: return ([\d.]+) after {summary['labels']} comparisons", page.text)
    assert float(shown[1]) == pytest.approx(last["return_mean"], rel=0.01)
    assert f"{summary['reward_accuracy']:.0%}" in page.text
    assert (reported / "command.txt").read_text().strip() in page.text
    assert "segment_length: 10" in page.text
    assert f"python: {summary['versions']['python']}" in page.text


@pytest.mark.usefixtures("no_clip")
def test_without_opengl_it_says_what_is_missing_and_why(run_dir: Path):
    found = write_report(load_run(run_dir))
    (note,) = found.notes
    assert note.startswith("no clip: cannot render")
    assert note in html.unescape(found.file.read_text(encoding="utf-8"))
    assert "<video" not in found.file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_clip")
def test_a_run_on_the_true_reward_has_no_reward_figures(finished: Callable[..., Path], tmp_path: Path):
    page = Page(write(copied(finished(method="true_reward"), tmp_path)))
    assert page.labels == [FIGURES[0]]
    assert "None: this run learns from the true reward, without labels." in page.text


@pytest.mark.usefixtures("no_clip")
def test_a_run_that_was_never_answered_says_so(run_dir: Path):
    summary = json.loads((run_dir / "summary.json").read_text())
    (run_dir / "summary.json").write_text(json.dumps(summary | {"reward_updates": 0}))
    page = Page(write(run_dir))
    assert page.labels == list(FIGURES[:2])
    assert "no comparison was answered" in page.text


@pytest.mark.usefixtures("no_clip")
def test_settings_cannot_break_the_page(run_dir: Path):
    config = (run_dir / "config.yaml").read_text()
    nasty = '<b>"bold" & $title</b>'
    (run_dir / "config.yaml").write_text(config.replace("name: point_reach", f"name: '{nasty}'"))
    page = Page(write(run_dir))
    assert page.open == []
    assert f"{nasty}: return" in page.text


def test_the_clip_plays(run_dir: Path, gl_backend: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pbrl.reports.run_report.film", partial(film, seconds=1))
    found = write_report(load_run(run_dir))
    assert found.notes == []
    data = re.search(r'<video src="data:video/mp4;base64,([^"]+)"', found.file.read_text(encoding="utf-8"))
    with av.open(io.BytesIO(base64.b64decode(data[1]))) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in clip.decode(stream)) == 25


def test_the_random_policy_meets_the_same_episodes_each_time(reported: Path):
    first, again = (mean_return(random_episodes(load_run(reported))) for _ in range(2))
    assert first == again
    assert 0 < first < 30  # 30 steps, each worth between 0 and 1


SHORT = ("env=point_reach", "method=true_reward", "+env.make.max_episode_steps=20", "steps=40", "agent.hidden=[8]")
SHORT += ("agent.learning_starts=30", "evaluation.every=40", "evaluation.episodes=1")


@pytest.mark.usefixtures("no_clip")
def test_training_ends_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", *SHORT, f"run_dir={tmp_path / 'run'}"]) == 0
    printed = capsys.readouterr()
    assert f"report: {tmp_path / 'run' / 'report.html'}" in printed.out
    assert printed.err.startswith("pbrl: the report has no clip: ")
    assert printed.err.count("\n") == 1
    assert Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).labels == [FIGURES[0]]


def test_a_report_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def broken(saved):
        raise OSError("the printer is on fire\nsecond line")

    monkeypatch.setattr("pbrl.reports.run_report.write_report", broken)
    assert main(["train", *SHORT, f"run_dir={tmp_path / 'run'}"]) == 0
    printed = capsys.readouterr().err
    assert printed.startswith("pbrl: no report: OSError: the printer is on fire; try again with: pbrl eval")
    assert printed.count("\n") == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert (tmp_path / "run" / "policy.zip").is_file()


def test_a_clip_that_fails_leaves_the_figures(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*args, **options):
        raise RuntimeError("no encoder")

    monkeypatch.setattr("pbrl.reports.run_report.film", broken)
    found = write_report(load_run(run_dir))
    assert found.notes == ["no clip: no encoder"]
    assert tuple(Page(found.file.read_text(encoding="utf-8")).labels) == FIGURES


def points(svg: str, color: str) -> list[tuple[float, float]]:
    """Places of the markers of one colour."""
    uses = re.findall(r"<use [^>]*>", svg)
    mine = [u for u in uses if f"var(--{color})" in u]
    return [(float(re.search(r' x="([\d.-]+)', u)[1]), float(re.search(r' y="([\d.-]+)', u)[1])) for u in mine]


def test_the_curve_shows_every_evaluation_at_its_place():
    rows = [
        {"env_steps": float(x), "return_mean": y, "return_std": 1.0} for x, y in ((0, 0.0), (100, 5.0), (200, 10.0))
    ]
    svg = figures.learning_curve(rows, "env_steps", "environment steps", random_return=2.0)
    x, y = zip(*points(svg, "agent")[1:4], strict=True)  # between the band and the legend
    np.testing.assert_allclose(np.diff(x), x[1] - x[0])
    np.testing.assert_allclose(np.diff(y), y[1] - y[0])
    assert x[1] > x[0]
    assert y[1] < y[0]  # up, as y counts downwards


def test_a_figure_takes_its_colours_and_fonts_from_the_page():
    rows = [{"env_steps": 0.0, "return_mean": 1.0, "return_std": 0.0}]
    svg = figures.learning_curve(rows, "env_steps", "environment steps", random_return=2.0)
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "<text" in svg
    assert "font-family" not in svg


def test_a_large_scatter_stays_small():
    steps = figures.Steps(np.linspace(0, 1, 100_000), np.linspace(0, 1, 100_000))
    svg = figures.reward_scatter(steps, steps)
    assert len(points(svg, "agent")) >= figures.SHOWN_STEPS
    assert len(svg) < 200_000
