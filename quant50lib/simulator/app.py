"""Alpaca's interface over HTTP: what every request goes through before it meets a route.

Outermost the log, then the faults, then credentials, rate limit and headers, then the routes.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import logging
from base64 import b64decode
from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import FastAPI, Request, Response

from quant50lib.simulator.bars import Bars
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.faults import App, Faults, Message, Receive, Reply, Scope, Send, run
from quant50lib.simulator.market_routes import market_routes
from quant50lib.simulator.records import identifier
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.timetable import SECOND, utc_text
from quant50lib.simulator.trading_routes import trading_routes

log = logging.getLogger("quant50.simulator")

LOG_LENGTH = 10_000
SMALL = 1_024  # bytes; shorter replies are not worth compressing
USUAL_LIMIT = 200  # shown where no limit is set
HTML_401 = b"<html><head><title>401 Authorization Required</title></head></html>"
HTML_PATHS = ("/v2/clock", "/v2/calendar", "/v2/stocks", "/v1/")


class Twin:
    """Everything behind the two ports: the exchange, its bars, the faults and the log."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.bars = exchange, Bars(exchange.prices)
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.faults = Faults(Front(self, _routes(self)))
        self.app: App = Recorder(self)


def _routes(twin: Twin) -> FastAPI:
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.twin = twin
    app.include_router(trading_routes)
    app.include_router(market_routes)
    app.add_exception_handler(Refusal, refuse)
    for status in (404, 405):
        app.add_exception_handler(status, _no_such_path)
    return app


async def refuse(request: Request, refusal: Exception) -> Response:
    """The reply to a request that a rule refuses."""
    assert isinstance(refusal, Refusal)
    return as_json(refusal.body, refusal.status)


async def _no_such_path(request: Request, error: Exception) -> Response:
    return as_json({"code": 40410000, "message": "endpoint not found."}, 404)


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
        body = await _body(receive)
        entry = self._entry(scope, body)
        self._twin.requests.append(entry)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
                entry["status"] = message["status"]
                entry["x_request_id"] = headers.get("x-request-id")
            await send(message)

        await self._twin.faults(scope, _again(body, receive), noting)
        entry["fault"] = scope.get("state", {}).get("fault")

    def _entry(self, scope: Scope, body: bytes) -> dict[str, Any]:
        return {
            "t": utc_text(self._twin.exchange.now),
            "method": scope["method"],
            "path": scope["path"],
            "query": dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
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


class Front:
    """Credentials, rate limit, headers and compression around the routes."""

    def __init__(self, twin: Twin, app: App) -> None:
        self._twin, self._app, self._count = twin, app, 0
        self._tokens: tuple[int, float] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        left = self._left()
        try:
            if left < 0:
                raise Refusal(429, 42910000, "rate limit exceeded")
            check_key(self._twin.exchange, headers)
            reply = await run(self._app, scope, receive)
        except Refusal as refusal:
            reply = _refused(refusal, scope["path"])
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            reply = _plain(500, {"code": 50010000, "message": "internal server error occurred"})
        self._finish(reply, left, "gzip" in headers.get("accept-encoding", ""))
        await reply.send(send)

    def _left(self) -> int:
        """Requests left in the bucket, which refills with the simulated clock."""
        limit = self._twin.exchange.rules.rate_limit
        if not limit:
            return USUAL_LIMIT - 1
        now = self._twin.exchange.now
        before, left = self._tokens or (now, float(limit))
        left = min(left + max(now - before, 0) / (60 * SECOND) * limit, float(limit)) - 1
        self._tokens = (now, max(left, -1.0))
        return int(left) if left >= 0 else -1

    def _finish(self, reply: Reply, left: int, zipped: bool) -> None:
        exchange = self._twin.exchange
        self._count += 1
        extra = {
            "x-ratelimit-limit": exchange.rules.rate_limit or USUAL_LIMIT,
            "x-ratelimit-remaining": max(left, 0),
            "x-ratelimit-reset": exchange.now // SECOND + 60,
            "x-request-id": identifier("request", exchange.now, self._count).replace("-", ""),
        }
        if zipped and len(reply.body) > SMALL:
            reply.body = gzip.compress(reply.body, compresslevel=1, mtime=0)
            extra["content-encoding"] = "gzip"
        kept = [(k, v) for k, v in reply.headers if k.lower() != b"content-length"]
        extra["content-length"] = len(reply.body)
        if reply.status == 204:
            del extra["content-length"]
        reply.headers = kept + [(k.encode(), str(v).encode()) for k, v in extra.items()]


def _plain(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], orjson.dumps(body))


def _refused(refusal: Refusal, path: str) -> Reply:
    """A refusal before any route: the gateway answers for clock, calendar and data in HTML."""
    if refusal.status == 401 and path.startswith(HTML_PATHS):
        return Reply(401, [(b"content-type", b"text/html")], HTML_401)
    reply = _plain(refusal.status, refusal.body)
    if refusal.status == 401:
        reply.headers += [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b"Basic")]
    return reply


def check_key(exchange: Exchange, headers: dict[str, str]) -> None:
    """The first paper key (PK…) is taken and stays the only one; live keys are refused."""
    key, secret = headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            key, _, secret = b64decode(value).decode(errors="replace").partition(":")
        except binascii.Error as error:
            raise Refusal(401, None, "unauthorized.") from error
    if not key.startswith("PK") or not secret:
        raise Refusal(401, None, "unauthorized.")
    found = [hashlib.sha256(part.encode()).hexdigest() for part in (key, secret)]
    if exchange.account.key is None:
        exchange.remember_key(found)
    elif exchange.account.key != found:
        raise Refusal(401, None, "unauthorized.")
