"""An exchange on a small market, in process: for tests of orders and of the account."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.market import Action
from quant50lib.simulator.order_form import parse_order
from quant50lib.simulator.records import Addition, Order
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import parse_instant, utc_text
from tests.simulator.markets import TableMarket, flat

MONDAY_NIGHT = "2024-06-03T22:00:00Z"
TUESDAY_OPEN, TUESDAY_CLOSE = "2024-06-04T13:30:00Z", "2024-06-04T20:00:00Z"
TUESDAY = "2024-06-04T15:00:00Z"  # AA stands at 101.65 and falls to 101.50, then rises to 102.50
QUIET = Rules(p_partial=0.0, half_spread_bps=0.0)


def make(
    path: Path | None = None,
    rules: Rules = QUIET,
    now: str = MONDAY_NIGHT,
    actions: list[Action] | None = None,
    **bars: Any,
) -> Exchange:
    """AA opens at 101 on Monday and a dollar higher each day, BB at 21; half a dollar of range."""
    market = TableMarket({"AA": flat(100), "BB": flat(20), **bars}, actions)
    file = StateFile(path / "state.sqlite" if path else Path(":memory:"))
    return Exchange(market, file, rules, parse_instant(now))


def send(exchange: Exchange, **changes: Any) -> Order:
    """A market order to buy ten AA for the day, but for the changes; None leaves a key out."""
    body = {"symbol": "AA", "side": "buy", "type": "market", "time_in_force": "day", "qty": "10"}
    body |= changes
    body = {k: v for k, v in body.items() if v is not None}
    return exchange.submit(parse_order(body, exchange.prices))


def refusal(exchange: Exchange, **changes: Any) -> tuple[int, int, str]:
    """Status, code and text of the refusal of such an order."""
    with pytest.raises(Refusal) as caught:
        send(exchange, **changes)
    return caught.value.status, caught.value.body["code"], caught.value.body["message"]


def go(exchange: Exchange, to: str) -> None:
    exchange.advance(parse_instant(to))


def statuses(order: Order) -> list[str]:
    return [status for _, status in order.history]


def set_quote(exchange: Exchange, symbol: str, bid: str, ask: str, last: str | None = None) -> None:
    """As POST /sim/market does."""
    body = {"bid": bid, "ask": ask, "last": last}
    exchange.overlay([Addition("quote", f"{symbol}|{exchange.now}", body)])
    exchange.look_again(symbol)


def set_asset(exchange: Exchange, symbol: str, **flags: Any) -> None:
    """As POST /sim/assets does."""
    exchange.overlay([Addition("asset", symbol, {"symbol": symbol, **flags})])


def check_books(exchange: Exchange) -> None:
    """What holds at every moment, worked out from the activities alone."""
    cash, held = D(exchange.rules.cash), dict[str, D]()
    for row in exchange.activities:
        body, sign = row.body, -1 if row.body.get("side") == "sell" else 1
        qty = D(body["qty"] or 0) * sign
        held[body["symbol"]] = held.get(body["symbol"], D(0)) + qty
        cash += -qty * D(body["price"]) if row.type == "FILL" else D(body["net_amount"])
    assert exchange.account.cash == cash == exchange.ledger[-1].balance
    assert {s: q for s, q in held.items() if q} == {s: p.qty for s, p in exchange.positions.items()}
    for order in exchange.orders.values():
        _check_order(exchange, order)
    check_reserved(exchange)


def check_reserved(exchange: Exchange) -> None:
    """What is kept about the open orders is what all orders come to."""
    working = [order for order in exchange.orders.values() if order.is_open]
    assert set(exchange.working) == {order.id for order in working}
    assert exchange.working.reserved == sum((order.reserved for order in working), D(0))
    for symbol in {order.symbol for order in exchange.orders.values()}:
        ids = {order.id for order in working if order.symbol == symbol}
        assert {order.id for order in exchange.working.of(symbol)} == ids


def _check_order(exchange: Exchange, order: Order) -> None:
    rows = [a.body for a in exchange.activities if a.body.get("order_id") == order.id]
    old = exchange.orders.get(order.replaces or "")
    before = old.filled_qty if old and old.status == "replaced" else D(0)
    if old is None or old.status == "replaced":  # else the old one was filled first
        assert sum((D(row["qty"]) for row in rows), before) == order.filled_qty
    assert order.reserved >= 0 and order.held_shares >= 0
    assert order.wanted is None or 0 <= order.filled_qty <= order.wanted
    assert order.status != "filled" or order.filled_qty == order.wanted
    assert [D(row["cum_qty"]) for row in rows] == sorted(D(row["cum_qty"]) for row in rows)
    moments = [at for at, _ in order.history]
    assert moments == sorted(set(moments)), utc_text(order.created_at)
    ends = [order.canceled_at, order.expired_at, order.failed_at, order.replaced_at]
    closed = sum(end is not None for end in ends) + (order.status == "filled")
    assert closed == (0 if order.is_open else 1), (order.status, ends)
