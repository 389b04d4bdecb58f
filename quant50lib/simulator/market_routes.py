"""The routes of the market-data service: bars and corporate actions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from quant50lib.simulator.announcements import action_reply
from quant50lib.simulator.bars import FEEDS, read_bar_query
from quant50lib.simulator.query import check_names, read_choice, read_symbols
from quant50lib.simulator.trading_routes import exchange_in, reply

market_routes = APIRouter()


def _page(request: Request, query: dict[str, str]) -> dict[str, Any]:
    now = exchange_in(request).now
    fault = request.scope.get("state", {}).get("fault") or {}
    stale = int(fault.get("stale", {}).get("days", 0))
    found: dict[str, Any] = request.app.state.twin.bars.page(read_bar_query(query, now), now, stale)
    return found


@market_routes.get("/v2/stocks/bars")
async def bars(request: Request) -> Response:
    query = dict(request.query_params)
    currency = {"currency": query["currency"]} if query.get("currency") else {}
    return reply(_page(request, query) | currency)


@market_routes.get("/v2/stocks/bars/latest")
async def latest_bars(request: Request) -> Response:
    query = dict(request.query_params)
    check_names(query, frozenset({"symbols", "feed", "currency"}))
    read_choice(query, "feed", FEEDS | {"delayed_sip"}, "sip")
    now = exchange_in(request).now
    return reply({"bars": request.app.state.twin.bars.latest(read_symbols(query), now)})


@market_routes.get("/v2/stocks/{symbol}/bars")
async def bars_of(request: Request, symbol: str) -> Response:
    """One symbol: `bars` is a list, or null where there are none."""
    query = dict(request.query_params)
    query.pop("symbols", None)
    page = _page(request, query | {"symbols": symbol})
    rows = page["bars"].get(symbol)
    return reply({"bars": rows, "symbol": symbol, "next_page_token": page["next_page_token"]})


@market_routes.get("/v1/corporate-actions")
async def corporate_actions(request: Request) -> Response:
    exchange = exchange_in(request)
    return reply(action_reply(dict(request.query_params), exchange.prices, exchange.now))
