"""The routes of the trading service: clock, calendar, account, assets, positions, orders."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request, Response

from quant50lib.simulator.account import account_reply, configuration_reply
from quant50lib.simulator.assets import asset_reply
from quant50lib.simulator.history import equity_history
from quant50lib.simulator.holdings import position_reply
from quant50lib.simulator.listing import list_activities
from quant50lib.simulator.order_form import read_body
from quant50lib.simulator.order_routes import exchange_in, find_position, order_routes, reply
from quant50lib.simulator.refusals import invalid, missing, unprocessable
from quant50lib.simulator.timetable import calendar_rows, new_york_text

trading_routes = APIRouter(prefix="/v2")

FIRST_DATE, LAST_DATE = "1970-01-01", "2029-12-31"
WORDS = {"max_margin_multiplier": ("1", "2", "4"), "trade_confirm_email": ("all", "none")}


@trading_routes.get("/clock")
async def clock(request: Request) -> Response:
    exchange = exchange_in(request)
    now, times = exchange.now, exchange.times
    body = {
        "timestamp": new_york_text(now),
        "is_open": times.is_open(now),
        "next_open": new_york_text(times.next_open(now)),
        "next_close": new_york_text(times.next_close(now)),
    }
    return reply(body)


@trading_routes.get("/calendar")
async def calendar(request: Request) -> Response:
    times, query = exchange_in(request).times, request.query_params
    start = (query.get("start") or FIRST_DATE)[:10]
    end = (query.get("end") or LAST_DATE)[:10]
    kind = (query.get("date_type") or "TRADING").upper()
    try:
        if kind not in ("TRADING", "SETTLEMENT"):
            raise ValueError(kind)
        last = min(dt.date.fromisoformat(end), dt.date.fromisoformat(LAST_DATE))
        rows = calendar_rows(times, start, str(last), settled=kind == "SETTLEMENT")
    except ValueError as error:
        raise unprocessable(f"invalid date: {error}") from error
    return reply(rows)


@trading_routes.get("/account")
async def account(request: Request) -> Response:
    return reply(account_reply(exchange_in(request)))


@trading_routes.get("/account/configurations")
async def configuration(request: Request) -> Response:
    return reply(configuration_reply(exchange_in(request)))


@trading_routes.patch("/account/configurations")
async def configure(request: Request) -> Response:
    """Nulls and what it does not know are ignored; old clients send day-trading fields."""
    exchange = exchange_in(request)
    body = read_body(await request.body())
    known = exchange.account.configuration
    changes = {k: _switch(k, v) for k, v in body.items() if k in known and v is not None}
    exchange.configure(changes)
    return reply(configuration_reply(exchange))


def _switch(name: str, value: Any) -> Any:
    """The value of a setting, checked."""
    if name == "max_options_trading_level":
        if not isinstance(value, Decimal) or value not in (0, 1, 2, 3):
            raise invalid(f"invalid {name}")
        return int(value)
    allowed = WORDS.get(name, (True, False))
    if not isinstance(value, type(allowed[0])) or value not in allowed:
        raise invalid(f"invalid {name}")
    return value


@trading_routes.get("/account/portfolio/history")
async def portfolio_history(request: Request) -> Response:
    return reply(equity_history(exchange_in(request), request.query_params))


@trading_routes.get("/account/activities")
async def activities(request: Request) -> Response:
    return reply(list_activities(exchange_in(request), request.query_params, None))


@trading_routes.get("/account/activities/{kind}")
async def activities_of(request: Request, kind: str) -> Response:
    return reply(list_activities(exchange_in(request), request.query_params, kind))


@trading_routes.get("/assets")
async def assets(request: Request) -> Response:
    """Names that ended are not in the list, as on Alpaca; each can still be asked for by itself."""
    exchange, query = exchange_in(request), request.query_params
    if (query.get("asset_class") or "us_equity") != "us_equity":
        return reply([])
    wanted = set(filter(None, (query.get("attributes") or "").split(",")))
    rows = [
        asset_reply(exchange, listing)
        for symbol, listing in exchange.market.listings().items()
        if not exchange.prices.has_ended(symbol, exchange.now)
    ]
    kept = [
        row
        for row in rows
        if row is not None
        and query.get("status") in (None, "", row["status"])
        and query.get("exchange") in (None, "", row["exchange"])
        and wanted <= set(row["attributes"])
    ]
    return reply(sorted(kept, key=lambda row: (row["exchange"], row["symbol"])))


@trading_routes.get("/assets/{key:path}")
async def asset(request: Request, key: str) -> Response:
    exchange = exchange_in(request)
    listing = exchange.prices.listing(key, exchange.now)
    row = asset_reply(exchange, listing) if listing else None
    if row is None:
        raise missing(f"asset not found for {key}")
    return reply(row)


@trading_routes.get("/positions")
async def positions(request: Request) -> Response:
    exchange = exchange_in(request)
    held = sorted(exchange.positions.values(), key=lambda position: position.symbol)
    return reply([position_reply(exchange, position) for position in held])


@trading_routes.get("/positions/{key:path}")
async def position(request: Request, key: str) -> Response:
    exchange = exchange_in(request)
    return reply(position_reply(exchange, find_position(exchange, key)))


trading_routes.include_router(order_routes)
