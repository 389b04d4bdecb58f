"""Both ports of a twin without a network, over a market that is known to the cent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import TypeAdapter

from quant50lib.simulator.app import Twin
from quant50lib.simulator.control import control_app
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.interface import OPERATIONS, Operation
from quant50lib.simulator.market import Market
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.schemas import Failure
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import parse_instant
from tests.proof.wire import URL, Wire
from tests.simulator.markets import TableMarket, flat

KEYS = {"APCA-API-KEY-ID": "PKTESTTESTTESTTEST01", "APCA-API-SECRET-KEY": "secret"}
EVENING, SESSION = "2024-06-03T22:00:00Z", "2024-06-04T14:00:00Z"


@dataclass
class Ports:
    """The broker's interface and the control plane of one twin."""

    twin: Twin
    broker: requests.Session
    control: requests.Session

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.broker.get(URL + path, params=query)

    def order(self, name: str, **body: Any) -> requests.Response:
        """A market buy of two shares of AAA, unless said otherwise."""
        usual = {"symbol": "AAA", "qty": "2", "side": "buy", "type": "market"}
        whole = usual | {"time_in_force": "day", "client_order_id": name} | body
        return self.broker.post(URL + "/v2/orders", json=whole)

    def named(self, name: str) -> requests.Response:
        return self.get("/v2/orders:by_client_order_id", client_order_id=name)

    def sim(self, method: str, call: str, body: Any = None) -> requests.Response:
        return self.control.request(method, f"{URL}/sim/{call}", json=body)

    def do(self, call: str, body: Any) -> Any:
        """A call of the control plane that must succeed; its reply."""
        reply = self.sim("POST", call, body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def fault(self, action: dict[str, Any], times: int = 1, **match: Any) -> None:
        self.do("faults", [{"match": match, "times": times, "action": action}])

    def statuses(self) -> dict[str, str]:
        """Every order that exists, whatever the replies say."""
        return {o.client_order_id: o.status for o in self.twin.exchange.orders.values()}


def ports(state: Path, now: str = EVENING, market: Market | None = None, **rules: Any) -> Ports:
    """A fresh twin of a market in which AAA opens at 101, 102 … on six days."""
    market = market or TableMarket({"AAA": flat(100.0), "BBB": flat(50.0)})
    chosen = Rules(**{"p_partial": 0.0, "half_spread_bps": 0.0} | rules)
    twin = Twin(Exchange(market, StateFile(state), chosen, parse_instant(now)))
    broker = _session(twin.app, KEYS)
    broker.hooks["response"].append(lambda reply, **_: judge(reply, twin))
    return Ports(twin, broker, _session(control_app(twin), {}))


def judge(reply: requests.Response, twin: Twin) -> None:
    """Every reply has the published fields, unless a fault says otherwise."""
    method, path = str(reply.request.method), urlsplit(reply.url).path
    found = next((op for m, regex, op in PUBLISHED if m == method and regex.match(path)), None)
    if found is None or twin.requests[-1]["fault"] is not None or reply.status_code == 401:
        return
    if reply.status_code != found.operation.status:
        assert 400 <= reply.status_code < 500, (method, path, reply.status_code, reply.text)
        found = FAILURE
    if found.adapter is not None:
        found.adapter.validate_json(reply.content)


@dataclass(frozen=True)
class Form:
    """What an operation publishes, ready to judge."""

    operation: Operation
    adapter: TypeAdapter[Any] | None


FAILURE = Form(Operation(Failure), TypeAdapter(Failure))
#: literal paths before those with names in them
PUBLISHED = [
    (
        method,
        re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "$"),
        Form(op, TypeAdapter(op.gives) if op.gives is not None else None),
    )
    for (method, path), op in sorted(OPERATIONS.items(), key=lambda item: item[0][1].count("{"))
]


def _session(app: Any, headers: dict[str, str]) -> requests.Session:
    session = requests.Session()
    session.mount("http://", Wire(app))
    session.headers.update(headers)
    return session
