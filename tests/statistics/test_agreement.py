import numpy as np
import pytest

from pbrl.statistics.agreement import cohen_kappa, krippendorff_alpha

NAN = float("nan")
_ = NAN  # missing
# The worked examples of Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]])
LETTERS = np.array([[1, 1, 2, 2, 4, 3, 3, 3, 5, 4, 4, 1], [2, 1, 2, 2, 2, 3, 3, 3, 5, 4, 4, 4]])


def rng():
    return np.random.default_rng(0)


def alpha(ratings, metric="nominal", **numbers):
    return krippendorff_alpha(np.asarray(ratings, float), metric=metric, rng=rng(), **numbers)


def kappa(first, second, weights="nominal", **numbers):
    return cohen_kappa(np.asarray(first, float), np.asarray(second, float), weights=weights, rng=rng(), **numbers)


def from_table(table):
    """Two lists of values whose cross table this is."""
    cells = [(c, k) for c, row in enumerate(table) for k, n in enumerate(row) for _ in range(n)]
    return tuple(np.array(cells, float).T)


@pytest.mark.parametrize(("metric", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_four_observers_as_published(metric, value):
    found = alpha(FOUR_OBSERVERS, metric)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.units == 11  # the last unit has one value and pairs with nothing
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("ratings", "value"), [(BINARY, 0.095), (LETTERS, 0.692)])
def test_alpha_of_two_observers_as_published(ratings, value):
    assert alpha(ratings).value == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ([[20, 5], [10, 15]], 0.4),  # agree on 35 of 50; by chance 0.5 0.6 + 0.5 0.4 = 0.5
        ([[45, 15], [25, 15]], 0.06 / 0.46),  # 0.6, by chance 0.54
        ([[25, 35], [5, 35]], 0.14 / 0.54),  # 0.6, by chance 0.46
        ([[0, 5], [5, 0]], -1.0),
        ([[4, 4], [4, 4]], 0.0),
        ([[0, 7], [0, 0]], 0.0),  # each always gave one answer, but another one
    ],
)
def test_kappa_by_hand(table, value):
    assert kappa(*from_table(table)).value == pytest.approx(value)
    assert kappa(*from_table(table), "linear").value == pytest.approx(value)  # with two values there is one distance


def test_linear_kappa_by_hand():
    # observed distance (1 + 1 + 2) / 8; by chance, rows 3, 2, 3 and columns 3, 2, 3: (24 + 36) / 64
    first, second = from_table([[2, 1, 0], [0, 1, 1], [1, 0, 2]])
    assert kappa(first, second, "linear").value == pytest.approx(1 - 0.5 / (60 / 64))
    assert kappa(first, second).value == pytest.approx(1 - (3 / 8) / (1 - 22 / 64))
    assert kappa(first / 2, second / 2, "linear").value == pytest.approx(1 - 0.5 / (60 / 64))


def test_order_of_annotators_and_units_does_not_matter():
    for metric in ("nominal", "ordinal", "interval"):
        value = alpha(FOUR_OBSERVERS, metric).value
        assert alpha(FOUR_OBSERVERS[[2, 0, 3, 1]], metric).value == pytest.approx(value)
        assert alpha(FOUR_OBSERVERS[:, ::-1], metric).value == pytest.approx(value)
    for weights in ("nominal", "linear"):
        assert kappa(*LETTERS[::-1], weights).value == pytest.approx(kappa(*LETTERS, weights).value)


def test_names_of_nominal_values_do_not_matter_and_mirrored_order_does_not():
    renamed = np.where(np.isnan(FOUR_OBSERVERS), NAN, (FOUR_OBSERVERS * 3) % 7)
    assert alpha(renamed).value == pytest.approx(alpha(FOUR_OBSERVERS).value)
    assert alpha(-FOUR_OBSERVERS, "ordinal").value == pytest.approx(alpha(FOUR_OBSERVERS, "ordinal").value)
    assert alpha(FOUR_OBSERVERS**3, "ordinal").value == pytest.approx(alpha(FOUR_OBSERVERS, "ordinal").value)
    assert alpha(5 - 2 * FOUR_OBSERVERS, "interval").value == pytest.approx(alpha(FOUR_OBSERVERS, "interval").value)
    assert kappa(*-LETTERS, "linear").value == pytest.approx(kappa(*LETTERS, "linear").value)


def test_alpha_is_kappa_with_the_marginals_of_both_pooled():
    # alpha = 1 - (n - 1) / n (1 - pi), Scott's pi: nearly kappa when both use the values alike
    first, second = from_table([[300, 100], [100, 500]])
    assert alpha([first, second]).value == pytest.approx(kappa(first, second).value, abs=1e-3)


def test_independent_answers_agree_by_chance_and_the_interval_says_so():
    ratings = np.random.default_rng(1).integers(0, 3, size=(3, 400))
    for found in (alpha(ratings), alpha(ratings, "ordinal"), kappa(*ratings[:2]), kappa(*ratings[:2], "linear")):
        assert found.low < 0 < found.high
        assert found.value == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("metric", ["nominal", "ordinal"])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(metric):
    """Two copies of a fair coin that differ in 20 % of units: kappa is 0.6."""
    source, covered = np.random.default_rng(2), 0
    for trial in range(150):
        first = source.integers(0, 2, 120)
        second = np.where(source.random(120) < 0.2, 1 - first, first)
        found = krippendorff_alpha(
            np.stack([first, second]), metric=metric, rng=np.random.default_rng(trial), resamples=200
        )
        covered += found.low <= 0.6 <= found.high
    assert 0.88 <= covered / 150 <= 0.99


def test_perfect_agreement_is_one():
    for found in (alpha([[1, 2, 3, 1]] * 3), kappa([1, 2, 3, 1], [1, 2, 3, 1], "linear")):
        assert (found.value, found.low, found.high) == (1, None, None)


def test_no_interval_where_resampling_cannot_tell():
    many = np.arange(40) % 3
    assert alpha([many, many])[:4] == (1, None, None, 40)
    assert kappa(many, many)[:4] == (1, None, None, 40)
    few = alpha([[1, 2, 1, 2, 1], [1, 2, 1, 2, 2]])
    assert few.value is not None
    assert few[1:4] == (None, None, 5)


def test_nothing_shared_has_no_value_but_a_reason():
    for found in (alpha([[1, _, 2], [_, 1, _]]), alpha([[1, 2, 3]]), alpha(np.empty((0, 0))), kappa([1, _], [_, 1])):
        assert found[:4] == (None, None, None, 0)
        assert "nothing" in found.reason


def test_equal_answers_throughout_have_no_value_but_a_reason():
    for found in (alpha([[1, 1, 1], [1, 1, 1]], "ordinal"), kappa([1, 1, 1], [1, 1, 1])):
        assert found[:4] == (None, None, None, 3)
        assert "the same" in found.reason


def test_the_generator_decides_the_interval_alone():
    assert alpha(FOUR_OBSERVERS) == alpha(FOUR_OBSERVERS)
    other = krippendorff_alpha(FOUR_OBSERVERS, metric="nominal", rng=np.random.default_rng(1))
    assert other.value == alpha(FOUR_OBSERVERS).value
    assert other.low != alpha(FOUR_OBSERVERS).low


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="expected"):
        kappa([1, 2], [1])
    with pytest.raises(ValueError, match="expected"):
        alpha([1, 2])
