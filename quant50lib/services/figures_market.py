"""Figures of the market, its data, features and labels (notebooks 01 to 03)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from quant50lib.services.report_style import (
    BLUE,
    DIVERGING,
    INK,
    ORANGE,
    SKY,
    SOFT,
    Chart,
    bar_height,
    canvas,
    chart,
    date_axis,
    day,
    last_label,
    names_axis,
    num,
    pct,
    pct_axis,
    placeholder,
    signed,
)

#: a name without a bar for so many sessions counts as gone, not as missing
GONE_SESSIONS = 5


def coverage(close: pd.DataFrame) -> pd.DataFrame:
    """Per session: names `live`, names with a bar (`seen`), and the `share` of the first seen.

    `close` is (sessions, symbols). A name is live from its first bar until it has had none for
    more than five sessions.
    """
    seen = close.notna()
    live = seen.rolling(GONE_SESSIONS + 1, min_periods=1).max().astype(bool)
    counts = pd.DataFrame({"live": live.sum(axis=1), "seen": seen.sum(axis=1)})
    return counts.assign(share=counts["seen"] / counts["live"].where(counts["live"] > 0))


@chart
def coverage_figure(close: pd.DataFrame, minimum: float, sessions: int = 60) -> Chart:
    """Share of live names with a bar, for the last sessions, against the least that is allowed."""
    share = coverage(close)["share"].iloc[-sessions:]
    if share.notna().sum() == 0:
        return placeholder("no bars yet", "Coverage of the universe")
    figure = canvas(1.8)
    axes = figure.subplots()
    colours = [ORANGE if value < minimum else SKY for value in share]
    axes.bar(np.arange(len(share)), share.fillna(0.0), width=0.8, color=colours)
    axes.axhline(minimum, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        f"least allowed {pct(minimum, 0)}",
        (0, minimum),
        xytext=(0, -9),
        textcoords="offset points",
        color=SOFT,
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )
    axes.set_ylim(min(0.9, share.min() - 0.02, minimum - 0.04), 1.005)
    ticks = np.unique(np.linspace(0, len(share) - 1, min(6, len(share))).astype(int))
    axes.set_xticks(ticks, [f"{share.index[i]:%d %b}" for i in ticks])
    pct_axis(axes.yaxis)
    axes.set_title(f"Coverage of the universe: {pct(share.iloc[-1])} on {day(share.index[-1])}")
    return figure


@chart
def quarantine_figure(
    findings: pd.DataFrame, close: pd.DataFrame, sessions: int = 60, limit: int = 12
) -> Chart:
    """The recent path of each quarantined name, with the sessions found wanting, latest first.

    A finding further back is drawn as well: the path then begins ten sessions before it.
    """
    title = "Names in quarantine"
    held = findings[(findings["severity"] == "quarantine") & (findings["symbol"] != "")]
    held = held.sort_values("session", ascending=False, kind="stable")
    names = [name for name in held["symbol"].unique() if name in close.columns]
    if not names:
        return placeholder("none: every name passed the gates", title)
    shown = names[:limit]
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = canvas(0.35 + 1.0 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, shown, strict=False):
        own = held[held["symbol"] == name]
        first = int(close.index.searchsorted(own["session"].min()))
        path = close[name].iloc[max(min(len(close) - sessions, first - 10), 0) :]
        _sparkline(axes, path, own["session"])
        gates = dict.fromkeys(own["gate"].str.replace("_", " "))
        axes.set_xlabel(f"{', '.join(gates)}, {own['session'].max():%d %b}", fontsize=6.5)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    more = f", {len(names) - len(shown)} more not shown" if len(names) > limit else ""
    figure.suptitle(f"{title} ({len(names)}{more})", x=0.01, ha="left", fontsize=9, weight="bold")
    return figure


def _sparkline(axes: Axes, path: pd.Series, wanting: pd.Series) -> None:
    axes.plot(path.index, path, color=SOFT, linewidth=1)
    marked = path.reindex(pd.DatetimeIndex(wanting)).dropna()
    axes.plot(marked.index, marked, "o", color=ORANGE, markersize=3.5)
    axes.set_title(str(path.name), fontsize=7.5, pad=2)
    axes.set(xticks=[], yticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)


@chart
def market_figure(
    close: pd.DataFrame, universe: pd.DataFrame, benchmark: str, sessions: int = 252
) -> Chart:
    """The benchmark's total return over the last sessions, and that of each sector.

    A sector is the equally weighted mean of its stocks with a price at both ends.
    """
    window = close.iloc[-sessions - 1 :]
    if len(window) < 2 or benchmark not in window:
        return placeholder("needs two sessions of bars", "The market")
    stocks = universe[universe["kind"] == "stock"].set_index("symbol")["sector"]
    gained = (window.iloc[-1] / window.iloc[0] - 1).dropna()
    sector = gained.groupby(stocks).mean().sort_values(ascending=False)
    figure = canvas(max(2.1, bar_height(len(sector))))
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    path = window[benchmark].dropna()
    path = path / path.iloc[0] - 1
    left.plot(path.index, path, color=BLUE)
    left.axhline(0, color=SOFT, linewidth=0.6)
    date_axis(left)
    pct_axis(left.yaxis)
    left.set_title(f"{benchmark}, last {len(window) - 1} sessions: {pct(path.iloc[-1], sign=True)}")
    _bars(right, sector, "Sectors, mean of their stocks")
    return figure


def _bars(axes: Axes, values: pd.Series, title: str) -> None:
    """Signed horizontal bars of fractions, each with its figure."""
    axes.barh(np.arange(len(values)), values, height=0.68, color=signed(values))
    names_axis(axes, [str(name) for name in values.index])
    pct_axis(axes.xaxis)
    axes.axvline(0, color=SOFT, linewidth=0.6)
    axes.set_title(title)


# ── features ─────────────────────────────────────────────────────────────────────────────────────


def _cross_section(features: pd.DataFrame, column: str) -> pd.DataFrame:
    return features.pivot(index="symbol", columns="feature", values=column)


@chart
def correlation_figure(features: pd.DataFrame) -> Chart:
    """Correlation of the standardised features across names, alike ones side by side."""
    wide = _cross_section(features, "standardised").dropna(axis=1, how="all")
    matrix = wide.corr(min_periods=3).fillna(0.0)
    if len(matrix) < 2 or len(wide) < 3:
        return placeholder("needs two features of three names", "Correlation of the features")
    order = _alike(matrix)
    matrix = matrix.iloc[order, order]
    figure = canvas(max(2.6, 0.9 + 0.19 * len(matrix)))
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    left.imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
    left.set_xticks(np.arange(len(matrix)), matrix.columns, rotation=90)
    left.set_yticks(np.arange(len(matrix)), matrix.index)
    left.tick_params(size=0, labelsize=6.5)
    left.grid(False)
    left.spines[:].set_visible(False)
    left.set_title("Correlation of the features")
    pairs = _strongest_pairs(matrix, 10)
    right.barh(np.arange(len(pairs)), pairs, height=0.68, color=signed(pairs))
    names_axis(right, list(pairs.index))
    right.tick_params(axis="y", labelsize=6.5)
    right.set_xlim(-1, 1)
    right.axvline(0, color=SOFT, linewidth=0.6)
    right.set_title("Strongest pairs")
    return figure


def _alike(correlation: pd.DataFrame) -> np.ndarray:
    """Order of rows by the angle of the first two eigenvectors. Friendly (2002)."""
    _, vectors = np.linalg.eigh(correlation.to_numpy())
    angle = np.arctan2(vectors[:, -2], vectors[:, -1])
    order = np.argsort(angle)
    ring = np.append(angle[order], angle[order[0]] + 2 * np.pi)
    return np.roll(order, -1 - int(np.argmax(np.diff(ring))))


def _strongest_pairs(correlation: pd.DataFrame, n: int) -> pd.Series:
    rows, columns = np.triu_indices(len(correlation), 1)
    names = correlation.index
    pairs = pd.Series(
        correlation.to_numpy()[rows, columns],
        [f"{names[i]} · {names[j]}" for i, j in zip(rows, columns, strict=True)],
    )
    return pairs.loc[pairs.abs().sort_values(ascending=False).index[:n]]


@chart
def distribution_figure(features: pd.DataFrame) -> Chart:
    """Each feature's values across names as a strip, in robust standard deviations.

    Distance from the median over 1.4826 times the median absolute deviation, cut at five; the
    median and the 5 % to 95 % range stand beside it in the feature's own unit.
    """
    wide = _cross_section(features, "value").dropna(axis=1, how="all")
    if wide.empty:
        return placeholder("no features yet", "Distribution of the features")
    centre = wide.median()
    spread = 1.4826 * (wide - centre).abs().median()
    scaled = ((wide - centre) / spread.where(spread > 0)).clip(-5, 5)
    figure = canvas(bar_height(wide.shape[1], 0.2, 0.7))
    axes = figure.subplots()
    for row, name in enumerate(wide.columns):
        values = scaled[name].dropna()
        axes.plot(
            values,
            np.full(len(values), row),
            "|",
            color=BLUE,
            alpha=0.3,
            markersize=8,
            mew=0.7,
            rasterized=True,
        )
        low, high = wide[name].quantile([0.05, 0.95])
        axes.annotate(
            f"{_short(centre[name])}  [{_short(low)}, {_short(high)}]",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=SOFT,
            fontsize=6.5,
            annotation_clip=False,
        )
    names_axis(axes, list(wide.columns))
    axes.set_xlim(-5.2, 5.2)
    axes.set_xlabel("robust standard deviations from the median")
    axes.set_title("Distribution of the features   (right: median [5 %, 95 %], own unit)")
    return figure


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.3g}".replace("-", "−")


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@chart
def label_distribution_figure(labels: pd.DataFrame) -> Chart:
    """Median and inter-quartile band of the excess return across names, by session."""
    title = "Excess return over the benchmark, across names"
    if labels.empty:
        return placeholder("no labels yet: none of the horizons has ended", title)
    bands = labels.groupby("session")["excess_return"].quantile([0.25, 0.5, 0.75]).unstack()
    figure = canvas(2.0)
    axes = figure.subplots()
    axes.fill_between(bands.index, bands[0.25], bands[0.75], color=SKY, alpha=0.7, linewidth=0)
    axes.plot(bands.index, bands[0.5], color=BLUE, linewidth=0.9)
    axes.axhline(0, color=INK, linewidth=0.6)
    last = bands.iloc[-1]
    last_label(axes, bands.index[-1], last[0.5], "median", BLUE)
    date_axis(axes)
    pct_axis(axes.yaxis)
    axes.set_title(f"{title}: median and middle half")
    return figure


@chart
def base_rate_figure(labels: pd.DataFrame) -> Chart:
    """Share of names that beat the benchmark, by month of the decision."""
    title = "Share of positive labels by month"
    if labels.empty:
        return placeholder("no labels yet: none of the horizons has ended", title)
    month = labels["session"].dt.to_period("M")
    rate = labels.groupby(month)["positive"].mean()
    figure = canvas(1.7)
    axes = figure.subplots()
    places = np.arange(len(rate))
    axes.bar(places, rate - 0.5, bottom=0.5, width=0.8, color=signed(rate - 0.5))
    overall = float(labels["positive"].mean())
    axes.axhline(overall, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.axhline(0.5, color=INK, linewidth=0.6)
    ticks = np.unique(np.linspace(0, len(rate) - 1, min(7, len(rate))).astype(int))
    axes.set_xticks(ticks, [f"{rate.index[i]:%b %Y}" for i in ticks])
    pct_axis(axes.yaxis)
    axes.set_title(f"{title}: {pct(overall)} of {num(len(labels), 0)} overall (dashed)")
    return figure
