"""The tear sheet of a back-test: each figure says what the result says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import Equity, Fill, Holding, Order, RiskEvent, Target
from quant50lib.services import alarm
from quant50lib.services import backtest_summary as summary
from quant50lib.services import figures_backtest as figures
from quant50lib.services.backtest import Result
from quant50lib.settings import Settings
from quant50lib.utils import dates

DAYS = dates.sessions_between("2023-01-03", "2023-06-30")


@pytest.fixture(scope="module")
def made():
    """A result of noise, with one fall of ten per cent, and three benchmarks."""
    rng = np.random.default_rng(3)
    moves = rng.normal(0.0005, 0.004, len(DAYS))
    moves[60] = -0.10
    daily = pd.DataFrame(
        {
            "equity": 1e5 * np.cumprod(1 + moves),
            "dividends": 0.0,
            "gross": 0.9,
            "names": 40,
            "turnover": 0.05,
            "forced": 0.01,
            "cost": 5.0,
            "ex_ante": 0.08,
            "budget": np.where(np.arange(len(DAYS)) < 60, 1.0, 0.3),
            "halted": np.arange(len(DAYS)) > 100,
        },
        index=pd.DatetimeIndex(DAYS, name="session"),
    )
    rows = {"session": DAYS[:2], "rule": "volatility", "value": 0.12, "limit": 0.1}
    breaches = pd.DataFrame(rows | {"sessions_to_cure": 1, "detail": "it jumped"})
    empty = (t.empty() for t in (Holding, Target, Order, Fill))
    result = Result(
        daily, *empty, breaches, RiskEvent.empty(), Equity.empty(), "SIMULATED prices", Settings()
    )
    names = ["SPY", "equal weight", "minimum variance"]
    return result, pd.DataFrame(rng.normal(0, 0.01, (len(DAYS) - 1, 3)), DAYS[1:], names)


def test_growth_names_its_market_and_the_deepest_fall(made):
    result, others = made
    said = figures.growth_figure(result, others).description
    wealth = result.daily["equity"]
    deepest = (wealth / wealth.cummax() - 1).min()
    assert "SIMULATED" in said and f"{100 * deepest:.2f}%".replace("-", "") in said
    legend = figures.growth_figure(result, others).axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [*others.columns, "book"]


def test_costs_are_the_sum_of_what_was_paid(made):
    paid = (made[0].daily["cost"] / made[0].daily["equity"]).sum()
    assert f"{100 * paid:.2f}%" in figures.trading_figure(made[0]).description


def test_the_risk_figure_says_how_far_off_the_forecast_was(made):
    returns = made[0].daily["equity"].pct_change().dropna()
    ratio = np.sqrt(((returns / (0.08 / np.sqrt(252))) ** 2).mean())
    assert f"{ratio:.2f}" in figures.forecast_figure(made[0]).description


def test_intervals_are_drawn_for_every_benchmark(made):
    axes = figures.difference_figure(*made).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["less SPY", "less equal weight", "less minimum variance"]
    assert "Names held, at most 40" in figures.exposure_figure(made[0]).description


def test_tables_show_the_newest_breach_first_or_say_that_there_is_none(made):
    shown = figures.breaches_table(made[0]).markup
    assert shown.index("0.1200") and "it jumped" in shown
    none = replace(made[0], breaches=made[0].breaches.iloc[:0])
    assert "No rule was broken" in figures.breaches_table(none).markup
    assert "minimum variance" in figures.comparison_table(*made).markup


def test_one_session_has_nothing_to_compare(made):
    short = replace(made[0], daily=made[0].daily.iloc[:1])
    assert figures.growth_figure(short, made[1]).description == "Growth"


# ---- what a short span withholds, exposures, and the price of safety -------------------------------


@pytest.mark.parametrize(("sessions", "told"), [(59, False), (60, True)])
def test_annual_figures_begin_exactly_at_sixty_sessions(sessions, told):
    returns = pd.Series(np.random.default_rng(1).normal(0.001, 0.01, sessions), DAYS[:sessions])
    found = summary.annual(returns)
    for name in ("return_annual", "volatility_annual", "sharpe"):
        assert np.isfinite(found[name]) == told
    assert found["return_total"] == pytest.approx(np.prod(1 + returns) - 1)
    assert np.isfinite(summary.return_difference(returns, 0.5 * returns)[1]) == told


def test_a_short_result_shows_what_it_withholds(made):
    result = replace(made[0], daily=made[0].daily.iloc[:40], events=RiskEvent.empty())
    result = replace(result, daily=result.daily.assign(why_not=""))
    others = made[1].iloc[:39]
    assert (
        "withheld below 60 sessions"
        in figures.difference_figure(result, others).axes[0].texts[0].get_text()
    )
    said = {"book": "zero", **summary.summary(full(result))}
    assert said["return_annual"] is None and said["return_total"] is not None
    shown = figures.headline_table(said).markup
    assert shown.count("withheld") >= 5 and "Book zero, SIMULATED prices" in shown


def too_low(result):
    """The same with a forecast of 4 % a year, where about 6 % came."""
    return replace(result, daily=result.daily.assign(ex_ante=0.04))


def full(result):
    """With the columns that a summary reads."""
    return replace(result, daily=result.daily.assign(drawdown=0.0, why_not=""))


def test_the_headline_names_alarms_and_breaches(made):
    said = {"book": "zero", **summary.summary(full(too_low(made[0])))}
    assert said["alarms"]["too low"] and not said["alarms"]["too high"]
    shown = figures.headline_table(said).markup
    assert f"too low on {said['alarms']['too low'][0]}" in shown and "volatility 2" in shown
    assert "withheld" not in shown


def test_an_alarm_of_a_back_test_is_that_of_the_evenings(made):
    """Session by session, as a desk would have seen it."""
    result = too_low(made[0])
    known = summary.surprises(result)
    first = next(
        day
        for n, day in enumerate(known.index)
        if alarm.standing(known.iloc[: n + 1], 0.05).raised == "too low"
    )
    assert summary.alarms(result)["too low"] == [str(first.date())]


def test_sectors_and_beta_have_a_course(made):
    exposures = pd.DataFrame(
        {"beta": np.linspace(0.2, 0.8, len(DAYS)), "Energy": 0.2, "Utilities": 0.1}, DAYS
    )
    exposures.iloc[5, 1] = 0.31
    chart = figures.sectors_over_time_figure(exposures, 0.25)
    assert "the most: Energy 31.0%, cap 25%" in chart.description
    assert "0.50 on average" in chart.description
    names = [label.get_text() for label in chart.axes[0].get_yticklabels()]
    assert names == ["Energy", "Utilities"]
    assert figures.sectors_over_time_figure(exposures.iloc[:1], 0.25).description == "Sectors"


def test_the_price_of_safety_is_the_difference_of_the_two_books(made):
    result = made[0]
    wealth = result.daily["equity"] * np.linspace(1.0, 1.05, len(DAYS))
    free = replace(result, daily=result.daily.assign(equity=wealth))
    found = summary.price_of_safety(result, free)
    own, other = (summary.returns_of(r) for r in (result, free))
    assert found.loc["difference", "return_annual"] == pytest.approx(252 * (own - other).mean())
    assert found.loc["difference", "low"] < found.loc["difference", "return_annual"] < 0
    shown = figures.safety_table(found).markup
    assert "Difference of mean return a year" in shown and "without" in shown
    assert "was not run without rules" in figures.safety_table(None).markup
