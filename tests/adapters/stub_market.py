"""A stand-in for Alpaca on loopback: real HTTP, small pages, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd

from quant50lib.adapters.market import MarketData, connect
from quant50lib.settings import DataSettings

Reply = tuple[int, dict[str, str], bytes]


class Stub:
    """Bars {symbol: {session: close}}, corporate actions, assets, and the requests it got.

    `faults` are answered first, one per request; each is (status, headers, body) or a callable that
    does something to the connection.
    """

    def __init__(self, page: int = 7) -> None:
        self.page = page
        self.bars: dict[str, dict[str, float]] = {}
        self.groups: dict[str, list[dict[str, Any]]] = {}
        self.assets: list[dict[str, Any]] = []
        self.now = "2024-06-28T22:00:00.123456789-04:00"
        self.faults: list[Reply | Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def connect(self, **more: Any) -> MarketData:
        """The real client of this stub, which notes its pauses and makes none."""
        settings = DataSettings(**more)
        market = connect(self.url, self.url, "PKTEST", "secret", settings)
        self.slept: list[float] = []
        market._sleep = self.slept.append
        return market

    def asked(self, path: str) -> list[dict[str, str]]:
        return [query for where, query in self.requests if where == path]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        if path == "/v2/stocks/bars":
            return self._bars(query)
        if path == "/v1/corporate-actions":
            return {"corporate_actions": self._actions(query), "next_page_token": None}
        if path == "/v2/assets":
            return self.assets
        return {"timestamp": self.now, "is_open": False}

    def _bars(self, query: dict[str, str]) -> dict[str, Any]:
        rows = [
            (symbol, bar(day, close))
            for symbol in sorted(query["symbols"].split(","))
            for day, close in sorted(self.bars.get(symbol, {}).items())
            if query["start"] <= midnight(day) <= query["end"]
        ]
        first = int(query.get("page_token", "0"))
        found: dict[str, list] = {}
        for symbol, row in rows[first : first + self.page]:
            found.setdefault(symbol, []).append(row)
        more = first + self.page < len(rows)
        return {"bars": found, "next_page_token": str(first + self.page) if more else None}

    def _actions(self, query: dict[str, str]) -> dict[str, list]:
        def wanted(record: dict[str, Any]) -> bool:
            return query["start"] <= str(record.get("ex_date", query["start"])) <= query["end"]

        return {name: [r for r in rows if wanted(r)] for name, rows in self.groups.items()}


def bar(day: str, close: float) -> dict[str, Any]:
    """One bar of Alpaca's, stamped with New York's midnight."""
    return {"t": midnight(day), **dict.fromkeys("ohlc", close), "v": 100, "n": 5, "vw": close}


@lru_cache(maxsize=None)
def midnight(day: str) -> str:
    stamp = pd.Timestamp(day, tz="America/New_York").tz_convert("UTC")
    return str(stamp.strftime("%Y-%m-%dT%H:%M:%SZ"))


def asset(symbol: str, **more: Any) -> dict[str, Any]:
    said = {"name": f"{symbol} Inc", "exchange": "NYSE", "status": "active"}
    return {"symbol": symbol, "tradable": True, "fractionable": True, **said, **more}


@contextmanager
def running(stub: Stub) -> Iterator[Stub]:
    """The stub behind a real server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            stub.requests.append((parts.path, query))
            fault = stub.faults.pop(0) if stub.faults else None
            if callable(fault):
                fault(self)
                return
            body = json.dumps(stub.answer(parts.path, query)).encode() if fault is None else b""
            status, headers, content = fault or (200, {}, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
