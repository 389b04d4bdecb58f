"""Alpaca's interface as an OpenAPI document: what every call takes and gives.

The routes read their queries and bodies themselves, as leniently or strictly as the real service
does; this table says what it publishes. A test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from quant50lib.simulator import data_schemas as d
from quant50lib.simulator import schemas as s

WORD: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
AMOUNT: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "number"}]}
REFS = "#/components/schemas/{model}"


def whole(most: int) -> dict[str, Any]:
    """A whole number from 1 on."""
    return {"type": "integer", "minimum": 1, "maximum": most}


def one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


@dataclass(frozen=True)
class Operation:
    """One call: the model of its reply (None: no body), its query, and its JSON body."""

    gives: Any
    status: int = 200
    query: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: dict[str, Any] | None = None


ORDER_BODY = {
    "type": "object",
    "required": ["type", "time_in_force"],
    "properties": {
        "symbol": WORD | {"examples": ["SPY"]},
        "qty": AMOUNT,
        "notional": AMOUNT,
        "side": one_of("buy", "sell"),
        "type": one_of("market", "limit", "stop", "stop_limit", "trailing_stop"),
        "time_in_force": one_of("day", "gtc", "opg", "cls", "ioc", "fok"),
        "limit_price": AMOUNT,
        "stop_price": AMOUNT,
        "trail_price": AMOUNT,
        "trail_percent": AMOUNT,
        "extended_hours": FLAG,
        "client_order_id": WORD | {"maxLength": 128},
        "order_class": one_of("", "simple", "bracket", "oco", "oto"),
        "take_profit": {"type": "object", "properties": {"limit_price": AMOUNT}},
        "stop_loss": {
            "type": "object",
            "properties": {"stop_price": AMOUNT, "limit_price": AMOUNT},
        },
        "position_intent": one_of("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"),
    },
}
CHANGES = {
    "type": "object",
    "properties": {
        "qty": AMOUNT,
        "time_in_force": one_of("day", "gtc", "opg", "cls", "ioc", "fok"),
        "limit_price": AMOUNT,
        "stop_price": AMOUNT,
        "trail": AMOUNT,
        "client_order_id": WORD,
    },
}
SETTINGS = {
    "type": "object",
    "properties": {
        "disable_overnight_trading": FLAG,
        "fractional_trading": FLAG,
        "max_margin_multiplier": one_of("1", "2", "4"),
        "max_options_trading_level": {"type": ["integer", "null"]},
        "no_shorting": FLAG,
        "ptp_no_exception_entry": FLAG,
        "suspend_trade": FLAG,
        "trade_confirm_email": one_of("all", "none"),
    },
}
SPAN = {"start": WORD, "end": WORD}
FEED = {"feed": one_of("sip", "iex", "otc", "boats"), "currency": WORD}
TURN = {"page_token": WORD, "sort": one_of("asc", "desc")}
PAGE = SPAN | FEED | TURN | {"limit": whole(10_000), "asof": WORD}
FRAME = {
    "timeframe": WORD | {"examples": ["1Day"]},
    "adjustment": WORD | {"examples": ["all"]},
}
SYMBOLS = {"symbols": WORD | {"examples": ["SPY,XOM"]}}
ACTIVITIES = {
    "date": WORD,
    "after": WORD,
    "until": WORD,
    "direction": one_of("desc", "asc"),
    "page_size": whole(100),
    "page_token": WORD,
}
LISTED = {
    "status": one_of("open", "closed", "all"),
    "limit": whole(500),
    "after": WORD,
    "until": WORD,
    "direction": one_of("desc", "asc"),
    "nested": FLAG,
    "symbols": WORD,
    "side": one_of("buy", "sell"),
    "asset_class": WORD,
    "before_order_id": WORD,
    "after_order_id": WORD,
}
WINDOW = {
    "period": WORD | {"examples": ["1M"]},
    "timeframe": one_of("1Min", "5Min", "15Min", "1H", "1D"),
    "start": WORD,
    "end": WORD,
    "date_end": WORD,
    "intraday_reporting": one_of("market_hours", "extended_hours", "continuous"),
    "pnl_reset": one_of("per_day", "no_reset"),
    "extended_hours": FLAG,
    "cashflow_types": WORD,
}
HELD = list[s.Fill | s.OtherActivity]

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/v2/clock"): Operation(s.Clock),
    ("GET", "/v2/calendar"): Operation(
        list[s.CalendarDay], query=SPAN | {"date_type": one_of("TRADING", "SETTLEMENT")}
    ),
    ("GET", "/v2/account"): Operation(s.Account),
    ("GET", "/v2/account/configurations"): Operation(s.Configuration),
    ("PATCH", "/v2/account/configurations"): Operation(s.Configuration, body=SETTINGS),
    ("GET", "/v2/account/portfolio/history"): Operation(s.History, query=WINDOW),
    ("GET", "/v2/account/activities"): Operation(
        HELD,
        query=ACTIVITIES
        | {"activity_types": WORD, "category": one_of("trade_activity", "non_trade_activity")},
    ),
    ("GET", "/v2/account/activities/{kind}"): Operation(HELD, query=ACTIVITIES),
    ("GET", "/v2/assets"): Operation(
        list[s.Asset],
        query={
            "status": one_of("active", "inactive"),
            "asset_class": WORD,
            "exchange": WORD,
            "attributes": WORD,
        },
    ),
    ("GET", "/v2/assets/{key}"): Operation(s.Asset),
    ("GET", "/v2/positions"): Operation(list[s.Position]),
    ("GET", "/v2/positions/{key}"): Operation(s.Position),
    ("DELETE", "/v2/positions"): Operation(list[s.CloseRow], 207, {"cancel_orders": FLAG}),
    ("DELETE", "/v2/positions/{key}"): Operation(s.Order, query={"qty": WORD, "percentage": WORD}),
    ("POST", "/v2/orders"): Operation(s.Order, body=ORDER_BODY),
    ("GET", "/v2/orders"): Operation(list[s.Order], query=LISTED),
    ("DELETE", "/v2/orders"): Operation(list[s.CancelRow], 207),
    ("GET", "/v2/orders:by_client_order_id"): Operation(s.Order, query={"client_order_id": WORD}),
    ("GET", "/v2/orders/{order_id}"): Operation(s.Order, query={"nested": FLAG}),
    ("DELETE", "/v2/orders/{order_id}"): Operation(None, 204),
    ("PATCH", "/v2/orders/{order_id}"): Operation(s.Order, body=CHANGES),
    ("GET", "/v2/stocks/bars"): Operation(d.Bars, query=SYMBOLS | FRAME | PAGE),
    ("GET", "/v2/stocks/{symbol}/bars"): Operation(d.BarsOfOne, query=FRAME | PAGE),
    ("GET", "/v2/stocks/quotes"): Operation(d.Quotes, query=SYMBOLS | PAGE),
    ("GET", "/v2/stocks/{symbol}/quotes"): Operation(d.QuotesOfOne, query=PAGE),
    ("GET", "/v2/stocks/trades"): Operation(d.Trades, query=SYMBOLS | PAGE),
    ("GET", "/v2/stocks/{symbol}/trades"): Operation(d.TradesOfOne, query=PAGE),
    ("GET", "/v2/stocks/auctions"): Operation(d.AuctionDays, query=SYMBOLS | PAGE),
    ("GET", "/v2/stocks/{symbol}/auctions"): Operation(d.AuctionDaysOfOne, query=PAGE),
    ("GET", "/v2/stocks/bars/latest"): Operation(d.LatestBars, query=SYMBOLS | FEED),
    ("GET", "/v2/stocks/{symbol}/bars/latest"): Operation(d.LatestBar, query=FEED),
    ("GET", "/v2/stocks/quotes/latest"): Operation(d.LatestQuotes, query=SYMBOLS | FEED),
    ("GET", "/v2/stocks/{symbol}/quotes/latest"): Operation(d.LatestQuote, query=FEED),
    ("GET", "/v2/stocks/trades/latest"): Operation(d.LatestTrades, query=SYMBOLS | FEED),
    ("GET", "/v2/stocks/{symbol}/trades/latest"): Operation(d.LatestTrade, query=FEED),
    ("GET", "/v2/stocks/snapshots"): Operation(dict[str, d.Snapshot | None], query=SYMBOLS | FEED),
    ("GET", "/v2/stocks/{symbol}/snapshot"): Operation(d.SnapshotOfOne, query=FEED),
    ("GET", "/v2/stocks/meta/exchanges"): Operation(dict[str, str]),
    ("GET", "/v2/stocks/meta/conditions/{ticktype}"): Operation(
        dict[str, str], query={"tape": one_of("A", "B", "C")}
    ),
    ("GET", "/v1/corporate-actions"): Operation(
        d.CorporateActions,
        query=SPAN
        | {"symbols": WORD, "cusips": WORD, "types": WORD, "ids": WORD}
        | TURN
        | {"limit": whole(1_000)},
    ),
    ("GET", "/v2/corporate_actions/announcements"): Operation(
        list[d.Announcement],
        query={
            "ca_types": WORD | {"examples": ["dividend"]},
            "since": WORD | {"examples": ["2024-06-01"]},
            "until": WORD | {"examples": ["2024-06-30"]},
            "symbol": WORD,
            "cusip": WORD,
            "date_type": WORD,
        },
    ),
    ("GET", "/v2/corporate_actions/announcements/{key}"): Operation(d.Announcement),
    ("GET", "/v3/clock"): Operation(d.MarketClocks, query={"markets": WORD, "time": WORD}),
    ("GET", "/v3/calendar/{market}"): Operation(d.MarketCalendar, query=SPAN | {"timezone": WORD}),
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document of Alpaca's interface."""
    replies = [operation.gives for operation in OPERATIONS.values() if operation.gives is not None]
    adapters: list[Any] = [TypeAdapter(model) for model in (*replies, s.Failure)]
    inputs: list[Any] = [(n, "validation", a) for n, a in enumerate(adapters)]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template=REFS)
    made = (found[n, "validation"] for n in range(len(adapters)))
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        schema = next(made) if operation.gives is not None else None
        paths.setdefault(path, {})[method.lower()] = _call(method, path, operation, schema)
    shared.setdefault("$defs", {})["Failure"] = next(made)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Twin of Alpaca",
            "version": version("quant50"),
            "description": "Alpaca's paper account and market data, simulated on this machine.",
        },
        "paths": paths,
        "components": {"schemas": shared["$defs"], "securitySchemes": KEYS},
        "security": [{"key": [], "secret": []}, {"basic": []}],
    }


