"""Figures of a back-test (notebooks/backtest.ipynb): what it earned, risked, paid and broke."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from quant50lib.services import backtest_summary as summary
from quant50lib.services import figures_risk
from quant50lib.services.backtest import Result
from quant50lib.services.figures_account import growth
from quant50lib.services.report_html import (
    Column,
    Format,
    Html,
    beside,
    facts_table,
    note,
    stack,
    table,
    text,
    titled,
)
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
    draw_fall,
    num,
    panels,
    pct,
    pct_axis,
    placeholder,
)

WITHHELD = f"annual figures are withheld below {summary.SHORT} sessions"
SHADES = mpl.colors.LinearSegmentedColormap.from_list("q50_share", ["#ffffff", BLUE])
COLOURS = (SOFT, SKY, ORANGE)


def _four(value: float) -> str:
    return num(value, 4)


def _count(value: float) -> str:
    return num(value, 0)


@chart
def growth_figure(result: Result, others: pd.DataFrame) -> Chart:
    """The book and its benchmarks, and the drawdown of the book since inception."""
    returns, start = summary.returns_of(result), result.daily.index[0]
    if len(returns) < 2:
        return placeholder("one session: there is nothing to compare", "Growth")
    ours = growth(returns, start)
    figure, top, low = panels(3.2, 2.4)
    for (name, other), colour in zip(others.items(), COLOURS, strict=False):
        top.plot(growth(other, start), color=colour, linewidth=1.0, label=str(name))
    top.plot(ours, color=BLUE, linewidth=1.6, label="book")
    top.legend(loc="best", ncols=4)
    top.axhline(0, color=INK, linewidth=0.6)
    pct_axis(top.yaxis)
    fall = draw_fall(low, 1 + ours)
    top.set_title(f"Growth, {result.label}, dividends counted")
    low.set_title(f"Drawdown since inception: {pct(fall.min(), 2)} at its deepest")
    return figure


@chart
def exposure_figure(result: Result) -> Chart:
    """What was invested, what the brake allowed, and how many names."""
    daily = result.daily
    figure, top, low = panels(2.6)
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
    figure, top, low = panels(2.6)
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


def forecast_figure(result: Result) -> Chart:
    """The volatility that was forecast, and the one that came."""
    returns = summary.returns_of(result)
    forecast = result.daily["ex_ante"].shift(1).iloc[1:]
    limit = result.settings.optimize.max_volatility_annual
    return figures_risk.forecast_figure(returns, forecast, limit)


@chart
def sectors_over_time_figure(exposures: pd.DataFrame, cap: float) -> Chart:
    """Weight of every sector at each close, the fullest on top, and the beta of the book below."""
    title = "Sectors"
    if len(exposures) < 2:
        return placeholder("one session: there is no course", title)
    weights = exposures.drop(columns="beta")
    weights = weights[weights.mean().sort_values(ascending=False).index]
    figure, top, low = panels(1.4 + 0.17 * weights.shape[1], 0.16 * weights.shape[1])
    shade = top.pcolormesh(
        weights.index, np.arange(weights.shape[1]), weights.T, cmap=SHADES, vmin=0, vmax=cap
    )
    top.invert_yaxis()
    top.set_yticks(np.arange(weights.shape[1]), list(weights.columns))
    top.grid(False)
    bar = figure.colorbar(shade, ax=top, shrink=0.9, pad=0.01)
    pct_axis(bar.ax.yaxis, 0)
    low.plot(exposures["beta"], color=BLUE)
    low.axhline(0, color=INK, linewidth=0.6)
    low.set_ylim(min(0.0, 1.1 * exposures["beta"].min()), max(0.1, 1.1 * exposures["beta"].max()))
    date_axis(low)
    peak = weights.max()
    top.set_title(
        f"{title}, of equity at the close; the most: {peak.idxmax()} {pct(peak.max())}, cap {pct(cap, 0)}"
    )
    low.set_title(f"Beta to the benchmark, {num(exposures['beta'].mean(), 2)} on average")
    return figure


@chart
def difference_figure(result: Result, others: pd.DataFrame) -> Chart:
    """Sharpe ratio of the book less each benchmark's, with a 95 % interval."""
    found = summary.compared(summary.returns_of(result), others).iloc[1:]
    if found["sharpe_gap"].isna().all():
        return placeholder(WITHHELD, "Sharpe ratio beside the benchmarks")
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
        "return_total": Column("return in all", pct),
        "return_annual": Column("a year", pct),
        "volatility_annual": Column("volatility", pct),
        "sharpe": Column("Sharpe", num),
        "drawdown": Column("drawdown", pct),
        "worst_day": Column("worst day", pct),
    }
    return table(found, columns)


