"""PEARL: plans that see no rotation, answers by hand, anchors, a reward that may be unsure, and the contrast."""

import builtins
import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from offline_data import begun, make_data
from tiny import collect, offline, train

from pbrl.agents.iql import IQL
from pbrl.cli import main
from pbrl.methods.pearl import Pearl
from pbrl.rewards.gaussian_return import GaussianReturn, expected_logit
from pbrl.rewards.label_transport import carry, contradicted, distances, told_matrix, transport_plan
from pbrl.tabular.two_reaches import EPSILON, MODEL, one_draw, walk, walk_in_a_fan
from pbrl.types import Comparisons, Segments

pytest.importorskip("ot", reason="POT is not installed; get it with: pip install 'pbrl[transport]'")


def test_a_plan_does_not_see_rotation_mirroring_scale_or_place():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(12, 3)), rng.normal(size=(9, 2))
    turn = np.array([[0.6, -0.8], [-0.8, -0.6]])  # a rotation and a mirror
    moved = 3 * target @ turn + 7
    plans = [transport_plan(distances(source), distances(of), 0.02, 60) for of in (target, moved)]
    np.testing.assert_allclose(plans[0], plans[1], atol=1e-8)
    np.testing.assert_allclose(plans[0].sum(0), 1 / 9, rtol=0.05)


def test_answers_come_back_from_a_copy_of_their_own_task_in_another_order():
    rng = np.random.default_rng(1)
    worth = np.sort(rng.exponential(size=15))
    points = np.stack([worth, 0.1 * rng.normal(size=15)], 1)
    order = rng.permutation(15)
    plan = transport_plan(distances(points), distances(points[order]), 0.001, 100)
    left, right = np.triu_indices(15, 1)
    told = told_matrix(left, right, (worth[right] > worth[left]).astype(float), 15)
    agree = (carry(plan, *told)[left, right] > 0.5) == (worth[order][right] > worth[order][left])
    assert agree.mean() > 0.95


