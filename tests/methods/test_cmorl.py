"""C-MORL: the order of its tasks, what is stored and weighed, the front that is kept, picking along it, refusals."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same
from person import Person
from tiny import TINY, train

from pbrl.cli import main
from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.methods.cmorl import sparse_points
from pbrl.training.saved import load_run
from pbrl.training.start import resume

STEP = "pbrl.data.recorder:EpisodeRecorder.step"


def front(folder):
    with (folder / "front.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_constrained_steps_start_from_the_least_crowded_points_of_the_front():
    points = np.array([[0.0, 4], [1, 3.9], [1.1, 3.8], [3, 2], [4, 0], [0, 0]])
    assert sorted(sparse_points(points, 3)) == [0, 3, 4]
    assert sorted(sparse_points(points, 9)) == [0, 1, 2, 3, 4]  # the last one is beaten


def test_weighted_sums_come_first_and_then_each_objective_is_raised(finished):
    folder = finished(method="cmorl")
    rows = front(folder)
    start = rows[3]["trained_for"].split(":")[0]
    said = ["0 1", "0.5 0.5", "1 0", f"{start}: distance", f"{start}: effort"]
    assert [row["trained_for"] for row in rows] == said
    facts = json.loads((folder / "summary.json").read_text())["front"]
    assert facts["objectives"] == {"distance": -1.0, "effort": -1.0}  # signs of the task's levels
    points = np.array([[float(row[name]) for name in facts["objectives"]] for row in rows])
    np.testing.assert_allclose(facts["reference"], points.min(0), rtol=1e-5)
    assert (points <= 0).all()


def test_steps_are_stored_with_all_objectives_and_rewarded_by_the_weights_of_now(finished, tmp_path):
    folder = shutil.copytree(finished(method="cmorl"), tmp_path / "copy")
    config = load_config(folder / "config.yaml")
    config.steps = 400
    ended = resume(folder, config)
    buffer, method = ended.agent.buffer, ended.method
    buffer.label_pending()
    tags = buffer.tags[: len(buffer), 0]
    np.testing.assert_allclose(tags[:, 1], -np.square(buffer.actions[: len(buffer), 0]).mean(1), rtol=1e-5)
    np.testing.assert_allclose(buffer.rewards[: len(buffer), 0], tags @ method.weights, rtol=1e-4, atol=1e-6)
    assert method.weights.sum() == pytest.approx(1)
    assert (method.weights > 0).all()


def test_a_direction_picks_the_policy_that_is_best_by_it(finished, capsys):
    folder = finished(method="cmorl")
    returns = np.array([[float(row[name]) for name in ("distance", "effort")] for row in front(folder)])
    obs = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    acts = {}
    for weights in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        run = load_run(folder)
        assert run.method.best_for(weights) == int((returns @ weights).argmax())
        acts[tuple(weights)] = run.along(weights).act(obs)
    np.testing.assert_allclose(load_run(folder).act(obs), acts[1.0, 1.0])  # policy.zip
    assert not np.allclose(acts[1.0, 0.0], acts[0.0, 1.0])
    capsys.readouterr()
    assert main(["eval", str(folder), "episodes=1", "weights=0,1", f"out={folder / 'along.json'}"]) == 0
    (folder / "along.json").unlink()
    assert f"policy {int(returns[:, 1].argmax())} with returns" in capsys.readouterr().out
    assert main(["eval", str(folder), "episodes=1", "weights=1"]) == 2
    assert "weights= has 1 numbers; expected 2" in capsys.readouterr().err


@pytest.mark.parametrize("weights", [["a", 1], [float("nan"), 1], [0, 0], "10"])
def test_a_direction_has_finite_numbers(weights, finished):
    with pytest.raises(UserError, match="expected finite numbers, of which one is not 0"):
        load_run(finished(method="cmorl")).along(weights)


def test_a_method_with_one_policy_says_so(finished, capsys):
    assert main(["eval", str(finished(method="true_reward")), "episodes=1", "weights=1,0"]) == 2
    assert "weights=: this run has one policy" in capsys.readouterr().err


def test_somebody_picks_a_policy_along_the_front_in_the_viewer(tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, "viewer.start=false", method="cmorl")[0] == 0
    with Person(run / "chosen") as person:
        assert main(["eval", str(run), "episodes=1", "weights=ask"]) == 0
    ((best, _),) = person.given.values()
    chosen = load_run(run).method.shown(9)[best]
    assert f"policy {chosen} with returns" in capsys.readouterr().out


def test_it_goes_on_as_if_never_killed(finished, run, tmp_path):
    assert run(["train", *TINY["cmorl"], f"run_dir={tmp_path / 'killed'}"], Kill(STEP, 290)) == -9
    assert load_run(tmp_path / "killed").along([1.0, 0.0]).act(np.zeros((1, 6), np.float32)).shape == (1, 2)
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(finished(method="cmorl"), tmp_path / "killed")
    assert front(finished(method="cmorl")) == front(tmp_path / "killed")


def test_weighted_sums_alone_take_all_steps(tmp_path):
    assert train(tmp_path / "run", "method.first_share=1", "method.parts=3", method="cmorl")[0] == 0
    assert len(front(tmp_path / "run")) == 4
    names = ["0 1", "0.333333 0.666667", "0.666667 0.333333", "1 0"]
    assert [row["trained_for"] for row in front(tmp_path / "run")] == names


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("method.objectives={distance: -1.0}", "objectives: distance; expected at least 2"),
        ("method.objectives={distance: -1.0, speed: 1.0}", "objectives: factor speed is not there"),
        ("method.objectives={distance: 0.0, effort: -1.0}", "objectives.distance=0: expected another number"),
        ("method.reference=[0]", "method.reference=[0]: expected 2 numbers, of distance, effort"),
        ("method.reference=[a, b]", "method.reference=['a', 'b']: expected 2 numbers, of distance, effort"),
        ("method.reference=[nan, 0]", "method.reference=[nan, 0]: expected 2 numbers, of distance, effort"),
        ("method.reference=3", "method.reference=3: expected 2 numbers, of distance, effort"),
        ("method.sharpness=nan", "method.sharpness=nan: expected a number above 0"),
        ("method.parts=400", "method.parts=400: steps=320 are too few for 403 policies"),
        ("method.parts=400000000", "too few for 400000003 policies"),  # said before so many are listed
        ("evaluation.every=null", "each policy is measured while training goes on"),
        ("evaluation.envs=1", "each policy is measured while training goes on"),
        ("method.slack=0", "method.slack=0: expected a number above 0"),
        ("method.first_share=1.5", "method.first_share=1.5: expected a number from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(given, said, tmp_path):
    code, _, err = train(tmp_path / "run", given, method="cmorl")
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_actors_are_exported_with_their_returns(finished):
    run = load_run(finished(method="cmorl"))
    actor, what = run.method.along([1.0, 0.0])
    assert set(actor) == set(run.agent.actor.state_dict())
    assert all(torch.isfinite(value).all() for value in actor.values())
    assert "with returns" in what


def test_one_of_them_is_taken_elsewhere(finished, tmp_path, capsys):
    folder = finished(method="cmorl")
    obs = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    assert main(["export", str(folder), "policy=torchscript", "weights=0,1", f"out={tmp_path / 'out'}"]) == 0
    (file,) = (tmp_path / "out").glob("*.pt")
    taken = torch.jit.load(file)(torch.from_numpy(obs)).detach().numpy()
    np.testing.assert_allclose(taken, load_run(folder).along([0.0, 1.0]).act(obs), atol=1e-5)
    assert not np.allclose(taken, load_run(folder).along([1.0, 0.0]).act(obs), atol=1e-3)
