"""Figures of the book wanted, its rules and its orders (notebooks 05 and 06)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from quant50lib.services import risk
from quant50lib.services.limits import FLOORS
from quant50lib.services.report_style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    RED,
    SKY,
    SOFT,
    TEAL,
    WIDTH,
    Chart,
    bar_height,
    canvas,
    chart,
    names_axis,
    num,
    pct,
    pct_axis,
    placeholder,
    usd,
    usd_axis,
)
from quant50lib.settings import RiskSettings

RULES = {
    "names": "Names held",
    "gross": "Invested",
    "cash": "Cash",
    "volatility": "Volatility, annual",
    "turnover": "Turnover of the day",
    "max_weight": "Largest name",
    "min_weight": "Smallest name",
    "no_forecast": "Without forecast",
}
#: rules in numbers; all others are fractions
COUNTED = ("names",)
SIDE_COLOUR = {"buy": BLUE, "sell": ORANGE}
NO_ORDERS = "no orders: the book is where it is wanted"


def rule_name(rule: str) -> str:
    """A rule of the table `Limit` in words; `sector:Energy` is 'Sector: Energy'."""
    kind, _, name = rule.partition(":")
    return RULES.get(rule) or ": ".join(filter(None, (kind.replace("_", " ").capitalize(), name)))


def rule_value(rule: str, value: float) -> str:
    """A value of a rule in its own unit."""
    return num(value, 0) if rule in COUNTED else pct(value, 2 if rule == "min_weight" else 1)


def usage(limits: pd.DataFrame) -> pd.Series:
    """How much of each limit is used, 1 = all of it; floors the other way round."""
    floor = limits["rule"].isin(FLOORS)
    top = limits["limit"].where(floor, limits["value"]).astype(float)
    bottom = limits["value"].where(floor, limits["limit"]).astype(float)
    used = top / bottom.where(bottom > 0)
    return used.fillna((top > 0).astype(float)).rename("usage")


def ordered(limits: pd.DataFrame) -> pd.DataFrame:
    """Rules of the whole book first, then the sectors from the fullest."""
    table = limits.assign(usage=usage(limits), is_sector=limits["rule"].str.startswith("sector:"))
    place = {rule: i for i, rule in enumerate(RULES)}
    table["place"] = table["rule"].map(place).fillna(len(place))
    return table.sort_values(
        ["is_sector", "place", "usage"], ascending=[True, True, False], ignore_index=True
    )


@chart
def weights_figure(target: pd.DataFrame) -> Chart:
    """Weight wanted against expected return; the area of a dot is its share of the book's risk."""
    title = "Weight against forecast"
    rows = target[(target["weight"] > 0) | (target["held"] > 0)]
    if rows.empty:
        return placeholder("nothing is held or wanted: all cash", title)
    move = np.sign((rows["weight"] - rows["held"]).round(6))
    figure = canvas(2.8)
    axes = figure.subplots()
    for sign, colour in ((1, BLUE), (-1, ORANGE), (0, SOFT)):
        some = rows[move == sign]
        size = 12 + 900 * some["risk_share"].abs()
        axes.scatter(
            1e4 * some["expected_return"],
            some["weight"],
            s=size,
            color=colour,
            alpha=0.7,
            linewidth=0,
        )
    for _, row in rows.nlargest(6, "weight").iterrows():
        axes.annotate(
            row["symbol"],
            (1e4 * row["expected_return"], row["weight"]),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=6.5,
            color=INK,
        )
    pct_axis(axes.yaxis)
    axes.set_ylim(bottom=-0.001)
    axes.set(xlabel="expected return over the horizon, bp", ylabel="weight wanted")
    axes.set_title(title)
    _legend(figure, {"bought": BLUE, "sold": ORANGE, "kept": SOFT})
    return figure


def _legend(figure: Chart, colours: dict[str, str]) -> None:
    """Dots of those colours, outside the axes at the upper right."""
    dots = [Line2D([], [], marker="o", ls="", ms=5, color=colour) for colour in colours.values()]
    figure.legend(dots, list(colours), loc="outside right upper")


