"""What surrounds the package: the site's links, the files for who cites or contributes, and the workflow."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pbrl import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_one_version_in_the_package_the_citation_and_the_changelog():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_yaml_of_the_repository_is_yaml(path):
    assert yaml.safe_load(path.read_text())


def test_the_workflow_calls_what_is_there():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    words = [word for job in jobs.values() for step in job["steps"] for word in step.get("run", "").split()]
    paths = [word for word in words if "/" in word and not word.startswith(".venv/")]
    assert ".ci/run" in paths
    for path in paths:
        assert (ROOT / path).is_file(), path


def test_the_table_of_methods_has_them_all_and_the_decision_table_no_other():
    methods = {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")}
    rows = [line.split("|") for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[1])} == methods
    table = (ROOT / "docs" / "which-method.md").read_text().partition("\n\nTwo things")[0]
    taken = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[-2:][0])}
    assert len(taken) > 10
    assert taken <= methods


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs", reason="the site is made with the extra docs")
    pytest.importorskip("latex2mathml")
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("docs/pebble.md", "pebble.md"),
        ("docs/viewer/pair.png", "viewer/pair.png"),
        ("results/online", "results/online/README.md"),
        ("results/online/hopper.png", "results/online/hopper.png"),
        ("README.md", "index.md"),
        ("CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("pbrl/types.py", "code/pbrl/types.py.md"),
        ("configs/tune", "code/configs/tune.md"),
        ("docs/no_such.md", None),
    ],
)
def test_where_the_site_has_what_the_repository_has(hooks, path, uri):
    assert hooks.site_uri(ROOT / path) == uri


def test_scripts_and_grids_that_a_page_names_are_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md")]
    named = re.compile(r"(?<![\w/:])(?:scripts/\w+\.(?:py|sh)|results/[\w/]+\.yaml|configs/[\w/]+\.yaml)")
    missing = {f"{page.relative_to(ROOT)}: {path}" for page in pages for path in named.findall(page.read_text())}
    missing = {text for text in missing if not (ROOT / text.partition(": ")[2]).is_file()}
    assert not missing


def test_links_of_the_repository_become_those_of_the_site(hooks):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="tutorial/label.md"))
    text = "[a](../runs.md#going-on) [b](../../README.md) [c](../../pbrl/types.py) [d](https://x.org) [e](#here)\n"
    shown = "```\n[b](../../README.md)\n```\n"
    assert hooks.on_page_markdown(text + shown, page, None, None) == (
        "[a](../runs.md#going-on) [b](../index.md) [c](../code/pbrl/types.py.md) [d](https://x.org) [e](#here)\n"
        + shown
    )


def test_arguments_in_docstrings_are_a_list():
    pytest.importorskip("griffe")
    script = {}
    exec(compile((ROOT / "scripts" / "docs_docstrings.py").read_text(), "docs_docstrings", "exec"), script)
    shown = "Does it.\n\nsteps: how many\n    in all\na, b: two\nEnd."
    assert script["as_list"](shown) == "Does it.\n\n- `steps`: how many\n    in all\n- `a, b`: two\nEnd."
    assert script["as_list"]("It is so.\nn: a number") == "It is so.\n\n- `n`: a number"


def test_formulas_are_drawn_by_the_browser_alone(hooks):
    page = hooks.on_page_content(r'<p>of <span class="arithmatex">\(x &lt; 1\)</span></p>', None, None, None)
    assert page.startswith("<p>of <math")
    assert "arithmatex" not in page
