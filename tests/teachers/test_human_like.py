"""A teacher that errs as people do: its probabilities, the counts of people it is made after, and where it stands."""

import math

import numpy as np
import pytest
import torch
from killed import Kill
from omegaconf import OmegaConf
from outcome import assert_same, table
from test_scripted import STEPS, make_episode, rewarded
from tiny import TINY, collect, train

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset
from pbrl.errors import UserError
from pbrl.question_kinds import Choice, Rating
from pbrl.statistics.intervals import wilson_interval
from pbrl.teachers.make import make_teacher as make_people

MANY = 20_000
PLAIN = {"return_range": 1.0}
# Pairs of walker-walk clips at a fixed difference of true returns (of 50 at most), 20 of each judged by people
# (MoonOutCloudBack/CLARIFY_PbRL:human_exp): difference; those who agree with the return, disagree, and say "equal".
PEOPLE = [(1, 7, 0, 13), (10, 17, 2, 1), (30, 20, 0, 0)]


def make_teacher(seed=0, **settings):
    config = compose_config(["teacher=human_like"]).teacher
    node = OmegaConf.merge(OmegaConf.masked_copy(config, [k for k in config if k != "name"]), settings)
    return build(node, rng=torch.Generator().manual_seed(seed))


def answers_to(teacher, gain, n=MANY):
    return teacher.answer(rewarded(0.0, repeat=n), rewarded(gain, repeat=n)).prefers_right


def shares(teacher, gain):
    """Of "equal", and of the worse side among the other answers."""
    answers = answers_to(teacher, gain)
    decided = answers[answers != 0.5]
    wrong = (decided == (0 if gain > 0 else 1)).float().mean()
    return 1 - len(decided) / MANY, float(wrong) if len(decided) else math.nan


def assert_share(share, probability, n=MANY):
    """Five and a half standard deviations: a false alarm in 10^7."""
    assert share == pytest.approx(probability, abs=5.5 * math.sqrt(probability * (1 - probability) / n) + 1e-9)


@pytest.mark.parametrize(("gain", "agree", "disagree", "equal"), PEOPLE)
def test_it_answers_as_people_did(gain, agree, disagree, equal):
    said_equal, erred = shares(make_teacher(return_range=50.0), gain)
    low, high = wilson_interval(equal, 20)
    assert low <= said_equal <= high
    low, high = wilson_interval(disagree, agree + disagree)
    assert low <= erred <= high


@pytest.mark.parametrize("gain", [0.02, -0.05, 0.2, -0.5, 0.9])
def test_its_probabilities_by_hand(gain):
    said_equal, erred = shares(make_teacher(**PLAIN), gain)
    assert_share(said_equal, 1 / (1 + math.exp((abs(gain) - 0.05) / 0.05)))
    assert_share(erred, 0.15 * min(1, max(0, (0.6 - abs(gain)) / 0.55)), MANY * (1 - said_equal))


def test_a_band_without_an_edge_is_all_equal_inside_and_never_outside():
    teacher = make_teacher(**PLAIN, edge=0.0, mistake=0.0)
    for gain, answer in ((0.04, 0.5), (-0.04, 0.5), (0.06, 1.0), (-0.06, 0.0)):
        assert (answers_to(teacher, gain) == answer).all()


def test_exactly_equal_returns_are_a_tie_whatever_the_numbers():
    teacher = make_teacher(**PLAIN, band=0.0, edge=0.0, slip=0.5, side_bias=0.3)
    assert (answers_to(teacher, 0.0) == 0.5).all()


def test_slips_turn_clear_answers_round_and_a_side_bias_shifts_the_difference():
    assert_share(shares(make_teacher(**PLAIN, slip=0.07), 0.9)[1], 0.07)
    mistake = 0.15 * (0.6 - 0.2) / 0.55  # a mistake and a slip together are right again
    assert_share(shares(make_teacher(**PLAIN, slip=0.3, edge=0.0), 0.2)[1], 0.3 * (1 - mistake) + 0.7 * mistake)
    biased = make_teacher(**PLAIN, side_bias=0.2, edge=0.0, mistake=0.0)
    for gain, answer in ((-0.1, 1.0), (-0.3, 0.0), (-0.18, 0.5), (0.1, 1.0)):
        assert (answers_to(biased, gain) == answer).all()


