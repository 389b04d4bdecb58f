"""Gates that look at a bar by itself, or at whether it is there at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services import adjust
from quant50lib.services.adjust import PRICES
from quant50lib.services.quality_scan import Hits, Scan, hits

#: prices may disagree by rounding of a feed, relative
ROUNDING = 1e-6


def stale(scan: Scan) -> Hits:
    """No bar on the day, though there were bars before."""
    present = scan.raw.present
    last = scan.n_sessions - 1 - present[::-1].argmax(axis=0)
    mask = np.zeros(present.shape, dtype=bool)
    mask[-1] = present.any(axis=0) & ~present[-1]
    return hits(mask, lambda r, c: f"no bar since {scan.day(last[c])}")


def gap(scan: Scan) -> Hits:
    """Sessions without a bar between two with one; reported at the last of them."""
    present = scan.raw.present
    ahead = np.zeros(present.shape, dtype=bool)
    ahead[:-1] = ~present[:-1] & present[1:]
    begun = np.maximum.accumulate(present, axis=0)
    before = np.where(present, np.arange(scan.n_sessions)[:, None], -1)
    before = np.maximum.accumulate(before, axis=0)
    return hits(ahead & begun, lambda r, c: f"{r - before[r, c]} sessions without a bar", 1)


def duplicate(scan: Scan) -> Hits:
    """Two different bars of one session, known at the same moment."""
    mask = np.zeros(scan.raw.present.shape, dtype=bool)
    again = (
        len(scan.bars) > scan.raw.present.sum()
    )  # looked for only where there is one: it is slow
    rows = scan.bars.drop_duplicates() if again else scan.bars[:0]
    twice = rows[rows.duplicated(["symbol", "session"])]
    at = scan.raw.sessions.get_indexer(pd.DatetimeIndex(twice["session"]))
    mask[at[at >= 0], scan.raw.symbols.get_indexer(twice["symbol"])[at >= 0]] = True
    return hits(mask, lambda r, c: "two different bars of one session")


def not_positive(scan: Scan) -> Hits:
    """A price that is missing, zero or negative, or a volume that is missing or negative."""
    bad = ~(scan.field("volume") >= 0)
    for name in PRICES:
        bad |= ~(scan.field(name) > 0)
    names = (*PRICES, "volume")
    return hits(
        bad & scan.raw.present,
        lambda r, c: ", ".join(f"{name} {scan.field(name)[r, c]:g}" for name in names),
    )


def ohlc(scan: Scan) -> Hits:
    """High below, or low above, another price of the same bar."""
    opening, high, low, close = (scan.field(name) for name in PRICES)
    slack = ROUNDING * np.abs(close)
    below = high < np.maximum(np.maximum(opening, close), low) - slack
    above = low > np.minimum(np.minimum(opening, close), high) + slack
    return hits(
        below | above,
        lambda r, c: f"open {opening[r, c]:g}, high {high[r, c]:g}, "
        f"low {low[r, c]:g}, close {close[r, c]:g}",
    )


def zero_volume(scan: Scan) -> Hits:
    """A bar in which nothing was traded."""
    return hits(scan.field("volume") == 0, lambda r, c: "no share was traded")


def action(scan: Scan) -> Hits:
    """A corporate action that the adjustment does not apply: returns across it are not whole."""
    left = scan.actions[~adjust.applied(scan.actions)]
    rows, cols, acts = adjust.placed(scan.raw, left)
    return Hits(rows, cols, [f"{kind} is not applied to prices" for kind in acts["type"]], rows)
