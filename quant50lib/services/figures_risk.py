"""Figures and tables of what the book risks: exposures, bad sessions, the forecast and its alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.services import alarm
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.report_attention import Scraps
from quant50lib.services.report_header import Line
from quant50lib.services.report_html import Column, Html, beside, facts_table, note, table, text
from quant50lib.services.report_style import (
    BLUE,
    ORANGE,
    SOFT,
    WIDTH,
    Chart,
    canvas,
    chart,
    date_axis,
    num,
    pct,
    pct_axis,
    placeholder,
    usd,
)
from quant50lib.services.tail import LEVELS

#: sessions in a standard deviation that is drawn
ROLLING = 21
MEASURES = {"value_at_risk": "Value at risk", "expected_shortfall": "Expected shortfall"}
NO_BOOK = "nothing is wanted: there is no exposure"


def _recorded(told: Scraps) -> Mapping[str, Any]:
    """What notebook 05 recorded of the weights wanted; see `book.exposures`."""
    return told.get("optimize", {}).get("exposure", {})


def exposure_table(told: Scraps, benchmark: str) -> Html:
    """Market, names, and the way out, of the weights wanted."""
    said = _recorded(told)
    if not said.get("largest_name"):
        return note(NO_BOOK)
    return facts_table(
        {
            f"Beta to {benchmark}": num(said["beta"], 2),
            "Effective names": num(said["effective_names"], 1),
            "Largest name": f"{said['largest_name']}, {pct(said['largest_weight'], 2)}",
            "Sessions to sell 95%": _sessions(said["sessions_to_exit_95_percent"]),
            "Sessions to sell all": _sessions(said["sessions_to_exit"]),
            "Slowest to sell": str(said["slowest_name_to_exit"]),
        },
        right=True,
    )


def _sessions(value: float) -> str:
    """A stay at the exit; without volume it has no end."""
    if not np.isfinite(value):
        return "no end: no volume"
    return num(value, 1) if value >= 0.1 else "under 0.1"


def tail_table(told: Scraps, equity_usd: float) -> Html:
    """What one bad session may cost the weights wanted: two measures, two levels, two views."""
    said = _recorded(told)
    if not said.get("largest_name"):
        return note(NO_BOOK)
    rows = [
        {
            "measure": f"{words}, {level:.0%}",
            **{
                view: said[f"{name}_{level:.0%}_{view}".replace("%", "_percent")]
                for view in ("historical", "parametric")
            },
        }
        for name, words in MEASURES.items()
        for level in LEVELS
    ]
    loss = lambda share: f"{pct(share, 2)} · {usd(share * equity_usd)}"  # noqa: E731
    columns = {
        "measure": text("Of one session"),
        "historical": Column("Replayed year", loss),
        "parametric": Column("Forecast, normal law", loss),
    }
    return table(pd.DataFrame(rows), columns)


def exposures(told: Scraps, benchmark: str, equity_usd: float) -> Html:
    """Both beside each other."""
    return beside(exposure_table(told, benchmark), tail_table(told, equity_usd), widths=(2.7, 4.3))


def alarm_line(stand: alarm.Standing) -> Line:
    """Whether the volatility forecast holds, as a sentence of the summary."""
    if not stand.sessions:
        return "Forecast of risk: not yet held against a session of this year.", False
    said = f"realised over forecast volatility {num(stand.realised_over_forecast, 2)}"
    n = min(stand.sessions, alarm.QUARTER)
    over = f"{said} over {n} session{'s' if n > 1 else ''}"
    if not stand.raised:
        return f"Forecast of risk: {over}, no alarm.", False
    return f"ALARM: volatility is forecast {stand.raised}: {over}.", True


def alarm_table(stand: alarm.Standing) -> Html:
    """The alarm's evidence on both sides."""
    if not stand.sessions:
        return note("no session of this year had a forecast yet: nothing to hold it against")
    needed = num(stand.needed, 0)
    return facts_table(
        {
            "Alarm of the year": f"forecast {stand.raised}" if stand.raised else "none",
            "Evidence: forecast too low": f"{num(stand.too_low, 2)} of {needed}",
            "Evidence: forecast too high": f"{num(stand.too_high, 2)} of {needed}",
            "Realised over forecast": num(stand.realised_over_forecast, 2),
            "Sessions this year": num(stand.sessions, 0),
        },
        right=True,
    )


def forecast_held(surprises: pd.DataFrame, stand: alarm.Standing, limit: float) -> Html:
    """The volatility forecast against the one that came, and the alarm.

    Parameters
    ----------
    surprises
        As `pipeline.surprises` makes it.
    limit
        Annual volatility.
    """
    known = surprises[surprises["return"].notna()]
    if not known["forecast"].notna().any():
        return note("no session had a forecast yet: there is no volatility to hold it against")
    drawn = forecast_figure(known["return"], known["forecast"], limit, 4.3)
    return beside(drawn, alarm_table(stand), widths=(4.3, 2.7))


@chart
def forecast_figure(
    returns: pd.Series, forecast: pd.Series, limit: float, width: float = WIDTH
) -> Chart:
    """Volatility that was forecast and the one that came, both annual.

    Parameters
    ----------
    returns, forecast : Series by session
        Of the book, and the annual volatility forecast for each session; NaN where none was.
    limit
        Annual, a line.
    """
    title = "Volatility, forecast and realised"
    if len(returns) < ROLLING + 1:
        return placeholder(f"fewer than {ROLLING + 1} sessions", title, width)
    realised = returns.rolling(ROLLING).std() * np.sqrt(SESSIONS_PER_YEAR)
    surprise = returns / (forecast.where(forecast > 0) / np.sqrt(SESSIONS_PER_YEAR))
    ratio = alarm.realised_over_forecast(surprise, len(surprise))
    figure = canvas(2.0, width)
    axes = figure.subplots()
    axes.plot(forecast.rolling(ROLLING, min_periods=1).mean(), color=SOFT, label="forecast")
    axes.plot(realised, color=BLUE, label="realised")
    axes.axhline(limit, color=ORANGE, linewidth=0.8, label="limit")
    axes.set_ylim(0)
    axes.legend(loc="best", ncols=3)
    pct_axis(axes.yaxis, 0)
    date_axis(axes)
    axes.set_title(f"Volatility of {ROLLING} sessions; realised over forecast {num(ratio, 2)}")
    return figure
