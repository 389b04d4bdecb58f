"""Total-return prices against hand-made cases, a slow reference and the textbook identity."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services import adjust
from quant50lib.services.data import to_panel
from quant50lib.utils import dates
from tests.adapters.market_frames import actions, bars

DAYS = [str(d.date()) for d in dates.sessions_between("2024-01-02", "2024-01-09")]  # six sessions
LAST = pd.Timestamp(DAYS[-1])
NONE = actions([])


def series(symbol: str, closes: list[float | None]) -> list[tuple]:
    return [(symbol, d, c) for d, c in zip(DAYS, closes, strict=True) if c is not None]


def test_without_actions_prices_stay_as_traded_and_gaps_stay_gaps():
    panel = to_panel(bars(series("B", [1, 2, None, 4, 5, 6]) + series("A", [9] * 6)), NONE, LAST)
    assert list(panel.symbols) == ["A", "B"]
    assert list(panel.sessions) == [pd.Timestamp(d) for d in DAYS]
    assert panel.close["B"].tolist()[:2] == [1.0, 2.0] and np.isnan(panel.close["B"].iloc[2])
    pd.testing.assert_frame_equal(panel.close, panel.traded_close)
    assert panel.dollar_volume["B"].iloc[3] == 400.0 and panel.volume["B"].iloc[3] == 100.0


def test_a_split_scales_prices_and_shares_before_its_ex_date_only():
    acts = actions([("A", "forward_split", DAYS[3], 4, 1, np.nan)])
    panel = to_panel(bars(series("A", [40, 44, 48, 12, 13, 14])), acts, LAST)
    assert panel.close["A"].tolist() == [10.0, 11.0, 12.0, 12.0, 13.0, 14.0]
    assert panel.volume["A"].tolist() == [400.0] * 3 + [100.0] * 3
    assert panel.traded_close["A"].tolist() == [40, 44, 48, 12, 13, 14]
    assert panel.dollar_volume["A"].tolist() == [4000, 4400, 4800, 1200, 1300, 1400]


def test_a_reverse_split_and_a_stock_dividend_are_splits_too():
    acts = actions(
        [
            ("A", "reverse_split", DAYS[1], 1, 8, np.nan),
            ("B", "stock_dividend", DAYS[1], 1.25, 1, np.nan),
        ]
    )
    frame = bars(series("A", [1, 8, 8, 8, 8, 8]) + series("B", [10, 8, 8, 8, 8, 8]))
    panel = to_panel(frame, acts, LAST)
    assert panel.close["A"].tolist() == panel.close["B"].tolist() == [8.0] * 6
    assert panel.volume["A"].iloc[0] == 100 / 8 and panel.volume["B"].iloc[0] == 125.0


def test_a_dividend_makes_the_holder_whole():
    acts = actions([("A", "cash_dividend", DAYS[2], np.nan, np.nan, 2.0)])
    panel = to_panel(bars(series("A", [50, 100, 98, 98, 98, 98])), acts, LAST)
    assert panel.close["A"].tolist() == pytest.approx([49.0, 98.0, 98.0, 98.0, 98.0, 98.0])
    assert panel.volume["A"].tolist() == [100.0] * 6


def test_a_dividend_on_the_day_of_a_split_is_paid_on_the_new_shares():
    acts = actions(
        [
            ("A", "forward_split", DAYS[1], 2, 1, np.nan),
            ("A", "cash_dividend", DAYS[1], np.nan, np.nan, 5.0),
        ]
    )
    panel = to_panel(bars(series("A", [100, 45, 45, 45, 45, 45])), acts, LAST)
    assert panel.close["A"].iloc[0] == pytest.approx(100 / 2 * (1 - 5 / 50))


def test_a_spin_off_of_a_known_value_is_applied_like_a_dividend_and_another_is_not():
    """100 a share become 60 and a share of the new company worth 40: nobody lost anything."""
    prices = bars(series("A", [100, 100, 60, 60, 60, 60]))
    known = actions([("A", "spin_off", DAYS[2], 1, 2, 40.0)])
    assert to_panel(prices, known, LAST).close["A"].tolist() == pytest.approx([60.0] * 6)
    assert to_panel(prices, known, LAST).volume["A"].tolist() == [100.0] * 6
    unknown = actions([("A", "spin_off", DAYS[2], 1, 2, np.nan)])
    assert to_panel(prices, unknown, LAST).close["A"].iloc[0] == 100.0
    assert adjust.applied(known).tolist() == [True] and adjust.applied(unknown).tolist() == [False]


def test_two_dividends_of_a_day_add_and_a_gap_is_bridged_by_the_last_close():
    acts = actions([("A", "cash_dividend", DAYS[3], np.nan, np.nan, d) for d in (1.0, 4.0)])
    panel = to_panel(bars(series("A", [50, 100, None, 95, 95, 95])), acts, LAST)
    assert panel.close["A"].iloc[:2].tolist() == pytest.approx([47.5, 95.0])


def test_actions_before_the_first_bar_absurd_ones_and_other_kinds_change_nothing():
    acts = actions(
        [
            ("A", "forward_split", DAYS[0], 2, 1, np.nan),
            ("A", "forward_split", "2020-01-02", 2, 1, np.nan),
            ("A", "cash_dividend", DAYS[1], np.nan, np.nan, 10.0),  # all that it is worth
            ("A", "cash_dividend", DAYS[4], np.nan, np.nan, -1.0),
            ("A", "forward_split", DAYS[3], 0, 1, np.nan),
            ("A", "spin_off", DAYS[3], 1, 4, np.nan),
            ("B", "forward_split", DAYS[3], 3, 1, np.nan),
        ]
    )
    panel = to_panel(bars(series("A", [10.0] * 6)), acts, LAST)
    assert panel.close["A"].tolist() == [10.0] * 6


def test_an_ex_date_on_a_weekend_works_on_the_next_session():
    assert DAYS[3:5] == ["2024-01-05", "2024-01-08"]
    acts = actions([("A", "forward_split", "2024-01-06", 2, 1, np.nan)])
    panel = to_panel(bars(series("A", [2, 2, 2, 2, 1, 1])), acts, LAST)
    assert panel.close["A"].tolist() == [1.0] * 6


def test_the_columns_may_be_chosen_and_an_empty_frame_has_one_session():
    panel = to_panel(bars(series("A", [1.0] * 6)), NONE, LAST, ["Z", "A"])
    assert list(panel.symbols) == ["A", "Z"] and panel.close["Z"].isna().all()
    empty = to_panel(bars([]), NONE, LAST, ["A"])
    assert empty.close.shape == (1, 1) and empty.sessions[0] == LAST


PRICE = st.one_of(st.none(), st.floats(1.0, 100.0))
ACTION = st.tuples(
    st.sampled_from("AB"),
    st.sampled_from(["forward_split", "cash_dividend", "spin_off"]),
    st.sampled_from(DAYS),
    st.sampled_from([2.0, 3.0, 0.5]),
    st.just(1.0),
    st.floats(0.01, 0.9),
)
MARKET = st.tuples(st.lists(PRICE, min_size=6, max_size=6), st.lists(PRICE, min_size=6, max_size=6))


def slow_factor(closes: list[float | None], acts: pd.DataFrame, day: int) -> float:
    """The definition, one action at a time."""
    factor = 1.0
    for ex in range(day + 1, 6):
        today = acts[acts["ex_date"] == pd.Timestamp(DAYS[ex])]
        factor *= slow_split(acts, ex, ex)
        before = [(k, c) for k, c in enumerate(closes[:ex]) if c is not None]
        paid = today.loc[today["type"].isin(["cash_dividend", "spin_off"]), "cash"].sum()
        if before:
            last, close = before[-1]
            worth = close * slow_split(acts, last + 1, ex)  # in shares of the ex-date
            if 0 < paid < worth:
                factor *= 1 - paid / worth
    return factor


def slow_split(acts: pd.DataFrame, first: int, last: int) -> float:
    """What a price is multiplied by for the splits from one day to another."""
    days = [pd.Timestamp(day) for day in DAYS[first : last + 1]]
    splits = acts[(acts["type"] == "forward_split") & acts["ex_date"].isin(days)]
    return math.prod(row.old_rate / row.new_rate for row in splits.itertuples())


@settings(max_examples=100, deadline=None)
@given(MARKET, st.lists(ACTION, max_size=6))
def test_factors_equal_the_definition(market, rows):
    acts = actions(rows)
    names = dict(zip("AB", market, strict=True))
    frame = bars([row for s, closes in names.items() for row in series(s, closes)])
    panel = to_panel(frame, acts, LAST, ["A", "B"])
    for symbol, closes in names.items():
        own = acts[acts["symbol"] == symbol]
        for day, close in enumerate(closes):
            if close is not None:
                found = panel.close.loc[pd.Timestamp(DAYS[day]), symbol]
                assert found == pytest.approx(close * slow_factor(closes, own, day), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(MARKET, st.lists(ACTION, max_size=5), MARKET, st.lists(ACTION, max_size=5))
def test_nothing_after_the_session_has_any_influence(market, acts, poison, more):
    """Bars and actions of the future may be anything at all."""
    cut = pd.Timestamp(DAYS[3])

    def of(prices):
        return bars([row for s, c in zip("AB", prices, strict=True) for row in series(s, c)])

    past, future = of(market), of(poison)
    mixed = pd.concat([past[past["session"] <= cut], future[future["session"] > cut]])
    known = [row for row in acts if pd.Timestamp(row[2]) <= cut]
    later = [row for row in more if pd.Timestamp(row[2]) > cut]
    clean = to_panel(past[past["session"] <= cut], actions(known), cut, ["A", "B"])
    poisoned = to_panel(mixed, actions(known + later), cut, ["A", "B"])
    for name in ("open", "close", "volume", "traded_close", "dollar_volume"):
        pd.testing.assert_frame_equal(getattr(clean, name), getattr(poisoned, name))


def test_factors_of_a_later_day_differ_from_those_of_an_earlier_by_a_constant():
    """Returns inside a window do not depend on the day they are adjusted as of."""
    rng = np.random.default_rng(3)
    closes = rng.uniform(10, 20, 6).tolist()
    acts = actions(
        [
            ("A", "cash_dividend", DAYS[2], np.nan, np.nan, 0.5),
            ("A", "forward_split", DAYS[5], 3, 1, np.nan),
        ]
    )
    early = to_panel(bars(series("A", closes)), acts, pd.Timestamp(DAYS[4])).close["A"]
    late = to_panel(bars(series("A", closes)), acts, LAST).close["A"].iloc[:5]
    assert (late / early).tolist() == pytest.approx([1 / 3] * 5)


def test_last_known_fills_forward_and_leaves_leading_gaps():
    values = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(adjust.last_known(values), [[np.nan, 1], [2, 1], [2, 1]])
