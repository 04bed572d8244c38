"""HERON's decision list (Bukharin et al. 2023): facts that hold for any factors."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.errors import UserError
from pbrl.methods.factor_reward import FactorReward
from pbrl.teachers.factor_sum import FactorSumTeacher
from pbrl.teachers.hierarchy import HierarchyTeacher
from pbrl.types import Segments

NAMES = ("near", "quick", "cheap")
LEVELS = [
    {"factor": "near", "better": "lower", "margin": 1.0},
    {"factor": "quick", "better": "higher", "margin": 0.5},
    {"factor": "cheap", "better": "lower", "margin": 0.2},
]


def make_teacher(levels=LEVELS, window=100, episodes=(), names=NAMES):
    teacher = HierarchyTeacher(levels=levels, window=window, rng=torch.Generator())
    teacher.use_factors(names)
    teacher.observe(episodes)
    return teacher


def make_episodes(n=30, steps=40, scale=(1.0, 1.0, 1.0), seed=0):
    """Factors that wander, so that segments differ."""
    rng = np.random.default_rng(seed)
    factors = [rng.normal(size=(steps, 3)).cumsum(0) for _ in range(n)]
    zeros = np.zeros((steps + 1, 2), np.float32)
    return [
        Episode(zeros, zeros[1:], zeros[1:, 0], False, factors=(f * scale).astype(np.float32), factor_names=NAMES)
        for f in factors
    ]


def pairs(episodes, n=500, length=8):
    store = EpisodeStore(1000)
    store.add(episodes)
    rng = torch.Generator().manual_seed(1)
    return store.sample_pairs(n, length, rng)


def segment(*rows, mask=None):
    """One segment with these factors at its steps."""
    factors = torch.tensor([rows], dtype=torch.float32)
    t = factors.shape[1]
    zeros = torch.zeros(1, t)
    mask = zeros + 1 if mask is None else torch.tensor([mask], dtype=torch.float32)
    obs, actions = torch.zeros(1, t + 1, 2), torch.zeros(1, t, 2)
    return Segments(obs, actions, mask, zeros, zeros, torch.zeros(1, dtype=torch.long), factors)


def absolute(*levels):
    return [{"factor": f, "better": b, "margin": m, "unit": "absolute"} for f, b, m in levels]


def test_rescaling_a_factor_by_1000_changes_no_label():
    plain, scaled = make_episodes(), make_episodes(scale=(1.0, 1000.0, 0.001))
    answers = [make_teacher(episodes=e).answer(*pairs(e)) for e in (plain, scaled)]
    assert torch.equal(answers[0].prefers_right, answers[1].prefers_right)
    assert torch.equal(answers[0].answered, answers[1].answered)
    assert 0.2 < answers[0].prefers_right.mean() < 0.8


def test_rescaling_a_factor_by_1000_changes_the_labels_of_a_sum():
    def labels(episodes):
        teacher = FactorSumTeacher(levels=LEVELS, weights=None, rng=torch.Generator())
        teacher.use_factors(NAMES)
        return teacher.answer(*pairs(episodes)).prefers_right

    changed = (labels(make_episodes()) != labels(make_episodes(scale=(1.0, 1000.0, 1.0)))).float().mean()
    assert changed > 0.2


def test_a_level_with_an_infinite_margin_is_skipped():
    episodes = make_episodes()
    skipped = make_teacher([LEVELS[0], LEVELS[1] | {"margin": math.inf}, LEVELS[2]], episodes=episodes)
    without = make_teacher([LEVELS[0], LEVELS[2]], episodes=episodes)
    one, other = skipped.answer(*pairs(episodes)), without.answer(*pairs(episodes))
    assert torch.equal(one.prefers_right, other.prefers_right)
    assert torch.equal(one.answered, other.answered)
    assert skipped.decided[1] == 0


def test_the_order_matters_exactly_where_levels_contradict_each_other():
    first = absolute(("near", "lower", 0.0), ("quick", "higher", 0.0))
    here, there = segment((1.0, 5.0, 0.0)), segment((2.0, 9.0, 0.0))  # nearer, or quicker
    assert make_teacher(first).answer(here, there).prefers_right.item() == 0
    assert make_teacher(first[::-1]).answer(here, there).prefers_right.item() == 1
    both = segment((0.5, 9.0, 0.0))
    assert make_teacher(first).answer(here, both).prefers_right.item() == 1
    assert make_teacher(first[::-1]).answer(here, both).prefers_right.item() == 1


def test_a_difference_of_the_margin_leaves_the_pair_to_the_next_level_and_to_nobody_after_the_last():
    teacher = make_teacher(absolute(("near", "lower", 1.0), ("cheap", "lower", 1.0)))
    for right, level, answer in (
        ((0.0, 0.0, 0.0), -1, 0.5),
        ((-1.0, 0.0, 0.0), -1, 0.5),  # by just the margin
        ((-1.5, 0.0, 9.0), 0, 1.0),
        ((1.5, 0.0, -9.0), 0, 0.0),
        ((1.0, 0.0, -1.5), 1, 1.0),
        ((1.0, 0.0, 1.5), 1, 0.0),
    ):
        decided, prefers_right = teacher.decide(segment((0.0, 0.0, 0.0)), segment(right))
        assert (decided.item(), prefers_right.item()) == (level, answer)


def test_segments_that_are_equal_in_all_levels_are_a_tie():
    levels = [*absolute(("near", "lower", 1.0)), LEVELS[1] | {"margin": math.inf}]
    teacher = make_teacher(levels)
    equal, close = segment((1.0, 0.0, 5.0)), segment((1.5, 0.0, 5.0))
    other = segment((1.0, 9.0, 7.0))  # only in a level that is skipped and in a factor of none
    for right, answered in ((equal, True), (other, True), (close, False)):
        answers = teacher.answer(equal, right)
        assert (answers.prefers_right.item(), answers.answered.item()) == (0.5, answered)
    assert teacher.undecided == 3

    total = FactorSumTeacher(levels=LEVELS, weights=None, rng=torch.Generator())
    total.use_factors(NAMES)
    assert total.answer(equal, segment((1.0, 4.0, 9.0))).prefers_right.item() == 0.5  # -1 + 0 - 5 = -1 + 4 - 9


def test_swapping_sides_turns_every_answer_round():
    episodes = make_episodes()
    left, right = pairs(episodes)
    one, other = (make_teacher(episodes=episodes).answer(*sides) for sides in ((left, right), (right, left)))
    assert torch.equal(one.answered, other.answered)
    assert torch.equal(one.prefers_right, 1 - other.prefers_right)


def test_undecided_pairs_are_not_answered_and_every_decision_is_counted():
    episodes = make_episodes()
    teacher = make_teacher(episodes=episodes)
    assert all(math.isnan(share) for share in teacher.metrics().values())
    answers = teacher.answer(*pairs(episodes, n=400))
    shares = list(teacher.metrics().values())
    assert list(teacher.metrics()) == [
        "feedback/level_1_near",
        "feedback/level_2_quick",
        "feedback/level_3_cheap",
        "feedback/undecided",
    ]
    assert sum(shares) == pytest.approx(1)
    assert all(share > 0 for share in shares)
    assert shares[-1] == pytest.approx(float((~answers.answered).float().mean()))


def test_margins_are_multiples_of_the_spread_of_segments_in_the_window():
    old, new = make_episodes(1, scale=(100.0, 1.0, 1.0)), make_episodes(2, seed=1)
    windows = np.concatenate([e.factors[:, 0].astype(np.float64).reshape(-1, 8).mean(1) for e in new])
    margins = make_teacher(window=2, episodes=[*old, *new]).margins(8)
    assert margins[0].item() == pytest.approx(windows.std())
    whole = np.concatenate([[e.factors[:, 1].astype(np.float64).mean()] for e in new])
    assert make_teacher(window=2, episodes=[*old, *new]).margins(40)[1].item() == pytest.approx(0.5 * whole.std())


def test_steps_that_an_episode_does_not_have_are_in_no_margin():
    zeros = np.zeros((11, 2), np.float32)
    even = [
        Episode(
            zeros[: n + 1], zeros[:n], zeros[:n, 0], True, factors=np.full((n, 3), -5, np.float32), factor_names=NAMES
        )
        for n in (4, 10)
    ]
    for over in ("max", "last"):
        level = {"factor": "near", "better": "lower", "margin": 1.0, "over": over}
        assert make_teacher([level], episodes=even).margins(10).item() == 0


def test_a_segment_that_ended_counts_its_mean_over_all_its_steps_and_the_last_real_one():
    ended = segment((4.0, 0, 0), (2.0, 0, 0), (9.0, 0, 0), (9.0, 0, 0), mask=[1, 1, 0, 0])
    values = {
        over: make_teacher([{"factor": "near", "better": "higher", "margin": 0.0, "over": over}]).values(ended).item()
        for over in ("mean", "max", "last")
    }
    assert values == {"mean": 1.5, "max": 4.0, "last": 2.0}


def test_state_goes_on_as_if_nothing_had_happened():
    episodes = make_episodes()
    teacher = make_teacher(episodes=episodes)
    left, right = pairs(episodes)
    teacher.answer(left[:100], right[:100])
    copy = make_teacher()
    copy.load_state_dict(teacher.state_dict())
    assert torch.equal(teacher.answer(left, right).prefers_right, copy.answer(left, right).prefers_right)
    assert teacher.metrics() == copy.metrics()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (None, "no levels of its own"),
        ([{"factor": "near", "better": "lower"}], r"levels\[0\].*expected factor, better, margin"),
        ([LEVELS[0] | {"weight": 1}], r"levels\[0\].*expected factor, better, margin"),
        ([LEVELS[0], LEVELS[1] | {"better": "more"}], r"levels\[1\].better=more: valid are higher, lower"),
        ([LEVELS[0] | {"unit": "m"}], "unit=m: valid are std, absolute"),
        ([LEVELS[0] | {"over": "min"}], "over=min: valid are mean, max, last"),
        ([LEVELS[0] | {"margin": -1}], "margin=-1: expected a number of at least 0"),
        ([LEVELS[0] | {"factor": "far"}], "far is not there; this env has near, quick, cheap"),
    ],
)
def test_what_is_wrong_with_levels_is_said(levels, message):
    with pytest.raises(UserError, match=message):
        make_teacher(levels)


def test_a_sum_takes_given_weights_or_the_signs_of_the_levels():
    left, right = segment((1.0, 2.0, 3.0)), segment((2.0, 4.0, 3.5))  # sums by sign: -2 and -1.5

    def answer(**given):
        teacher = FactorSumTeacher(**{"levels": LEVELS, "weights": None, "rng": torch.Generator()} | given)
        teacher.use_factors(NAMES)
        return teacher.answer(left, right).prefers_right.item()

    assert answer() == 1
    assert answer(weights={"near": -3.0, "quick": 1.0}) == 0


def test_weights_of_levels_halve_with_each_and_skip_what_is_skipped():
    def weights(levels, beta):
        return FactorReward(levels=levels, weights=None, beta=beta).weights

    assert weights(LEVELS, 0.5) == {"near": -1.0, "quick": 0.5, "cheap": -0.25}
    assert weights(LEVELS, 1.0) == {"near": -1.0, "quick": 1.0, "cheap": -1.0}
    skipped = [LEVELS[0] | {"margin": math.inf}, LEVELS[1], LEVELS[1] | {"over": "max"}, LEVELS[2]]
    assert weights(skipped, 0.5) == {"quick": 1.0, "cheap": -0.5}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "expected {FACTOR: WEIGHT"),
        ("near", "expected {FACTOR: WEIGHT"),
        ({"near": "much"}, "weights.near=much: expected a finite number"),
        ({"near": math.nan}, "weights.near=nan: expected a finite number"),
    ],
)
def test_what_is_wrong_with_weights_is_said(weights, message):
    with pytest.raises(UserError, match=message):
        FactorReward(levels=LEVELS, weights=weights, beta=1.0)


def test_the_levels_of_an_environment_are_those_of_its_teacher():
    config = compose_config(["env=halfcheetah", "teacher=hierarchy"])
    teacher = build(OmegaConf.masked_copy(config.teacher, ["_target_", "levels", "window"]), rng=torch.Generator())
    assert [level.factor for level in teacher.levels] == ["speed", "effort"]
