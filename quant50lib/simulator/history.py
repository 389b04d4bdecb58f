"""GET /v2/account/portfolio/history: equity over time, by session or within it.

A point is labelled by the beginning of its interval and carries the equity at its end, of the
running interval that of the moment. Within sessions the past is worked out anew from the cash
ledger and the activities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.simulator.account import figures
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.life import EXTENDED
from quant50lib.simulator.listing import flag
from quant50lib.simulator.records import EXACT, ZERO, Activity, moved
from quant50lib.simulator.refusals import invalid, unprocessable
from quant50lib.simulator.timetable import SECOND, new_york_date, parse_bound

PERIOD = re.compile(r"^(\d{1,4})([DWMA])$")
UNITS = {"D": "days", "W": "weeks", "M": "months", "A": "years"}
LENGTHS = {"D": 1, "W": 7, "M": 30, "A": 365}  # days
STEPS = {"1Min": 60, "5Min": 300, "15Min": 900, "1H": 3600}  # seconds
REPORTING = ("market_hours", "extended_hours", "continuous")
DAY = 86_400 * SECOND
MOST_DAYS = 30  # of points within sessions

Query = Mapping[str, str]


@dataclass(frozen=True)
class Window:
    """Instants asked for, both included, and the sessions they lie in."""

    start: int
    end: int
    first: int
    last: int

    @property
    def days(self) -> float:
        return (self.end - self.start) / DAY


@dataclass(frozen=True)
class Points:
    """Equity at the end of intervals; `base` is what each is compared with."""

    at: list[int]  # where the intervals begin
    until: list[int]
    equity: list[Decimal]
    base: list[Decimal]


def equity_history(exchange: Exchange, query: Query) -> dict[str, Any]:
    """The body of the reply; sessions before the account carry 0.

    Raises
    ------
    Refusal
        422 where parameters contradict each other or are none.
    """
    window = _window(exchange, query)
    timeframe = query.get("timeframe") or _usual_timeframe(query, window)
    if timeframe == "1D":
        points = _by_session(exchange, window)
    elif timeframe not in STEPS:
        raise invalid(f"invalid timeframe: {timeframe}")
    elif window.days > MOST_DAYS + 1:
        raise unprocessable(f"only timeframe 1D is allowed for more than {MOST_DAYS} days")
    else:
        points = _within_sessions(exchange, window, STEPS[timeframe] * SECOND, query)
    base = points.base[0] if points.base else _base(exchange, window.first)
    gains = [value - own if value else ZERO for value, own in zip(points.equity, points.base)]
    return {
        "timestamp": [at // SECOND for at in points.at],
        "equity": [float(value) for value in points.equity],
        "profit_loss": [float(gain) for gain in gains],
        "profit_loss_pct": [
            float(gain / own) if own else None for gain, own in zip(gains, points.base)
        ],
        "base_value": float(base),
        "base_value_asof": str(exchange.times.day(max(window.first - 1, 0))),
        "timeframe": timeframe,
        "cashflow": _cashflow(exchange, points, query),
    }


def _usual_timeframe(query: Query, window: Window) -> str:
    """By the length asked for; a month has thirty days."""
    found = PERIOD.match(query.get("period") or "1M")
    days = window.days if query.get("start") and not query.get("period") else 0.0
    days = days or (int(found[1]) * LENGTHS[found[2]] if found else 0.0)
    if days < 7:
        return "1Min"
    return "15Min" if days < MOST_DAYS else "1D"


# ---- the window


def _window(exchange: Exchange, query: Query) -> Window:
    """From at most two of start, end (or the older date_end) and period."""
    given = [name for name in ("start", "end", "period") if query.get(name)]
    if len(given) == 3:
        raise invalid("at most two of start, end and period are accepted")
    period, now = query.get("period") or "1M", exchange.now
    start, end = _bound(query, "start"), _bound(query, "end") or _bound(query, "date_end")
    if start is not None and end is None and query.get("period"):
        end = _shift(exchange, start, period, 1)
    end = min(end if end is not None else now, now)
    start = _shift(exchange, end, period, -1) if start is None else start
    times = exchange.times
    first = times.index_of(new_york_date(start))
    return Window(start, max(end, start), first, times.current(end))


def _bound(query: Query, name: str) -> int | None:
    if not query.get(name):
        return None
    try:
        return parse_bound(query[name], last=name != "start")
    except (ValueError, OverflowError) as error:
        raise invalid(f"invalid {name}: {query[name]}") from error


def _shift(exchange: Exchange, at: int, period: str, sign: int) -> int:
    """The other end of a period: D counts sessions, W, M and A go by the calendar."""
    found = PERIOD.match(period)
    if not found or not int(found[1]):
        raise invalid(f"invalid period: {period}")
    n, unit, times = int(found[1]), found[2], exchange.times
    if unit == "D":
        here = times.current(at) if sign < 0 else times.index_of(new_york_date(at))
        there = min(max(here + sign * (n - 1), 0), len(times.days) - 2)
        return int(times.midnights[there]) if sign < 0 else int(times.closes[there])
    try:
        day = pd.Timestamp(new_york_date(at)) + sign * pd.DateOffset(**{UNITS[unit]: n})
        return parse_bound(str((day - sign * pd.Timedelta(days=1)).date()), last=sign > 0)
    except (ValueError, OverflowError) as error:
        raise invalid(f"invalid period: {period}") from error


# ---- by session


def _by_session(exchange: Exchange, window: Window) -> Points:
    closes = {close.seq: close.equity for close in exchange.closes}
    running = exchange.times.live(exchange.now)
    if exchange.times.is_open(exchange.now):
        closes[running] = figures(exchange).equity
    last = min(window.last, running if running in closes else running - 1)
    sessions = range(window.first, last + 1)
    return Points(
        at=[int(exchange.times.opens[session]) for session in sessions],
        until=[int(exchange.times.closes[session]) for session in sessions],
        equity=[closes.get(session, ZERO) for session in sessions],
        base=[_base(exchange, window.first)] * len(sessions),
    )


def _base(exchange: Exchange, session: int) -> Decimal:
    """Equity at the last close before a session; the opening balance where there is none."""
    before = [close.equity for close in exchange.closes if close.seq < session]
    return before[-1] if before else Decimal(exchange.rules.cash)


# ---- within sessions


def _within_sessions(exchange: Exchange, window: Window, step: int, query: Query) -> Points:
    reporting = query.get("intraday_reporting") or REPORTING[int(flag(query, "extended_hours"))]
    reset = query.get("pnl_reset") or "per_day"
    if reporting not in REPORTING:
        raise invalid(f"invalid intraday_reporting: {reporting}")
    if reset not in ("per_day", "no_reset"):
        raise invalid(f"invalid pnl_reset: {reset}")
    labels = _labels(exchange, window, step, reporting)
    ends = [min(at + step - 1, exchange.now) for at in labels]
    sessions = [exchange.times.current(at) for at in labels]
    bases = {s: _base(exchange, s) for s in {*sessions, window.first}}
    own = [bases[s if reset == "per_day" else window.first] for s in sessions]
    return Points(labels, ends, _equity_at(exchange, ends), own)


def _labels(exchange: Exchange, window: Window, step: int, reporting: str) -> list[int]:
    """Where the intervals begin, in the hours that are reported."""
    times = exchange.times
    spans = {
        "market_hours": (times.opens, times.closes),
        "extended_hours": (times.early, times.closes + EXTENDED),
        "continuous": (times.midnights, times.midnights[1:]),
    }
    starts, ends = spans[reporting]
    last = min(window.end, exchange.now)
    return [
        int(at)
        for session in range(times.current(window.start), window.last + 1)
        for at in np.arange(starts[session], ends[session], step)
        if window.start <= at <= last
    ]


def _equity_at(exchange: Exchange, moments: list[int]) -> list[Decimal]:
    """Equity at rising moments, from cash and shares as they were; 0 before the account."""
    entries, rows = iter(exchange.ledger), iter(exchange.activities)
    entry, row = next(entries, None), next(rows, None)
    cash, shares, found = ZERO, dict[str, Decimal](), list[Decimal]()
    still: tuple[int, Decimal] | None = None  # the session to come, and the value until then
    for at in moments:
        if (entry and entry.t <= at) or (row and row.at <= at):
            still = None
        while entry and entry.t <= at:
            cash, entry = entry.balance, next(entries, None)
        while row and row.at <= at:
            _move(shares, row)
            row = next(rows, None)
        ahead = exchange.times.live(at)
        if still is None or still[0] != ahead or exchange.times.is_open(at):
            still = (ahead, EXACT.add(cash, _value(exchange, shares, at)))
        found.append(still[1])
    return found


def _move(shares: dict[str, Decimal], row: Activity) -> None:
    symbol = row.body["symbol"]
    shares[symbol] = shares.get(symbol, ZERO) + moved(row)


def _value(exchange: Exchange, shares: dict[str, Decimal], at: int) -> Decimal:
    held = ((symbol, qty) for symbol, qty in shares.items() if qty)
    values = (EXACT.multiply(qty, exchange.prices.last(s, at) or ZERO) for s, qty in held)
    return sum(values, ZERO)


# ---- cash that came and went


def _cashflow(exchange: Exchange, points: Points, query: Query) -> dict[str, list[float]]:
    """Amounts of activities other than trades, by type and interval."""
    asked = set(filter(None, query.get("cashflow_types", "").split(",")))
    if not asked or asked == {"NONE"}:
        return {}
    found: dict[str, list[float]] = {}
    for row in exchange.activities:
        amount = Decimal(row.body.get("net_amount") or 0)
        if row.type == "FILL" or not amount or not (asked & {"ALL", row.type}):
            continue
        place = int(np.searchsorted(points.at, row.at, "right")) - 1
        if 0 <= place < len(points.at) and row.at <= points.until[-1]:
            series = found.setdefault(row.type, [0.0] * len(points.at))
            series[place] += float(amount)
    return found