def test_who_tires_errs_more_with_each_answer_of_a_session_and_rests_before_the_next():
    teacher = make_teacher(**PLAIN, fatigue=0.1)
    wrong = torch.stack([1 - answers_to(teacher, 0.9, n=600) for _ in range(2000)]).mean(0)  # of each place
    for first, rate in ((0, 0.05), (100, 0.15), (300, 0.35), (500, 0.5)):  # a coin toss from the 501st answer on
        assert_share(float(wrong[first : first + 100].mean()), rate, 200_000)


def test_one_difference_means_the_same_for_any_unit_of_reward():
    def answers(unit, shift):
        teacher = make_teacher()
        rewards = np.random.default_rng(0).integers(0, 9, size=(5, 20))
        teacher.observe([make_episode(*(unit * (row + shift))) for row in rewards])
        left = torch.full((2000, STEPS), 4.0) + shift
        right = left + torch.linspace(-4, 4, 2000)[:, None].round(decimals=2)
        return teacher.answer(rewarded(*(left * unit).tolist()), rewarded(*(right * unit).tolist())).prefers_right

    assert torch.equal(answers(1, 0), answers(1024, 0))
    assert torch.equal(answers(1, 0), answers(1, -64))  # negative rewards too


def test_the_range_is_of_segments_in_the_last_episodes_and_of_what_is_asked():
    teacher = make_teacher(window=2, edge=0.0, mistake=0.0)
    teacher.observe([make_episode(*[100.0] * STEPS)])  # forgotten
    teacher.observe([make_episode(*[0.0] * STEPS), make_episode(*[4.0] * STEPS, 99.0)])  # 0 and 20: a band of 1
    assert teacher.answer(rewarded(5.0, 5.0), rewarded(5.9, 6.1)).prefers_right.tolist() == [0.5, 1]
    answers = teacher.answer(rewarded(5.0, 0.0), rewarded(6.1, 40.0))  # now 2
    assert answers.prefers_right.tolist() == [0.5, 1]


def test_it_counts_its_mistakes():
    teacher = make_teacher(**PLAIN, edge=0.0)
    assert math.isnan(teacher.metrics()["feedback/mistaken"])
    first, second = answers_to(teacher, 0.1, n=300), answers_to(teacher, -0.2, n=100)
    wrong = int((first == 0).sum() + (second == 1).sum())
    assert teacher.metrics()["feedback/mistaken"] == wrong / 400


@pytest.mark.parametrize("gain", [0.02, 0.2, 0.7])
def test_a_ranking_of_two_is_a_pair_whose_ties_a_coin_decides(gain):
    items = rewarded(gain, repeat=MANY), rewarded(0.0, repeat=MANY)
    answers = Choice(items).put_to(make_teacher(**PLAIN))
    equal = 1 / (1 + math.exp((gain - 0.05) / 0.05))
    wrong = 0.15 * min(1, max(0, (0.6 - gain) / 0.55))
    assert_share(float((answers.order[:, 0] == 1).float().mean()), equal / 2 + (1 - equal) * wrong)


def test_rankings_are_permutations_and_true_ones_where_nothing_is_close():
    items = [rewarded(value, repeat=200) for value in (0.3, 0.9, 0.0, 0.6)]
    sure = make_teacher(**PLAIN, edge=0.0, mistake=0.0)
    for wanted, told in {"ranking": [1, 3, 0, 2], "best": [1], "worst": [2], "best_and_worst": [1, 2]}.items():
        assert (Choice(tuple(items), wanted=wanted).put_to(sure).order == torch.tensor(told)).all()
    order = Choice(tuple(items)).put_to(make_teacher(**PLAIN, slip=0.4)).order
    assert (order.sort(1).values == torch.arange(4)).all()
    assert len(order.unique(dim=0)) > 5


def test_thumbs_compare_with_the_median_of_recent_segments():
    teacher = make_teacher(edge=0.0, mistake=0.0, return_range=20.0)  # a band of 1
    teacher.observe([make_episode(*[0.0] * STEPS), make_episode(*[2.0] * STEPS), make_episode(*[9.0] * STEPS)])
    ratings = Rating(rewarded(8.0, 9.5, 12.0), "stars", 1, 5).put_to(teacher)  # the median is 10
    assert ratings.rating.tolist() == [1, 3, 5]
    assert ratings.answered.all()