def safety_table(found: pd.DataFrame | None) -> Html:
    """The book with its rules and without: `backtest_summary.price_of_safety`, or None."""
    if found is None:
        return note(
            "the same book and span was not run without rules: quant50 backtest --no-brake --no-stops"
        )
    rows = found.rename_axis("name").reset_index()
    columns = {
        "name": text("Brake and stops"),
        "return_annual": Column("return a year", pct),
        "volatility_annual": Column("volatility", pct),
        "drawdown": Column("drawdown", pct),
        "worst_day": Column("worst day", pct),
    }
    gap = found.loc["difference"]
    said = "an interval that holds zero shows no price"
    interval = f"[{pct(gap['low'], sign=True)}, {pct(gap['high'], sign=True)}]"
    sentence = f"Difference of mean return a year {pct(gap['return_annual'], sign=True)}, 95% {interval}; {said}."
    return stack(table(rows, columns), note(WITHHELD if pd.isna(gap["low"]) else sentence))


#: headline of a back-test: what is shown of the summary, and how
HEADLINE: dict[str, tuple[str, Format]] = {
    "return_total": ("Return in all", pct),
    "return_annual": ("Return a year", pct),
    "volatility_annual": ("Volatility, annual", pct),
    "sharpe": ("Sharpe ratio, cash at nothing", num),
    "realised_over_ex_ante": ("Realised over forecast volatility", num),
    "drawdown": ("Drawdown since inception", pct),
    "drawdown_episode": ("Drawdown of an episode", pct),
    "worst_day": ("Worst day", pct),
    "exposure_mean": ("Invested on average", pct),
    "turnover_daily": ("Turnover a day", pct),
    "forced_annual": ("Sold by risk rules, a year", pct),
    "cost_annual": ("Half spreads paid, a year", lambda value: pct(value, 2)),
    "braked_sessions": ("Sessions braked", _count),
    "halted_sessions": ("Sessions halted", _count),
    "unfit_sessions": ("Sessions unfit to trade", _count),
    "stops": ("Stop-losses", _count),
    "names_mean": ("Names on average", num),
    "names_max": ("Names at most", _count),
}


def headline_table(said: dict[str, Any]) -> Html:
    """The summary of a back-test in words and units; what is withheld says so."""
    facts = {
        words: "withheld" if said.get(name) is None else show(said[name])
        for name, (words, show) in HEADLINE.items()
    }
    raised = [f"{side} on {day}" for side, days in said.get("alarms", {}).items() for day in days]
    facts["Alarm: volatility forecast"] = ", ".join(raised) or "never raised"
    broken = [f"{rule} {count}" for rule, count in said.get("breaches", {}).items()]
    facts["Breaches, in sessions"] = ", ".join(broken) or "none"
    parts = [{name: facts[name] for name in part} for part in np.array_split(list(facts), 2)]
    title = f"Book {said['book']}, {said['market']}, {said['first']} to {said['last']}"
    pair = beside(*(facts_table(part, right=True) for part in parts))
    withheld = said.get("return_annual") is None
    return titled(
        f"{title}, {said['sessions']} sessions", stack(pair, note(WITHHELD)) if withheld else pair
    )


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
