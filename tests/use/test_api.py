"""`pbrl.train` and what it returns: the same run as by the command, functions that teach and choose, callbacks."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from outcome import table, weights
from tiny import TINY, collect, train

import pbrl
from pbrl.api import as_overrides
from pbrl.config import compose_config, config_dir
from pbrl.overrides import MAPPINGS, parse

TINY_KEYS = {text.partition("=")[0]: OmegaConf.create({"v": text.partition("=")[2]}).v for text in TINY["pebble"]}


def keys(**more):
    """The settings of a tiny PEBBLE, as keyword arguments."""
    values = OmegaConf.from_dotlist([f"{k.lstrip('+').replace('.', '__')}={v}" for k, v in TINY_KEYS.items()])
    found = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in values.items()}
    found["+env.make.max_episode_steps"] = found.pop("env__make__max_episode_steps")
    return found | {"verbose": False} | more


def reached(run):
    """Its evaluations, without the time they took."""
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in run.evaluations]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pbrl.train(**keys(run_dir=tmp_path_factory.mktemp("api") / "run"))


def test_it_is_the_run_that_the_command_makes(run, tmp_path):
    assert train(tmp_path / "run")[0] == 0
    assert reached(run) == reached(pbrl.load_run(tmp_path / "run"))
    one, other = weights(run.path), weights(tmp_path / "run")
    assert all(bool((one[name] == other[name]).all()) for name in one | other)
    assert (run.status, run.summary["labels"], run.config["feedback"]["per_session"]) == ("finished", 24, 6)
    assert run.evaluations[-1]["return_mean"] == run.final_return == run.summary["final_return"]


def test_a_notebook_shows_its_curve_inline(run):
    html = run._repr_html_()
    assert "finished" in html
    assert "data:image/png;base64," in html
    (line, *_) = run.figure().axes[0].lines
    assert line.get_xdata().tolist() == [row["env_steps"] for row in run.evaluations]


def test_a_fresh_evaluation_is_that_of_the_command(run, capsys):
    from pbrl.cli import main

    assert main(["eval", str(run.path), "episodes=3", f"out={run.path / 'three.json'}"]) == 0
    written = json.loads((run.path / "three.json").read_text())
    assert run.evaluate(episodes=3)["returns"] == written["returns"]
    for wrong, least in (({"episodes": 0}, 1), ({"episodes": 2.5}, 1), ({"seed": -1}, 0)):
        with pytest.raises(pbrl.UserError, match=f": expected a whole number of at least {least}$"):
            run.evaluate(**wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"env": "gym", "env__id": "mine:Task-v0"}, ["env=gym", "env.id=mine:Task-v0"]),
        ({"feedback": {"budget": 9, "heldout": 0.1}}, ["feedback.budget=9", "feedback.heldout=0.1"]),
        ({"method": "pebble", "method__explore": None}, ["method=pebble", "method.explore=null"]),
        ({"report": False, "agent__hidden": (8, 8)}, ["report=false", "agent.hidden=[8,8]"]),
        ({"steps": np.int64(7), "agent__lr": np.float64(0.5)}, ["steps=7", "agent.lr=0.5"]),
        ({"viewer__tags": ["falls", "too slow"]}, ["viewer.tags=[falls,'too slow']"]),
        ({"viewer__question": "5"}, ["viewer.question='5'"]),
        ({"+env.levels": [{"factor": "speed", "margin": 0}]}, ["+env.levels=[{factor:speed,margin:0}]"]),
    ],
)
def test_keyword_arguments_are_what_the_command_takes(given, expected):
    assert as_overrides(given) == expected
    for text in expected:
        parse(text)


def test_words_that_look_like_other_values_stay_words():
    for word in ("null", "True", "it's", "a,b", "", "1e3", "[x", "a=b"):
        (text,) = as_overrides({"viewer__question": word})
        assert parse(text).value() == word or str(parse(text).value()) == word


def test_a_mistake_is_the_line_of_the_command_and_leaves_nothing(tmp_path):
    with pytest.raises(pbrl.UserError, match=r"unknown key 'feedback.budgets'; did you mean feedback.budget"):
        pbrl.train(run_dir=tmp_path / "run", feedback={"budgets": 3})
    with pytest.raises(pbrl.UserError, match=r"steps=<object.*: expected a number, a word, a list"):
        pbrl.train(run_dir=tmp_path / "run", steps=object())
    with pytest.raises(pbrl.UserError, match=r"method=null: valid are .*pebble"):
        pbrl.train(run_dir=tmp_path / "run", method=None)
    with pytest.raises(pbrl.UserError, match=r"'feedback.a b' is no key"):
        pbrl.train(run_dir=tmp_path / "run", feedback={"a b": 3})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("callbacks", [[3], pbrl.Callback, [pbrl.Callback], print], ids=str)
def test_what_is_no_callback_is_refused_before_there_is_a_run(callbacks, run, tmp_path):
    with pytest.raises(pbrl.UserError, match=r"callbacks=.*: expected a list of objects derived from pbrl.Callback"):
        pbrl.train(**keys(run_dir=tmp_path / "run", callbacks=callbacks))
    assert not list(tmp_path.iterdir())
    with pytest.raises(pbrl.UserError, match="expected a list of objects derived"):
        pbrl.resume(run, steps=10_000, callbacks=callbacks)


def best_first(model, left, right, n, asked, rng):
    """The pairs whose left side has the largest true return."""
    returns = left[slice(None)].true_reward.sum(1)
    return returns.argsort(descending=True)[:n].tolist()


def test_a_function_teaches_and_one_chooses(tmp_path):
    heard = []

    def prefers_left(left, right):
        heard.append(left.true_reward.sum(1))
        return [np.nan, *np.zeros(len(left) - 1)]

    run = pbrl.train(**keys(run_dir=tmp_path / "run", teacher=prefers_left, queries=best_first))
    labels = pbrl.load_labels(run.path)
    assert len(labels) == sum(map(len, heard)) == 24
    assert (labels.answered.sum(), set(labels.comparisons.prefers_right.tolist())) == (20, {0.0})
    for returns in heard[1:]:  # the first session is drawn before the model knows anything
        assert torch.equal(returns, returns.sort(descending=True).values)
    assert run.config["queries"]["function"] == f"{__name__}.best_first"
    assert run.config["teacher"]["function"] == "pbrl.given.prefers_left"


def test_a_function_of_another_process_is_given_again(tmp_path):
    script = f"""
