"""Faults of orders and of the account: what a venue does between a request and its answer.

They lie innermost, around the routes, and act on the exchange itself or rewrite what a route says.
Until when a late rejection or a hidden order lasts is kept here, and ends with the faults.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.fault_shapes import (
    FillRace,
    Late,
    RejectLater,
    Skew,
    Stick,
    UnknownStatus,
)
from quant50lib.simulator.faults import App, Receive, Reply, Scope, Send, in_force, run
from quant50lib.simulator.records import Order
from quant50lib.simulator.refusals import missing
from quant50lib.simulator.timetable import SECOND, new_york_text, parse_instant

ORDERS = "/v2/orders"
BY_CLIENT_ID = "/v2/orders:by_client_order_id"
NO_CONTENT = 204


@dataclass
class Hidden:
    """Until when an order is not shown: an instant, or a number of replies."""

    until: int | None
    lookups: int | None

    def is_over(self, now: int) -> bool:
        return (self.until is not None and now >= self.until) or self.lookups == 0


class OrderFaults:
    """The middleware, and what it remembers between requests."""

    def __init__(self, exchange: Exchange, app: App) -> None:
        self._exchange, self._app = exchange, app
        self._rejections: dict[str, str] = {}  # order id and reason
        self._hidden: dict[str, Hidden] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        self.settle()
        faults = in_force(scope)
        if not faults and not self._hidden:
            return await self._app(scope, receive, send)
        reply = self._raced(scope, faults)
        if reply is None:
            with self._holding(scope, faults):
                reply = await run(self._app, scope, receive)
        self._afterwards(scope, faults, reply)
        await reply.send(send)

    def settle(self) -> None:
        """Reject what was to be rejected when anybody looks again."""
        waiting, self._rejections = self._rejections, {}
        for order_id, reason in waiting.items():
            order = self._exchange.orders.get(order_id)
            if order is not None and order.is_open:
                self._exchange.reject(order_id, reason)

    def clear(self) -> None:
        """Stuck orders go on, hidden ones are seen; what was to be rejected is."""
        self.settle()
        self._hidden.clear()
        self._exchange.release()

    # ---- before and while a request is processed

    def _raced(self, scope: Scope, faults: dict[str, Any]) -> Reply | None:
        """The answer to a DELETE whose order is filled, or gets stuck, before it is processed."""
        order = self._order_in(scope)
        if scope["method"] != "DELETE" or order is None or not order.is_open:
            return None
        if "fill_race" in faults:
            self._exchange.fill(order.id)
            taken = FillRace(**faults["fill_race"]).code == NO_CONTENT
            return Reply(NO_CONTENT) if taken else None
        if "stick" in faults:
            self._exchange.stick(order.id, Stick(**faults["stick"]).status or "pending_cancel")
            return Reply(NO_CONTENT)
        return None

    @contextlib.contextmanager
    def _holding(self, scope: Scope, faults: dict[str, Any]) -> Iterator[None]:
        """An order that is to stick or to be rejected later does not meet a quote before."""
        wanted = scope["method"] == "POST" and faults.keys() & {"stick", "reject_later"}
        self._exchange.holding = bool(wanted)
        try:
            yield
        finally:
            self._exchange.holding = False

    # ---- afterwards

    def _afterwards(self, scope: Scope, faults: dict[str, Any], reply: Reply) -> None:
        order = self._order_in(scope, reply)
        if order is not None and scope["method"] in ("POST", "PATCH"):
            self._have_it_stick(order, faults)
            if "duplicate_visible_late" in faults:
                self._hide(order, Late(**faults["duplicate_visible_late"]))
        elif self._hidden and scope["method"] == "GET" and scope["path"].startswith(ORDERS):
            self._leave_out(scope, reply)
        self._reword(scope, faults, reply)

    def _have_it_stick(self, order: Order, faults: dict[str, Any]) -> None:
        if not order.is_open or not faults.keys() & {"stick", "reject_later"}:
            return
        self._exchange.stick(order.id, Stick(**faults.get("stick", {})).status)
        if "reject_later" in faults:
            self._rejections[order.id] = RejectLater(**faults["reject_later"]).reason

    def _hide(self, order: Order, late: Late) -> None:
        until = self._exchange.now + round(late.s * SECOND) if late.s is not None else None
        usual = 1 if late.s is None else None
        self._hidden[order.id] = Hidden(until, late.lookups or usual)

    def _leave_out(self, scope: Scope, reply: Reply) -> None:
        """Take orders that are not visible yet out of what a route answered."""
        now = self._exchange.now
        self._hidden = {k: h for k, h in self._hidden.items() if not h.is_over(now)}
        body = _json(reply)
        if isinstance(body, list):
            _put(reply, [row for row in body if not self._is_missing(row)])
        elif self._is_missing(body):
            refusal = missing(f"order not found for {_wanted(scope)}")
            reply.status = refusal.status
            _put(reply, refusal.body)

    def _is_missing(self, row: Any) -> bool:
        """Whether the order is hidden; that is one of its look-ups."""
        hidden = self._hidden.get(str(row.get("id"))) if isinstance(row, dict) else None
        if hidden is not None and hidden.lookups is not None:
            hidden.lookups -= 1
        return hidden is not None

    def _reword(self, scope: Scope, faults: dict[str, Any], reply: Reply) -> None:
        if "unknown_status" in faults:
            value = UnknownStatus(**faults["unknown_status"]).value
            _rewrite(reply, lambda body: _with_status(body, value))
        if "clock_skew" in faults and scope["path"] == "/v2/clock":
            seconds = Skew(**faults["clock_skew"]).s
            _rewrite(reply, lambda body: _with_skew(body, seconds))

    def _order_in(self, scope: Scope, reply: Reply | None = None) -> Order | None:
        """The one order that a request is about: of its path, else of its reply."""
        found = scope["path"].removeprefix(ORDERS + "/")
        if reply is not None and reply.status == 200:
            body = _json(reply)
            found = body.get("id", found) if isinstance(body, dict) else found
        return self._exchange.orders.get(str(found))


def _wanted(scope: Scope) -> str:
    """How a look-up named the order."""
    if scope["path"] == BY_CLIENT_ID:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return query.get("client_order_id", [""])[0]
    return str(scope["path"].removeprefix(ORDERS + "/"))


def _json(reply: Reply) -> Any:
    try:
        return orjson.loads(reply.body)
    except ValueError:
        return None


def _put(reply: Reply, body: Any) -> None:
    reply.body = orjson.dumps(body)
    reply.header("content-length", len(reply.body))


def _rewrite(reply: Reply, change: Callable[[Any], Any]) -> None:
    body = _json(reply)
    if reply.status < 300 and body is not None:
        _put(reply, change(body))


def _with_status(body: Any, value: str) -> Any:
    """Every order in it has that status."""
    if isinstance(body, list):
        return [_with_status(row, value) for row in body]
    is_order = isinstance(body, dict) and "client_order_id" in body
    return body | {"status": value} if is_order else body


def _with_skew(body: Any, seconds: float) -> Any:
    if not isinstance(body, dict) or "timestamp" not in body:
        return body
    at = parse_instant(body["timestamp"]) + round(seconds * SECOND)
    return body | {"timestamp": new_york_text(at)}
