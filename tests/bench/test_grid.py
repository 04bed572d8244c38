"""A grid is a product, written down shortly and checked whole."""

import json
import time
from pathlib import Path

import pytest

from pbrl.bench.plan import Composed, make_plan
from pbrl.bench.read_grid import load_grid
from pbrl.bench.sources import _of_file, code_version
from pbrl.config import options
from pbrl.errors import UserError

RESULTS = Path(__file__).resolve().parents[2] / "results"  # has grids too, each beside what it made
PUBLISHED = {"env": "x", "method": "y", "value": 1.0, "measure": "return", "source": "a paper"}


def test_a_grid_is_the_product_of_its_parts(tree, write):
    grid = load_grid(write(tree))
    names = [c.name for c in grid.cells]
    assert names[:3] == ["point/pebble/own/6/s0", "point/pebble/own/12/s0", "point/true_reward/none/0/s0"]
    assert names[3:] == [name.replace("s0", "s1") for name in names[:3]]  # a bench that is cut short has seen every arm
    assert "feedback.budget=12" in grid.cells[1].arguments
    assert not any(text.startswith("feedback.budget") for text in grid.cells[2].arguments)


def test_plain_names_are_the_yamls_of_that_name(write):
    grid = load_grid(write({"envs": ["pendulum"], "methods": ["pebble", "prefppo"], "seeds": [3]}))
    assert [c.arguments for c in grid.cells] == [
        ("env=pendulum", "method=pebble", "seed=3"),
        ("env=pendulum", "method=prefppo", "seed=3"),
    ]


def test_of_two_values_of_a_key_the_later_counts(tree, write):
    tree["methods"]["pebble"]["set"].append("steps=64")
    arguments = load_grid(write(tree)).cells[0].arguments
    assert [text for text in arguments if text.startswith("steps=")] == ["steps=64"]


def test_words_that_methods_share_are_written_once(tree, write, tmp_path):
    file = tmp_path / "shared.yaml"
    file.write_text(
        "envs: [pendulum]\n"
        "methods:\n"
        "  pebble: [method=pebble, &short [steps=64, log_every=8]]\n"
        "  prefppo: [method=prefppo, *short, log_every=4]\n"
    )
    assert [c.arguments[1:4] for c in load_grid(str(file)).cells] == [
        ("method=pebble", "steps=64", "log_every=8"),
        ("method=prefppo", "steps=64", "log_every=4"),
    ]
    tree["common"] = ["steps=64", [["log_every=8"], 5]]
    with pytest.raises(UserError, match=r"common: .*5.*: expected a list of words"):
        load_grid(write(tree))


def test_offline_methods_learn_from_the_data_set_and_have_no_teacher(write):
    tree = {
        "envs": {"point_reach": {"collect": ["episodes=5"]}},
        "methods": ["cpl", "bc", "pebble"],
        "teachers": ["oracle", "noisy"],
        "budgets": [10],
    }
    cells = {c.name.rpartition("/")[0]: c for c in load_grid(write(tree)).cells}
    assert set(cells) == {
        "point_reach/cpl/data/10",
        "point_reach/bc/none/0",
        "point_reach/pebble/oracle/10",
        "point_reach/pebble/noisy/10",
    }
    assert [name for name, c in cells.items() if c.reads_data] == ["point_reach/cpl/data/10", "point_reach/bc/none/0"]


def test_a_data_set_is_made_in_the_environment_of_its_runs(write):
    tree = {
        "common": ["env.keep=common", "env.both=common", "steps=9"],
        "envs": {"reach": {"set": ["env=point_reach", "env.both=own", "agent.lr=1"], "collect": ["episodes=5"]}},
        "methods": ["bc"],
    }
    grid = load_grid(write(tree))
    assert grid.envs["reach"].collecting == ("env.keep=common", "env.both=own", "env=point_reach", "episodes=5")
    assert {"env.keep=common", "env.both=own", "env=point_reach", "steps=9"} < set(grid.cells[0].arguments)


def test_a_teacher_that_sets_nothing_is_a_name_for_the_methods_own(write):
    tree = {"envs": ["pendulum"], "methods": ["heron"], "teachers": {"scripted": []}, "budgets": [9]}
    (cell,) = load_grid(write(tree)).cells
    assert cell.teacher == "scripted"
    assert cell.arguments == ("env=pendulum", "method=heron", "feedback.budget=9", "seed=0")