def test_an_answer_is_carried_by_hand():
    told = told_matrix(np.array([0]), np.array([1]), np.array([1.0]), 3)  # 1 is better than 0; of 2 nothing is known
    plan = np.diag([1.0, 1.0, 1.0]) / 3
    expected = np.array([[0.5, 1.0, 0.5], [0.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(carry(plan, *told), expected)
    half = np.array([[0.75, 0.25], [0.25, 0.75], [0.0, 0.0]]) / 2
    # (0, 1) matched with the target's pair at 9/16, the other way round at 1/16
    np.testing.assert_allclose(carry(half, *told)[0, 1], 0.5 + 0.5 * (9 - 1) / (9 + 1))
    tied = told_matrix(np.array([0]), np.array([1]), np.array([0.5]), 3)
    np.testing.assert_allclose(carry(plan, *tied), 0.5)


def test_contradicted_by_what_is_known():
    carried = np.array([[0.5, 0.9], [0.1, 0.5]])
    zero, one = np.array([0]), np.array([1])
    assert contradicted(carried, zero, one, np.array([0.0]))
    assert contradicted(carried, one, zero, np.array([1.0]))
    assert not contradicted(carried, zero, one, np.array([1.0]))
    assert not contradicted(carried, zero, one, np.array([0.5]))


def test_fifty_trajectories_carry_answers_to_rotated_and_mirrored_reaching_and_four_do_not():
    rng = np.random.default_rng(0)
    for goal in ((0.0, 1.0), (-1.5, 0.0)):
        many = one_draw(walk((1, 0), 50, rng), walk(goal, 50, rng), rng)
        assert many["PEARL"] > 0.9
        assert many["plan by coordinates"] < 0.7
        few = [one_draw(walk((1, 0), 4, rng), walk(goal, 4, rng), rng)["PEARL"] for _ in range(10)]
        assert np.mean(few) < 0.85
        assert np.std(few) > 0.1


def test_three_anchors_say_which_is_which_where_good_and_bad_have_the_same_shape():
    rng = np.random.default_rng(4)
    found = [one_draw(walk_in_a_fan((1, 0), 30, rng), walk_in_a_fan((0, 1), 30, rng), rng) for _ in range(5)]
    assert min(draw["PEARL"] for draw in found) < 0.2  # carried the wrong way round
    assert all(draw["PEARL, 3 anchors"] == pytest.approx(max(draw["PEARL"], 1 - draw["PEARL"])) for draw in found)
    assert min(draw["PEARL, 3 anchors"] for draw in found) > 0.85


def test_the_logit_of_an_unsure_gain_is_that_of_the_mean_probability():
    rng = torch.Generator().manual_seed(0)
    gain, variance = torch.tensor([0.5, 2.0, -3.0]), torch.tensor([0.0, 1.0, 4.0])
    drawn = gain + variance.sqrt() * torch.randn(200_000, 3, generator=rng)
    torch.testing.assert_close(expected_logit(gain, variance).sigmoid(), drawn.sigmoid().mean(0), atol=0.02, rtol=0)
    assert expected_logit(gain, variance)[0] == gain[0]


def test_a_gaussian_reward_is_unsure_where_answers_contradict_each_other():
    """Pairs of one step: left of 0 the farther one is always preferred, right of 0 by the toss of a coin."""
    rng = torch.Generator().manual_seed(0)
    model = GaussianReturn(obs_size=2, action_size=1, **MODEL, rng=rng)
    places = torch.rand(2, 400, 2, generator=rng) * 2 - 1
    places[1, :, 0] = places[0, :, 0].abs() * places[0, :, 0].sign()
    coin = torch.rand(400, generator=rng) < 0.5
    told = torch.where(places[0, :, 0] < 0, places[1, :, 1] > places[0, :, 1], coin).float()
    asked = Comparisons(*map(one_step, places), told, torch.zeros(400).long())
    for _ in range(400):
        model.update(asked)
    with torch.no_grad():
        spread = model.own_variance(one_step(places[0]))[0]
    known = places[0, :, 0] < 0
    assert spread[~known].mean() > 2 * spread[known].mean()


def one_step(points):
    n = len(points)
    obs, zeros = points[:, None].expand(n, 2, 2), torch.zeros(n, 1)
    return Segments(obs, torch.zeros(n, 1, 1), zeros + 1, zeros, zeros, torch.arange(n))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("source") / "set", "seed=3")


def pearl_on(data, source, **changes):
    numbers = {"draws": 3, "trajectories": 16, "epsilon": EPSILON, "iterations": 30}
    numbers |= {"anchors": False, "standardise": False} | changes
    model = partial(GaussianReturn, **MODEL)
    iql = partial(IQL, expectile=0.7, beta=1.0, gamma=0.99, tau=0.01, hidden=(8,), lr=1e-3)
    common = {"reward_share": 0.5, "reward_schedule": "constant", "pairs": 4, "batch_size": 8, "scale": False}
    return begun(Pearl, data, 4, source=str(source), model=model, iql=iql, **common, **numbers)


def test_what_is_said_of_the_target_has_no_part_without_anchors_and_turns_draws_with_them(source):
    data = make_data()
    told = data.pairs.prefers_right
    decided = replace(data, pairs=data.pairs[torch.nonzero(told != 0.5)[:, 0]])
    opposite = replace(decided, pairs=replace(decided.pairs, prefers_right=1 - decided.pairs.prefers_right))
    without = [pearl_on(of, source)._answers.pairs.prefers_right for of in (decided, opposite)]
    assert torch.equal(*without)
    anchored = [pearl_on(of, source, anchors=True) for of in (decided, opposite)]
    values = [learner._answers.pairs.prefers_right for learner in anchored]
    torch.testing.assert_close(values[0], 1 - values[1])
    assert anchored[0].facts()["turned_draws"] + anchored[1].facts()["turned_draws"] == 3


def test_a_run_reports_the_distribution_over_draws_and_a_changed_source_is_refused(source, tmp_path, capsys):
    data = collect(tmp_path / "target")
    given = [*offline("pearl", data), f"method.source={source}", "method.draws=4"]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert code == 0, err
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (len(said["agreement_draws"]), said["labels"], said["label"]) == (4, 0, "none read")
    assert said["agreement_mean"] == pytest.approx(np.mean(said["agreement_draws"]), abs=1e-3)
    assert said["turned_draws"] == 0
    anchored = [*given, "method.anchors=true", "feedback.budget=3"]
    assert train(tmp_path / "anchored", *anchored, method=None)[0] == 0
    assert json.loads((tmp_path / "anchored" / "summary.json").read_text())["labels"] == 3
    shutil.copytree(source, tmp_path / "moved")
    kept = [f"method.source={tmp_path / 'moved'}" if text.startswith("method.source") else text for text in given]
    assert train(tmp_path / "other", *kept, method=None)[0] == 0
    shutil.rmtree(tmp_path / "moved")
    shutil.copytree(data, tmp_path / "moved")
    assert main(["train", f"resume={tmp_path / 'other'}", "steps=30"]) == 2
    assert "is not what this run began with" in capsys.readouterr().err


def test_what_cannot_be_carried_is_said_in_one_line(source, tmp_path, monkeypatch):
    given = [text for text in offline("pearl", source) if not text.startswith(("method.source", "method.model"))]
    for more, expected in (
        ([], "method.source=None: expected the folder of a label set or data set of another task"),
        ([f"method.source={tmp_path}/none"], "method.source: "),
        (["method.source=3"], "/3: there is no such folder"),
        ([f"method.source={source}", "feedback.pairs=dense"], "feedback.pairs=dense: answers come from method.source"),
        ([f"method.source={source}", "method.epsilon=1e-6"], "method.epsilon=1e-06: the plan is not finite"),
        ([f"method.source={source}", "method.anchors=3"], "method.anchors=3: expected true or false"),
        ([f"method.source={source}", "method.model=null"], "method.model=None: this method needs it"),
        ([f"method.source={source}", "method.trajectories=3"], "method.trajectories=3: expected a whole number"),
    ):
        code, _, err = train(tmp_path / "run", *given, *more, method=None)
        assert (code, expected in err) == (2, True), err
        assert not (tmp_path / "run").exists()
    real = builtins.__import__

    def without_pot(name, *args, **kwargs):
        if name.split(".")[0] == "ot":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pot)
    code, _, err = train(tmp_path / "run", *given, f"method.source={source}", method=None)
    assert code == 2
    assert "needs POT; get it with: " in err
    assert "transport]" in err
