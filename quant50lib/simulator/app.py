"""Alpaca's interface over HTTP: what every request goes through before it meets a route.

Outermost the log, then the faults of the connection, then credentials, rate limit and headers, then
the faults of orders, then the routes.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from quant50lib.simulator.bars import Bars
from quant50lib.simulator.docs_page import docs_route
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.fault_actions import ACTIONS
from quant50lib.simulator.faults import CLOCK, App, Faults, Message, Receive, Scope, Send
from quant50lib.simulator.front import Front
from quant50lib.simulator.interface import document
from quant50lib.simulator.market_routes import market_routes
from quant50lib.simulator.order_faults import OrderFaults
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.script import Script
from quant50lib.simulator.timetable import SECOND, utc_text
from quant50lib.simulator.trading_routes import trading_routes

LOG_LENGTH = 10_000


class Twin:
    """Everything behind the two ports: the exchange, its bars, the faults and the log.

    It begins without faults: what stuck in an earlier process goes on.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.bars = exchange, Bars(exchange.prices)
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.script: Script | None = None
        self.orders = OrderFaults(exchange, broker_api(self))
        self.faults = Faults(Front(self, self.orders), ACTIONS)
        self.app: App = Recorder(self)
        self.clear_faults()

    def clear_faults(self) -> None:
        """End all faults; orders that were stuck go on."""
        self.faults.rules.clear()
        self.orders.clear()


def broker_api(twin: Twin) -> FastAPI:
    """The routes of Alpaca's interface and their OpenAPI, without what surrounds them."""
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.twin = twin
    app.openapi = document  # type: ignore[method-assign]
    app.include_router(docs_route())
    app.include_router(trading_routes)
    app.include_router(market_routes)
    app.add_exception_handler(Refusal, refuse)
    for status in (404, 405):
        app.add_exception_handler(status, _no_such_call)
    return app


async def refuse(request: Request, refusal: Exception) -> Response:
    """The reply to a request that a rule refuses."""
    assert isinstance(refusal, Refusal)
    return as_json(refusal.body, refusal.status)


async def _no_such_call(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: "endpoint not found.", 405: "method not allowed."}
    body = {"code": error.status_code * 100_000 + 10_000, "message": known[error.status_code]}
    found = as_json(body, error.status_code)
    found.headers.update(error.headers or {})
    return found


def as_json(body: Any, status: int = 200) -> Response:
    """Compact JSON, numbers and text as they are."""
    return Response(orjson.dumps(body), status, media_type="application/json")


class Recorder:
    """Writes each request and its outcome to the log, and lets `//v2` mean `/v2`."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._twin.faults(scope, receive, send)
        scope["path"] = "/" + scope["path"].lstrip("/")
        scope.setdefault("extensions", {})[CLOCK] = self._twin.exchange.now // SECOND
        body = await _body(receive)
        entry = self._entry(scope, body)
        self._twin.requests.append(entry)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
                entry["status"] = message["status"]
                entry["x_request_id"] = headers.get("x-request-id")
            await send(message)

        try:
            await self._twin.faults(scope, _again(body, receive), noting)
        finally:
            entry["fault"] = scope.get("state", {}).get("fault")

    def _entry(self, scope: Scope, body: bytes) -> dict[str, Any]:
        query = scope["query_string"].decode("latin-1")
        return {
            "t": utc_text(self._twin.exchange.now),
            "method": scope["method"],
            "path": scope["path"],
            "query": dict(parse_qsl(query, keep_blank_values=True)),
            "body": body.decode(errors="replace"),
            "status": None,
            "fault": None,
            "x_request_id": None,
        }


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body that was read, then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
