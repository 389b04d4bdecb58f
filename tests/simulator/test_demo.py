"""The demo market: stable, consistent with its own actions, and of the promised shape."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from quant50lib.errors import SettingsError
from quant50lib.simulator.adjustment import factors
from quant50lib.simulator.demo import BETA, DELISTED, HALTED, LISTED, DemoMarket
from quant50lib.simulator.market import Listing
from quant50lib.utils import dates

ETFS = {"SPY": "Broad Equity", "XLE": "Energy", "XLK": "Information Technology"}
ETFS |= {"TLT": "Bonds", "GLD": "Commodities", "EFA": "International Equity"}
FIELDS = ("day", "open", "high", "low", "close", "volume")


def listings(per_sector: int = 5) -> list[Listing]:
    stocks = [
        Listing(f"{sector[0]}{sector[-1].upper()}{chr(65 + i)}{k}", sector, sector, "stock")
        for k, sector in enumerate(sorted(BETA))
        for i in range(per_sector)
    ]
    return stocks + [Listing(s, s, group, "etf") for s, group in ETFS.items()]


@lru_cache
def market(seed: int = 7, planted_ic: float = 0.03, last: str = "2026-06-30") -> DemoMarket:
    made = DemoMarket(seed, "2012-01-03", listings(), planted_ic)
    made.extend(dt.date.fromisoformat(last))
    return made


@lru_cache
def panel(planted_ic: float = 0.03) -> dict[str, pd.DataFrame]:
    """Total-return opens and closes, sessions x symbols."""
    made = market(planted_ic=planted_ic)
    out: dict[str, dict[str, pd.Series]] = {"open": {}, "close": {}}
    for symbol in made.listings():
        series = made.series(symbol)
        known = [action for action in made.actions() if action.symbol == symbol]
        price, _ = factors(series, known, frozenset({"all"}))
        for name in out:
            out[name][symbol] = pd.Series(getattr(series, name) * price, series.day)
    return {name: pd.DataFrame(columns) for name, columns in out.items()}


def returns(symbols: list[str]) -> pd.DataFrame:
    return panel()["close"][symbols].pct_change(fill_method=None).dropna(how="all")


def stocks() -> list[str]:
    return [x.symbol for x in listings() if x.kind == "stock"]


def test_a_longer_market_begins_with_the_shorter_one() -> None:
    short, long = (DemoMarket(3, "2019-03-05", listings(2)) for _ in range(2))
    short.extend(dt.date(2020, 6, 1))
    for last in ("2019-04-01", "2021-01-04", "2022-12-30"):
        long.extend(dt.date.fromisoformat(last))
    assert len(long.series("SPY").day) > len(short.series("SPY").day)
    for symbol in short.listings():
        a, b = short.series(symbol), long.series(symbol)
        for name in FIELDS:
            kept = getattr(b, name)[: len(a.day)]
            np.testing.assert_array_equal(getattr(a, name), kept)
    assert long.actions()[: len(short.actions())] == short.actions()


def test_another_stock_changes_no_stock() -> None:
    few, more = DemoMarket(3, "2020-01-02", listings(2)), DemoMarket(3, "2020-01-02", listings(3))
    for made in (few, more):
        made.extend(dt.date(2020, 12, 31))
    for symbol in (x.symbol for x in listings(2) if x.kind == "stock"):
        np.testing.assert_array_equal(few.series(symbol).close, more.series(symbol).close)
    assert few.identity != more.identity


def test_seeds_differ_and_repeat() -> None:
    one, same, other = (DemoMarket(s, "2020-01-02", listings(2)) for s in (1, 1, 2))
    for made in (one, same, other):
        made.extend(dt.date(2020, 3, 2))
    np.testing.assert_array_equal(one.series("SPY").close, same.series("SPY").close)
    assert (one.series("SPY").close != other.series("SPY").close).mean() > 0.9


def test_bars_are_bars() -> None:
    made = market()
    sessions = dates.sessions_between("2012-01-03", "2026-12-31").to_numpy("datetime64[D]")
    for symbol in made.listings():
        s = made.series(symbol)
        assert np.isin(s.day, sessions).all() and (np.diff(s.day) > np.timedelta64(0)).all()
        assert (s.low > 0).all() and (s.volume > 0).all()
        assert (s.low <= np.minimum(s.open, s.close)).all()
        assert (s.high >= np.maximum(s.open, s.close)).all()
        for prices in (s.open, s.high, s.low, s.close):
            np.testing.assert_allclose(prices * 100, np.round(prices * 100), atol=1e-6)
    np.testing.assert_array_equal(made.series("SPY").day, sessions)


def test_a_listing_a_halt_and_a_delisting() -> None:
    made = market()
    every = made.series("SPY").day
    gaps = {s: np.setdiff1d(every, made.series(s).day) for s in made.listings()}
    gaps = {symbol: days for symbol, days in gaps.items() if len(days)}
    halted = every[every >= np.datetime64(HALTED)][:5]
    listed = every[every < np.datetime64(LISTED)]
    delisted = every[every >= np.datetime64(DELISTED)]
    assert sorted(map(len, gaps.values())) == sorted(map(len, (halted, listed, delisted)))
    found = {len(days): days for days in gaps.values()}
    for days in (halted, listed, delisted):
        np.testing.assert_array_equal(found[len(days)], days)
    [merger] = [action for action in made.actions() if action.kind == "cash_merger"]
    assert merger.ex_date == DELISTED
    assert float(merger.cash) == made.series(merger.symbol).close[-1]


def test_splits_and_dividends_explain_the_prices() -> None:
    made, splits = market(), 0
    for action in made.actions():
        series = made.series(action.symbol)
        row = int(np.searchsorted(series.day, np.datetime64(action.ex_date)))
        if action.is_split and row:
            splits += 1
            step = series.open[row] / series.close[row - 1] * float(action.new / action.old)
            assert step == pytest.approx(1, abs=0.15)
    assert splits >= 3
    assert returns(stocks()).abs().max().max() < 0.5
    paid = pd.Series([a.symbol for a in made.actions() if a.kind == "cash_dividend"]).value_counts()
    assert paid["SPY"] == pytest.approx(4 * 15, abs=1)
    assert "GLD" not in paid


def test_the_shape_of_returns() -> None:
    daily, market_return = returns(stocks()), returns(["SPY"])["SPY"]
    annual = daily.std() * np.sqrt(252)
    assert annual.quantile(0.05) > 0.18 and annual.quantile(0.95) < 0.37
    assert market_return.std() * np.sqrt(252) == pytest.approx(0.15, abs=0.025)
    correlation = daily.corr().to_numpy()[np.triu_indices(len(daily.columns), 1)]
    assert 0.22 < np.nanmean(correlation) < 0.36
    assert market_return.kurt() > 1.5 and daily.kurt().median() > 2
    assert market_return.abs().autocorr(5) > 0.05  # volatility clusters
    assert abs(market_return.autocorr(1)) < 0.06


def test_funds_follow_what_they_hold() -> None:
    daily = returns(list(ETFS))
    energy = [x.symbol for x in listings() if x.sector == "Energy" and x.kind == "stock"]
    mean = returns(energy).mean(axis=1)
    assert mean.corr(daily["XLE"]) > 0.85
    assert daily["XLE"].corr(daily["XLK"]) < mean.corr(daily["XLE"])
    assert -0.4 < daily["TLT"].corr(daily["SPY"]) < -0.1
    assert abs(daily["GLD"].corr(daily["SPY"])) < 0.12
    assert daily["EFA"].corr(daily["SPY"]) > 0.7


@pytest.mark.parametrize("planted_ic", [0.0, 0.03, 0.10])
def test_the_planted_edge_has_its_strength(planted_ic: float) -> None:
    prices = panel(planted_ic)
    close, opening = prices["close"][stocks()], prices["open"][stocks()]
    reversal = -close.pct_change(5, fill_method=None)
    label = opening.shift(-6) / opening.shift(-1) - 1
    ics = [
        spearmanr(reversal.iloc[i], label.iloc[i], nan_policy="omit").statistic
        for i in range(20, len(close) - 8, 4)
    ]
    error = np.std(ics) / np.sqrt(len(ics) * 4 / 5)
    assert np.mean(ics) == pytest.approx(planted_ic, abs=4 * error + 0.1 * planted_ic)


def test_a_market_needs_a_stock() -> None:
    with pytest.raises(SettingsError, match="at least one stock"):
        DemoMarket(1, "2020-01-02", [Listing("TLT", "Bonds", "Bonds", "etf")])
    made = DemoMarket(1, "2020-01-02", [Listing("AA", "A", "Energy", "stock")])
    assert made.series("AA") is None  # nothing has been asked for yet
    made.extend(dt.date(2020, 12, 31))
    assert len(made.series("AA").day) == 253 and made.series("BB") is None
