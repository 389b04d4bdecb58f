"""Labels where trade is interrupted: splits, dividends, halts, delistings, half days, crash days.

The expected value is what a share bought at the open becomes, walked session by session on prices as
traded: splits multiply the shares, a dividend buys more of them at the close before, and whoever
cannot sell at the last open has the last close.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services import label
from quant50lib.services.data import to_panel
from quant50lib.utils import dates
from tests.adapters.market_frames import actions as action_rows
from tests.real_bars import real_bars, real_table

HORIZON = 5


def walked(bars: pd.DataFrame, acts: pd.DataFrame, symbol: str, at: pd.Timestamp) -> float:
    """The return of one share bought at the open after `at`, by hand; NaN where it was not bought."""
    own = bars[bars["symbol"] == symbol].set_index("session")
    opens, closes = own["open"].to_dict(), own["close"].to_dict()
    first, last = dates.shift(at, 1), dates.shift(at, 1 + HORIZON)
    mine = acts[(acts["symbol"] == symbol) & (acts["ex_date"] > first) & (acts["ex_date"] <= last)]
    if first not in opens:
        return np.nan
    shares, close = 1.0, closes[first]
    for session in dates.sessions_between(first, last)[1:]:
        today = mine[mine["ex_date"] == session]
        for split in today[today["type"] != "cash_dividend"].itertuples():
            ratio = split.new_rate / split.old_rate
            shares, close = shares * ratio, close / ratio
        paid = today.loc[today["type"] == "cash_dividend", "cash"].sum()
        shares, close = shares / (1 - paid / close), close - paid
        if session == last and session in opens:
            return shares * opens[session] / opens[first] - 1
        close = closes.get(session, close) if session != last else close
    return shares * close / opens[first] - 1


def labels(bars: pd.DataFrame, acts: pd.DataFrame, run_date: pd.Timestamp) -> pd.DataFrame:
    """Wide labels before the benchmark is taken off."""
    return label.holding_return(to_panel(bars, acts, run_date), HORIZON)


def walk(n: int = 30, seed: int = 0, last: str = "2024-07-19") -> pd.DataFrame:
    """Raw bars of A and SPY; opens differ from closes."""
    rng = np.random.default_rng(seed)
    days = dates.sessions_between("2024-01-02", last)[-n:]
    frames = []
    for name in ("A", "SPY"):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
        opening = close * np.exp(rng.normal(0, 0.01, n))
        both = {"open": opening, "close": close}
        edges = {"high": np.maximum(opening, close), "low": np.minimum(opening, close)}
        frames.append(
            pd.DataFrame({"symbol": name, "session": days, **both, **edges, "volume": 1e6})
        )
    return pd.concat(frames, ignore_index=True).astype({"symbol": "str"})


def compare(bars: pd.DataFrame, acts: pd.DataFrame, rtol: float = 1e-12) -> pd.Series:
    days = pd.DatetimeIndex(sorted(bars["session"].unique()))
    found = labels(bars, acts, days[-1])["A"]
    for at in days[: -1 - HORIZON]:
        expected = walked(bars, acts, "A", at)
        np.testing.assert_allclose(found[at], expected, rtol=rtol, atol=1e-14, err_msg=str(at))
    assert found[days[-1 - HORIZON] :].isna().all()
    return found


NONE = action_rows([])


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999),
    halted=st.sets(st.integers(1, 29), max_size=12),
    gone=st.integers(8, 40),
    splits=st.dictionaries(st.integers(1, 29), st.sampled_from([2.0, 3.0, 0.1]), max_size=2),
    dividends=st.dictionaries(st.integers(1, 29), st.floats(0.1, 4.0), max_size=3),
)
def test_any_mixture_of_halts_splits_dividends_and_a_delisting(
    seed, halted, gone, splits, dividends
):
    whole = walk(seed=seed)
    days = pd.DatetimeIndex(sorted(whole["session"].unique()))
    at = whole["session"].map({day: k for k, day in enumerate(days)})
    bars = whole[(whole["symbol"] == "SPY") | ~(at.isin(halted) | (at >= gone))]
    rows = [("A", "forward_split", days[k], new, 1.0, np.nan) for k, new in splits.items()]
    rows += [("A", "cash_dividend", days[k], np.nan, np.nan, d) for k, d in dividends.items()]
    known = action_rows(rows)
    price = walk(seed=seed)["close"].min()
    assert price > 8  # else a dividend could exceed the price
    found = compare(bars, known, rtol=1e-9)
    assert found.notna().any()


def test_a_split_inside_the_holding_is_no_loss():
    bars = walk()
    days = pd.DatetimeIndex(sorted(bars["session"].unique()))
    half = (bars["symbol"] == "A") & (bars["session"] >= days[12])
    split = bars.copy()
    split.loc[half, ["open", "high", "low", "close"]] /= 2
    known = action_rows([("A", "forward_split", days[12], 2, 1, np.nan)])
    found, plain = compare(split, known), compare(bars, NONE)
    np.testing.assert_allclose(found, plain, atol=1e-12)


def test_a_halt_over_the_last_open_is_left_at_the_last_close_before_it():
    bars = walk()
    days = pd.DatetimeIndex(sorted(bars["session"].unique()))
    own = bars[bars["symbol"] == "A"].set_index("session")
    hidden = (bars["symbol"] == "A") & bars["session"].isin(days[14:17])
    found = compare(bars[~hidden], NONE)
    t = days[16 - 1 - HORIZON]  # would be sold on the last session of the halt
    assert found[t] == pytest.approx(own["close"][days[13]] / own["open"][days[11]] - 1, abs=1e-14)
    assert found[days[13:16]].isna().all() and np.isfinite(found[days[16]])  # could not be bought


def test_a_name_split_while_it_is_halted_pays_its_dividend_on_the_new_shares():
    """Last close 100, two for one and then a dividend of 1 before it trades again: 1 of 50."""
    days = dates.sessions_between("2024-07-01", "2024-07-19")
    close = {days[0]: 100.0, days[1]: 100.0} | {day: 49.0 for day in days[5:]}
    rows = pd.DataFrame({"symbol": "A", "session": list(close), "close": list(close.values())})
    rows = rows.astype({"symbol": "str"}).assign(volume=1e6)
    rows = rows.assign(open=rows["close"], high=rows["close"], low=rows["close"])
    told = action_rows(
        [
            ("A", "forward_split", days[2], 2, 1, np.nan),
            ("A", "cash_dividend", days[3], np.nan, np.nan, 1.0),
        ]
    )
    found = labels(rows, told, days[-1])["A"]
    assert found[days[0]] == pytest.approx(0.0, abs=1e-12)  # 100 = 2 x 49 + 2 x 1


def test_a_delisted_name_is_worth_its_last_close_and_cannot_be_bought_again():
    bars = walk()
    days = pd.DatetimeIndex(sorted(bars["session"].unique()))
    own = bars[bars["symbol"] == "A"].set_index("session")
    found = compare(bars[(bars["symbol"] == "SPY") | (bars["session"] < days[15])], NONE)
    for k in range(9, 14):
        expected = own["close"][days[14]] / own["open"][days[k + 1]] - 1
        assert found[days[k]] == pytest.approx(expected, abs=1e-14)
    assert found[days[14:]].isna().all()


def test_half_days_are_sessions_like_any_other():
    """2024-07-03 closed at 13:00 in New York; 2024-07-04 was no session."""
    bars = walk()
    half, entry = pd.Timestamp("2024-07-03"), pd.Timestamp("2024-06-25")
    assert dates.close_of(half).hour == 17 and not dates.is_session("2024-07-04")
    found = labels(bars, NONE, pd.Timestamp("2024-07-19"))["A"]
    own = bars[bars["symbol"] == "A"].set_index("session")
    expected = own["open"][half] / own["open"][pd.Timestamp("2024-06-26")] - 1
    assert found[entry] == pytest.approx(expected, abs=1e-14)
    assert label.known_at(pd.DatetimeIndex([entry]), HORIZON)[0] == half
    over = label.known_at(pd.DatetimeIndex([pd.Timestamp("2024-06-26")]), HORIZON)[0]
    assert over == pd.Timestamp("2024-07-05")


# ---- real bars ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def market() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Real bars with the corporate actions that are not in their prices yet."""
    listed = real_table("corporate_actions", "ex_date")
    open_ones = listed[(listed["already_in_prices"] == "no") & listed["cash_amount"].notna()]
    known = action_rows(
        [
            (row.symbol, "cash_dividend", row.ex_date, np.nan, np.nan, row.cash_amount)
            for row in open_ones.itertuples()
        ]
    )
    return real_bars(), known


