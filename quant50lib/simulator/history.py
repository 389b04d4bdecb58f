"""GET /v2/account/portfolio/history: equity at each close."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.simulator.account import figures
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.refusals import invalid, unprocessable
from quant50lib.simulator.timetable import SECOND, new_york_date, parse_bound

PERIOD = re.compile(r"^(\d+)([DWMA])$")
UNITS = {"W": "weeks", "M": "months", "A": "years"}


def equity_history(exchange: Exchange, query: Mapping[str, str]) -> dict[str, Any]:
    """Arrays over sessions: the open of the session, equity at its close, gain since the base.

    The running session carries the equity of the moment; sessions before the account carry 0.
    """
    if query.get("timeframe") not in (None, "", "1D"):
        raise unprocessable(f"timeframe {query['timeframe']} is not simulated; ask for 1D")
    first, last = _window(exchange, query)
    closes = {close.seq: close.equity for close in exchange.closes}
    running = exchange.times.live(exchange.now)
    if exchange.times.is_open(exchange.now):
        closes[running] = figures(exchange).equity
    sessions = range(first, min(last, running if running in closes else running - 1) + 1)
    equity = [closes.get(session, Decimal(0)) for session in sessions]
    base = closes.get(first - 1, Decimal(exchange.rules.cash))
    gains = [value - base if value else Decimal(0) for value in equity]
    return {
        "timestamp": [int(exchange.times.opens[session]) // SECOND for session in sessions],
        "equity": [float(value) for value in equity],
        "profit_loss": [float(gain) for gain in gains],
        "profit_loss_pct": [float(gain / base) if base else None for gain in gains],
        "base_value": float(base),
        "base_value_asof": str(exchange.times.day(max(first - 1, 0))),
        "timeframe": "1D",
        "cashflow": {},
    }


def _window(exchange: Exchange, query: Mapping[str, str]) -> tuple[int, int]:
    """The first and last session asked for."""
    given = [name for name in ("start", "end", "period") if query.get(name)]
    if len(given) == 3:
        raise invalid("at most two of start, end and period are accepted")
    try:
        ends = {k: parse_bound(query[k], last=k == "end") for k in given if k != "period"}
    except ValueError as error:
        raise invalid(f"invalid start or end: {error}") from error
    times, period = exchange.times, query.get("period") or "1M"
    if "start" in ends and "period" in given:
        first = times.index_of(new_york_date(ends["start"]))
        return first, _shift(exchange, first, period, 1)
    last = times.current(min(ends.get("end", exchange.now), exchange.now))
    if "start" in ends:
        return times.index_of(new_york_date(ends["start"])), last
    return _shift(exchange, last, period, -1), last


def _shift(exchange: Exchange, session: int, period: str, sign: int) -> int:
    """The session a period away: D counts sessions, W, M and A go by the calendar."""
    found = PERIOD.match(period)
    if not found:
        raise invalid(f"invalid period: {period}")
    n, unit = int(found[1]), found[2]
    if unit == "D":
        return session + sign * (n - 1)
    day = pd.Timestamp(exchange.times.day(session))
    moved = day + sign * pd.DateOffset(**{UNITS[unit]: n})
    return int(np.searchsorted(exchange.times.days, np.datetime64(moved.date()), "right"))
