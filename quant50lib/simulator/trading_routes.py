"""The routes of the trading service: clock, calendar, account, assets, positions, orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from quant50lib.simulator.account import (
    account_reply,
    exchange_of,
    order_reply,
    position_reply,
)
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.history import equity_history
from quant50lib.simulator.listing import list_activities, list_orders
from quant50lib.simulator.market import Listing
from quant50lib.simulator.records import OPEN_STATUSES, identifier
from quant50lib.simulator.refusals import Refusal, invalid, missing, unprocessable
from quant50lib.simulator.timetable import Timetable, new_york_text
from quant50lib.simulator.validation import parse_order, read_body

trading_routes = APIRouter(prefix="/v2")

HALF_DAY = 6 * 3_600_000_000  # microseconds; a session shorter than it closes at 13:00
FIRST_DATE, LAST_DATE = "1970-01-01", "2029-12-31"
SWITCHES = (
    "disable_overnight_trading",
    "fractional_trading",
    "no_shorting",
    "ptp_no_exception_entry",
    "suspend_trade",
)


def exchange_in(request: Request) -> Exchange:
    found: Exchange = request.app.state.twin.exchange
    return found


def reply(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


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
    try:
        start = np.datetime64((query.get("start") or FIRST_DATE)[:10], "D")
        end = np.datetime64((query.get("end") or LAST_DATE)[:10], "D")
    except ValueError as error:
        raise unprocessable(f"invalid date: {error}") from error
    first = int(np.searchsorted(times.days, start))
    last = int(np.searchsorted(times.days, min(end, np.datetime64(LAST_DATE)), "right"))
    return reply([_calendar_row(times, i) for i in range(first, last)])


def _calendar_row(times: Timetable, i: int) -> dict[str, str]:
    half = times.closes[i] - times.opens[i] < HALF_DAY
    return {
        "date": str(times.days[i]),
        "open": "09:30",
        "close": "13:00" if half else "16:00",
        "session_open": "0400",
        "session_close": "1700" if half else "2000",
        "settlement_date": str(times.days[i + 1]),
    }


@trading_routes.get("/account")
async def account(request: Request) -> Response:
    return reply(account_reply(exchange_in(request)))


@trading_routes.get("/account/configurations")
async def configuration(request: Request) -> Response:
    return reply(exchange_in(request).account.configuration)


@trading_routes.patch("/account/configurations")
async def configure(request: Request) -> Response:
    """Nulls and the day-trading fields of old clients are ignored."""
    exchange = exchange_in(request)
    body = read_body(await request.body())
    known = exchange.account.configuration
    changes = {k: v for k, v in body.items() if k in known and v is not None}
    for name, value in changes.items():
        _check_switch(name, value)
    exchange.configure(changes)
    return reply(exchange.account.configuration)


def _check_switch(name: str, value: Any) -> None:
    allowed = {
        "max_margin_multiplier": ("1", "2", "4"),
        "trade_confirm_email": ("all", "none"),
        "max_options_trading_level": (0, 1, 2, 3),
    }.get(name, (True, False))
    if value not in allowed or (name in SWITCHES and not isinstance(value, bool)):
        raise invalid(f"invalid {name}")
    if name == "no_shorting" and value is False:
        raise unprocessable("short positions are not simulated; no_shorting stays true")


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
    exchange, query = exchange_in(request), request.query_params
    if (query.get("asset_class") or "us_equity") != "us_equity":
        return reply([])
    rows = [_asset(exchange, x) for x in exchange.market.listings().values()]
    kept = [
        row
        for row in rows
        if row is not None
        and query.get("status") in (None, "", row["status"])
        and query.get("exchange") in (None, "", row["exchange"])
    ]
    return reply(sorted(kept, key=lambda row: (row["exchange"], row["symbol"])))


@trading_routes.get("/assets/{key:path}")
async def asset(request: Request, key: str) -> Response:
    exchange = exchange_in(request)
    listing = exchange.prices.listing(key)
    row = _asset(exchange, listing) if listing else None
    if row is None:
        raise missing(f"asset not found for {key}")
    return reply(row)


def _asset(exchange: Exchange, listing: Listing) -> dict[str, Any] | None:
    """None before the first session of a name: nobody has heard of it."""
    if not exchange.prices.is_known(listing.symbol, exchange.now):
        return None
    active = exchange.prices.is_active(listing.symbol, exchange.now)
    return {
        "id": identifier("asset", listing.symbol),
        "class": "us_equity",
        "exchange": exchange_of(listing.kind, listing.symbol),
        "symbol": listing.symbol,
        "name": listing.name,
        "status": "active" if active else "inactive",
        "tradable": active,
        "marginable": True,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "shortable": False,
        "easy_to_borrow": False,
        "borrow_status": "hard_to_borrow",
        "fractionable": active,
        "attributes": [],
        "cusip": None,
    }


@trading_routes.get("/positions")
async def positions(request: Request) -> Response:
    exchange = exchange_in(request)
    held = sorted(exchange.positions.values(), key=lambda position: position.symbol)
    return reply([position_reply(exchange, position) for position in held])


@trading_routes.get("/positions/{key:path}")
async def position(request: Request, key: str) -> Response:
    exchange = exchange_in(request)
    listing = exchange.prices.listing(key)
    if listing is None or listing.symbol not in exchange.positions:
        raise missing("position does not exist")
    return reply(position_reply(exchange, exchange.positions[listing.symbol]))


@trading_routes.post("/orders")
async def submit(request: Request) -> Response:
    """In a session the reply shows the order as it was taken in, before its first fill."""
    exchange = exchange_in(request)
    wanted = parse_order(read_body(await request.body()), exchange.prices)
    order = exchange.submit(wanted)
    shown = order_reply(order)
    if order.history[0][1] == "pending_new":
        fresh = {"status": "pending_new", "filled_qty": "0", "updated_at": shown["created_at"]}
        shown |= fresh | dict.fromkeys(("filled_avg_price", "filled_at", "failed_at"))
    return reply(shown)


@trading_routes.get("/orders")
async def orders(request: Request) -> Response:
    found = list_orders(exchange_in(request), request.query_params)
    return reply([order_reply(order) for order in found])


@trading_routes.delete("/orders")
async def cancel_all(request: Request) -> Response:
    exchange, rows = exchange_in(request), []
    for order in list(exchange.working.values()):
        exchange.cancel(order.id)
        rows.append({"id": order.id, "status": 200, "body": order_reply(order)})
    return reply(rows, 207)


@trading_routes.get("/orders:by_client_order_id")
async def by_client_order_id(request: Request) -> Response:
    exchange = exchange_in(request)
    wanted = request.query_params.get("client_order_id", "")
    if wanted not in exchange.by_client_id:
        raise missing(f"order not found for {wanted}")
    return reply(order_reply(exchange.by_client_id[wanted]))


@trading_routes.get("/orders/{order_id}")
async def order(request: Request, order_id: str) -> Response:
    return reply(order_reply(exchange_in(request).order(order_id)))


@trading_routes.delete("/orders/{order_id}")
async def cancel(request: Request, order_id: str) -> Response:
    exchange_in(request).cancel(order_id)
    return Response(status_code=204)


@trading_routes.patch("/orders/{order_id}")
async def replace(request: Request, order_id: str) -> Response:
    """Never granted: Alpaca refuses it in these states, and market orders have no others."""
    found = exchange_in(request).order(order_id)
    if found.status not in OPEN_STATUSES:
        raise unprocessable(f'order is already in "{found.status}" state')
    if found.status in ("accepted", "pending_new"):
        raise unprocessable(f"cannot replace order in {found.status} status")
    raise Refusal(422, 42210000, "order parameters are not changed")
