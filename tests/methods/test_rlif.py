"""RLIF: which step is blamed, what is rewarded, and what an expert teaches who acts badly and judges well."""

import numpy as np
import pytest
from killed import Kill
from outcome import assert_same, table
from tiny import COMMON, SAC, TINY, train

from pbrl.config import load_config
from pbrl.tabular.intervention_grid import BED, make_grid
from pbrl.teachers.interveners import Judge, RandomIntervener, ValueIntervener
from pbrl.training.start import resume

RLIF = ["method=rlif", *COMMON, *SAC, "method.demonstration_steps=60", "method.intervener.margin=0.001"]


def judge_by(sign):
    """Values sign * |a|, of one number; the reference is the best of them."""
    best = 1.0 if sign > 0 else 0.0
    return Judge(lambda obs, actions: sign * np.abs(actions[:, 0]), lambda obs: np.full((len(obs), 1), best))


def value_intervener(judge, **changes):
    numbers = {"margin": 0.5, "obeyed": 1.0, "length": 2} | changes
    return ValueIntervener(
        judge=judge, expert=lambda obs: np.full((len(obs), 1), 7.0), rng=np.random.default_rng(0), **numbers
    )


@pytest.mark.parametrize(("sign", "blamed"), [(1, [True, False, False]), (-1, [False, False, True])])
def test_a_step_is_blamed_where_it_is_worth_less_than_the_best_by_more_than_the_margin(sign, blamed):
    actions = np.array([[0.2], [0.5], [1.0]])  # |a| of the best is 1, or 0 where values are negative
    watched = value_intervener(judge_by(sign)).watch(np.zeros((3, 1)), actions)
    assert watched.blamed.tolist() == blamed
    np.testing.assert_array_equal(watched.actions, actions)  # done all the same
    assert not watched.taken_over.any()


def test_the_expert_acts_after_a_blamed_step_for_as_long_as_an_intervention_lasts():
    intervener, nothing = value_intervener(judge_by(1)), np.zeros((1, 1))
    seen = [intervener.watch(nothing, nothing) for _ in range(7)]
    assert [int(w.blamed[0]) for w in seen] == [1, 0, 0, 1, 0, 0, 1]
    assert [w.actions[0, 0] for w in seen] == [0, 7, 7, 0, 7, 7, 0]


def test_the_rule_is_contradicted_as_often_as_it_says():
    intervener = value_intervener(judge_by(1), obeyed=0.95)
    blamed = intervener.blames(np.zeros((20_000, 1)), np.ones((20_000, 1)))  # of the best action
    assert abs(blamed.mean() - 0.05) < 0.005  # 3 standard deviations


def test_it_trains_and_goes_on_as_if_never_killed(run, tmp_path):
    assert train(tmp_path / "whole", method="rlif_random")[0] == 0
    killed = [*TINY["rlif_random"], f"run_dir={tmp_path / 'killed'}"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_what_is_blamed_is_the_reward_and_the_judge_acts_in_what_follows(finished, tmp_path):
    judge = finished(method="true_reward")
    code, _, err = train(tmp_path / "run", *RLIF, f"method.judge={judge}", method=None)
    assert code == 0, err
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 400
    ended = resume(tmp_path / "run", config)
    buffer = ended.agent.buffer
    buffer.label_pending()
    blamed, expert = buffer.tags[:320, 0].T.astype(bool)
    np.testing.assert_array_equal(buffer.rewards[:320, 0], -blamed.astype(np.float32))
    assert expert[:60].all()  # demonstrations
    assert 0 < blamed.sum() < 100
    assert not (blamed & expert).any()
    for step in np.flatnonzero(blamed[:-4]):
        assert expert[step + 1 : step + 5].all()
    own = ended.method._acts(buffer.observations[:320, 0])
    np.testing.assert_allclose(buffer.actions[:320, 0][expert], own[expert], atol=1e-6)
    last = table(tmp_path / "run" / "progress.csv")[-1]
    assert int(last["feedback/interventions"]) == blamed.sum()
    assert int(last["feedback/expert_steps"]) == expert.sum()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["method=rlif", "env=halfcheetah"], "method.intervener: judge=None: values are needed"),
        (["method=rlif", "method.judge=nowhere"], "method.judge=nowhere: nowhere is not a run directory"),
        (["method=rlif_random", "env=halfcheetah"], "method.expert=None: env=halfcheetah has no controller"),
        (
            ["method=rlif_random", "env=point_reach", "method.intervener.length=0"],
            "method.intervener.length=0: exp",
        ),
        (["method=rlif_random", "method.demonstration_steps=-1"], "method.demonstration_steps=-1: expected"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_leaves_no_folder(changes, said, tmp_path):
    code, _, err = train(tmp_path / "run", *changes, method=None)
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_a_policy_learns_from_who_judges_well_and_acts_badly_and_not_from_interventions_at_random():
    found = [{(m.case, m.arm): m.value for m in BED.run(seed)} for seed in (0, 1)]
    case = "expert wrong in 30% of states"
    expert, clone, judged, random = (
        np.mean([values[case, arm] for values in found])
        for arm in ("expert alone", "HG-DAgger", "RLIF, judged", "RLIF, random")
    )
    assert judged > 0.9
    assert clone < expert + 0.1 < judged - 0.3
    assert random < judged - 0.3
    of_the_best = [values["expert wrong in 0% of states", "RLIF, random"] for values in found]
    assert np.mean(of_the_best) < 0.9  # however good the expert


def test_the_grid_has_the_values_of_shortest_paths():
    grid = make_grid()
    assert grid.q.max(1)[grid.goal - 1] == pytest.approx(1)
    assert grid.q.max(1)[0] == pytest.approx(0.95**15)  # 16 moves from corner to corner
    assert (
        RandomIntervener(probability=1, length=1, expert=None, judge=None, rng=np.random.default_rng(0))
        .blames(np.zeros(3), np.zeros(3))
        .all()
    )