def test_methods_that_build_on_others_inherit_what_they_are(write):
    tree = {"envs": {"point_reach": {"data": "somewhere"}}, "methods": ["percent_bc", "cpl_kl", "rapl"]}
    methods = load_grid(write(tree)).methods
    assert (methods["percent_bc"].labels, methods["percent_bc"].offline) == (False, True)
    assert (methods["cpl_kl"].labels, methods["cpl_kl"].offline) == (True, True)
    assert (methods["rapl"].offline, methods["rapl"].data) == (False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": ["pendulum"]}, "unknown key 'env'"),
        ({"envs": ["pendulun"]}, "pendulun: is no env and sets no env=; such are"),
        ({"methods": ["pebbel"]}, "pebble"),
        ({"methods": {"mine": ["method=pebbel"]}}, "method=pebbel: valid are"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [0, 0]}, "different whole numbers"),
        ({"seeds": 0}, "whole numbers"),
        ({"budgets": [0]}, "at least 1"),
        ({"common": "steps=3"}, "expected a list of words"),
        ({"common": ["steps=9", "++seed=5"]}, r"common: \+\+seed=5: the seeds of a bench are its key `seeds`"),
        ({"methods": {"bc": [["data=foo"]]}}, "methods.bc: data=foo: a data set is named by its env, as data: DIR"),
        ({"teachers": {"oracle": ["seed=5"]}}, "teachers.oracle: seed=5: the seeds of a bench"),
        ({"grids": [{"methods": ["sft"]}]}, "'sft' is not among the methods: pebble, true_reward"),
        ({"grids": [{}, {"budgets": []}]}, "point/pebble/own/6/s0 is asked for without a budget too"),
        ({"grids": []}, "expected a list of blocks"),
        ({"methods": ["cpl"]}, "learns from a data set"),
        (
            {"methods": {"bc": ["env.max_episode_steps=9"]}},
            "methods.bc: env.max_episode_steps=9: its data are made with",
        ),
        ({"envs": {"pendulum": {"score": "speed"}}}, "valid are return, success"),
        ({"envs": {"a/b": ["env=pendulum"]}}, "names are of letters"),
        ({"envs": {"pendulum": {"high": "sac"}}}, "'sac' is not among the methods"),
        ({"about": 3}, "about is 3: expected a text"),
        ({"envs": {"pendulum": {"data": 3}}}, "envs.pendulum: data is 3: expected a text"),
        ({"methods": {"pebble": {"about": []}}}, r"methods.pebble: about is \[\]: expected a text"),
        ({"teachers": {"own": ["teacher=mistake"]}}, "teachers.own: is each method's own and takes no settings"),
        ({"published": [{"env": "x"}]}, "lacks method"),
        ({"published": [PUBLISHED | {"value": "high"}]}, r"published\[0\]: value is 'high'; valid is a number"),
        ({"published": [PUBLISHED | {"sure": 1}]}, "sure is 1; valid is a text"),
    ],
)
def test_a_mistake_is_told_with_its_place(tree, write, change, message):
    path = write(tree | change)
    with pytest.raises(UserError, match=message) as error:
        load_grid(path)
    assert path in str(error.value) or "valid are" in str(error.value)


def test_a_data_set_may_have_a_seed_of_its_own(write):
    envs = {"point_reach": {"collect": ["episodes=5", "seed=3"]}}
    grid = load_grid(write({"envs": envs, "methods": ["cpl"]}))
    assert grid.envs["point_reach"].collecting == ("env=point_reach", "episodes=5", "seed=3")


def test_a_mistake_in_an_override_names_its_cell(tree, write, tmp_path):
    tree["methods"]["pebble"]["set"].append("feedback.segmentlength=3")
    cell = load_grid(write(tree)).cells[0]
    with pytest.raises(UserError, match=r"point/pebble/own/6/s0: unknown key.*segment_length"):
        Composed(None).config(cell)


def test_a_thousand_cells_list_in_two_seconds(tree, write, tmp_path):
    grid = load_grid(write(tree | {"seeds": 100, "budgets": list(range(1, 10))}))
    assert len(grid.cells) == 1000
    code_version.cache_clear()
    _of_file.cache_clear()
    begun = time.process_time()
    code_version()
    planned = make_plan(grid, grid.cells, tmp_path / "out", Composed(None), any_code=False)
    assert {p.state for p in planned} == {"new"}
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("name", [*options("bench"), *(str(file) for file in sorted(RESULTS.rglob("*.yaml")))])
def test_every_environment_method_and_teacher_of_a_suite_composes(name, monkeypatch):
    monkeypatch.syspath_prepend(Path(name).parent)  # where a table has methods of its own
    grid = load_grid(name)
    composed, seen = Composed(None), set()
    for cell in grid.cells:
        if not {cell.env, f"by {cell.method}", f"to {cell.teacher}"} <= seen:
            seen |= {cell.env, f"by {cell.method}", f"to {cell.teacher}"}
            composed.config(cell)


def test_the_environment_of_an_entry_with_data_is_that_of_the_data(write, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    meta = {"format": "pbrl-labels", "version": 1, "created_by": "pbrl", "annotators": ["a"], "counts": {}}
    meta |= {"true_reward": True, "sha256": "0" * 64, "env_name": "pendulum", "env": {"name": "pendulum"}}
    (folder / "meta.json").write_text(json.dumps(meta))
    tree = {"envs": {"people": {"data": str(folder), "set": ["steps=9"]}}, "methods": ["cpl"]}
    assert load_grid(write(tree)).cells[0].arguments[:2] == ("env=pendulum", "steps=9")
    tree["envs"]["people"]["set"] = ["env=none"]
    cell = load_grid(write(tree)).cells[0]
    with pytest.raises(UserError, match="env=none: a bench compares what policies reach"):
        Composed(None).config(cell)
    (folder / "meta.json").write_text(json.dumps(meta | {"env_name": None}))
    del tree["envs"]["people"]["set"]
    with pytest.raises(UserError, match=r"envs.people: .*does not say which environment it is of; give env=NAME"):
        load_grid(write(tree))


def test_the_tilde_in_data_is_the_home_folder(tree, write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    tree["envs"]["point"]["data"] = "~/sets/point"
    assert load_grid(write(tree)).envs["point"].data == "/home/ann/sets/point"
    with pytest.raises(UserError, match="/home/ann/sets/pendulum"):  # read for its environment
        load_grid(write({"envs": {"people": {"data": "~/sets/pendulum"}}, "methods": ["cpl"]}))
