"""What the faults of the connection do to a request."""

from __future__ import annotations

import asyncio
import socket
import struct

import orjson

from quant50lib.simulator.fault_shapes import (
    Answer,
    Delay,
    Empty,
    Html,
    Nothing,
    RateLimit,
    Redirect,
    Reset,
    Truncate,
)
from quant50lib.simulator.faults import (
    CLOCK,
    TRANSPORT,
    Action,
    App,
    Receive,
    Reply,
    Scope,
    Send,
    run,
)

HTML = "<html><head><title>{code}</title></head><body><h1>{code} gateway</h1></body></html>"
BODILESS = (204, 304)
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds


class Dropped(ConnectionResetError):
    """The connection was cut; raised only where there is no connection but a call in process."""


def _made(answer: Answer) -> Reply:
    body = "" if answer.code in BODILESS else answer.body
    raw = body.encode(errors="replace") if isinstance(body, str) else orjson.dumps(body)
    reply = Reply(answer.code, [], raw)
    headers = {"content-type": answer.content_type, "content-length": len(raw)} | answer.headers
    for name, value in headers.items():
        reply.header(name.lower(), value)
    return reply


def _cut(scope: Scope, *, rst: bool = False) -> None:
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if transport is None:
        raise Dropped("the twin closed the connection")
    if rst:
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        return transport.abort()
    transport.close()


async def _status(app: App, scope: Scope, receive: Receive, send: Send, args: Answer) -> None:
    await _made(args).send(send)


async def _html(app: App, scope: Scope, receive: Receive, send: Send, args: Html) -> None:
    page = HTML.format(code=args.code)
    await _made(Answer(code=args.code, body=page, content_type="text/html")).send(send)


async def _after(app: App, scope: Scope, receive: Receive, send: Send, args: Answer) -> None:
    await run(app, scope, receive)
    await _made(args).send(send)


async def _empty(app: App, scope: Scope, receive: Receive, send: Send, args: Empty) -> None:
    if args.processed:
        await run(app, scope, receive)
    await _made(Answer(code=200)).send(send)


async def _redirect(app: App, scope: Scope, receive: Receive, send: Send, args: Redirect) -> None:
    await _made(Answer(code=args.code, headers={"location": args.location})).send(send)


async def _ratelimit(app: App, scope: Scope, receive: Receive, send: Send, args: RateLimit) -> None:
    reply = await run(app, scope, receive)
    now = scope.get("extensions", {}).get(CLOCK, 0)
    reply.header("x-ratelimit-remaining", args.remaining)
    reply.header("x-ratelimit-reset", now + args.reset_s)
    await reply.send(send)


async def _drop_before(app: App, scope: Scope, receive: Receive, send: Send, args: Nothing) -> None:
    _cut(scope)


async def _drop_after(app: App, scope: Scope, receive: Receive, send: Send, args: Nothing) -> None:
    await run(app, scope, receive)
    _cut(scope)


async def _reset(app: App, scope: Scope, receive: Receive, send: Send, args: Reset) -> None:
    if args.when == "after":
        await run(app, scope, receive)
    _cut(scope, rst=True)


async def _hang(app: App, scope: Scope, receive: Receive, send: Send, args: Nothing) -> None:
    """Never answer; end when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def _delay(app: App, scope: Scope, receive: Receive, send: Send, args: Delay) -> None:
    if args.when == "before":
        await asyncio.sleep(args.s)
        return await app(scope, receive, send)
    reply = await run(app, scope, receive)
    await asyncio.sleep(args.s)
    await reply.send(send)


async def _truncate(app: App, scope: Scope, receive: Receive, send: Send, args: Truncate) -> None:
    """Fewer bytes than there were: a broken document, not a broken stream."""
    reply = await run(app, scope, receive)
    kept = len(reply.body) // 2 if args.bytes is None else args.bytes
    reply.body = reply.body[:kept]
    reply.header("content-length", len(reply.body))
    await reply.send(send)


ACTIONS: dict[str, Action] = {
    "status": _status,
    "after": _after,
    "html": _html,
    "empty_200": _empty,
    "redirect": _redirect,
    "ratelimit": _ratelimit,
    "drop_before": _drop_before,
    "drop_after": _drop_after,
    "reset": _reset,
    "hang": _hang,
    "delay": _delay,
    "truncate": _truncate,
}