NAMES = ("SPY", "AAPL", "JPM", "XOM", "AMD", "COST", "TDG", "KLAC", "EQR", "GE", "O", "T")


@pytest.mark.real
@pytest.mark.parametrize("day", ["2014-10-14", "2015-08-21", "2016-06-23", "2018-01-26"])
def test_around_the_crash_days_a_label_is_the_trade_walked_by_hand(market, day):
    """The sessions before the shocks of October 2014, 24 August 2015, the Brexit vote, and 2018."""
    bars, acts = market
    at = dates.as_session(day)
    around = bars["symbol"].isin(NAMES) & bars["session"].between(
        dates.shift(at, -8), dates.shift(at, 6)
    )
    panel = to_panel(bars[around], acts, dates.shift(at, 6))
    found = label.excess_return(panel, "SPY", HORIZON)
    market_walk = {t: walked(bars[around], acts, "SPY", t) for t in panel.sessions[:-6]}
    for name in NAMES:
        for t in panel.sessions[:-6]:
            expected = walked(bars[around], acts, name, t) - market_walk[t]
            np.testing.assert_allclose(
                found.at[t, name], expected, atol=1e-9, err_msg=f"{name} {t}"
            )
    assert found.loc[at].drop("SPY").abs().max() > 0.02


@pytest.mark.real
@pytest.mark.parametrize(
    "name, day, paid",
    [
        ("COST", "2015-02-05", 5.0),
        ("COST", "2017-05-08", 7.0),
        ("TDG", "2013-07-11", 22.0),
        ("TDG", "2014-06-12", 25.0),
        ("KLAC", "2014-11-26", 16.5),
        ("SYMC", "2016-03-04", 4.0),
    ],
)
def test_a_special_dividend_is_earned_by_the_holder_and_not_a_loss(market, name, day, paid):
    bars, acts = market
    ex = dates.as_session(day)
    own = bars[bars["symbol"] == name].set_index("session")
    t = dates.shift(ex, -4)
    found = labels(bars[bars["symbol"] == name], acts, dates.shift(ex, 10))[name]
    np.testing.assert_allclose(found[t], walked(bars, acts, name, t), atol=1e-9)
    entry, end = own.at[dates.shift(t, 1), "open"], own.at[dates.shift(t, 6), "open"]
    price_alone = end / entry - 1
    # cash in hand, not invested again: within the move of the few sessions after the ex-date
    assert found[t] == pytest.approx(price_alone + paid / entry, abs=0.02)
    assert found[t] > price_alone + 0.9 * paid / entry - 0.02
    after = dates.shift(ex, -1)  # bought at the open of the ex-date: the dividend is the seller's
    late = own.at[dates.shift(after, 6), "open"] / own.at[ex, "open"] - 1
    others = (acts["symbol"] == name) & acts["ex_date"].between(
        dates.shift(ex, 1), dates.shift(ex, 5)
    )
    regular = acts.loc[others, "cash"].sum() / own.at[ex, "open"]
    assert found[after] == pytest.approx(late + regular, abs=3e-4)
    assert found[after] < late + 0.1 * paid / entry


@pytest.mark.real
def test_apples_split_is_not_a_label(market):
    """As traded, seven for one on 2014-06-09; the other feed is adjusted for it already."""
    traded, (adjusted, _) = real_bars("us_daily_unadjusted_sample"), market
    split = action_rows([("AAPL", "forward_split", "2014-06-09", 7, 1, np.nan)])
    span = lambda b: b[
        (b["symbol"] == "AAPL") & b["session"].between("2014-05-27", "2014-06-20")
    ]  # noqa: E731
    last = pd.Timestamp("2014-06-20")
    ours = labels(span(traded), split, last)["AAPL"]
    theirs = labels(span(adjusted), NONE, last)["AAPL"]
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert ours.abs().max() < 0.1
