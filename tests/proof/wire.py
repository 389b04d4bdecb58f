"""The twin without a network: our client's requests go straight into its application.

What a fault does to a connection becomes what `requests` would raise for it, so that thousands of
days with faults fit into a test run. Real sockets are used where a process is killed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.response import HTTPResponse

from quant50lib.adapters.broker import Broker, connect
from quant50lib.settings import Secrets, Settings
from quant50lib.simulator.app import Twin
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.faults import TRANSPORT, parse_fault
from quant50lib.simulator.market import Market
from quant50lib.simulator.records import text
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import micros

URL = "http://127.0.0.1:1"


class Cable:
    """Stands for the connection of one request; a fault may cut it."""

    def __init__(self) -> None:
        self.cut = False

    def close(self) -> None:
        self.cut = True

    abort = close

    def get_extra_info(self, name: str) -> None:
        return None


class Wire(BaseAdapter):
    """An adapter of `requests` that asks an ASGI application, in this thread."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.calls: list[str] = []  # method and path of each request

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(request.url)
        self.calls.append(f"{request.method} {parts.path}")
        body = request.body or b""
        cable, sent = Cable(), {"status": 0, "headers": [], "body": b""}
        incoming = [
            {"type": "http.request", "body": body.encode() if isinstance(body, str) else body}
        ]

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent.update(status=message["status"], headers=message["headers"])
            else:
                sent["body"] += message.get("body", b"")

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": requests.utils.unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(k.lower().encode(), str(v).encode()) for k, v in request.headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
            "extensions": {TRANSPORT: cable},
        }
        self.loop.run_until_complete(self.app(scope, receive, send))
        if cable.cut:
            raise requests.ConnectionError("connection closed")
        if not sent["status"]:
            raise requests.ReadTimeout("no answer")
        return self._response(request, sent)

    @staticmethod
    def _response(request: requests.PreparedRequest, sent: dict[str, Any]) -> requests.Response:
        import io

        response = requests.Response()
        response.status_code, response.url, response.request = sent["status"], request.url, request
        headers = {k.decode(): v.decode() for k, v in sent["headers"]}
        response.headers = CaseInsensitiveDict(headers)
        response.raw = HTTPResponse(
            io.BytesIO(sent["body"]),
            headers=headers,
            status=sent["status"],
            preload_content=False,
        )
        return response

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class World:
    """A twin on a market, reached through a wire, with its state in one file."""

    market: Market
    state: Path
    twin: Twin
    wire: Wire

    @classmethod
    def begin(cls, market: Market, state: Path, now: pd.Timestamp, **rules: Any) -> World:
        """A fresh account."""
        exchange = Exchange(market, StateFile(state), Rules(**rules), micros(now.to_pydatetime()))
        twin = Twin(exchange)
        return cls(market, state, twin, Wire(twin.app))

    def copy(self, to: Path, **rules: Any) -> World:
        """The same account once more, going its own way; `rules` changes some of them."""
        shutil.copyfile(self.state, to)
        twin = Twin(Exchange(self.market, StateFile(to), Rules(), None, **rules))
        return World(self.market, to, twin, Wire(twin.app))

    def broker(self, settings: Settings) -> Broker:
        """Our client of it, that never sleeps."""
        broker = connect(settings, Secrets(), URL)
        broker._client._session.mount("http://", self.wire)
        broker._sleep = lambda seconds: None
        return broker

    def set_clock(self, instant: pd.Timestamp) -> None:
        self.twin.exchange.advance(micros(instant.to_pydatetime()))

    def fault(self, action: dict[str, Any], nth: int = 1, times: int = 1, **match: Any) -> None:
        """Put a fault into force."""
        rule = {"match": {"nth": nth, **match}, "times": times, "action": action}
        self.twin.faults.rules.append(parse_fault(rule))

    def no_faults(self) -> None:
        self.twin.clear_faults()

    def orders(self) -> list[tuple[str, str, str, str]]:
        """Every order that exists: name, symbol, side, quantity."""
        return sorted(
            (o.client_order_id, o.symbol, o.side, text(o.qty) or "")
            for o in self.twin.exchange.orders.values()
        )

    def orders_sent(self, session: pd.Timestamp) -> list[str]:
        """Names of a session's orders, as they arrived."""
        return [n for n in self.twin.exchange.by_client_id if f"-{session:%Y%m%d}-" in n]

    def doubled(self) -> list[str]:
        """Names under which more than one order exists."""
        counts = Counter(name for name, *_ in self.orders())
        return [name for name, count in counts.items() if count > 1]

    def books(self) -> tuple[str, dict[str, str]]:
        """Cash and shares, as the twin has them."""
        exchange = self.twin.exchange
        held = {p.symbol: text(p.qty) or "" for p in exchange.positions.values()}
        return text(exchange.account.cash) or "", dict(sorted(held.items()))
