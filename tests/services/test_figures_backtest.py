"""The tear sheet of a back-test: each figure says what the result says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import Equity, Fill, Holding, Order, RiskEvent, Target
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
