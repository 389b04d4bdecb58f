"""Sectors, beta, concentration and liquidity of a book, each computed a second way."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from quant50lib.services import exposure
from tests import factories

BOOK = pd.Series({"AA": 0.05, "BB": 0.03, "CC": 0.02, "DD": 0.0})


def test_concentration_of_a_known_book() -> None:
    """Shares of 1/2, 3/10 and 1/5: the sum of squares is 0.38."""
    found = exposure.concentration(BOOK)
    assert (found.names, found.largest, found.largest_symbol) == (3, 0.05, "AA")
    assert found.herfindahl == pytest.approx(0.38)
    assert found.effective_names == pytest.approx(1 / 0.38)


@given(st.lists(st.floats(1e-4, 0.05), min_size=1, max_size=50))
@settings(max_examples=25, deadline=None)
def test_effective_names_lie_between_one_and_all(weights: list[float]) -> None:
    book = pd.Series(weights, index=[f"N{i}" for i in range(len(weights))])
    found = exposure.concentration(book)
    assert 1 - 1e-9 <= found.effective_names <= len(weights) * (1 + 1e-9)
    equal = exposure.concentration(book * 0 + 0.01)
    assert equal.effective_names == pytest.approx(len(weights))


def test_no_book_has_no_exposure() -> None:
    nothing = pd.Series(dtype=float)
    assert exposure.concentration(nothing).effective_names == 0
    assert exposure.by_sector(nothing, pd.Series(dtype=str)).empty
    assert exposure.book_beta(nothing, pd.Series(dtype=float)) == 0
    assert exposure.exit_sessions(nothing, nothing) == 0


def test_sectors_sum_to_what_is_invested() -> None:
    sectors = pd.Series({"AA": "Energy", "BB": "Health Care", "CC": "Energy"})
    found = exposure.by_sector(BOOK, sectors)
    assert found.to_dict() == pytest.approx({"Energy": 0.07, "Health Care": 0.03})
    assert exposure.by_sector(BOOK, sectors.drop("BB"))["unknown"] == 0.03


def test_betas_are_the_slopes_of_a_regression() -> None:
    close = factories.panel(6, 300).close
    close.iloc[100:110, 1] = np.nan
    close.iloc[:-100, 2] = np.nan
    found = exposure.betas(close, "SPY")
    returns = close.iloc[-253:].pct_change(fill_method=None).iloc[1:]
    for symbol in close.columns.drop(close.columns[2]):
        both = returns[[symbol, "SPY"]].to_numpy()
        both = both[np.isfinite(both).all(axis=1)]
        assert found[symbol] == pytest.approx(linregress(both[:, 1], both[:, 0]).slope)
    assert found["SPY"] == pytest.approx(1)
    assert math.isnan(found.iloc[2])


def test_the_book_moves_with_the_market_as_its_beta_says() -> None:
    """The beta of the book is the slope of the book's own returns."""
    close = factories.panel(6, 300).close
    weights = pd.Series(0.1, index=close.columns[:4])
    returns = close.iloc[-253:].pct_change().iloc[1:]
    slope = linregress(returns["SPY"], returns[weights.index] @ weights).slope
    assert exposure.book_beta(weights, exposure.betas(close, "SPY")) == pytest.approx(slope)
    assert exposure.book_beta(pd.Series({"ZZ": 0.2}), pd.Series(dtype=float)) == 0.2


def test_days_to_exit_at_a_tenth_of_the_volume() -> None:
    qty = pd.Series({"AA": 100.0, "BB": 50.0, "CC": 10.0, "DD": 0.0, "EE": 1.0})
    volume = pd.Series({"AA": 1000.0, "BB": 100.0, "CC": 0.0})
    days = exposure.days_to_exit(qty, volume)
    assert days.to_dict() == {"AA": 1.0, "BB": 5.0, "CC": math.inf, "EE": math.inf}


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0.01, 50)), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_book_is_sold_when_its_names_are(names: list[tuple[float, float]]) -> None:
    """Against selling hour by hour."""
    value = pd.Series([v for v, _ in names])
    days = pd.Series([d for _, d in names])
    assert exposure.exit_sessions(value, days) == days.max()
    for share in (0.5, 0.95):
        found = exposure.exit_sessions(value, days, share)
        sold = sum(v * min(1.0, found / d) for v, d in names)
        assert sold == pytest.approx(share * value.sum(), rel=1e-9)


def test_what_cannot_be_sold_stays() -> None:
    value, days = pd.Series({"AA": 90.0, "BB": 10.0}), pd.Series({"AA": 2.0, "BB": math.inf})
    assert exposure.exit_sessions(value, days) == math.inf
    assert exposure.exit_sessions(value, days, 0.95) == math.inf
    assert exposure.exit_sessions(value, days, 0.45) == pytest.approx(1.0)
