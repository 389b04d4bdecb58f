"""Figures of a back-test (notebooks/backtest.ipynb): what it earned, risked, paid and broke."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services import backtest_summary as summary
from quant50lib.services.backtest import Result
from quant50lib.services.report_html import Column, Html, table, text
from quant50lib.services.report_style import (
    BLUE,
    INK,
    ORANGE,
    SKY,
    SOFT,
    Chart,
    canvas,
    chart,
    date_axis,
    day,
    num,
    pct,
    pct_axis,
    placeholder,
)

SHORT = 21
COLOURS = (SOFT, SKY, ORANGE)


def _wealth(returns: pd.Series, start: pd.Timestamp) -> pd.Series:
    path = (1 + returns.fillna(0.0)).cumprod() - 1
    return pd.concat([pd.Series([0.0], index=pd.DatetimeIndex([start])), path])


@chart
def growth_figure(result: Result, others: pd.DataFrame) -> Chart:
    """The book and its benchmarks, and the drawdown of the book since inception."""
    returns, start = summary.returns_of(result), result.daily.index[0]
    if len(returns) < 2:
        return placeholder("one session: there is nothing to compare", "Growth")
    ours = _wealth(returns, start)
    fall = (1 + ours) / (1 + ours).cummax() - 1
    figure = canvas(3.2)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    for (name, other), colour in zip(others.items(), COLOURS, strict=False):
        top.plot(_wealth(other, start), color=colour, linewidth=1.0, label=str(name))
    top.plot(ours, color=BLUE, linewidth=1.6, label="book")
    top.legend(loc="best", ncols=4)
    low.fill_between(fall.index, fall, 0, color=ORANGE, alpha=0.5, linewidth=0)
    for axes in (top, low):
        axes.axhline(0, color=INK, linewidth=0.6)
        pct_axis(axes.yaxis)
    low.set_ylim(min(1.15 * fall.min(), -0.002), 0)
    date_axis(low)
    top.set_title(f"Growth, {result.label}, dividends counted")
    low.set_title(f"Drawdown since inception: {pct(fall.min(), 2)} at its deepest")
    return figure


@chart
def exposure_figure(result: Result) -> Chart:
    """What was invested, what the brake allowed, and how many names."""
    daily = result.daily
    figure = canvas(2.6)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    top.fill_between(daily.index, daily["gross"], color=BLUE, alpha=0.35, linewidth=0)
    top.step(daily.index, daily["budget"], color=ORANGE, where="post", linewidth=1.2)
    halted = daily["halted"].astype(float)
    top.fill_between(daily.index, halted, step="post", color=INK, alpha=0.15, linewidth=0)
    low.step(daily.index, daily["names"], color=BLUE, where="post", linewidth=1.2)
    top.set_ylim(0, 1.05)
    low.set_ylim(0, 1.15 * max(daily["names"].max(), 1))
    pct_axis(top.yaxis, 0)
    date_axis(low)
    top.set_title("Invested, and the exposure budget (line); halted sessions are grey")
    low.set_title(f"Names held, at most {int(daily['names'].max())}")
    return figure


@chart
def trading_figure(result: Result) -> Chart:
    """Traded value and what risk rules sold, and the costs so far."""
    daily = result.daily
    figure = canvas(2.6)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    top.bar(daily.index, daily["turnover"], color=SKY, width=1.0)
    top.bar(daily.index, daily["forced"].shift(1), color=ORANGE, width=1.0)
    paid = (daily["cost"] / daily["equity"]).cumsum()
    low.plot(paid, color=BLUE)
    for axes in (top, low):
        pct_axis(axes.yaxis)
    low.set_ylim(0)
    date_axis(low)
    top.set_title("Traded a session, of equity; orange: decided by stops and halts")
    low.set_title(f"Half spreads paid: {pct(paid.iloc[-1], 2)} of equity in all")
    return figure


@chart
def forecast_figure(result: Result) -> Chart:
    """The volatility that was forecast, and the one that came."""
    returns = summary.returns_of(result)
    if len(returns) < 2 * SHORT:
        return placeholder(f"fewer than {2 * SHORT} sessions", "Volatility")
    realised = returns.rolling(SHORT).std() * np.sqrt(summary.YEAR)
    forecast = result.daily["ex_ante"].rolling(SHORT, min_periods=1).mean().shift(1)
    figure = canvas(2.0)
    axes = figure.subplots()
    axes.plot(forecast, color=SOFT, label="forecast")
    axes.plot(realised, color=BLUE, label="realised")
    limit = result.settings.optimize.max_volatility_annual
    axes.axhline(limit, color=ORANGE, linewidth=0.8, label="limit")
    axes.set_ylim(0)
    axes.legend(loc="best", ncols=3)
    pct_axis(axes.yaxis, 0)
    date_axis(axes)
    ratio = num(summary.ex_ante_ratio(result), 2)
    axes.set_title(
        f"Annual volatility over {SHORT} sessions; realised over forecast {ratio} in all"
    )
    return figure


@chart
def difference_figure(result: Result, others: pd.DataFrame) -> Chart:
    """Sharpe ratio of the book less each benchmark's, with a 95 % interval."""
    found = summary.compared(summary.returns_of(result), others).iloc[1:]
    figure = canvas(0.8 + 0.28 * len(found))
    axes = figure.subplots()
    places = np.arange(len(found))[::-1]
    axes.hlines(places, found["sharpe_low"], found["sharpe_high"], color=BLUE, linewidth=2)
    axes.plot(found["sharpe_gap"], places, "o", color=INK, markersize=4)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(places, [f"less {name}" for name in found.index])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_title("Sharpe ratio beside the benchmarks; an interval over zero shows no difference")
    return figure


def comparison_table(result: Result, others: pd.DataFrame) -> Html:
    """Annual figures of the book and its benchmarks."""
    found = summary.compared(summary.returns_of(result), others).reset_index()
    columns = {
        "name": text(""),
        "return_annual": Column("return a year", pct),
        "volatility_annual": Column("volatility", pct),
        "sharpe": Column("Sharpe", num),
        "drawdown": Column("drawdown", pct),
        "worst_day": Column("worst day", pct),
    }
    return table(found, columns)


def breaches_table(result: Result, limit: int = 12) -> Html:
    """Every rule that did not hold, by session; the newest first."""
    columns = {
        "session": text("session", day),
        "rule": text("rule"),
        "value": Column("value", _four),
        "limit": Column("limit", _four),
        "detail": text("detail", wrap=True),
    }
    newest = result.breaches.iloc[::-1].reset_index(drop=True)
    return table(newest, columns, limit, "No rule was broken on any session.")


def _four(value: float) -> str:
    return num(value, 4)
