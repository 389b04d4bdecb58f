"""Figures of a model's quality out of fold, from the frames of `services.evaluation` and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from quant50lib.services.report_style import (
    BLUE,
    CYCLE,
    FAINT,
    INK,
    ORANGE,
    SKY,
    SOFT,
    WIDTH,
    Chart,
    bar_height,
    bps,
    canvas,
    chart,
    date_axis,
    names_axis,
    num,
    pct,
    pct_axis,
    placeholder,
    signed,
)

if TYPE_CHECKING:
    from quant50lib.services.overfitting import Overfitting  # slow: it brings scipy.stats

Z95 = 1.96
HALF = 3.6  # inches: two such figures stand side by side
NOT_TRAINED = "nothing out of fold yet: the model has not been trained"


@chart
def rank_ic_figure(ic_by_session: pd.DataFrame, horizon_sessions: int = 5) -> Chart:
    """Cumulated rank IC out of fold, and the band that a model without skill stays within.

    `ic_by_session` has `session`, `rank_ic` and `fold`. The band is 1.96 standard errors of the mean
    (`inference.session_mean`), grown with the root of the sessions elapsed.
    """
    from quant50lib.services.validation import session_mean, shared_learning  # slow

    title = "Rank IC out of fold, cumulated"
    known = ic_by_session.dropna(subset=["rank_ic"]).sort_values("session")
    if len(known) < 2:
        return placeholder(NOT_TRAINED, title)
    daily = known.set_index("session")["rank_ic"]
    total, n = daily.cumsum(), len(daily)
    mean = session_mean(daily, horizon_sessions, shared_learning(known["session"], known["fold"]))
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
        f"{title}: mean {num(mean.value, 3, True)} ± {num(Z95 * mean.error, 3)} (95 %) "
        f"over {n} sessions"
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
def deciles_figure(
    decile_returns: pd.DataFrame, horizon_sessions: int = 5, spread_error: float | None = None
) -> Chart:
    """Mean excess return over the horizon by decile of the score, with 95 % bars.

    Columns `decile` (1 = lowest scores), `excess_return`, `error`. `spread_error` is the standard
    error of the difference between the outer two (metric `decile_spread_error`).
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
    interval = "" if spread_error is None else f" ± {num(1e4 * Z95 * spread_error, 1)}"
    axes.set_title(f"Top less bottom decile: {bps(spread)}{interval}")
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
    models = list(known["model"].unique())  # the learner chosen comes first
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


@chart
def decay_figure(decay: pd.DataFrame, horizon_sessions: int = 5) -> Chart:
    """Rank IC by how far ahead the outcome lies, with 95 % bars (`evaluation_groups.ic_decay`)."""
    title = "Decay of the rank IC, 95 % bars"
    known = decay.dropna(subset=["rank_ic"]) if len(decay) else decay
    if known.empty:
        return placeholder(NOT_TRAINED, title, HALF)
    figure = canvas(2.6, HALF)
    axes = figure.subplots()
    _error_bars(axes, range(len(known)), known)
    axes.set_xticks(range(len(known)), known["horizon"].astype(str))
    for text, ahead in zip(axes.get_xticklabels(), known["horizon"]):
        text.set_fontweight("bold" if ahead == horizon_sessions else "normal")
    axes.set_xlabel("sessions ahead; bold: what was learnt")
    axes.set_title(title)
    return figure


def _error_bars(axes: Axes, at: Sequence[int], skill: pd.DataFrame) -> None:
    """Points of `rank_ic` at places along x, with 95 % bars and a line at zero."""
    error = Z95 * skill["rank_ic_error"].fillna(0.0)
    axes.errorbar(at, skill["rank_ic"], yerr=error, fmt="o", color=BLUE, ms=3.5, elinewidth=0.9)
    axes.axhline(0, color=INK, linewidth=0.6)