@pytest.mark.parametrize("loss", ["plackett_luce", "thumbs"])
def test_it_answers_what_losses_on_lists_ask(loss, tmp_path):
    code, _, err = train(tmp_path / "run", "teacher=human_like", f"fit.loss={loss}", "queries=uniform")
    assert code == 0, err
    assert table(tmp_path / "run" / "progress.csv")[-1]["feedback/labels"] == "24"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"band": -0.1}, "band=-0.1: expected a number from 0 to 1"),
        ({"sure": 0.05}, "sure=0.05: expected more than band=0.05"),
        ({"slip": 0.6}, "slip=0.6: expected a number from 0 to 0.5"),
        ({"return_range": 0}, "return_range=0: expected a number above 0"),
        ({"window": 0}, "window=0: expected a whole number of at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(setting, said, tmp_path):
    ((name, value),) = setting.items()
    code, _, err = train(tmp_path / "run", "teacher=human_like", f"teacher.{name}={value}")
    assert (code, err.startswith(f"pbrl: teacher.{said}")) == (2, True), err
    assert not (tmp_path / "run").exists()


def test_a_run_with_it_goes_on_as_if_never_killed(run, tmp_path):
    given = ["teacher=human_like", "teacher.fatigue=0.1", "teacher.window=3"]
    code, _, err = train(tmp_path / "whole", *given)
    assert code == 0, err
    last = table(tmp_path / "whole" / "progress.csv")[-1]
    assert 0 <= float(last["feedback/mistaken"]) < 1
    killed = [*TINY["pebble"], *given, f"run_dir={tmp_path / 'killed'}"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_it_labels_data_sets_by_any_score_in_units_of_its_own_range(tmp_path):
    folder = collect(tmp_path / "data", "teacher=human_like", "teacher.edge=0", "teacher.mistake=0", "teacher.band=0.1")
    data = load_dataset(folder)
    assert set(data.comparisons) == {"return", "regret_mc"}
    for name, rows in data.comparisons.items():
        score = data.scores[name]
        gain = score[rows.right] - score[rows.left]
        range_seen = np.ptp(np.concatenate([score[data.split == 0], score[rows.left], score[rows.right]]))
        close = (np.abs(gain) < 0.1 * range_seen) | (gain == 0)
        assert 0 < close.mean() < 1
        assert ((rows.prefers_right == 0.5) == close).all()
        assert (rows.prefers_right[~close] == (gain[~close] > 0)).all()


MIXED = ["env=point_reach", "teacher=human", "teacher.mode=mixed", "teacher.timeout_s=1"]


def test_it_stands_in_for_people_with_its_own_numbers():
    config = compose_config([*MIXED, "teacher.script=human_like", "teacher.script.edge=0", "teacher.script.band=0.1"])
    assert (config.teacher.name, config.teacher.script.name) == ("human", "human_like")
    config = OmegaConf.create(OmegaConf.to_yaml(config))  # as a resumed run reads it
    teacher = make_people(config.teacher, rng=torch.Generator())
    teacher.observe([make_episode(*[0.0] * STEPS), make_episode(*[4.0] * STEPS)])  # a band of 2
    assert teacher.answer(rewarded(5.0, 5.0), rewarded(6.9, 20.0)).prefers_right.tolist() == [0.5, 1]
    other = make_people(config.teacher, rng=torch.Generator())
    other.load_state_dict(teacher.state_dict())
    assert other.answer(rewarded(5.0), rewarded(6.9)).prefers_right.tolist() == [0.5]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["teacher.script=hierarchy", "+env.levels=[{factor: speed, better: higher, margin: 0}]"],
            "HierarchyTeacher: exp",
        ),
        (["teacher.script=human"], "HumanTeacher: expected a script that judges true rewards at once"),
        (["teacher.script=humanlike"], "humanlike: valid are .*; did you mean human_like"),
        (["teacher.script.band=2"], "unknown key 'teacher.script.band'"),
        (
            ["teacher.script=human_like", "teacher.script.band=2"],
            "teacher.script.band=2: expected a number from 0 to 1",
        ),
    ],
)
def test_who_cannot_stand_in_is_said_in_one_line(given, said):
    with pytest.raises(UserError, match=said):
        make_people(compose_config([*MIXED, *given]).teacher, rng=torch.Generator())


def test_a_stand_in_is_for_people_alone_and_a_wrong_teacher_is_no_wrong_stand_in():
    with pytest.raises(UserError, match=r"unknown key 'teacher\.script'"):
        compose_config(["teacher=oracle", "teacher.script=noisy"])
    with pytest.raises(UserError, match=r"^teacher=orcale: valid are"):
        compose_config(["teacher=orcale"])