@chart
def sectors_figure(
    weights: pd.DataFrame, cap: float, title: str = "Sectors", width: float = WIDTH
) -> Chart:
    """Weight of each sector against the cap.

    `weights` has `sector` and `weight`, and, where a change is to be shown, `held` (a Target).
    """
    columns = [name for name in ("weight", "held") if name in weights]
    sums = weights.groupby("sector")[columns].sum()
    sums = sums[(sums > 0).any(axis=1)].sort_values("weight", ascending=False)
    if sums.empty:
        return placeholder("nothing is held: all cash", title, width)
    figure = canvas(bar_height(len(sums), 0.19), width)
    axes = figure.subplots()
    places = np.arange(len(sums))
    over = sums["weight"] > cap + 1e-8
    axes.barh(places, sums["weight"], height=0.66, color=np.where(over, RED, SKY))
    if "held" in sums:
        axes.plot(sums["held"], places, "|", color=INK, markersize=9, mew=1.2)
    ends = zip(places, sums["weight"], sums.max(axis=1), strict=True)
    for place, weight, end in ends:
        axes.annotate(
            pct(weight),
            (end, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.8},
        )
    axes.axvline(cap, color=RED, linewidth=0.9, linestyle=(0, (4, 3)))
    names_axis(axes, list(sums.index))
    axes.set_xlim(0, max(cap * 1.12, float(sums.max().max()) * 1.15))
    pct_axis(axes.xaxis)
    before = ", stroke: before" if "held" in sums else ""
    axes.set_title(f"{title}, cap {pct(cap, 0)}{before}")
    return figure


@chart
def trades_figure(target: pd.DataFrame, n: int = 20) -> Chart:
    """The largest changes of weight, from what is held to what is wanted."""
    title = "Largest changes of weight"
    change = (target["weight"] - target["held"]).abs()
    moved = change[change > 1e-6].sort_values(ascending=False)
    if moved.empty:
        return placeholder("no change: the book is where it is wanted", title)
    rows = target.loc[moved.index[:n]].reset_index(drop=True)
    rises = rows["weight"] >= rows["held"]
    colours = np.where(rises, BLUE, ORANGE)
    figure = canvas(bar_height(len(rows)))
    axes = figure.subplots()
    axes.hlines(rows.index, rows["held"], rows["weight"], color=colours, linewidth=2, alpha=0.5)
    axes.scatter(rows["held"], rows.index, s=18, color="white", ec=colours, lw=1, zorder=3)
    axes.scatter(rows["weight"], rows.index, s=20, color=colours, zorder=3)
    names_axis(axes, list(rows["symbol"]))
    axes.set_xlim(left=min(-0.0005, -0.01 * axes.get_xlim()[1]))
    pct_axis(axes.xaxis)
    of = f", {len(rows)} of {len(moved)}" if len(moved) > n else ""
    axes.set_title(f"{title}{of}: from the ring to the dot, {pct(change.sum())} in all")
    return figure


@chart
def risk_figure(target: pd.DataFrame, n: int = 20) -> Chart:
    """Share of the book's variance beside the share of its capital, for the largest risks."""
    title = "Risk and capital"
    held = target[target["weight"] > 0]
    if held.empty:
        return placeholder("nothing is wanted: all cash", title)
    rows = held.nlargest(n, "risk_share").reset_index(drop=True)
    capital = rows["weight"] / held["weight"].sum()
    figure = canvas(bar_height(len(rows)))
    axes = figure.subplots()
    axes.barh(rows.index, rows["risk_share"], height=0.62, color=SKY)
    axes.plot(capital, rows.index, "|", color=INK, markersize=8, mew=1.2)
    names_axis(axes, list(rows["symbol"]))
    pct_axis(axes.xaxis)
    share = rows["risk_share"].sum()
    axes.set_title(
        f"{title}: {len(rows)} names carry {pct(share, 0)} of the variance; strokes: of the capital"
    )
    return figure


@chart
def limits_figure(limits: pd.DataFrame) -> Chart:
    """How much of each rule is used, with value and limit; what is left is head-room."""
    title = "Limits: what is used"
    if limits.empty:
        return placeholder("no limits were evaluated", title)
    rows = ordered(limits)
    used = rows["usage"].clip(0, 1.3)
    colours = np.where(rows["breached"], RED, np.where(rows["usage"] > 0.995, BLUE, SKY))
    figure = canvas(bar_height(len(rows), 0.19))
    axes = figure.subplots()
    axes.barh(rows.index, np.ones(len(rows)), height=0.62, color=FAINT, alpha=0.6)
    axes.barh(rows.index, used, height=0.62, color=colours)
    for place, row in rows.iterrows():
        least = ", at least " if row["rule"] in FLOORS else " of "
        axes.annotate(
            f"{rule_value(row['rule'], row['value'])}{least}"
            f"{rule_value(row['rule'], row['limit'])}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7,
            color=RED if row["breached"] else INK,
            annotation_clip=False,
        )
    names_axis(axes, [rule_name(rule) for rule in rows["rule"]])
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlim(0, max(1.02, float(used.max()) * 1.02))
    pct_axis(axes.xaxis, 0)
    breached = int(rows["breached"].sum())
    axes.set_title(f"{title} · {f'{breached} breached' if breached else 'none is breached'}")
    return figure


