"""Whatever is asked of the exchange, in whatever order: refused or done, and the books balance."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.simulator.account import account_reply, figures, order_reply
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.holdings import available, position_reply
from quant50lib.simulator.market import Action
from quant50lib.simulator.records import Order
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import GUESSES, Rules
from quant50lib.simulator.timetable import SECOND
from tests.simulator.orders import check_books, check_reserved, make, send, set_quote

PRICES = st.sampled_from(["20.9", "22.35", "23.05", "101.4", "102.3", "103.6", "0.5001"])
HOUR = 3600 * SECOND
ACTIONS = [
    Action("forward_split", "BB", dt.date(2024, 6, 5), new=D(3), old=D(1)),
    Action("reverse_split", "AA", dt.date(2024, 6, 6), new=D(1), old=D(4)),
    Action("spin_off", "AA", dt.date(2024, 6, 6), new=D(1), old=D(10), other_symbol="CC"),
    Action("stock_merger", "BB", dt.date(2024, 6, 7), new=D(7), old=D(5), other_symbol="AA"),
]


SHAPES: list[dict[str, Any]] = [
    {"type": "market"},
    {"type": "market", "time_in_force": "cls"},
    {"type": "limit", "limit_price": 0},
    {"type": "limit", "limit_price": 0, "time_in_force": "gtc"},
    {"type": "limit", "limit_price": 0, "time_in_force": "fok"},
    {"type": "limit", "limit_price": 0, "time_in_force": "opg"},
    {"type": "limit", "limit_price": 0, "extended_hours": True},
    {"type": "stop", "stop_price": 0, "time_in_force": "gtc"},
    {"type": "stop_limit", "stop_price": 0, "limit_price": 1},
    {"type": "trailing_stop", "trail_price": "0.2", "time_in_force": "gtc"},
    {"type": "trailing_stop", "trail_percent": "0.3"},
    {"type": "market", "order_class": "bracket", "take_profit": 2, "stop_loss": 0},
    {"type": "limit", "limit_price": 1, "order_class": "bracket", "take_profit": 2, "stop_loss": 0},
    {"type": "market", "order_class": "oto", "stop_loss": 0, "time_in_force": "gtc"},
    {"type": "limit", "order_class": "oco", "take_profit": 2, "stop_loss": 0},
]
LEVELS = {"AA": ["100.9", "101.55", "102.45", "103"], "BB": ["20.8", "21.6", "22.45", "23"]}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """An order of any shape; a number in a shape stands for one of three rising prices."""
    symbol = draw(st.sampled_from(["AA", "BB"]))
    prices = sorted(draw(st.tuples(*[st.sampled_from(LEVELS[symbol])] * 3)), key=D)
    shape = {
        k: prices[v] if type(v) is int else v for k, v in draw(st.sampled_from(SHAPES)).items()
    }
    for name, price in (("take_profit", "limit_price"), ("stop_loss", "stop_price")):
        if name in shape:
            shape[name] = {price: shape[name]}
    side = draw(st.sampled_from(["buy", "buy", "sell"]))
    qty = draw(st.sampled_from(["1", "7", "12.5", "40", "300"]))
    return {"symbol": symbol, "side": side, "qty": qty, **shape}


STEPS = st.lists(
    st.one_of(
        *[st.tuples(st.just("send"), bodies())] * 4,
        st.tuples(st.just("cancel"), st.integers(0, 4)),
        st.tuples(st.just("replace"), st.integers(0, 4), st.sampled_from(["8", "50"]), PRICES),
        *[st.tuples(st.just("wait"), st.sampled_from([SECOND, HOUR, 7 * HOUR, 17 * HOUR]))] * 2,
        st.tuples(st.just("quote"), st.sampled_from(["AA", "BB"]), PRICES),
        st.tuples(st.just("stick"), st.integers(0, 4)),
        st.tuples(st.just("release")),
        st.tuples(st.just("fill"), st.integers(0, 4)),
        st.tuples(st.just("reject"), st.integers(0, 4)),
        st.tuples(st.just("fail"), st.integers(0, 4)),
    ),
    min_size=5,
    max_size=30,
)
RULES = st.fixed_dictionaries(
    {name: st.sampled_from([getattr(Rules(), name), *others]) for name, others in GUESSES.items()}
    | {
        "p_partial": st.sampled_from([0.0, 0.5, 1.0]),
        "multiplier": st.sampled_from(["1", "2", "4"]),
        "no_shorting": st.booleans(),
        "simulate_dividends": st.booleans(),
    }
)


def do(exchange: Exchange, step: tuple[Any, ...]) -> None:
    name, *rest = step
    orders = list(exchange.orders.values())
    if name in ("cancel", "replace", "stick", "fill", "reject", "fail") and not orders:
        return
    if name == "send":
        send(exchange, **rest[0])
    elif name == "wait":
        exchange.advance(exchange.now + rest[0])
    elif name == "quote":
        set_quote(exchange, rest[0], rest[1], rest[1])
    elif name == "release":
        exchange.release()
    else:
        pool = list(exchange.working.values()) if rest[0] < 4 and exchange.working else orders
        order = pool[-1 - rest[0] % len(pool)]
        if name == "cancel":
            exchange.cancel(order.id)
        elif name == "replace":
            exchange.replace(order.id, {"qty": rest[1], "limit_price": rest[2]})
        elif name == "reject":
            exchange.reject(order.id, "because")
        elif name == "fail":
            _fail(exchange, order)
        else:
            getattr(exchange, name)(order.id)


def _fail(exchange: Exchange, order: Order) -> None:
    """A change that breaks in its middle, after which all is read from the file again."""
    with pytest.raises(ZeroDivisionError), exchange.change():
        order.move("suspended" if not order.is_open else "canceled", exchange.stamp())
        exchange.touch(order)
        check_reserved(exchange)
        raise ZeroDivisionError


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, rules=RULES)
def test_nothing_but_refusals_and_balanced_books(steps: Any, rules: dict[str, Any]) -> None:
    exchange = make(rules=replace(Rules(), **rules), actions=ACTIONS)
    send(exchange, qty="90.5")
    send(exchange, symbol="BB", qty="100")
    exchange.advance(exchange.now + 16 * HOUR)
    filled: dict[str, D] = {}
    for step in steps:
        try:
            do(exchange, step)
        except Refusal as refusal:
            assert refusal.status in (403, 404, 422), refusal
        for order in exchange.orders.values():
            assert order.filled_qty >= filled.get(order.id, D(0)) or order.replaces
            filled[order.id] = order.filled_qty
        check_books(exchange)
        assert figures(exchange).buying_power >= 0
        for position in exchange.positions.values():
            assert available(exchange, position) * position.qty >= 0 or _shares_vanished(exchange)
            assert position_reply(exchange, position)
    assert account_reply(exchange)
    assert all(order_reply(order) for order in exchange.orders.values())
    exchange.release()
    exchange.advance(exchange.now + 100 * 24 * HOUR)
    check_books(exchange)
    assert not exchange.working  # even a good-till-cancelled order ends after ninety days


def _shares_vanished(exchange: Exchange) -> bool:
    """A reverse split or a merger takes shares from under orders that wait to sell them."""
    return any(row.type in ("SPLIT", "MA") for row in exchange.activities)
