"""The study: what its rows depend on, and what its table says about rows made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from pbrl.errors import UserError
from pbrl.tabular.study import COLUMNS, StudySettings, check_board, mdp_rows, study
from pbrl.tabular.study_report import draw, group_returns, near_optimal, report, table, verdicts, wilcoxon_p

TINY = StudySettings(2, (3, 10), ("noiseless", "stochastic"), 5, None, iterations=20, learning_rate=2.0)


def rows_by_hand():
    """The partial-return learner is right in every other world; so is the other one, but always with regret labels."""
    rows = []
    for mdp in range(4):
        for generator in ("partial_return", "regret"):
            for learner in ("partial_return", "regret"):
                scaled = 0.95 if (learner == "regret" and generator == "regret") or mdp % 2 else -3.0 - mdp
                values = (mdp, 3, 5, "noiseless", generator, learner, 10, 0.5, scaled, int(scaled > 0.9))
                rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return rows


def test_one_row_for_each_fit():
    rows = mdp_rows(TINY, 0)
    assert len(rows) == TINY.rows_per_mdp == 2 * 2 * 2 * 2
    keys = {(r["comparisons"], r["labels"], r["generator"], r["learner"]) for r in rows}
    assert len(keys) == len(rows)
    for row in rows:
        assert tuple(row) == COLUMNS
        assert float(row["scaled_return"]) <= 1
        assert row["near_optimal"] == str(int(float(row["scaled_return"]) > 0.9))


def test_rows_of_a_world_depend_on_its_number_and_the_seed_alone():
    rows = mdp_rows(TINY, 1)
    assert rows == mdp_rows(TINY, 1)
    assert rows != mdp_rows(replace(TINY, seed=6), 1)
    assert list(study(TINY, 1, workers=1)) == [rows]
    # Fewer kinds of labels or sizes leave the others' numbers as they are (up to the order of sums).
    some = mdp_rows(replace(TINY, sizes=(10,), labels=("stochastic",)), 1)
    same = [r for r in rows if r["comparisons"] == "10" and r["labels"] == "stochastic"]
    assert [r["generator"] + r["learner"] for r in some] == [r["generator"] + r["learner"] for r in same]


def test_a_board_gets_other_data_each_time():
    on_board = replace(TINY, board="town", sizes=(10,))
    first, second = mdp_rows(on_board, 0), mdp_rows(on_board, 1)
    assert first[0]["height"] == first[0]["width"] == "10"
    assert [r["cross_entropy"] for r in first] != [r["cross_entropy"] for r in second]


@pytest.mark.parametrize(
    ("board", "said"),
    [
        ("[[1, 3]]", "has only houses, goals and sheep"),
        ("[[0, 2, 0, 1]]", r"from cell \[0, 0\] no goal or sheep can be reached"),
        ("[[0]]", r"from cell \[0, 0\] no goal"),
    ],
)
def test_boards_that_cannot_be_studied(tmp_path, board, said):
    (tmp_path / "board.json").write_text(board)
    with pytest.raises(UserError, match=said):
        check_board(str(tmp_path / "board.json"))


def test_the_interval_of_a_share_is_wilsons():
    """Its ends are the shares p at which the observed share is 1.96 standard deviations away."""
    share, low, high = near_optimal(np.array([1.0] * 30 + [0.9] * 10))  # 0.9 is not above 0.9
    assert share == 0.75
    for end in (low, high):
        assert abs(0.75 - end) / np.sqrt(end * (1 - end) / 40) == pytest.approx(1.95996, rel=1e-4)


def test_wilcoxon_by_hand():
    """Six pairs that all rise: the most extreme of 2^6 patterns of signs, on either side."""
    first = np.zeros(6)
    assert wilcoxon_p(first, np.array([1.0, 2, 3, 4, 5, 6])) == pytest.approx(2 * binom.pmf(6, 6, 0.5))
    assert wilcoxon_p(first, first) == 1


def test_returns_are_grouped_in_the_order_of_the_worlds():
    groups = group_returns(rows_by_hand())
    assert set(groups) == {("noiseless", "partial_return"), ("noiseless", "regret")}
    assert groups["noiseless", "regret"][10]["partial_return"].tolist() == [-3, 0.95, -5, 0.95]


def test_the_table_and_the_verdicts():
    rows = rows_by_hand()
    line = table(rows).splitlines()[3]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["noiseless", "regret", "10"]
    assert cells[3].startswith("0.50 (")
    assert cells[4].startswith("1.00 (")
    assert cells[5:9] == ["0.50", "1.00", "-1.02 (-1.52)", "0.95 (0.95)"]
    says = "labels: the regret learner is near-optimal more often at"
    assert verdicts(rows).splitlines() == [
        f"- noiseless partial return {says} 0 of 1 sizes, less often at 0",
        f"- noiseless regret {says} 1 of 1 sizes, less often at 0",
    ]
    page = report(rows, TINY, "pbrl tabular mdps=4")
    assert "pbrl tabular mdps=4" in page
    assert table(rows) in page


def test_the_figure_is_the_same_for_the_same_rows(tmp_path):
    for name in ("a.png", "b.png"):
        draw(rows_by_hand(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 5000
