"""Figures of test beds: nothing that is written in them is cut off."""

from pbrl.tabular.bed_report import _columns


def test_a_legend_has_as_many_columns_as_fit():
    short, long = ["a", "b", "c"], ["a", "b" * 60]
    assert _columns(short, 6.4) == 3
    assert _columns(long, 6.4) == 1
    assert _columns(long, 0.1) == 1
