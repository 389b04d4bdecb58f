"""Faults on request: what a network, a gateway or a tired service does to a client.

A fault matches requests by method, path and count; its action says what happens. Where several hit
one request, the one that was set first lies outermost.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from quant50lib.simulator.fault_shapes import FaultShape
from quant50lib.simulator.shapes import Shape, read

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TRANSPORT = "quant50.transport"  # where the server puts the connection, in scope["extensions"]
CLOCK = "quant50.now"  # the simulated clock, in scope["extensions"], in seconds of UTC


@dataclass
class Fault:
    """One rule of /sim/faults; `seen` counts the requests that matched so far."""

    action: str
    arguments: Any  # the shape of the action
    method: str | None = None
    path: re.Pattern[str] | None = None
    nth: int = 1  # the first matching request that is hit
    times: int = 1
    seen: int = 0

    def hits(self, method: str, path: str) -> bool:
        """Count a request; whether it is hit."""
        if self.method and self.method != method:
            return False
        if self.path and not self.path.search(path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    @property
    def shown(self) -> dict[str, Any]:
        """As GET /sim/faults tells it."""
        return {
            "match": {
                "method": self.method,
                "path_regex": self.path.pattern if self.path else None,
                "nth": self.nth,
            },
            "times": self.times,
            "action": {self.action: self.arguments.given},
            "seen": self.seen,
        }


@dataclass
class Reply:
    """A whole answer, held back so that it can be changed."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str, value: object) -> None:
        """Set a header in place of any of that name."""
        raw = name.encode()
        self.headers = [(k, v) for k, v in self.headers if k.lower() != raw.lower()]
        self.headers.append((raw, str(value).encode()))

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def run(app: App, scope: Scope, receive: Receive) -> Reply:
    """The application's answer, in one piece."""
    reply = Reply()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status, reply.headers = message["status"], list(message.get("headers", []))
        else:
            reply.body += message.get("body", b"")

    await app(scope, receive, collect)
    return reply


Action = Callable[[App, Scope, Receive, Send, Any], Awaitable[None]]


class Faults:
    """The rules in force, and the middleware that applies those of the connection.

    The others reach whom they concern as `scope["state"]["fault"]`: {name: arguments as given}.
    """

    def __init__(self, app: App, actions: dict[str, Action]) -> None:
        self._app, self._actions = app, actions
        self.rules: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        hits = [f for f in self.rules if f.hits(scope["method"], scope["path"])]
        if hits:
            state = scope.setdefault("state", {})
            state["fault"] = {f.action: f.arguments.given for f in reversed(hits)}
        app = self._app
        for fault in reversed(hits):
            if fault.action in self._actions:
                app = _around(self._actions[fault.action], app, fault.arguments)
        await app(scope, receive, send)


def _around(action: Action, app: App, arguments: Shape) -> App:
    async def acted(scope: Scope, receive: Receive, send: Send) -> None:
        await action(app, scope, receive, send, arguments)

    return acted


def fault_of(shape: FaultShape) -> Fault:
    """The rule that counts."""
    action, arguments = shape.action.chosen
    match = shape.match
    path = re.compile(match.path_regex) if match.path_regex else None
    method = match.method.upper() if match.method else None
    return Fault(action, arguments, method, path, match.nth, shape.times)


def parse_fault(rule: Any) -> Fault:
    """A rule as the control plane takes it; raises Refusal naming what is wrong."""
    return fault_of(read(FaultShape, rule))


def in_force(scope: Scope) -> dict[str, Any]:
    """The faults that hit this request: {name: arguments as given}."""
    found: dict[str, Any] = scope.get("state", {}).get("fault") or {}
    return found
