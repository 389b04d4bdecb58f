"""Figures of a model's quality out of fold (notebook 04), from the frames of `services.evaluation`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services.report_style import (
    BLUE,
    CYCLE,
    FAINT,
    INK,
    SKY,
    SOFT,
    Chart,
    bar_height,
    bps,
    canvas,
    chart,
    date_axis,
    names_axis,
    num,
    pct_axis,
    placeholder,
    signed,
)

Z95 = 1.96
HALF = 3.6  # inches: two such figures stand side by side
NOT_TRAINED = "nothing out of fold yet: the model has not been trained"


@chart
def rank_ic_figure(ic_by_session: pd.DataFrame, horizon_sessions: int = 5) -> Chart:
    """Cumulated rank IC out of fold, and the band that a model without skill stays within.

    `ic_by_session` has `session` and `rank_ic`. The band is 1.96 HAC standard errors of the mean,
    grown with the root of the sessions elapsed.
    """
    from quant50lib.services.validation import hac_lags, hac_mean  # slow: it brings scipy.stats

    title = "Rank IC out of fold, cumulated"
    daily = ic_by_session.dropna(subset=["rank_ic"]).set_index("session")["rank_ic"].sort_index()
    if len(daily) < 2:
        return placeholder(NOT_TRAINED, title)
    total, n = daily.cumsum(), len(daily)
    mean = hac_mean(daily, hac_lags(n, horizon_sessions))
    band = Z95 * mean.error * np.sqrt(n * np.arange(1, n + 1))
    figure = canvas(2.2)
    axes = figure.subplots()
    axes.fill_between(total.index, -band, band, color=FAINT, alpha=0.7, linewidth=0)
    axes.plot(total.index, total, color=BLUE)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.annotate(
        "95 % of models without skill",
        (total.index[-1], -band[-1]),
        xytext=(-2, 5),
        textcoords="offset points",
        ha="right",
        color=SOFT,
        fontsize=7,
    )
    date_axis(axes)
    axes.set_title(
        f"{title}: mean {num(mean.value, 3, True)} ± {num(mean.error, 3)} over {n} sessions"
    )
    return figure


@chart
def calibration_figure(calibration: pd.DataFrame) -> Chart:
    """How often names beat the benchmark, against how often the model said so.

    One row per bin of scores: `score` (mean), `positive` (share), `error` (of the share).
    """
    if calibration.empty:
        return placeholder(NOT_TRAINED, "Calibration", HALF)
    said, seen = calibration["score"], calibration["positive"]
    ends = [min(said.min(), seen.min()), max(said.max(), seen.max())]
    figure = canvas(2.6, HALF)
    axes = figure.subplots()
    axes.plot(ends, ends, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    error = Z95 * calibration["error"]
    axes.errorbar(said, seen, yerr=error, fmt="o", color=BLUE, ms=3.5, elinewidth=0.9)
    pct_axis(axes.xaxis)
    pct_axis(axes.yaxis)
    axes.set(xlabel="probability said", ylabel="frequency seen")
    axes.set_title(f"Calibration in {len(said)} bins, 95 % bars")
    return figure


@chart
def deciles_figure(decile_returns: pd.DataFrame, horizon_sessions: int = 5) -> Chart:
    """Mean excess return over the horizon by decile of the score, with 95 % bars.

    Columns `decile` (1 = lowest scores), `excess_return`, `error`.
    """
    if decile_returns.empty:
        return placeholder(NOT_TRAINED, "Deciles of the score", HALF)
    rows = decile_returns.sort_values("decile")
    figure = canvas(2.6, HALF)
    axes = figure.subplots()
    mean = rows["excess_return"]
    axes.bar(rows["decile"], mean, width=0.72, color=signed(mean))
    error = Z95 * rows["error"]
    axes.errorbar(rows["decile"], mean, yerr=error, fmt="none", ecolor=INK, elinewidth=0.8)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(rows["decile"])
    pct_axis(axes.yaxis)
    axes.set_xlabel(f"decile of the score · excess return {horizon_sessions} sessions ahead")
    spread = 1e4 * (mean.iloc[-1] - mean.iloc[0])
    axes.set_title(f"Top less bottom decile: {bps(spread)}")
    return figure


@chart
def folds_figure(folds: pd.DataFrame) -> Chart:
    """Rank IC of every model in every fold, with 95 % bars (table `Fold`)."""
    title = "Rank IC by fold, 95 % bars"
    known = folds.dropna(subset=["rank_ic"])
    if known.empty:
        return placeholder(NOT_TRAINED, title)
    order = sorted(known["fold"].unique(), key=lambda name: (name == "all", name))
    place = {name: i for i, name in enumerate(order)}
    models = sorted(known["model"].unique(), key=lambda name: (name != "lightgbm", name))
    figure = canvas(2.2)
    axes = figure.subplots()
    for i, model in enumerate(models):
        rows = known[known["model"] == model]
        axes.errorbar(
            rows["fold"].map(place) + 0.14 * (i - (len(models) - 1) / 2),
            rows["rank_ic"],
            yerr=Z95 * rows["rank_ic_error"].fillna(0.0),
            fmt="o",
            ms=3.5,
            elinewidth=0.9,
            color=CYCLE[i % len(CYCLE)],
            label=model,
        )
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(range(len(order)), order)
    axes.set_xlabel("fold")
    axes.set_title(title)
    figure.legend(loc="outside right upper")
    return figure


@chart
def importance_figure(importance: pd.DataFrame, n: int = 20) -> Chart:
    """The features that the trees gain most from; columns `feature`, `gain` (share of all)."""
    title = "Importance, share of gain"
    if importance.empty:
        return placeholder(NOT_TRAINED, title)
    rows = importance.sort_values("gain", ascending=False, ignore_index=True)
    shown, rest = rows.head(n), rows["gain"].iloc[n:]
    figure = canvas(bar_height(len(shown)))
    axes = figure.subplots()
    axes.barh(shown.index, shown["gain"], height=0.68, color=SKY)
    names_axis(axes, list(shown["feature"]))
    pct_axis(axes.xaxis)
    axes.set_title(title + (f" ({len(rest)} more: {rest.sum():.0%})" if len(rest) else ""))
    return figure
