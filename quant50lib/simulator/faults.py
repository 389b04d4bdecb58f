"""Faults on request: what a network, a gateway or a tired service does to a client.

A fault matches requests by method, path and count; its one action says what happens. Actions are
entries of `ACTIONS`, so that another is one function more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from quant50lib.simulator.refusals import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TRANSPORT = "quant50.transport"  # where the server puts the connection, in scope["extensions"]
HTML = "<html><head><title>{code}</title></head><body><h1>{code} gateway</h1></body></html>"
FOREVER = 86_400.0


@dataclass
class Fault:
    """One rule of /sim/faults; `seen` counts the requests that matched so far."""

    action: str
    arguments: dict[str, Any]
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


@dataclass
class Reply:
    """A whole answer, held back so that it can be changed."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Faults:
    """The rules in force, and the middleware that applies them outside of everything else."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.rules: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        fault = next((f for f in self.rules if f.hits(scope["method"], scope["path"])), None)
        if fault is None:
            return await self._app(scope, receive, send)
        scope.setdefault("state", {})["fault"] = {fault.action: fault.arguments}
        await ACTIONS[fault.action](self._app, scope, receive, send, fault.arguments)


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


def _made(arguments: dict[str, Any], usual_type: str = "application/json") -> Reply:
    body = arguments.get("body", "")
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    kind = str(arguments.get("content_type", usual_type))
    headers = {"content-type": kind, "content-length": str(len(raw))}
    headers |= {str(k).lower(): str(v) for k, v in arguments.get("headers", {}).items()}
    wire = [(k.encode(), v.encode()) for k, v in headers.items()]
    return Reply(int(arguments.get("code", 500)), wire, raw)


def _drop(scope: Scope) -> None:
    scope["extensions"][TRANSPORT].close()


async def _status(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    await _made(args).send(send)


async def _html(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    code = int(args.get("code", 502))
    await _made({"code": code, "body": HTML.format(code=code)}, "text/html").send(send)


async def _after(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    await run(app, scope, receive)
    await _made(args).send(send)


async def _drop_before(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    _drop(scope)


async def _drop_after(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    await run(app, scope, receive)
    _drop(scope)


async def _hang(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    """Never answer; end when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def _delay(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    """Seconds of real time, before processing or (when = after) before the reply."""
    seconds = min(float(args.get("s", 1)), FOREVER)
    if args.get("when", "before") == "before":
        await asyncio.sleep(seconds)
        return await app(scope, receive, send)
    reply = await run(app, scope, receive)
    await asyncio.sleep(seconds)
    await reply.send(send)


async def _truncate(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    """Fewer bytes than there were, honestly counted: a broken document, not a broken stream."""
    reply = await run(app, scope, receive)
    reply.body = reply.body[: int(args.get("bytes", len(reply.body) // 2))]
    reply.headers = [(k, v) for k, v in reply.headers if k.lower() != b"content-length"]
    reply.headers.append((b"content-length", str(len(reply.body)).encode()))
    await reply.send(send)


async def _pass(app: App, scope: Scope, receive: Receive, send: Send, args: Any) -> None:
    """A fault of the data: the handler finds it in scope["state"]["fault"]."""
    await app(scope, receive, send)


Action = Callable[[App, Scope, Receive, Send, Any], Awaitable[None]]
ACTIONS: dict[str, Action] = {
    "status": _status,
    "after": _after,
    "drop_before": _drop_before,
    "drop_after": _drop_after,
    "hang": _hang,
    "delay": _delay,
    "truncate": _truncate,
    "html": _html,
    "stale": _pass,
}


def parse_fault(rule: Any) -> Fault:
    """A rule as the control plane takes it; raises Refusal naming what is wrong."""
    if not isinstance(rule, dict) or not isinstance(rule.get("action"), dict):
        raise Refusal(422, None, f"a fault needs an action: {rule!r}")
    match = rule.get("match") or {}
    unknown = (set(rule) - {"match", "times", "action"}) | (
        set(match) - {"method", "path_regex", "nth"}
    )
    if unknown or len(rule["action"]) != 1 or set(rule["action"]) - set(ACTIONS):
        raise Refusal(
            422, None, f"unknown keys {sorted(unknown)} or action; known: {', '.join(ACTIONS)}"
        )
    [(action, arguments)] = rule["action"].items()
    try:
        path = re.compile(match["path_regex"]) if match.get("path_regex") else None
    except re.error as error:
        raise Refusal(422, None, f"path_regex: {error}") from error
    method = str(match["method"]).upper() if match.get("method") else None
    nth, times = int(match.get("nth", 1)), int(rule.get("times", 1))
    return Fault(action, dict(arguments or {}), method, path, nth, times)