FAILURE = {"$ref": REFS.format(model="Failure")}
AS_JSON = {"application/json": {"schema": FAILURE}}
REFUSED = {"description": "Refused", "content": AS_JSON}
UNAUTHORIZED = {
    "description": "The key is missing, wrong, or a live one; gateways answer in HTML",
    "content": AS_JSON | {"text/html": {}},
}
KEYS = {
    "key": {"type": "apiKey", "in": "header", "name": "APCA-API-KEY-ID"},
    "secret": {"type": "apiKey", "in": "header", "name": "APCA-API-SECRET-KEY"},
    "basic": {"type": "http", "scheme": "basic"},
}


def _call(
    method: str, path: str, operation: Operation, schema: dict[str, Any] | None
) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    inside = [{"name": n, "in": "path", "required": True, "schema": WORD} for n in names]
    asked = [
        {"name": n, "in": "query", "required": False, "schema": kind}
        for n, kind in operation.query.items()
    ]
    done: dict[str, Any] = {"description": "Done"}
    if schema is not None:
        done["content"] = {"application/json": {"schema": schema}}
    call: dict[str, Any] = {
        "operationId": f"{method.lower()} {path}",
        "parameters": inside + asked,
        "responses": {str(operation.status): done, "401": UNAUTHORIZED, "4XX": REFUSED},
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        call["requestBody"] = {"required": True, "content": content}
    return call
