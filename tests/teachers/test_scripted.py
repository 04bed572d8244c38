"""Answers against the formulas of B-Pref (Lee et al. 2021, section 3)."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.data.episodes import Episode
from pbrl.teachers.scripted import ScriptedTeacher, discounted_from_end
from pbrl.types import Segments

EXACT = {"beta": None, "gamma": 1.0, "mistake": 0.0, "skip": 0.0, "equal": 0.0}
STEPS, MANY = 5, 40_000


def make_teacher(seed=0, scale_beta=False, bpref_compat=False, **settings):
    rng = torch.Generator().manual_seed(seed)
    return ScriptedTeacher(**EXACT | settings, scale_beta=scale_beta, bpref_compat=bpref_compat, rng=rng)


def rewarded(*rewards, repeat=1):
    """A segment for each row of rewards; a single number is spread over the steps."""
    rows = [r if isinstance(r, list) else [r / STEPS] * STEPS for r in rewards]
    reward = torch.tensor(rows, dtype=torch.float32).repeat(repeat, 1)
    n, t = reward.shape
    ones, zeros = torch.ones(n, t), torch.zeros(n, t)
    return Segments(torch.zeros(n, t + 1, 1), zeros[..., None], ones, zeros, reward, torch.arange(n))


def make_episode(*rewards):
    n = len(rewards)
    return Episode(np.zeros((n + 1, 1)), np.zeros((n, 1)), np.array(rewards, np.float32), terminated=False)


def share_right(teacher, left, right):
    """Of MANY answers to the same question."""
    return float(teacher.answer(rewarded(left, repeat=MANY), rewarded(right, repeat=MANY)).prefers_right.mean())


def assert_share(share, probability):
    """Five and a half standard deviations: a false alarm in 10^7."""
    assert share == pytest.approx(probability, abs=5.5 * math.sqrt(probability * (1 - probability) / MANY) + 1e-12)


def test_the_oracle_always_prefers_the_larger_sum():
    left, right = rewarded(1.0, -3.0, [0, 0, 0, 0, 9.0]), rewarded(2.0, -4.0, [2.0] * 5)
    answers = make_teacher().answer(left, right)
    assert answers.prefers_right.tolist() == [1, 0, 1]
    assert answers.answered.all()


@pytest.mark.parametrize(
    "settings",
    [{}, {"mistake": 0.3}, {"beta": 2.0}, {"gamma": 0.9}, {"skip": 0.1}, {"equal": 0.1}, {"beta": 1.0, "mistake": 0.2}],
)
def test_exactly_equal_sums_are_equal(settings):
    left, right = rewarded(1.0, 0.0, -2.0, repeat=50), rewarded(1.0, 0.0, -2.0, repeat=50)
    answers = make_teacher(**settings).answer(left, right)
    assert (answers.prefers_right == 0.5).all()
    assert answers.answered.all()


@pytest.mark.parametrize("settings", [{}, {"mistake": 0.3}, {"beta": 2.0}, {"beta": 2.0, "scale_beta": True}])
def test_exactly_equal_sums_are_a_coin_toss_in_b_pref(settings):
    teacher = make_teacher(bpref_compat=True, **settings)
    answers = teacher.answer(rewarded(1.0, repeat=MANY), rewarded(1.0, repeat=MANY)).prefers_right
    assert set(answers.tolist()) == {0, 1}
    assert_share(float(answers.mean()), 0.5)


def test_the_same_rewards_in_another_order_are_equal():
    rewards = torch.rand(500, 50, generator=torch.Generator().manual_seed(0))
    left = rewarded(*rewards.tolist())
    right = rewarded(*(row[torch.randperm(50)].tolist() for row in rewards))
    assert (make_teacher().answer(left, right).prefers_right == 0.5).all()


def test_a_myopic_teacher_ties_what_it_sees_equal():
    """Equal sums that come at other times are no tie for it, and the discounted sums are what it compares."""
    early, late = rewarded([1.0, 0, 0, 0, 0]), rewarded([0, 0, 0, 0, 1.0])
    assert make_teacher().answer(early, late).prefers_right.tolist() == [0.5]
    assert make_teacher(gamma=0.5).answer(early, late).prefers_right.tolist() == [1]
    assert make_teacher(gamma=0.0).answer(rewarded([9.0, 0, 0, 0, 1.0]), late).prefers_right.tolist() == [0.5]


@pytest.mark.parametrize("name", ["oracle", "mistake", "noisy", "skip", "equal", "myopic", "random"])
def test_which_teachers_of_the_package_say_equal(name):
    """Only the coin toss knows nothing of equal segments."""
    config = compose_config([f"teacher={name}"]).teacher
    teacher = build(OmegaConf.masked_copy(config, [k for k in config if k != "name"]), rng=torch.Generator())
    answers = teacher.answer(rewarded(1.0, repeat=100), rewarded(1.0, repeat=100)).prefers_right
    assert set(answers.tolist()) == ({0, 1} if name == "random" else {0.5})


@pytest.mark.parametrize("mistake", [0.1, 0.3, 1.0])
def test_mistakes_have_their_rate_on_either_side(mistake):
    assert_share(share_right(make_teacher(mistake=mistake), 0.0, 1.0), 1 - mistake)
    assert_share(share_right(make_teacher(mistake=mistake), 1.0, 0.0), mistake)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("gain", [-1.5, 0.3, 2.0])
def test_the_noisy_teacher_is_boltzmann(beta, gain):
    assert_share(share_right(make_teacher(beta=beta), 1.0, 1.0 + gain), 1 / (1 + math.exp(-beta * gain)))


def test_noise_discount_and_mistakes_combine():
    gain = 0.9**2 * 2.0 - 0.9**4 * 1.5  # reward 2 at step 2 of 0..4 against 1.5 at step 0
    p = 1 / (1 + math.exp(-0.7 * gain))
    teacher = make_teacher(beta=0.7, gamma=0.9, mistake=0.2)
    assert_share(share_right(teacher, [1.5, 0, 0, 0, 0], [0, 0, 2.0, 0, 0]), 0.8 * p + 0.2 * (1 - p))


def test_the_myopic_teacher_looks_at_the_end():
    early, late = rewarded([1.2, 0, 0, 0, 0]), rewarded([0, 0, 0, 0, 1.0])
    assert make_teacher().answer(early, late).prefers_right.tolist() == [0]
    assert make_teacher(gamma=0.9).answer(early, late).prefers_right.tolist() == [1]
    assert make_teacher(gamma=0.99).answer(early, late).prefers_right.tolist() == [0]  # 1.2 * 0.99^4 = 1.15


def test_the_discount_of_a_constant_reward_is_a_geometric_sum():
    value = discounted_from_end(torch.ones(1, 50), 0.9)
    assert value.item() == pytest.approx((1 - 0.9**50) / (1 - 0.9), rel=1e-5)


def test_scaled_beta_means_the_same_for_any_unit_of_reward():
    def answers(unit, scale_beta):
        teacher = make_teacher(beta=1.0, scale_beta=scale_beta)
        rng = np.random.default_rng(0)
        teacher.observe([make_episode(*unit * rng.normal(size=20)) for _ in range(5)])
        gains = torch.linspace(-2, 2, 2000)[:, None] * torch.ones(STEPS)
        return teacher.answer(rewarded(*[[0.0] * STEPS] * 2000), rewarded(*(gains * unit).tolist())).prefers_right

    assert torch.equal(answers(1, True), answers(1024, True))
    assert not torch.equal(answers(1, False), answers(1024, False))


def test_scaled_beta_divides_by_the_spread_of_segment_returns():
    teacher = make_teacher(beta=1.0, scale_beta=True)
    teacher.observe([make_episode(*[1.0] * STEPS, *[5.0] * STEPS, 99.0)])  # returns 5 and 25: standard deviation 10
    assert_share(share_right(teacher, 0.0, 7.0), 1 / (1 + math.exp(-0.7)))


@pytest.mark.parametrize("episode", [[1.0] * STEPS, [1.0], [0.0] * 3])
def test_scaled_beta_works_before_returns_differ_and_with_episodes_shorter_than_a_segment(episode):
    teacher = make_teacher(beta=1.0, scale_beta=True)
    teacher.observe([make_episode(*episode)])
    assert_share(share_right(teacher, 0.0, 0.7), 1 / (1 + math.exp(-0.7)))  # no spread: as without a scale


def observed(**settings):
    """After episodes of 2 per step: a segment of 5 steps has 10 on average."""
    teacher = make_teacher(**settings)
    teacher.observe([make_episode(1.0, 3.0, 2.0, 2.0)] * 3)
    return teacher


def test_a_pair_of_which_neither_is_good_enough_is_skipped():
    answers = observed(skip=0.1).answer(rewarded(0.5, 0.5, 1.0, 3.0), rewarded(0.9, 1.1, 0.2, 0.2))
    assert answers.answered.tolist() == [False, True, False, True]  # threshold 0.1 * 10, itself not good enough


def test_a_close_pair_is_a_tie_and_mistakes_cannot_change_it():
    answers = observed(equal=0.1, mistake=1.0).answer(rewarded(5.0, 5.0, 5.0), rewarded(5.9, 6.1, 3.0))
    assert answers.prefers_right.tolist() == [0.5, 0, 1]
    assert answers.answered.all()


def test_thresholds_are_of_undiscounted_sums():
    teacher = observed(gamma=0.1, skip=0.1, equal=0.1)
    answers = teacher.answer(rewarded([9.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0]), rewarded([0.0] * 5, [0, 0, 0, 0, 8.5]))
    assert answers.answered.all()
    assert answers.prefers_right.tolist() == [0, 0.5]


@pytest.mark.parametrize(("compat", "later"), [(False, 1.0), (True, 0.1)])
def test_bpref_squares_the_threshold_after_the_first_session(compat, later):
    teacher = observed(skip=0.1, equal=0.1, bpref_compat=compat)
    for threshold in (1.0, later, later):
        for eps in (teacher.skip, teacher.equal):
            assert teacher.threshold(eps, STEPS) == pytest.approx(threshold)
        teacher.answer(rewarded(0.0), rewarded(1.0))


def test_thresholds_follow_the_last_ten_episodes():
    teacher = make_teacher(equal=0.1)
    teacher.observe([make_episode(100.0)] + [make_episode(2.0, 4.0)] * 9)
    teacher.observe([make_episode(13.0, 13.0)])
    assert teacher.threshold(0.1, STEPS) == pytest.approx(0.1 * STEPS * (9 * 6 + 26) / 20)


def test_thresholds_act_only_where_they_make_sense():
    teacher = make_teacher(skip=0.1, equal=0.1)
    before = teacher.answer(rewarded(-5.0), rewarded(-5.1))
    teacher.observe([make_episode(-2.0, -2.0)])
    after = teacher.answer(rewarded(-5.0), rewarded(-5.1))
    for answers in (before, after):
        assert answers.answered.tolist() == [True]
        assert answers.prefers_right.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "probability"), [("oracle", 1), ("mistake", 0.9), ("noisy", 1 / (1 + math.exp(-1))), ("random", 0.5)]
)
def test_the_presets_answer_as_their_names_say(name, probability):
    config = compose_config(["env=point_reach", f"teacher={name}"]).teacher
    settings = OmegaConf.masked_copy(config, [key for key in config if key != "name"])
    teacher = build(settings, rng=torch.Generator().manual_seed(0))
    teacher.observe([make_episode(1.0, 1.0)])
    assert_share(share_right(teacher, 1.0, 2.0), probability)


def test_a_restored_teacher_gives_the_same_answers():
    old, new = (make_teacher(beta=1.0, equal=0.2, bpref_compat=True) for _ in range(2))
    old.observe([make_episode(1.0, 2.0)] * 12)
    old.answer(rewarded(0.0), rewarded(1.0))
    new.load_state_dict(old.state_dict())
    new.rng.set_state(old.rng.get_state())
    left, right = rewarded(1.0, repeat=200), rewarded(1.5, repeat=200)
    assert torch.equal(old.answer(left, right).prefers_right, new.answer(left, right).prefers_right)
    assert new.threshold(0.2, STEPS) == old.threshold(0.2, STEPS)


@pytest.mark.parametrize(
    ("setting", "valid"),
    [
        ({"beta": -1}, "a number >= 0, or null"),
        ({"gamma": 1.1}, r"\[0, 1\]"),
        ({"mistake": -0.1}, r"\[0, 1\]"),
        ({"skip": -1}, r"\[0, 10\]"),
        ({"equal": 11}, r"\[0, 10\]"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_valid_ones(setting, valid):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .* expected .*{valid}"):
        make_teacher(**setting)
