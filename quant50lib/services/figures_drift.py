"""What has drifted, to look at: stability of features and score, and the IC since training."""

from __future__ import annotations

import pandas as pd

from quant50lib.services.report_html import Html, facts_table
from quant50lib.services.report_style import (
    INK,
    ORANGE,
    SKY,
    Chart,
    bar_height,
    canvas,
    chart,
    names_axis,
    num,
    placeholder,
)


@chart
def drift_figure(drift: pd.DataFrame, n: int = 12) -> Chart:
    """Population stability index of the score and of the features that moved most (table `Drift`).

    The line is the limit; what exceeds it is orange.
    """
    title = "Drift against training (population stability index)"
    known = drift[(drift["measure"] != "ic") & drift["value"].notna()]
    if known.empty:
        return placeholder("no model in use, or too few names to compare", title)
    shown = known.sort_values("value", ascending=False).head(n)
    figure = canvas(bar_height(len(shown)))
    axes = figure.subplots()
    colours = [ORANGE if alarm else SKY for alarm in shown["alarm"]]
    axes.barh(range(len(shown)), shown["value"], height=0.68, color=colours)
    axes.axvline(float(shown["limit"].iloc[0]), color=INK, linewidth=0.8)
    names_axis(axes, list(shown["name"]))
    axes.set_title(f"{title}: {int(known['alarm'].sum())} of {len(known)} above the limit")
    return figure


def drift_table(drift: pd.DataFrame) -> Html:
    """The day against training, and the model's rank IC since, in sentences (table `Drift`)."""
    if drift.empty:
        return facts_table({"Drift": "no model in use: nothing to compare"})
    return facts_table(
        {
            "Features that drifted": _features(drift[drift["measure"] == "feature"]),
            "Score of today against training": _score(drift[drift["measure"] == "score"]),
            "Rank IC since training, 95% at any time": _ic(drift[drift["measure"] == "ic"]),
        }
    )


def _features(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset=["value"])
    if known.empty:
        return "too few names to compare"
    loud = known[known["alarm"]].sort_values("value", ascending=False)
    worst = known.loc[known["value"].idxmax()]
    if loud.empty:
        return f"none of {len(known)}; most: {worst['name']}, {num(worst['value'], 2)}"
    return f"{len(loud)} of {len(known)}: " + ", ".join(loud["name"].head(5))


def _score(rows: pd.DataFrame) -> str:
    value, limit = float(rows["value"].iloc[0]), float(rows["limit"].iloc[0])
    if pd.isna(value):
        return "too few names to compare"
    word = "drifted" if rows["alarm"].iloc[0] else "alike"
    return f"{word}: stability index {num(value, 2)}, limit {num(limit, 2)}"


def _ic(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    if pd.isna(row["value"]):
        return "no label known yet"
    band = f"{num(row['low'], 2, True)} to {num(row['high'], 2, True)}"
    alarm = "; the model does harm" if row["alarm"] else ""
    return f"{num(row['value'], 3, True)}, {band}, {row['n']} sessions apart by a horizon{alarm}"