@chart
def brake_figure(state: pd.DataFrame, settings: RiskSettings, width: float = WIDTH) -> Chart:
    """The exposure budget as a function of drawdown, and where the book stands today."""
    figure = canvas(2.0, width)
    axes = figure.subplots()
    halt, end = risk.halt_level(settings), 1.2 * settings.drawdown_hard
    corners = [0.0, settings.drawdown_soft, halt]
    budgets = [risk.exposure_budget(fall, settings) for fall in corners]
    axes.plot([*corners, halt, end], [*budgets, 0.0, 0.0], color=SOFT)
    axes.axvspan(halt, end, color=FAINT, alpha=0.5, linewidth=0)
    axes.annotate("halt", (halt, 0.9), xytext=(4, 0), textcoords="offset points", color=SOFT)
    axes.set(xlim=(0, end), ylim=(-0.04, 1.08))
    axes.set(xlabel="drawdown of the episode", ylabel="exposure budget")
    pct_axis(axes.xaxis, 0)
    pct_axis(axes.yaxis, 0)
    axes.set_title("Drawdown brake" if state.empty else _stand(axes, state.iloc[-1]))
    return figure


def _stand(axes: Axes, today: pd.Series) -> str:
    """Mark where the book stands on the brake's curve, and say it."""
    colour = RED if today["halted"] else BLUE
    axes.plot([today["drawdown"]], [today["budget"]], "o", color=colour, ms=7, clip_on=False)
    fall = pct(today["drawdown"])
    if today["halted"]:
        return f"Halted, {fall} down"
    return f"Budget {pct(today['budget'], 0)}, {fall} down"


@chart
def orders_figure(orders: pd.DataFrame, n: int = 30) -> Chart:
    """The largest orders by notional: buys to the right, sells to the left; faint: not sent."""
    title = "Orders by notional"
    if orders.empty:
        return placeholder(NO_ORDERS, title)
    rows = orders.nlargest(n, "notional")
    flow = rows["notional"].where(rows["side"] == "buy", -rows["notional"])
    rows = rows.loc[flow.sort_values(ascending=False).index].reset_index(drop=True)
    flow = flow.sort_values(ascending=False, ignore_index=True)
    figure = canvas(bar_height(len(rows), 0.16))
    axes = figure.subplots()
    bars = axes.barh(rows.index, flow, height=0.7, color=rows["side"].map(SIDE_COLOUR))
    sent = ~rows["state"].isin(("deferred", "shadow", "refused"))
    for bar, went in zip(bars, sent, strict=True):
        bar.set_alpha(1.0 if went else 0.35)
    axes.axvline(0, color=INK, linewidth=0.6)
    names_axis(axes, list(rows["symbol"]))
    usd_axis(axes.xaxis)
    sums = orders.groupby("side")["notional"].sum()
    of = f", {n} of {len(orders)}" if len(orders) > n else ""
    faint = "" if sent.all() else "; faint: not sent"
    axes.set_title(
        f"{title}{of}: buys {usd(sums.get('buy', 0.0))}, sells {usd(sums.get('sell', 0.0))}{faint}"
    )
    return figure


@chart
def cash_figure(cash: float, orders: pd.DataFrame) -> Chart:
    """Cash before, what sells bring and buys take at the closes planned on, and cash after.

    Orders that were not sent move no cash.
    """
    going = orders[~orders["state"].isin(("deferred", "shadow", "refused", "cancelled", "expired"))]
    sums = going.groupby("side")["notional"].sum()
    sells, buys = float(sums.get("sell", 0.0)), float(sums.get("buy", 0.0))
    steps = [("Cash before", 0.0, cash, SOFT), ("Sells", cash, sells, ORANGE)]
    steps += [("Buys", cash + sells - buys, buys, BLUE)]
    steps += [("Cash after", 0.0, cash + sells - buys, TEAL)]
    figure = canvas(1.5)
    axes = figure.subplots()
    _steps(axes, steps)
    axes.set_title("Cash, at the closes the orders were planned on")
    return figure


def _steps(axes: Axes, steps: list[tuple[str, float, float, str]]) -> None:
    """A waterfall of (name, start, length, colour), drawn downwards."""
    for place, (_, start, length, colour) in enumerate(steps):
        axes.barh(place, length, left=start, height=0.62, color=colour)
        axes.annotate(
            usd(length),
            (start + max(length, 0.0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    names_axis(axes, [name for name, *_ in steps])
    axes.margins(x=0.12)
    usd_axis(axes.xaxis)