import pbrl, test_api
def only_there(left, right):
    return [0.5] * len(left)
class Stop(pbrl.Callback):
    def on_round(self, run):
        return run.step < 200
given = test_api.keys(run_dir={str(tmp_path / "run")!r}, teacher=only_there)
run = pbrl.train(**given, callbacks=[Stop()])
print(run.status)
"""
    environment = {"cwd": tmp_path, "env": {**__import__("os").environ, "PYTHONPATH": ":".join(sys.path)}}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, **environment)
    assert done.stdout.splitlines()[-1:] == ["interrupted"], done.stderr
    with pytest.raises(
        pbrl.UserError, match=r"pbrl.given.only_there was a function of another Python process; .* give it again"
    ):
        pbrl.resume(tmp_path / "run", verbose=False)
    whole = pbrl.resume(tmp_path / "run", teacher=lambda a, b: [0.5] * len(a), verbose=False)
    at_once = pbrl.train(**keys(run_dir=tmp_path / "at_once", teacher=lambda a, b: [0.5] * len(a)))
    assert (whole.status, reached(whole)) == ("finished", reached(at_once))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (lambda a, b: [0.5], r"returned shape \(1,\), expected \(6,\)"),
        (lambda a, b: [2] * len(a), r"returned numbers outside \[0, 1\]"),
        (lambda a, b: "left", "returned 'left', expected 6 numbers"),
    ],
)
def test_what_a_teacher_returns_is_checked(said, problem, tmp_path):
    with pytest.raises(pbrl.UserError, match=problem):
        pbrl.train(**keys(run_dir=tmp_path / "run", teacher=said))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [([0, 0], "returned 2 rows, expected at most 6 different ones"), ([99], "returned row 99 of 18 pairs"),
     ([[1]], r"of shape \(1, 1\), expected whole numbers"), ([0.5], "returned float64")],
)  # fmt: skip
def test_what_a_sampler_returns_is_checked(rows, problem, tmp_path):
    with pytest.raises(pbrl.UserError, match=problem):
        pbrl.train(**keys(run_dir=tmp_path / "run", queries=lambda *_: rows))


def test_functions_are_named_on_the_command_line_too(tmp_path):
    named = [f"queries.function={__name__}.best_first", "queries=function"]
    assert train(tmp_path / "run", *named)[0] == 0
    code, _, said = train(tmp_path / "other", "queries=function", "queries.function=nowhere.at_all")
    assert code == 2
    assert "queries.function=nowhere.at_all" in said
    code, _, said = train(tmp_path / "other", "teacher=function", "teacher.function=json.nothing")
    assert code == 2
    assert "teacher.function=json.nothing" in said
    assert not (tmp_path / "other").exists()


def test_a_misspelt_function_is_told_from_an_import_that_fails(tmp_path, monkeypatch):
    (tmp_path / "taught_here.py").write_text("from json import dumps\ndef further(left, right): pass\n")
    (tmp_path / "broken_here.py").write_text("import json\nimport torhc_here\n")
    monkeypatch.syspath_prepend(tmp_path)

    def said(name):
        code, _, err = train(tmp_path / "run", "teacher=function", f"teacher.function={name}")
        assert (code, err.count("\n")) == (2, 1)
        return err

    assert "taught_here has no 'furter'; valid are further; did you mean further?" in said("taught_here.furter")
    where = re.escape(str(tmp_path / "broken_here.py"))
    raised = rf"importing broken_here raised ModuleNotFoundError at {where}:2: No module named 'torhc_here'$"
    assert re.search(raised, said("broken_here.further"))


@pytest.mark.parametrize("key", ["teacher", "queries"])
def test_a_function_that_raises_is_one_line_and_its_place(key, tmp_path):
    code, _, err = train(tmp_path / "run", f"{key}=function", f"{key}.function={__name__}.raises_{key}")
    what = "raised AttributeError at .*test_api.py:[0-9]+: 'Segments' object has no attribute 'speed'"
    lines = err.splitlines()
    first = next(i for i, line in enumerate(lines) if " raised " in line)
    assert re.match(rf"pbrl: {key}.function=raises_{key} {what} \(the run was at step", lines[first])
    assert code == 2
    assert "pbrl/" not in "".join(lines[first + 1 :])  # the traceback below it is of the user's own code


def raises_teacher(left, right):
    return left.speed


def raises_queries(model, left, right, n, asked, rng):
    return left[:].speed


@pytest.mark.parametrize(
    ("key", "takes"), [("teacher", "left, right"), ("queries", "model, left, right, n, asked, rng")]
)
def test_a_function_of_other_arguments_is_refused_before_a_run(key, takes, tmp_path):
    said = rf"{key}.function=<lambda> takes \(left\), expected \({takes}\)"
    with pytest.raises(pbrl.UserError, match=said):
        pbrl.train(**keys(run_dir=tmp_path / "run", **{key: lambda left: None}))
    assert not (tmp_path / "run").exists()


class Listener(pbrl.Callback):
    def __init__(self):
        self.heard = []

    def on_start(self, run):
        self.heard.append(("start", run.step))

    def on_round(self, run):
        self.heard.append(("round", run.step))

    def on_log(self, run, metrics):
        self.heard.append(("log", run.step, metrics["feedback/labels"]))

    def on_evaluation(self, run, row):
        self.heard.append(("evaluation", row["return_mean"]))

    def on_end(self, run):
        self.heard.append(("end", run.step, (run.folder.path / "policy.zip").is_file()))


def test_a_callback_hears_of_all_that_is_written_and_changes_nothing(run, tmp_path):
    listener = Listener()
    told = pbrl.train(**keys(run_dir=tmp_path / "run", callbacks=[listener]))
    assert reached(told) == reached(run)
    heard = listener.heard
    assert (heard[0], heard[-1]) == (("start", 0), ("end", 320, True))
    assert [h[1] for h in heard if h[0] == "evaluation"] == [row["return_mean"] for row in run.evaluations]
    logged = table(told.path / "progress.csv")
    assert [float(row["feedback/labels"]) for row in logged] == [h[2] for h in heard if h[0] == "log"]
    rounds = [h[1] for h in heard if h[0] == "round"]
    assert (rounds == sorted(set(rounds)), rounds[-1]) == (True, 320)


def test_import_is_fast_and_loads_nothing_heavy():
    script = "import sys, pbrl; dir(pbrl); print(*{'torch', 'numpy', 'hydra', 'gymnasium'} & set(sys.modules), 'done')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["done"]
    (own,) = [line for line in done.stderr.splitlines() if line.endswith("| pbrl")]
    assert int(own.split("|")[1]) < 300_000  # microseconds


def test_every_name_that_is_offered_is_there_and_in_the_stub():
    from pathlib import Path

    stub = Path(pbrl.__file__).with_suffix(".pyi").read_text()
    for name in pbrl.__all__:
        assert getattr(pbrl, name) is not None
        assert name == "__version__" or f" as {name}\n" in stub
    with pytest.raises(AttributeError, match="module 'pbrl' has no attribute 'trian'"):
        pbrl.trian  # noqa: B018


def test_data_sets_and_labels_are_read(tmp_path, run):
    data = pbrl.load_dataset(collect(tmp_path / "data"))
    assert (len(data.episodes), len(data.segments)) == (10, 60)
    labels = pbrl.load_labels(run.path)
    assert len(labels.comparisons) == int(labels.answered.sum()) == 24
    with pytest.raises(pbrl.UserError, match="kind=stars: valid are"):
        pbrl.load_labels(run.path, kind="stars")


def test_a_mapping_of_the_users_own_names_is_one_value():
    found = as_overrides({"method": {"helper": {"distance": 1.0}}, "teacher__weights": {"effort": -0.5}})
    assert found == ["method.helper={distance:1.0}", "teacher.weights={effort:-0.5}"]
    assert compose_config(["env=point_reach", "method=barfi", found[0]]).method.helper == {"distance": 1.0}


def test_every_mapping_of_factors_is_known():
    """In the YAMLs such a key says {FACTOR: WEIGHT, ...} behind its null."""
    found = set()
    for file in config_dir().glob("*/*.yaml"):
        group = {"loss": "fit.loss"}.get(file.parent.name, file.parent.name)
        for key in re.findall(r"^ *(\w+): null +#.*\{FACTOR: WEIGHT", file.read_text(), re.MULTILINE):
            found.add(f"{group}.{key}")
    assert found <= set(MAPPINGS)
    assert len(found) >= 5
