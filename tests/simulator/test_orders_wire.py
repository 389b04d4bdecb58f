"""Orders of every kind through alpaca-py, on the routes themselves, without a server process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)
from fastapi import FastAPI
from fastapi.testclient import TestClient

from quant50lib.simulator.app import refuse
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.trading_routes import trading_routes
from tests.simulator.orders import TUESDAY, TUESDAY_CLOSE, go, make


class Twin:
    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange


class Loop(TradingClient):
    """alpaca-py, whose requests go to the routes in this process."""

    def attach(self, exchange: Exchange) -> None:
        app = FastAPI(openapi_url=None)
        app.state.twin = Twin(exchange)
        app.include_router(trading_routes)
        app.add_exception_handler(Refusal, refuse)
        self.http = TestClient(app, base_url="http://127.0.0.1")
        self._session.request = self._send  # type: ignore[method-assign]

    def _send(self, method: str, url: Any, **options: Any) -> requests.Response:
        """The very bytes that it would send over a connection."""
        options.pop("allow_redirects", None)
        wire = requests.Request(method, str(url), **options).prepare()
        found = self.http.request(
            method, str(wire.url), content=wire.body, headers=dict(wire.headers)
        )
        answer = requests.Response()
        answer.status_code, answer._content = found.status_code, found.content
        return answer


@pytest.fixture
def exchange() -> Exchange:
    return make(now=TUESDAY)


@pytest.fixture
def client(exchange: Exchange) -> Iterator[Loop]:
    found = Loop("PKTEST", "secret", paper=True, url_override="http://127.0.0.1")
    found.attach(exchange)
    yield found


AA = {"symbol": "AA", "qty": 10, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}


def test_a_bracket_and_its_legs(client: Loop, exchange: Exchange) -> None:
    sent = client.submit_order(
        MarketOrderRequest(
            **AA,
            order_class=OrderClass.BRACKET,
            take_profit=TakeProfitRequest(limit_price=120),
            stop_loss=StopLossRequest(stop_price=90, limit_price=89.5),
        )
    )
    assert (
        sent.status.value == "pending_new"
        and [leg.status.value for leg in sent.legs] == ["held"] * 2
    )
    request = GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True)
    [row] = client.get_orders(request)
    assert row.status.value == "filled" and len(row.legs) == 2
    assert {leg.order_class for leg in row.legs} == {OrderClass.BRACKET}
    assert [done.status for done in client.cancel_orders()] == [200, 200]
    assert client.get_orders() == []


def test_replacing(client: Loop) -> None:
    body = AA | {"time_in_force": TimeInForce.GTC, "limit_price": 90.25, "client_order_id": "a"}
    old = client.submit_order(LimitOrderRequest(**body))
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(qty=7, client_order_id="b"))
    assert new.replaces == old.id and float(new.qty) == 7 and new.limit_price == "90.25"
    assert client.get_order_by_client_id("a").replaced_by == new.id
    with pytest.raises(APIError) as caught:
        client.cancel_order_by_id(old.id)
    assert caught.value.status_code == 422
    client.cancel_order_by_id(new.id)
    client.cancel_order_by_id(new.id)


def test_stops_and_trails(client: Loop, exchange: Exchange) -> None:
    client.submit_order(MarketOrderRequest(**AA))
    sell = AA | {"side": OrderSide.SELL, "qty": 4}
    stop = client.submit_order(StopOrderRequest(**sell, stop_price=101.55))
    trail = client.submit_order(TrailingStopOrderRequest(**sell, trail_percent=1.5))
    assert stop.stop_price == "101.55" and trail.hwm == "101.65"
    go(exchange, TUESDAY_CLOSE)
    assert client.get_order_by_id(stop.id).filled_avg_price == "101.55"
    assert client.get_order_by_id(trail.id).status.value == "expired"


def test_closing_positions(client: Loop, exchange: Exchange) -> None:
    for symbol in ("AA", "BB"):
        client.submit_order(MarketOrderRequest(**AA | {"symbol": symbol}))
    part = client.close_position("AA", ClosePositionRequest(percentage="25"))
    assert part.side == OrderSide.SELL and float(part.qty) == 2.5
    client.close_position("AA", ClosePositionRequest(qty="0.5"))
    assert client.get_open_position("AA").qty == "7"
    for request in (ClosePositionRequest(qty="8"), ClosePositionRequest(percentage="101")):
        with pytest.raises(APIError) as caught:
            client.close_position("AA", request)
        assert caught.value.status_code in (403, 422)
    resting = LimitOrderRequest(**AA | {"symbol": "BB", "side": OrderSide.SELL}, limit_price=500)
    client.submit_order(resting)
    rows = {row.symbol: row for row in client.close_all_positions()}
    assert (rows["AA"].status, rows["BB"].status) == (200, 403)
    assert [row.status for row in client.close_all_positions(cancel_orders=True)] == [200]
    assert client.get_all_positions() == [] and client.close_all_positions() == []
    with pytest.raises(APIError, match="position does not exist"):
        client.close_position("AA")


def test_an_order_that_can_no_longer_be_cancelled(client: Loop, exchange: Exchange) -> None:
    order = client.submit_order(LimitOrderRequest(**AA, limit_price=50))
    exchange.stick(str(order.id))
    exchange.replace(str(order.id), {"qty": "3"})
    rows = {str(row.id): row.status for row in client.cancel_orders()}
    assert rows[str(order.id)] == 500


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/v2/orders", {"content": b"["}),
        ("POST", "/v2/orders", {"json": {"symbol": {}, "side": [], "type": 1}}),
        ("POST", "/v2/orders", {"json": {"order_class": {"a": 1}}}),
        ("PATCH", "/v2/orders/none", {"json": {}}),
        ("DELETE", "/v2/orders/none", {}),
        ("GET", "/v2/orders", {"params": {"limit": "1e3"}}),
        ("GET", "/v2/orders", {"params": {"after_order_id": "none"}}),
        ("DELETE", "/v2/positions/AA", {"params": {"qty": "many"}}),
        ("PATCH", "/v2/account/configurations", {"json": {"max_options_trading_level": "2"}}),
        ("PATCH", "/v2/account/configurations", {"json": {"no_shorting": [1]}}),
        ("GET", "/v2/account/portfolio/history", {"params": {"period": "9999A"}}),
        ("GET", "/v2/account/activities", {"params": {"page_token": "x"}}),
    ],
)
def test_nonsense_is_refused(client: Loop, method: str, path: str, options: Any) -> None:
    found = client.http.request(method, path, **options)
    assert 400 <= found.status_code < 500 and found.json()["message"]
