"""GET /v3/clock and /v3/calendar/{market}: the newer clock, of one exchange."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Request, Response

from quant50lib.simulator.refusals import missing, unprocessable
from quant50lib.simulator.timetable import (
    NEW_YORK,
    SECOND,
    Timetable,
    calendar_row,
    moment,
    new_york_text,
    parse_bound,
)
from quant50lib.simulator.trading_routes import exchange_in, reply

sessions_routes = APIRouter(prefix="/v3")

MARKET = {
    "acronym": "NYSE",
    "bic": "XNYSUS33XXX",
    "mic": "XNYS",
    "name": "New York Stock Exchange",
    "timezone": "America/New_York",
}
NAMES = frozenset({"NYSE", "XNYS", "NASDAQ", "XNAS"})
DAYS = 30  # of the calendar, where no end is asked for
EVENING = {"2000": 20, "1700": 17}  # the hour at which trading after the close ends


@sessions_routes.get("/clock")
async def clock(request: Request) -> Response:
    """Where the session stands, now or at `time`."""
    exchange, query = exchange_in(request), request.query_params
    _check_market(query.get("markets") or "NYSE")
    try:
        now = parse_bound(query["time"], last=False) if query.get("time") else exchange.now
    except (ValueError, OverflowError) as error:
        raise unprocessable(f"invalid time: {query['time']}") from error
    times = exchange.times
    if not times.midnights[1] <= now < times.midnights[-2]:
        raise unprocessable(f"invalid time: {new_york_text(now)} is outside the calendar")
    session = int(
        np.searchsorted(times.days, np.datetime64(moment(now).astimezone(NEW_YORK).date()))
    )
    phase, until = _phase(times, session, now)
    found = {
        "market": MARKET,
        "timestamp": new_york_text(now),
        "is_market_day": times.day(session) == moment(now).astimezone(NEW_YORK).date(),
        "next_market_open": new_york_text(times.next_open(now)),
        "next_market_close": new_york_text(times.next_close(now)),
        "phase": phase,
        "phase_until": new_york_text(until),
    }
    return reply({"clocks": [found]})


def _check_market(names: str) -> None:
    unknown = sorted(set(names.upper().split(",")) - NAMES)
    if unknown:
        raise missing(f"market not found: {unknown[0]}")


def _evening(times: Timetable, session: int) -> int:
    hour = EVENING[calendar_row(times, session)["session_close"]]
    start = moment(int(times.midnights[session])).astimezone(NEW_YORK)
    return int(start.replace(hour=hour).timestamp()) * SECOND


def _phase(times: Timetable, session: int, now: int) -> tuple[str, int]:
    """What goes on, and until when: of the session of today, or of the next."""
    marks = [
        ("closed", int(times.early[session])),
        ("pre", int(times.opens[session])),
        ("core", int(times.closes[session])),
        ("post", _evening(times, session)),
        ("closed", int(times.early[session + 1])),
    ]
    return next((name, until) for name, until in marks if now < until)


@sessions_routes.get("/calendar/{market}")
async def calendar(request: Request, market: str) -> Response:
    """Sessions from `start` (today) to `end`, in a zone of choice."""
    exchange, query = exchange_in(request), request.query_params
    _check_market(market)
    today = moment(exchange.now).astimezone(NEW_YORK).date()
    try:
        start = dt.date.fromisoformat((query.get("start") or str(today))[:10])
        end = dt.date.fromisoformat((query.get("end") or str(start + dt.timedelta(DAYS)))[:10])
        zone = ZoneInfo(query.get("timezone") or "America/New_York")
    except (ValueError, OverflowError, OSError, KeyError) as error:
        raise unprocessable(f"invalid start, end or timezone: {error}") from error
    first, last = (np.datetime64(day, "D") for day in (start, end))
    a = int(np.searchsorted(exchange.times.days, first))
    b = int(np.searchsorted(exchange.times.days[:-1], last, "right"))
    rows = [_row(exchange.times, i, zone) for i in range(a, b)]
    return reply({"market": MARKET, "calendar": rows})


def _row(times: Timetable, i: int, zone: ZoneInfo) -> dict[str, Any]:
    early, opens, closes = (int(x[i]) for x in (times.early, times.opens, times.closes))
    spans = {"pre": (early, opens), "core": (opens, closes), "post": (closes, _evening(times, i))}
    return {"date": str(times.days[i]), "settlement_date": str(times.days[i + 1])} | {
        f"{name}_{end}": moment(at).astimezone(zone).isoformat()
        for name, bounds in spans.items()
        for end, at in zip(("start", "end"), bounds)
    }
