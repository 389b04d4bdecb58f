"""Figures of the account: equity, drawdown, daily result (notebook 07)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from quant50lib.services import metrics
from quant50lib.services.report_style import (
    BLUE,
    INK,
    SKY,
    SOFT,
    Chart,
    canvas,
    chart,
    date_axis,
    day,
    draw_fall,
    last_label,
    panels,
    pct,
    pct_axis,
    placeholder,
    signed,
    usd,
    usd_axis,
)

FIRST_DAY = "the account's first session: there is nothing to compare it with yet"


def daily_pnl(equity: pd.DataFrame) -> pd.Series:
    """Result of each session after the first in US dollars, flows taken out."""
    table = equity.set_index("session").sort_index()
    return (table["equity"].diff() - table["flow"]).iloc[1:].rename("pnl")


def growth(returns: pd.Series, start: pd.Timestamp) -> pd.Series:
    """Cumulated simple return, 0 at `start`; `returns` begin after it."""
    path = (1 + returns.fillna(0.0)).cumprod() - 1
    return pd.concat([pd.Series([0.0], index=pd.DatetimeIndex([start])), path])


@chart
def equity_figure(
    equity: pd.DataFrame, benchmark_returns: pd.Series, benchmark: str = "SPY"
) -> Chart:
    """The account against the benchmark since the first session, drawdown below.

    `benchmark_returns` are daily total returns by session; those after the first session of the
    account count. The drawdown is from the running maximum since inception.
    """
    title = f"Growth since inception, against {benchmark}"
    if len(equity) < 2:
        return placeholder(FIRST_DAY, title)
    ours = metrics.wealth(equity) - 1
    start, last = ours.index[0], ours.index[-1]
    during = (benchmark_returns.index > start) & (benchmark_returns.index <= last)
    theirs = growth(benchmark_returns[during], start)
    figure, top, low = panels(2.8, 2.4)
    marker = "o" if len(ours) < 30 else None
    top.plot(theirs.index, theirs, color=SOFT, linewidth=1.0, marker=marker, ms=2)
    top.plot(ours.index, ours, color=BLUE, linewidth=1.6, marker=marker, ms=2.5)
    _name_ends(top, ours, theirs, benchmark)
    top.axhline(0, color=INK, linewidth=0.6)
    pct_axis(top.yaxis)
    fall = draw_fall(low, 1 + ours)
    top.set_title(title)
    low.set_title(f"Drawdown: {pct(fall.iloc[-1], 2)} now, {pct(fall.min(), 2)} at its deepest")
    return figure


def _name_ends(axes: Axes, ours: pd.Series, theirs: pd.Series, benchmark: str) -> None:
    """Name both lines at their ends, a line's height apart where they meet."""
    low, high = axes.get_ylim()
    apart = 0.08 * (high - low)
    middle = (ours.iloc[-1] + theirs.iloc[-1]) / 2
    gap = ours.iloc[-1] - theirs.iloc[-1]
    push = 0.0 if abs(gap) >= apart else np.copysign(apart / 2, gap if gap else 1.0)
    places = (middle + push, middle - push) if push else (ours.iloc[-1], theirs.iloc[-1])
    ends = ((ours, places[0], "Quant50", BLUE), (theirs, places[1], benchmark, SOFT))
    for path, place, name, colour in ends:
        text = f"{name} {pct(path.iloc[-1], sign=True)}"
        last_label(axes, path.index[-1], place, text, colour)


@chart
def pnl_figure(equity: pd.DataFrame, sessions: int = 60) -> Chart:
    """Result of each of the last sessions in US dollars, flows taken out."""
    title = "Daily result"
    pnl = daily_pnl(equity).iloc[-sessions:]
    if pnl.empty:
        return placeholder(FIRST_DAY, title)
    figure = canvas(1.4)
    axes = figure.subplots()
    axes.bar(np.arange(len(pnl)), pnl, width=0.74, color=signed(pnl))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xlim(-0.6, max(len(pnl), 10) - 0.4)
    ticks = np.unique(np.linspace(0, len(pnl) - 1, len(pnl) if len(pnl) < 12 else 7).astype(int))
    axes.set_xticks(ticks, [f"{pnl.index[i]:%d %b}" for i in ticks])
    usd_axis(axes.yaxis)
    won = int((pnl > 0).sum())
    axes.set_title(
        f"{title}: {usd(pnl.iloc[-1], sign=True)} on {day(pnl.index[-1])}; "
        f"{won} of {len(pnl)} sessions gained"
    )
    return figure


@chart
def invested_figure(equity: pd.DataFrame, sessions: int = 252) -> Chart:
    """Share of equity in holdings, and turnover, over the last sessions."""
    title = "Invested and traded"
    table = equity.sort_values("session").set_index("session").iloc[-sessions:]
    if len(table) < 2:
        return placeholder(FIRST_DAY, title)
    figure = canvas(1.7)
    left, right = figure.subplots(1, 2)
    share = table["holdings"] / table["equity"]
    left.fill_between(share.index, share, 0, color=SKY, alpha=0.7, linewidth=0)
    left.plot(share.index, share, color=BLUE, linewidth=1.0)
    left.set_ylim(0, max(1.02, 1.05 * share.max()))
    left.set_title(f"Invested: {pct(share.iloc[-1])} of equity")
    right.fill_between(table.index, table["turnover"], 0, step="mid", color=SKY, linewidth=0)
    right.set_ylim(bottom=0)
    right.set_title(f"Turnover: {pct(table['turnover'].iloc[-1])} of equity")
    for axes in (left, right):
        pct_axis(axes.yaxis)
        date_axis(axes)
    return figure
