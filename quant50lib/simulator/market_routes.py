"""The routes of the market-data service: bars, quotes, trades, snapshots and corporate actions.

A request for several symbols is answered by an object, `{}` where there is nothing; one for a
single symbol by a list, null where there is nothing.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from quant50lib.simulator.announcements import action_reply
from quant50lib.simulator.bars import read_bar_query
from quant50lib.simulator.data_faults import asked, damaged, hidden_sessions
from quant50lib.simulator.old_announcements import announcement, announcements
from quant50lib.simulator.pages import (
    DELAY,
    FRAME,
    check_latest,
    read_feed,
    read_page_query,
    same_place,
)
from quant50lib.simulator.query import Query, check_names, read_choice, read_symbols
from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.sessions_routes import sessions_routes
from quant50lib.simulator.tape import CONDITIONS, EXCHANGES, Tape
from quant50lib.simulator.trading_routes import exchange_in, reply

market_routes = APIRouter()
stocks = APIRouter(prefix="/v2/stocks")

Ticks = Literal["quotes", "trades", "auctions"]
Latest = Literal["bars", "quotes", "trades"]
LATEST = frozenset({"symbols", "feed", "currency"})
SNAPSHOT = ("latestTrade", "latestQuote", "minuteBar", "dailyBar", "prevDailyBar")


def _fault(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = request.scope.get("state", {}).get("fault") or {}
    return found


def _query(request: Request, symbol: str | None = None) -> dict[str, str]:
    """The query; of the form for a single symbol, the symbol is in the path."""
    query = dict(request.query_params)
    return query if symbol is None else query | {"symbols": symbol}


def _tape(request: Request, feed: str = "sip") -> Tape:
    exchange = exchange_in(request)
    now = exchange.now - DELAY if feed == "delayed_sip" else exchange.now
    return Tape(exchange.prices, now, float(exchange.rules.half_spread_bps))


def _send(
    request: Request, body: dict[str, Any], name: str, symbol: str | None, one: str | None = None
) -> Response:
    """A reply as it goes out: for one symbol, its rows stand under `one` beside its name."""
    if request.query_params.get("currency"):
        body = body | {"currency": request.query_params["currency"]}
    if symbol is not None:
        rows = (body[name] or {}).get(symbol)
        rest = {key: value for key, value in body.items() if key != name}
        body = {one or name: rows, "symbol": symbol} | rest
    if "nan_volume" in _fault(request):  # NaN is no JSON, but Python and others write and read it
        return Response(json.dumps(body), media_type="application/json")
    return reply(body)


# ---- histories


def _bars(request: Request, symbol: str | None = None) -> Response:
    exchange, fault = exchange_in(request), _fault(request)
    query = read_bar_query(_query(request, symbol), exchange.now, exchange.rules.data_plan)
    query = asked(query, fault)
    body = request.app.state.twin.bars.page(query, exchange.now, hidden_sessions(fault))
    body = damaged(body, "bars", fault, same_place(query, query.mark))
    return _send(request, body, "bars", symbol)


def _ticks(request: Request, name: Ticks, symbol: str | None = None) -> Response:
    exchange, fault, query = exchange_in(request), _fault(request), _query(request, symbol)
    check_names(query, FRAME)
    page = asked(read_page_query(query, exchange.now, exchange.rules.data_plan), fault)
    body = _tape(request).page(name, page)
    return _send(
        request, damaged(body, name, fault, same_place(page, name[0].upper())), name, symbol
    )


@stocks.get("/bars")
async def bars(request: Request) -> Response:
    return _bars(request)


@stocks.get("/quotes")
async def quotes(request: Request) -> Response:
    return _ticks(request, "quotes")


@stocks.get("/trades")
async def trades(request: Request) -> Response:
    return _ticks(request, "trades")


@stocks.get("/auctions")
async def auctions(request: Request) -> Response:
    return _ticks(request, "auctions")


# ---- the newest


def _latest(request: Request, name: Latest, symbol: str | None = None) -> Response:
    query = _query(request, symbol)
    feed = _latest_feed(request, query)
    tape = _tape(request, feed)
    if name == "bars":
        rows = request.app.state.twin.bars.latest(read_symbols(query), tape.now)
    else:
        rows = tape.latest(name, read_symbols(query))
    return _send(request, {name: rows}, name, symbol, name[:-1])


def _latest_feed(request: Request, query: Query) -> str:
    check_names(query, LATEST)
    read_choice(query, "currency", frozenset({"USD"}), "USD")
    plan = exchange_in(request).rules.data_plan
    feed = read_feed(query, plan, frozenset({"delayed_sip", "overnight"}))
    check_latest(feed, plan)
    return feed


@stocks.get("/bars/latest")
async def latest_bars(request: Request) -> Response:
    return _latest(request, "bars")


@stocks.get("/quotes/latest")
async def latest_quotes(request: Request) -> Response:
    return _latest(request, "quotes")


@stocks.get("/trades/latest")
async def latest_trades(request: Request) -> Response:
    return _latest(request, "trades")


def _snapshots(request: Request, query: Query) -> dict[str, Any]:
    tape, symbols = _tape(request, _latest_feed(request, query)), read_symbols(query)
    minutes = request.app.state.twin.bars.latest(symbols, tape.now)
    found = {symbol: tape.snapshot(symbol, minutes.get(symbol)) for symbol in symbols}
    return {symbol: shown for symbol, shown in found.items() if shown is not None}


@stocks.get("/snapshots")
async def snapshots(request: Request) -> Response:
    """By symbol; a name without prices is left out."""
    return reply(_snapshots(request, _query(request)))


@stocks.get("/{symbol}/snapshot")
async def snapshot(request: Request, symbol: str) -> Response:
    found = _snapshots(request, _query(request, symbol)).get(symbol)
    return reply({"symbol": symbol} | (found or dict.fromkeys(SNAPSHOT)))


# ---- what codes mean


@stocks.get("/meta/exchanges")
async def exchanges(request: Request) -> Response:
    return reply(EXCHANGES)


@stocks.get("/meta/conditions/{ticktype}")
async def conditions(request: Request, ticktype: str) -> Response:
    """Of trades or of quotes; `tape` says whose, and the twin uses the same on all."""
    if ticktype not in CONDITIONS:
        raise bad_query(f"invalid ticktype: {ticktype}")
    read_choice(dict(request.query_params), "tape", frozenset("ABC"), "A")
    return reply(CONDITIONS[ticktype])


# ---- one symbol


@stocks.get("/{symbol}/bars")
async def bars_of(request: Request, symbol: str) -> Response:
    return _bars(request, symbol)


@stocks.get("/{symbol}/quotes")
async def quotes_of(request: Request, symbol: str) -> Response:
    return _ticks(request, "quotes", symbol)


@stocks.get("/{symbol}/trades")
async def trades_of(request: Request, symbol: str) -> Response:
    return _ticks(request, "trades", symbol)


@stocks.get("/{symbol}/auctions")
async def auctions_of(request: Request, symbol: str) -> Response:
    return _ticks(request, "auctions", symbol)


@stocks.get("/{symbol}/bars/latest")
async def latest_bar_of(request: Request, symbol: str) -> Response:
    return _latest(request, "bars", symbol)


@stocks.get("/{symbol}/quotes/latest")
async def latest_quote_of(request: Request, symbol: str) -> Response:
    return _latest(request, "quotes", symbol)


@stocks.get("/{symbol}/trades/latest")
async def latest_trade_of(request: Request, symbol: str) -> Response:
    return _latest(request, "trades", symbol)


# ---- corporate actions


@market_routes.get("/v1/corporate-actions")
async def corporate_actions(request: Request) -> Response:
    exchange = exchange_in(request)
    return reply(action_reply(dict(request.query_params), exchange.prices, exchange.now))


@market_routes.get("/v2/corporate_actions/announcements")
async def old_announcements(request: Request) -> Response:
    exchange = exchange_in(request)
    return reply(announcements(dict(request.query_params), exchange.prices, exchange.now))


@market_routes.get("/v2/corporate_actions/announcements/{key}")
async def old_announcement(request: Request, key: str) -> Response:
    exchange = exchange_in(request)
    return reply(announcement(key, exchange.prices, exchange.now))


market_routes.include_router(stocks)
market_routes.include_router(sessions_routes)
