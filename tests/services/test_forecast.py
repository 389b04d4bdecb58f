"""Forecasts: Bayes by quadrature, Grinold by hand, and no alpha without evidence."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from quant50lib.contracts import Forecast
from quant50lib.services import book, forecast
from quant50lib.services.model import LoadedModel
from quant50lib.services.scaler import Scaler
from quant50lib.settings import ForecastSettings
from tests import factories

PANEL = factories.panel(8, 100, seed=2)
SESSION = PANEL.sessions[-1]
SETTINGS = ForecastSettings(premium_annual=0.05, shrink_prior_ic=0.02)
VOLATILITY = pd.Series([0.02, 0.03, 0.04, 0.05], ["A", "B", "C", "D"])
SCORE = pd.Series([0.4, 0.5, 0.6, np.nan], ["A", "B", "C", "D"])


def made(score=SCORE, ic=0.03, ic_error=0.01, volatility=VOLATILITY) -> pd.DataFrame:
    table = forecast.forecast(SESSION, volatility, score, ic, ic_error, SETTINGS, 5)
    return table.set_index("symbol")


@pytest.mark.parametrize(("ic", "error"), [(0.03, 0.01), (-0.02, 0.006), (0.0, 0.05)])
def test_the_posterior_is_prior_times_likelihood(ic, error):
    def moment(k):
        return integrate.quad(
            lambda x: x**k * stats.norm.pdf(x, 0, 0.02) * stats.norm.pdf(ic, x, error),
            -0.3,
            0.3,
            points=[ic, 0],
        )[0]

    mean, deviation = forecast.posterior(ic, error, 0.02)
    assert mean == pytest.approx(moment(1) / moment(0), abs=1e-9)
    assert deviation**2 == pytest.approx(moment(2) / moment(0) - mean**2, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(ic=st.floats(-0.2, 0.2), error=st.floats(1e-4, 1), prior=st.floats(1e-3, 0.1))
def test_shrinking_never_adds_and_never_turns_a_model_round(ic, error, prior):
    found = forecast.shrunk_ic(ic, error, prior)
    assert 0 <= found <= max(ic, 0)
    assert forecast.shrunk_ic(ic, error * 2, prior) <= found


@pytest.mark.parametrize(("ic", "error"), [(np.nan, 0.01), (0.05, np.nan), (0.05, np.inf)])
def test_what_was_not_measured_counts_nothing(ic, error):
    assert forecast.shrunk_ic(ic, error, 0.02) == 0
    assert forecast.posterior(ic, error, 0.02)[1] == 0.02


def test_alpha_is_ic_times_volatility_times_score():
    found = made()
    ic = 0.03 * 0.02**2 / (0.02**2 + 0.01**2)
    z = np.sqrt(1.5)  # of three equidistant scores
    np.testing.assert_allclose(found.alpha, [-ic * 0.02 * z, 0, ic * 0.04 * z, 0], atol=1e-15)
    np.testing.assert_allclose(found.expected_return - found.alpha, 0.05 * 5 / 252)
    assert np.isnan(found.score["D"]) and found.score["A"] == pytest.approx(-z)


def test_the_error_is_that_of_the_expectation():
    found = made()
    kept = 0.02 * 0.01 / np.hypot(0.02, 0.01)
    assert found.error["A"] == pytest.approx(0.02 * np.hypot(0.02, kept * np.sqrt(1.5)))
    assert found.error["D"] == pytest.approx(0.05 * 0.02)
    assert (found.error < 0.1 * found.volatility).all()


@pytest.mark.parametrize("score", [None, SCORE * np.nan, SCORE * 0 + 0.5])
def test_without_an_opinion_all_names_have_the_premium(score):
    found = made(score)
    assert (found.alpha == 0).all() and found.expected_return.nunique() == 1


def test_a_model_without_skill_has_no_alpha():
    assert (made(ic=-0.01).alpha == 0).all()
    assert made(ic=0.005, ic_error=0.05).alpha.abs().max() < 0.0001


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), factor=st.floats(0.1, 10), shift=st.floats(-1, 1))
def test_only_the_place_of_a_score_matters_not_its_scale(seed, factor, shift):
    score = pd.Series(np.random.default_rng(seed).normal(size=4), VOLATILITY.index)
    a, b = made(score), made(score * factor + shift)
    np.testing.assert_allclose(a.alpha, b.alpha, atol=1e-10)
    assert (a.score - a.score.mean()).abs().max() <= 3


def test_an_extreme_score_is_clipped():
    many = pd.Series([*np.linspace(0.4, 0.6, 60), 0.99], factories.symbols(61))
    assert forecast.standard_score(many).max() == 3


def test_horizon_volatility_is_the_deviation_of_63_returns():
    found = forecast.horizon_volatility(PANEL, 5)
    close = PANEL.close[PANEL.symbols[0]].to_numpy()[-64:]
    assert found.iloc[0] == pytest.approx(np.std(np.diff(close) / close[:-1], ddof=1) * np.sqrt(5))


def test_a_young_name_is_taken_for_risky_and_a_still_one_has_some_risk():
    young, still = PANEL.symbols[0], PANEL.symbols[1]
    close = PANEL.close.assign(**{still: 10.0})
    close.loc[close.index[:-15], young] = np.nan
    found = forecast.horizon_volatility(replace(PANEL, close=close), 5)
    assert found[young] == found.max() and found[still] == pytest.approx(1e-4 * np.sqrt(5))
    assert found.notna().all()


class Stub:
    """A learner that says the first column."""

    def probability(self, matrix):
        return matrix[:, 0]


def test_the_forecast_of_a_day_asks_the_model_if_there_is_one():
    matrix = pd.DataFrame({"f": np.linspace(0.1, 0.9, 8)}, index=PANEL.symbols)
    measured = {"rank_ic": 0.03, "rank_ic_error": 0.01}
    model = LoadedModel("m", Stub(), Scaler.fit(matrix), measured, SESSION)
    found = forecast.of_day(SESSION, PANEL, matrix, model, SETTINGS, 5)
    none = forecast.of_day(SESSION, PANEL, matrix, None, SETTINGS, 5)
    for table in (found, none):
        Forecast.check(table)
        assert list(table.symbol) == list(PANEL.symbols)
    assert found.alpha.is_monotonic_increasing or found.score.is_monotonic_increasing
    assert (none.alpha == 0).all() and none.score.isna().all()
    unmeasured = LoadedModel("m", Stub(), Scaler.fit(matrix), {"rank_ic": None}, SESSION)
    assert (forecast.of_day(SESSION, PANEL, matrix, unmeasured, SETTINGS, 5).alpha == 0).all()


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"rank_ic": 0.03, "rank_ic_error": 0.01}, "alpha is score"),
        ({"rank_ic": -0.01, "rank_ic_error": 0.01}, "none: .*not above zero"),
        ({"rank_ic": None}, "none: .*not measured"),
        (None, "none: there is no model"),
    ],
)
def test_the_record_says_when_a_forecast_rests_on_no_evidence(measured, said):
    matrix = pd.DataFrame({"f": np.linspace(0.1, 0.9, 8)}, index=PANEL.symbols)
    model = measured and LoadedModel("m", Stub(), Scaler.fit(matrix), measured, SESSION)
    table = forecast.of_day(SESSION, PANEL, matrix, model, SETTINGS, 5)
    told = book.outlook(table, model)["evidence"]
    assert re.match(said, told) and told.startswith("none") == (table.alpha == 0).all()
