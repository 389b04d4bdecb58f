"""Value at risk and expected shortfall against scipy, skfolio, empyrical and brute force."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from skfolio import measures

from quant50lib.services import tail
from tests import factories
from tests.real_bars import real_panel

LEVELS = pytest.mark.parametrize("level", tail.LEVELS)


@LEVELS
@pytest.mark.parametrize("n", [7, 100, 252, 260, 1000])
def test_historical_figures_are_those_of_skfolio(level: float, n: int) -> None:
    returns = np.random.default_rng(n).standard_t(4, n) * 0.01
    found = tail.historical(returns, level)
    assert found.expected_shortfall == pytest.approx(measures.cvar(returns, level), rel=1e-12)
    exact = round((1 - level) * n, 9)
    if exact != int(exact):  # at whole numbers skfolio's own rounding picks a neighbour
        assert found.value_at_risk == pytest.approx(measures.value_at_risk(returns, level))


def test_of_a_hundred_sessions_the_worst_five() -> None:
    """By hand, and by empyrical, which interpolates and counts one session more."""
    returns = np.arange(1, 101) / 1000 - 0.1
    found = tail.historical(returns, 0.95)
    assert found.value_at_risk == pytest.approx(0.095)
    assert found.expected_shortfall == pytest.approx(np.mean([0.099, 0.098, 0.097, 0.096, 0.095]))
    assert -empyrical.value_at_risk(returns, 0.05) == pytest.approx(0.095, abs=1e-3)
    assert -empyrical.conditional_value_at_risk(returns, 0.05) == pytest.approx(0.097, abs=1e-3)
    assert tail.historical(returns, 0.99).expected_shortfall == pytest.approx(0.099)


@given(st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=60), st.sampled_from(tail.LEVELS))
@settings(max_examples=30, deadline=None)
def test_shortfall_is_the_minimum_of_rockafellar_and_uryasev(
    past: list[float], level: float
) -> None:
    returns = np.array(past)
    found = tail.historical(returns, level)
    mean_over = [np.maximum(-returns - c, 0).mean() / (1 - level) + c for c in -returns]
    assert found.expected_shortfall == pytest.approx(min(mean_over), abs=1e-12)
    assert found.expected_shortfall >= found.value_at_risk - 1e-12
    assert np.mean(-returns > found.value_at_risk) <= 1 - level + 1e-12


@LEVELS
def test_parametric_figures_by_integration(level: float) -> None:
    law = stats.norm(scale=0.10 / math.sqrt(252))
    found = tail.parametric(0.10, level)
    assert found.value_at_risk == pytest.approx(-law.ppf(1 - level))
    bad, _ = integrate.quad(lambda r: -r * law.pdf(r), -0.2, law.ppf(1 - level), epsabs=1e-14)
    assert found.expected_shortfall == pytest.approx(bad / (1 - level), rel=1e-8)


def test_todays_weights_are_replayed() -> None:
    close = factories.panel(5, 80).close
    weights = pd.Series({close.columns[0]: 0.3, close.columns[1]: 0.2, close.columns[2]: 0.0})
    by_hand = [
        0.3 * (close.iat[t, 0] / close.iat[t - 1, 0] - 1)
        + 0.2 * (close.iat[t, 1] / close.iat[t - 1, 1] - 1)
        for t in range(1, 80)
    ]
    np.testing.assert_allclose(tail.replayed(weights, close), by_hand, rtol=1e-12)


def test_a_young_name_is_replayed_by_its_market_model() -> None:
    """A zero for the missing sessions would make exactly the name we know least look safe."""
    close = factories.panel(5, 200).close
    young = close.copy()
    young.iloc[:150, 0] = np.nan
    weights = pd.Series({close.columns[0]: 1.0})
    old, new = tail.replayed(weights, close), tail.replayed(weights, young)
    assert 0.3 * old[:149].std() < new[:149].std() < old[:149].std()
    assert np.corrcoef(old[:149], new[:149])[0, 1] > 0.3


def test_no_past_and_no_book() -> None:
    assert math.isnan(tail.historical(np.array([]), 0.95).value_at_risk)
    nothing = tail.historical(
        tail.replayed(pd.Series(dtype=float), factories.panel(3, 30).close), 0.95
    )
    assert (nothing.value_at_risk, nothing.expected_shortfall) == (0, 0)
    views = [(t.method, t.level) for t in tail.tails(np.array([0.01, -0.01]), 0.1)]
    assert views == [(m, p) for m in ("historical", "parametric") for p in tail.LEVELS]


def test_crash_days_exceed_the_calm_figures() -> None:
    """Equal weights on real bars: 24 August 2015 was worse than 99 % of the year before it."""
    panel, _ = real_panel("2015-08-24", 60)
    weights = pd.Series(1 / len(panel.symbols), index=panel.symbols)
    past = tail.replayed(weights, panel.close.iloc[-254:])
    found = tail.historical(past[:-1], 0.99)
    assert -past[-1] > found.value_at_risk > tail.historical(past[:-1], 0.95).value_at_risk > 0
