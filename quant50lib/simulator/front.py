"""What every request of Alpaca's interface passes before a route: credentials, limit, headers."""

from __future__ import annotations

import binascii
import gzip
import hashlib
import logging
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import orjson

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.faults import App, Receive, Reply, Scope, Send, run
from quant50lib.simulator.records import identifier
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.timetable import SECOND

if TYPE_CHECKING:
    from quant50lib.simulator.app import Twin

log = logging.getLogger("quant50.simulator")

SMALL = 1_024  # bytes; shorter replies are not worth compressing
USUAL_LIMIT = 200  # shown where no limit is set
MINUTE = 60 * SECOND
HTML_401 = b"<html><head><title>401 Authorization Required</title></head></html>"
HTML_PATHS = ("/v2/clock", "/v2/calendar", "/v2/stocks", "/v1/")
OLD_401 = {"code": 40110000, "message": "request is not authorized"}
OPEN_PATHS = ("/openapi.json", "/docs")  # the twin's own pages, no part of Alpaca's interface
JSON = (b"content-type", b"application/json")


class Front:
    """Around the routes; a HEAD is a GET whose body stays at home."""

    def __init__(self, twin: Twin, app: App) -> None:
        self._twin, self._app, self._count = twin, app, 0
        self._limit = Limit(twin.exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self._app(scope, receive, send)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        left = self._limit.left()
        reply = await self._answer(scope, receive, headers, left)
        self._finish(reply, left, "gzip" in headers.get("accept-encoding", ""))
        if scope["method"] == "HEAD":
            reply.body = b""
        await reply.send(send)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[str, str], left: int
    ) -> Reply:
        asked = dict(scope) | ({"method": "GET"} if scope["method"] == "HEAD" else {})
        try:
            if left < 0:
                raise Refusal(429, 42910000, "rate limit exceeded")
            check_key(self._twin.exchange, headers)
            return await run(self._app, asked, receive)
        except Refusal as refusal:
            return _refused(refusal, scope["path"], self._twin.exchange.rules.unauthorized)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            return _plain(500, {"code": 50010000, "message": "internal server error occurred"})

    def _finish(self, reply: Reply, left: int, zipped: bool) -> None:
        exchange = self._twin.exchange
        self._count += 1
        made = identifier("request", exchange.now, self._count).replace("-", "")
        reply.header("X-Request-ID", made)
        if reply.status != 429 or exchange.rules.rate_headers == "always":
            reply.header("X-RateLimit-Limit", exchange.rules.rate_limit or USUAL_LIMIT)
            reply.header("X-RateLimit-Remaining", max(left, 0))
            reply.header("X-RateLimit-Reset", self._limit.reset)
        if zipped and len(reply.body) > SMALL:
            reply.body = gzip.compress(reply.body, compresslevel=1, mtime=0)
            reply.header("Content-Encoding", "gzip")
        reply.header("Content-Length", len(reply.body))
        if reply.status == 204:
            reply.headers = [(k, v) for k, v in reply.headers if k != b"Content-Length"]


class Limit:
    """Requests a minute of the simulated clock: a bucket that refills, or whole minutes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._since: tuple[int, float] | None = None  # an instant, and what was left then

    def left(self) -> int:
        """Count a request; how many are left after it, -1: this one is too many."""
        most, now = self._exchange.rules.rate_limit, self._exchange.now
        if not most:
            return USUAL_LIMIT - 1
        before, left = self._since or (now, float(most))
        left = min(left + self._refilled(before, now, most), float(most))
        self._since = (now, left - 1 if left >= 1 else left)
        return int(left) - 1

    def _refilled(self, before: int, now: int, most: int) -> float:
        if self._by_minute:
            return float(most) + 1 if now // MINUTE != before // MINUTE else 0.0
        return max(now - before, 0) / MINUTE * most

    @property
    def _by_minute(self) -> bool:
        return self._exchange.rules.rate_window == "minute"

    @property
    def reset(self) -> int:
        """When all of them are free again, in seconds of UTC."""
        now = self._exchange.now
        return (now // MINUTE + 1) * 60 if self._by_minute else now // SECOND + 60


def _plain(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status, [JSON], orjson.dumps(body))


def _refused(refusal: Refusal, path: str, form: str) -> Reply:
    """A refusal before any route: the gateway answers for clock, calendar and data in HTML."""
    if refusal.status != 401:
        return _plain(refusal.status, refusal.body)
    if form == "html" or (form == "json" and path.startswith(HTML_PATHS)):
        return Reply(401, [(b"content-type", b"text/html")], HTML_401)
    reply = _plain(401, OLD_401 if form == "old" else refusal.body)
    reply.headers += [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b"Basic")]
    return reply


def check_key(exchange: Exchange, headers: dict[str, str]) -> None:
    """The first paper credentials are taken and stay the only ones; live keys (AK…) are refused.

    A key and its secret, in headers of their own or as Basic; or a bearer token.
    """
    found = [hashlib.sha256(part.encode()).hexdigest() for part in _credentials(headers)]
    if exchange.account.key is None:
        exchange.remember_key(found)
    elif exchange.account.key != found:
        raise Refusal(401, None, "unauthorized.")


def _credentials(headers: dict[str, str]) -> list[str]:
    key, secret = headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value and not value.startswith("AK"):
        return [value]
    if scheme.lower() == "basic":
        try:
            key, _, secret = b64decode(value).decode(errors="replace").partition(":")
        except (binascii.Error, ValueError) as error:
            raise Refusal(401, None, "unauthorized.") from error
    if not key.startswith("PK") or not secret:
        raise Refusal(401, None, "unauthorized.")
    return [key, secret]
