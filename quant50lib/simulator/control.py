"""The control plane: moves the clock, breaks things on purpose, and tells the truth.

It listens on a port of its own, so that no client of the broker's interface can reach it.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from quant50lib.simulator.account import order_reply
from quant50lib.simulator.app import Twin, refuse
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.faults import parse_fault
from quant50lib.simulator.records import text
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.timetable import SECOND, parse_instant, utc_text

control_routes = APIRouter(prefix="/sim")

RESET_KEYS = {field.name for field in fields(Rules)} | {"now"}


def control_app(twin: Twin) -> FastAPI:
    """The application of the second port."""
    app = FastAPI(title="Control plane of the twin", docs_url=None, redoc_url=None)
    app.state.twin = twin
    app.include_router(control_routes)
    app.add_exception_handler(Refusal, refuse)
    return app


def _twin(request: Request) -> Twin:
    found: Twin = request.app.state.twin
    return found


def _reply(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


async def _read(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise Refusal(422, None, f"the body is not JSON: {error}") from error


def _instant(value: Any) -> int:
    try:
        return parse_instant(str(value))
    except ValueError as error:
        raise Refusal(422, None, str(error)) from error


@control_routes.get("/info")
async def info(request: Request) -> Response:
    exchange = _twin(request).exchange
    market, times = exchange.market, exchange.times
    last = market.last_day or times.day(times.last_closed(exchange.now))
    body = {
        "market": market.name,
        "simulated_prices": market.simulated,
        "identity": market.identity,
        "now": utc_text(exchange.now),
        "first_session": str(market.first_day),
        "last_session": str(last),
    }
    return _reply(body)


@control_routes.post("/clock")
async def move_clock(request: Request) -> Response:
    exchange, body = _twin(request).exchange, await _read(request)
    exchange.advance(_target(exchange, body))
    return _reply({"now": utc_text(exchange.now)})


def _target(exchange: Exchange, body: Any) -> int:
    if not isinstance(body, dict) or len(body) != 1:
        raise Refusal(422, None, 'one of {"set": t}, {"advance_s": n}, {"to": name} is needed')
    [(how, value)] = body.items()
    if how == "set":
        return _instant(value)
    if how == "advance_s" and isinstance(value, int | float):
        return exchange.now + round(value * SECOND)
    marks = {
        "next_open": exchange.times.next_open,
        "next_close": exchange.times.next_close,
        "04:00": exchange.times.next_early,
    }
    if how != "to" or value not in marks:
        raise Refusal(422, None, f"the clock cannot go {body!r}; known marks: {', '.join(marks)}")
    return marks[value](exchange.now)


@control_routes.post("/reset")
async def reset(request: Request) -> Response:
    """An empty account; the market, its seed and its prices stay what they are."""
    twin, body = _twin(request), await _read(request)
    unknown = sorted(set(body) - RESET_KEYS)
    if unknown:
        raise Refusal(422, None, f"unknown or not simulated: {', '.join(unknown)}")
    now = _instant(body.pop("now")) if "now" in body else twin.exchange.now
    rules = replace(twin.exchange.rules, **body)
    twin.exchange.reset(rules, now)
    twin.faults.rules.clear()
    twin.requests.clear()
    return _reply({"now": utc_text(now)})


@control_routes.post("/faults")
async def add_faults(request: Request) -> Response:
    twin, body = _twin(request), await _read(request)
    rules = [parse_fault(rule) for rule in (body if isinstance(body, list) else [body])]
    twin.faults.rules.extend(rules)
    return _reply({"faults": len(twin.faults.rules)})


@control_routes.delete("/faults")
async def clear_faults(request: Request) -> Response:
    _twin(request).faults.rules.clear()
    return _reply({"faults": 0})


@control_routes.get("/requests")
async def requests_log(request: Request) -> Response:
    return _reply(list(_twin(request).requests))


@control_routes.get("/truth")
async def truth(request: Request) -> Response:
    exchange = _twin(request).exchange
    orders = [
        order_reply(order)
        | {"history": [{"t": utc_text(t), "status": status} for t, status in order.history]}
        for order in exchange.orders.values()
    ]
    fills = [activity.body for activity in exchange.activities if activity.type == "FILL"]
    ledger = [
        {
            "t": utc_text(entry.t),
            "amount": text(entry.amount),
            "balance": text(entry.balance),
            "why": entry.why,
        }
        for entry in exchange.ledger
    ]
    held = sorted(exchange.positions.values(), key=lambda position: position.symbol)
    body = {
        "orders": orders,
        "executions": fills,
        "cash_ledger": ledger,
        "positions": [{"symbol": p.symbol, "qty": text(p.qty)} for p in held],
        "cash": text(exchange.account.cash),
    }
    return _reply(body)