@chart
def skill_figure(skill: pd.DataFrame, part: str) -> Chart:
    """Rank IC of each part with 95 % bars; `part` is "fold", "year" or "sector" and a column.

    A frame of `evaluation_groups.by_fold`, `by_year` or `by_sector`.
    """
    title = f"Rank IC by {part}"
    known = skill.dropna(subset=["rank_ic"]) if len(skill) else skill
    if known.empty:
        return placeholder(NOT_TRAINED, title, HALF)
    names = [str(name) for name in known[part]]
    width = WIDTH if max(map(len, names)) > 10 else HALF
    figure = canvas(bar_height(len(known), 0.2), width)
    axes = figure.subplots()
    error = Z95 * known["rank_ic_error"].fillna(0.0)
    places = range(len(known))
    axes.errorbar(known["rank_ic"], places, xerr=error, fmt="o", color=BLUE, ms=3.5, elinewidth=0.9)
    axes.axvline(0, color=INK, linewidth=0.6)
    names_axis(axes, names)
    axes.locator_params(axis="x", nbins=5)
    beyond = int((known["rank_ic"].abs() > error).sum())
    axes.set_title(f"{title}: {beyond} of {len(known)} bars (95 %) off zero")
    return figure


@chart
def shap_figure(shap: pd.DataFrame, n: int = 20) -> Chart:
    """Mean absolute contribution of the features (`evaluation_attribution.shap`).

    Blue: more of it raises the score; orange: lowers it.
    """
    title = "Mean contribution to the log odds (SHAP)"
    if shap.empty:
        return placeholder(NOT_TRAINED, title)
    shown = shap.head(n)
    figure = canvas(bar_height(len(shown)))
    axes = figure.subplots()
    colours = signed(shown["direction"])
    axes.barh(range(len(shown)), shown["mean_abs"], height=0.68, color=colours)
    names_axis(axes, list(shown["feature"]))
    axes.set_xlabel("blue: more of it raises the score · orange: lowers it")
    axes.set_title(title)
    return figure


@chart
def signal_turnover_figure(turnover: pd.DataFrame) -> Chart:
    """How much of a score's order and of its top fifth is left (`evaluation_signal`)."""
    title = "Kept of the score"
    known = turnover.dropna() if len(turnover) else turnover
    if known.empty:
        return placeholder(NOT_TRAINED, title, HALF)
    figure = canvas(2.6, HALF)
    axes = figure.subplots()
    places = range(len(known))
    axes.plot(places, known["rank_autocorrelation"], "o-", ms=3.5, label="rank autocorrelation")
    stays = 1 - known["top_turnover"]
    axes.plot(places, stays, "s-", ms=3.5, color=ORANGE, label="still in the top fifth")
    axes.set_xticks(places, known["lag"].astype(str))
    axes.set_ylim(min(0.0, float(known["rank_autocorrelation"].min())) - 0.02, 1.02)
    axes.set_xlabel("sessions later")
    axes.legend(loc="lower left")
    axes.set_title(f"{title}: {pct(stays.iloc[0], 0)} of the top, next session")
    return figure


@chart
def overfitting_figure(found: Overfitting, horizon_sessions: int = 5) -> Chart:
    """Annual Sharpe ratio of the best trial of half the blocks, there and in the other half.

    Of returns over `horizon_sessions`. The trials are those compared on this page, not those of the
    ledger.
    """
    choices, year = found.choices, (252 / horizon_sessions) ** 0.5
    figure = canvas(2.6, HALF)
    axes = figure.subplots()
    axes.scatter(
        year * choices["in_sample"], year * choices["out_of_sample"], s=5, color=SKY, linewidth=0
    )
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlabel="Sharpe ratio where it was chosen", ylabel="and where it was not")
    axes.set_title(
        f"Best of {found.trials} shown here: overfit in {pct(found.probability, 0)}\n"
        f"of {len(choices)} choices, a loss in {pct(found.probability_of_loss, 0)}"
    )
    return figure
