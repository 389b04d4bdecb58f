"""Each part of the risk forecast on real bars: realised over ex-ante volatility of optimised books.

Usage: risk_forecast.py FILE.parquet [FIRST LAST NAMES]. The bars are symbol, date, OHLC, volume.

A book without alpha (an equal premium) is optimised at every close with solver = "fast" and filled
there; the next session's return over the volatility forecast for it is one observation. The rows
are the slow shape alone, with the fast scale, and with the feedback of the book's own surprises.
Prints JSON rows: `ratio` is realised over ex-ante, to be near 1 (`target` 1 is not a lower bound).
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd

from quant50lib.services import covariance, optimize, risk
from quant50lib.services.panel import Panel
from quant50lib.settings import OptimizeSettings, RiskSettings

HORIZON, A_YEAR = 5, 252
PREMIUM = 0.05 * HORIZON / A_YEAR
#: with so long a memory the fast scale is 1: no part of the level
NO_SCALE = 1e9
PARTS = (
    ("slow shape", False, False),
    ("slow shape, fast scale", True, False),
    ("slow shape, feedback", False, True),
    ("slow shape, fast scale, feedback", True, True),
)


def panel_of(path: str, n: int) -> Panel:
    """The names with the largest volume of the first 252 sessions."""
    bars = pd.read_parquet(path).rename(columns={"date": "session"})
    bars["session"] = pd.to_datetime(bars["session"]).astype("datetime64[us]")
    fields = ("open", "high", "low", "close", "volume")
    wide = {
        f: bars.pivot(index="session", columns="symbol", values=f).astype(float) for f in fields
    }
    dollars = wide["close"] * wide["volume"]
    panel = Panel(**wide, traded_close=wide["close"], dollar_volume=dollars)
    return panel.only(sorted(dollars.iloc[:A_YEAR].median().nlargest(n).index))


def surprises(panel: Panel, first: str, last: str, scale: bool, learns: bool) -> np.ndarray:
    """Return of each session over the daily volatility that was forecast for it."""
    asked = OptimizeSettings(solver="fast")
    if not scale:
        asked = asked.model_copy(update={"fast_scale_sessions": NO_SCALE})
    moves, level, found = panel.close.ffill().pct_change(), 1.0, []
    book = pd.Series(dtype=float)
    days = panel.sessions[(panel.sessions >= first) & (panel.sessions <= last)]
    for today, following in zip(days[:-1], days[1:], strict=True):
        known = panel.until(today)
        names = covariance.eligible(known, asked)
        model = covariance.risk_model(known, names, asked, HORIZON, level if learns else 1.0)
        premium = pd.Series(PREMIUM, index=names)
        book = optimize.target_weights(
            premium,
            0 * premium,
            model,
            book,
            pd.Series("One", index=panel.symbols, dtype="str"),
            pd.Series(True, index=names),
            {},
            1.0,
            asked.model_copy(update={"max_sector": 1.0, "swap_solves": 0}),
            HORIZON,
        ).weights
        book = book[book > 0]
        gain = moves.loc[following].reindex(book.index).fillna(0.0)
        surprise = float(book @ gain) / (model.volatility_annual(book) / np.sqrt(A_YEAR))
        found.append(surprise)
        if learns:
            level = risk.feedback(level, surprise, RiskSettings())
        grown = book * (1 + gain)
        book = grown / (1 - book.sum() + grown.sum())
    return np.array(found)


def main() -> None:
    """A row for each combination of parts."""
    path, *rest = sys.argv[1:]
    first, last, n = rest or ("2014-06-02", "2017-12-29", "100")
    panel = panel_of(path, int(n))
    rows = []
    for name, scale, learns in PARTS:
        z = surprises(panel, first, last, scale, learns)
        ratio = float(np.sqrt(np.mean(z**2)))
        rows.append(
            {
                "measure": f"{name}: realised over ex-ante volatility, {len(z)} sessions",
                "ours": ratio,
                "peer": "a perfect forecast",
                "theirs": 1.0,
                "unit": "",
                "ratio": ratio,
                "target": None,
            }
        )
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
