"""`pbrl tune` as a user has it: refusals, files, and a real study that is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from tuning import Formula, hill

from pbrl.bench.tune_space import defaults_of, load_space
from pbrl.cli import main
from pbrl.config import compose_config, options
from pbrl.errors import UserError

OFFLINE = ("cpl", "piql")
SPACE = {
    "method": "pebble",
    "objective": "final_return",
    "knobs": {
        "agent.lr": {"log": [1e-4, 1e-2], "why": "its source"},
        "method.model.crop": {"choice": [None, [8, 10]], "why": "its source"},
    },
}
TINY = [
    *("env=point_reach", "+env.make.max_episode_steps=30", "steps=320", "feedback.first=120", "feedback.every=60"),
    *("feedback.per_session=6", "feedback.segment_length=10", "evaluation.every=110", "evaluation.episodes=2"),
    *(
        "checkpoint.every=100",
        "method.model.hidden=[8]",
        "method.fit.max_epochs=3",
        "method.critic_updates=3",
        "feedback.budget=12",
    ),
    *("agent.hidden=[16,16]", "agent.batch_size=16", "agent.learning_starts=30"),
]


def space_file(folder, **changes):
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(SPACE | changes))
    return file


@pytest.fixture
def tune(tmp_path, monkeypatch):
    """`tune(*args)`: the exit code of a tuning of point_reach whose runs are a formula, `tune.formula`."""
    monkeypatch.chdir(tmp_path)
    file = space_file(tmp_path)

    def run(*args, space=str(file)):
        monkeypatch.setattr("pbrl.bench.executors.choose.make_executor", lambda *_: Formula(run.formula))
        return main(["tune", f"space={space}", "env=point_reach", "out=out", "trials=3", *args])

    run.formula = hill
    return run


@pytest.fixture
def refused(tune, capsys):
    """`refused(*args)`: the one line of a tuning that must not begin."""

    def run(*args, **options):
        capsys.readouterr()
        assert tune(*args, **options) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1, line
        return line

    return run


@pytest.mark.parametrize("name", options("tune"))
def test_the_spaces_compose_and_hold_the_defaults(name):
    space = load_space(name, None)
    data = ["data=somewhere"] if name in OFFLINE else []
    config, defaults = defaults_of(space, [f"method={space.method}", "env=halfcheetah", *data], None)
    assert config.method.name == space.method
    assert all(knob.admits(defaults[knob.key]) for knob in space.knobs)
    assert 3 <= len(space.knobs) <= 5


MISTAKES = {
    "seeds=3": "results report seeds 0 to 99, and a result on a seed that chose its settings is flattered",
    "seeds=100,99": "valid are 100 to 199",
    "seeds=200": "seed 200 is kept for confirm=; valid are 100 to 199",
    "seeds=100,100": "expected different whole numbers",
    "seed=100": "seed= is not for pbrl tune, which has seeds=",
    "run_dir=x": "run_dir= is not for pbrl tune",
    "trials=0": "trials=0: expected a whole number of at least 1",
    "objective=best": "objective=best: valid are final_return, final_success",
    "steps=many": "steps=many: expected a whole number",
    "trails=3": "unknown key 'trails'",
    "method=true_reward": "unknown key 'method.model.crop'",
    "feedback.segment_length=9": "method.model.crop=[8, 10] exceeds feedback.segment_length=9",
    "evaluation.every=null": "evaluation.every=null measures no return; tuning compares returns",
    "teacher=human": "teacher=human: nobody can answer for every trial",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(argument, refused, tmp_path):
    assert MISTAKES[argument] in refused(argument)
    assert not (tmp_path / "out").exists()


SPACES = {
    "knob agent.lr needs `why` and one of log": {"knobs": {"agent.lr": {"log": [1e-4, 1e-2]}}},
    "knob agent.lr: log expects [low, high]": {"knobs": {"agent.lr": {"log": [1e-4], "why": "x"}}},
    "must be two numbers, the lower one first": {"knobs": {"agent.lr": {"float": [0.5, 0.1], "why": "x"}}},
    "must be above 0": {"knobs": {"agent.lr": {"log": [0, 0.1], "why": "x"}}},
    "did you mean agent.lr": {"knobs": {"agent.lrr": {"log": [1e-4, 1e-2], "why": "x"}}},
    "agent.lr is 0.0005 by default, not 0.01 to 0.1": {"knobs": {"agent.lr": {"float": [0.01, 0.1], "why": "x"}}},
    "steps=0.5: expected a whole number": {"knobs": {"steps": {"float": [0.5, 1e6], "why": "x"}}},
    "expected a number from 0 to 1": {"knobs": {"agent.lr": {"float": [0.0, 5.0], "why": "x"}}},
    "knob agent is a group": {"knobs": {"agent": {"choice": ["sac", "sac_sb3"], "why": "x"}}},
    "must have the keys method, objective and knobs": {"more": 3},
    "objective 'sum': valid are": {"objective": "sum"},
}


@pytest.mark.parametrize("message", SPACES)
def test_a_wrong_space_is_one_line(message, refused, tmp_path):
    space_file(tmp_path, **SPACES[message])
    assert message in refused()
    assert not (tmp_path / "out").exists()


def test_spaces_are_found_by_name_and_in_a_folder_of_ones_own(refused, tmp_path):
    assert "space=pebbles: valid are cpl, heron, pebble" in refused(space="pebbles")
    (tmp_path / "mine" / "tune").mkdir(parents=True)
    space_file(tmp_path / "mine" / "tune").rename(tmp_path / "mine" / "tune" / "own.yaml")
    assert load_space("own", str(tmp_path / "mine")).knobs[0].values == (1e-4, 1e-2)
    with pytest.raises(UserError, match=r"valid are cpl, .*own, pebble"):
        load_space("other", str(tmp_path / "mine"))


def table(file):
    return list(csv.DictReader(file.open()))


def test_the_table_and_the_best_settings(tune, tmp_path, capsys):
    assert tune("steps=50000", "+env.make.max_episode_steps=30", "queries=uniform", "confirm=3") == 0
    rows = table(tmp_path / "out" / "trials.csv")
    columns = [
        "trial",
        "state",
        "agent.lr",
        "method.model.crop",
        "score",
        "score_s100",
        "score_s101",
        "wall_s",
        "reason",
    ]
    assert list(rows[0]) == columns
    assert rows[0]["agent.lr"] == "0.0005"
    assert all(float(row["score"]) == pytest.approx(float(row["score_s100"]) + 0.005) for row in rows)
    best = max(rows, key=lambda row: float(row["score"]))
    knobs = [f"agent.lr={best['agent.lr']}", f"method.model.crop={best['method.model.crop']}"]
    out = capsys.readouterr().out
    assert f"agent.lr={best['agent.lr']}" in out
    assert "optimistic" in out
    base = ["env=point_reach", "steps=50000", "+env.make.max_episode_steps=30", "queries=uniform", "seed=7"]
    assert compose_config(["experiment=best", "seed=7"], "out") == compose_config([*base, *knobs])
    assert f"the defaults {float(rows[0]['score']):.4g}" in Path("out/experiment/best.yaml").read_text()
    assert [row["seed"] for row in table(tmp_path / "out" / "confirm.csv")][:3] == ["200", "201", "202"]


def test_a_base_experiment_is_kept_in_the_best_settings(tune):
    assert tune("experiment=pebble_dmc") == 0
    config = compose_config(["experiment=best"], "out")
    plain = compose_config(["experiment=pebble_dmc", "env=point_reach"])
    config.agent.lr, config.method.model.crop = plain.agent.lr, plain.method.model.crop
    assert config == plain


def test_a_knob_that_is_given_is_not_tuned(tune, refused, tmp_path):
    assert tune("agent.lr=0.001") == 0
    rows = table(tmp_path / "out" / "trials.csv")
    assert "agent.lr" not in rows[0]
    assert "none is left to tune" in refused("agent.lr=0.001", "method.model.crop=null")


OTHERS = {
    "env=pendulum": 'begun with env="point_reach", not "pendulum"',
    "log_every=7": "begun with config.log_every=1000, not 7",
    "seeds=100": "begun with seeds=[100, 101], not [100]",
    "objective=area_return": 'begun with objective="final_return", not "area_return"',
}


def test_a_folder_takes_more_trials_and_no_other_settings(tune, refused, tmp_path):
    assert tune() == 0
    before = table(tmp_path / "out" / "trials.csv")
    for argument, message in OTHERS.items():
        assert message in refused(argument)
    space_file(tmp_path, knobs=SPACE["knobs"] | {"agent.lr": {"log": [1e-4, 1e-3], "why": "x"}})
    assert "begun with knobs.agent.lr.log=[0.0001, 0.01], not [0.0001, 0.001]" in refused()
    space_file(tmp_path)
    with FileLock(tmp_path / "out" / ".lock"):
        assert "out=out is being tuned by another process" in refused()
    assert tune("trials=5") == 0
    assert table(tmp_path / "out" / "trials.csv")[:3] == before
    assert len(json.loads((tmp_path / "out" / "tune.json").read_text())["commands"]) == 2


def test_a_folder_of_something_else_is_not_touched(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").touch()
    assert "out=out exists and is no tuning; choose another" in refused()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_if_all_fail_the_command_does(tune, capsys):
    def falls(job):
        raise ArithmeticError("it fell over")

    tune.formula = falls
    assert tune() == 2
    assert "all 3 trials failed, the first by seed 100: it fell over; see out/trials/0" in capsys.readouterr().err
    assert {row["state"] for row in table(Path("out/trials.csv"))} == {"failed"}


def test_success_where_there_is_none_is_said_after_the_first_run(refused):
    assert "reports no success; valid is final_return" in refused("objective=final_success")


def test_a_real_study_that_is_killed_goes_on_in_the_run(tmp_path):
    """And its score is that of the same `pbrl train`."""
    space_file(tmp_path)
    command = [sys.executable, "-m", "pbrl", "tune", "space=space.yaml", *TINY, "steps=400", "seeds=100", "out=out"]
    command += ["trials=1", "workers=1"]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'envs'}"}
    run = tmp_path / "out" / "trials" / "0" / "s100"
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    until(lambda: list(run.glob("checkpoints/*0")))
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    assert not (run / "summary.json").exists() or json.loads((run / "summary.json").read_text())["status"] != "finished"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [row] = table(tmp_path / "out" / "trials.csv")
    assert main(["train", *TINY, "steps=400", "seed=100", "report=false", f"run_dir={tmp_path / 'plain'}"]) == 0
    plain = json.loads((tmp_path / "plain" / "summary.json").read_text())
    assert float(row["score"]) == plain["final_return"]


def until(happens, timeout_s=300.0):
    end = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)
