"""Our adjusted closes beside the vendor's: agreement, and where it ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services.vendor import sample, vendor_differences
from quant50lib.utils import dates
from tests.adapters.market_frames import actions

DAYS = dates.sessions_between("2024-01-02", "2024-02-29")
NONE = actions([])


def wide(**series: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(series, index=DAYS)


def long(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.rename_axis(index="session", columns="symbol").stack().rename("close")
    return rows.reset_index()


def closes(start: float = 50.0) -> np.ndarray:
    walk = np.random.default_rng(5).normal(0, 0.02, len(DAYS))
    return (start * np.exp(np.cumsum(walk))).round(4)


def test_series_that_differ_by_a_constant_factor_agree():
    """A split after the session scales all of the vendor's past, and means nothing for us."""
    ours = wide(AAA=closes())
    found = vendor_differences(ours, long((ours / 7).round(2)), NONE, 1e-4)
    assert found["differs"].tolist() == [False] and found["sessions"].tolist() == [len(DAYS)]
    assert found[["first", "last"]].iloc[0].tolist() == [DAYS[0], DAYS[-1]]


def test_a_dividend_that_only_one_side_knows_is_found_and_named():
    ours = wide(AAA=closes(), BBB=closes(20.0))
    theirs = ours.copy()
    theirs.loc[: DAYS[19], "AAA"] *= 0.98
    told = actions([("AAA", "cash_dividend", DAYS[20], np.nan, np.nan, 1.0)])
    found = vendor_differences(ours, long(theirs), told, 1e-3).set_index("symbol")
    early, late = found.loc["AAA"].itertuples()
    assert (early.first, early.last, early.sessions) == (DAYS[0], DAYS[19], 20)
    assert early.differs and early.near == f"cash_dividend {DAYS[20].date()}"
    assert abs(early.ratio - 0.98) < 1e-3 and np.isclose(early.theirs / early.ours, early.ratio)
    assert not late.differs and late.near == "" and not found.loc["BBB", "differs"]


def test_two_steps_are_two_spans():
    ours = wide(AAA=np.full(len(DAYS), 100.0))
    theirs = ours.copy()
    theirs.iloc[:10] *= 0.5
    theirs.iloc[10:25] *= 0.9
    found = vendor_differences(ours, long(theirs), NONE, 1e-3)
    assert found["sessions"].tolist() == [10, 15, len(DAYS) - 25]
    assert found["ratio"].round(6).tolist() == [0.5, 0.9, 1.0]


def test_a_name_that_one_side_lacks_is_a_difference_and_one_that_both_lack_is_none():
    ours = wide(AAA=closes(), BBB=np.full(len(DAYS), np.nan), CCC=np.full(len(DAYS), np.nan))
    theirs = wide(BBB=closes())
    found = vendor_differences(ours, long(theirs), NONE, 1e-3)
    assert dict(zip(found["symbol"], found["near"], strict=True)) == {
        "AAA": "the vendor has no bar of it",
        "BBB": "the store has no bar of it",
    }
    assert found["differs"].all() and found["ratio"].isna().all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5.0), st.floats(3.0, 500.0), st.integers(0, 2**31))
def test_rounding_to_the_cent_is_never_a_difference(scale, start, seed):
    walk = np.random.default_rng(seed).normal(0, 0.02, len(DAYS))
    exact = start * np.exp(np.cumsum(walk))
    found = vendor_differences(wide(AAA=exact), long(wide(AAA=(exact * scale).round(2))), NONE, 0.0)
    assert not found["differs"].any()


def test_the_sample_is_the_same_every_time_and_another_every_day():
    names = [f"S{n:03d}" for n in range(300)]
    drawn = {day: tuple(sample(names[::-1], 8, day)) for day in DAYS}
    assert len(set(drawn.values())) == len(DAYS)
    assert all(len(set(found)) == 8 and set(found) <= set(names) for found in drawn.values())
    assert sample(names, 8, DAYS[0]) == list(drawn[DAYS[0]])
    assert sample(["A", "B"], 8, DAYS[0]) == ["A", "B"] and sample(names, 0, DAYS[0]) == []
