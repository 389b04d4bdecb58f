"""At what moment and at what price orders meet the market."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.records import Addition
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.timetable import SECOND, parse_instant, utc_text
from tests.simulator.orders import (
    TUESDAY,
    TUESDAY_CLOSE,
    TUESDAY_OPEN,
    go,
    make,
    send,
    set_quote,
    statuses,
)

#: up: falls from 100 to 97 in a third of the session, rises to 106, closes at 103
SWING = [("2024-06-03", 99.0, 99.0, 99.0, 99.0), ("2024-06-04", 100.0, 106.0, 97.0, 103.0)]
OPEN, LENGTH = parse_instant(TUESDAY_OPEN), 6.5 * 3600


def swinging(**rules: Any) -> Exchange:
    found = Rules(**{"p_partial": 0.0, "half_spread_bps": 0.0} | rules)
    return make(rules=found, now=TUESDAY_OPEN, CC=SWING)


def seconds(exchange: Exchange, at: int | None) -> float:
    assert at is not None
    return (at - OPEN) / SECOND


def when(price: float) -> float:
    """Seconds after the open at which the swing first stands at a price, on straight lines."""
    third = LENGTH / 3
    return (100 - price) / 3 * third if price < 100 else third + (price - 97) / 9 * third


# ---- limits and stops


def test_a_limit_fills_when_the_price_comes_to_it() -> None:
    exchange = swinging()
    low = send(exchange, symbol="CC", type="limit", limit_price="98.5")
    never = send(exchange, symbol="CC", type="limit", limit_price="96.99")
    go(exchange, TUESDAY_CLOSE)
    assert low.filled_value == 985 and never.status == "expired"
    # prices are whole cents: half a cent above is rounded down to it
    assert seconds(exchange, low.filled_at) == pytest.approx(when(98.505), abs=0.001)


def test_a_limit_meets_the_far_side_of_the_quote() -> None:
    exchange = swinging(half_spread_bps=100)  # one per cent on each side
    buy = send(exchange, symbol="CC", type="limit", limit_price="98.5")
    go(exchange, TUESDAY_CLOSE)
    # the ask is 98.5 where the price is 97.5248: first at 97.52, whose ask is 98.4952
    assert buy.filled_value == 10 * D("98.4952")
    assert seconds(exchange, buy.filled_at) == pytest.approx(when(97.525), abs=0.001)


def test_a_stop_becomes_a_market_order_at_its_price() -> None:
    exchange = swinging()
    breakout = send(exchange, symbol="CC", type="stop", stop_price="105")
    go(exchange, TUESDAY_CLOSE)
    assert breakout.filled_value == 1050 and breakout.triggered
    assert seconds(exchange, breakout.filled_at) == pytest.approx(when(104.995), abs=0.001)


def test_a_stop_limit_needs_both() -> None:
    exchange = swinging()
    body = {"symbol": "CC", "type": "stop_limit", "stop_price": "105"}
    met = send(exchange, **body, limit_price="105.5")
    back = send(exchange, **body, limit_price="104")
    go(exchange, TUESDAY_CLOSE)
    assert met.filled_value == 1050
    # triggered on the way up at 105, filled on the way down from 106 to 103
    assert back.filled_value == 1040 and back.filled_at > met.filled_at
    assert (106 - 104) / 3 == pytest.approx(
        (seconds(exchange, back.filled_at) * 3 / LENGTH) - 2, abs=0.01
    )


def test_a_trailing_stop_follows_the_best_price() -> None:
    exchange = swinging()
    send(exchange, symbol="CC")
    trail = send(exchange, symbol="CC", side="sell", type="trailing_stop", trail_price="2")
    assert (trail.hwm, trail.stop_price) == (100, 98)
    go(exchange, TUESDAY_CLOSE)
    assert trail.status == "filled" and trail.hwm == 100  # 98 was touched on the first leg
    assert D("97.95") <= trail.filled_value / 10 <= 98
    again = swinging()
    send(again, symbol="CC")
    wide = send(again, symbol="CC", side="sell", type="trailing_stop", trail_percent="2.5")
    go(again, "2024-06-04T15:39:00Z")
    assert wide.status == "filled"  # 97.50 is 2.5 % below 100
    short_cover = swinging(no_shorting=False, multiplier="2")
    send(short_cover, symbol="CC", side="sell")
    cover = send(short_cover, symbol="CC", type="trailing_stop", trail_price="4")
    go(short_cover, TUESDAY_CLOSE)
    assert cover.hwm == 97 and 1010 <= cover.filled_value <= D("1010.5")


def test_a_resting_gtc_order_meets_the_open() -> None:
    exchange = make(now=TUESDAY)
    order = send(exchange, type="limit", limit_price="101", time_in_force="gtc")
    go(exchange, "2024-06-04T22:00:00Z")
    low = send(exchange, type="limit", limit_price="102.9", time_in_force="gtc")
    go(exchange, "2024-06-06T13:30:00Z")
    assert order.status == "new" and low.status == "filled"
    # from 103 to 102.50 in a third of the session: half a cent above 102.90 after 1482 seconds
    assert str(utc_text(low.filled_at)).startswith("2024-06-05T13:54:42")
    high = send(exchange, side="sell", type="limit", limit_price="104.9", time_in_force="gtc")
    go(exchange, "2024-06-07T13:30:00Z")
    assert high.filled_value == 1050  # gapped over: filled at the open of 105


# ---- time in force


@pytest.mark.parametrize("force", ["ioc", "fok"])
def test_one_look_and_no_more(force: str) -> None:
    exchange = make(now=TUESDAY)
    done = send(exchange, time_in_force=force)
    missed = send(exchange, type="limit", limit_price="99", time_in_force=force)
    assert statuses(done)[-1] == "filled" and statuses(missed)[-1] == "canceled"
    partial = make(now=TUESDAY, rules=Rules(p_partial=1))
    order = send(partial, qty="40", time_in_force=force)
    assert order.status == ("filled" if force == "fok" else "canceled")
    assert (order.filled_qty == 40) == (force == "fok")


def test_orders_of_the_auctions() -> None:
    exchange = make(now="2024-06-04T12:00:00Z")
    opening = send(exchange, time_in_force="opg")
    dear = send(exchange, type="limit", limit_price="101", time_in_force="opg")
    at_close = send(exchange, symbol="BB", time_in_force="cls")
    go(exchange, TUESDAY_OPEN)
    assert opening.filled_value == 1020 and dear.status == "canceled"
    go(exchange, "2024-06-04T19:59:59Z")
    assert at_close.status == "new"
    go(exchange, TUESDAY_CLOSE)
    assert at_close.status == "filled" and at_close.filled_value == 220
    assert utc_text(at_close.filled_at).startswith("2024-06-04T20:00:00")


def test_a_closing_order_gets_the_closing_price() -> None:
    exchange = swinging()
    order = send(exchange, symbol="CC", time_in_force="cls")
    dear = send(exchange, symbol="CC", time_in_force="cls", type="limit", limit_price="102")
    go(exchange, TUESDAY_CLOSE)
    assert order.filled_value == 1030 and dear.status == "canceled"


# ---- quotes, halts, extended hours


def test_a_quote_that_is_set_is_met_at_once() -> None:
    exchange = make(now=TUESDAY)
    buy = send(exchange, type="limit", limit_price="90")
    set_quote(exchange, "AA", "89.5", "90.5")
    assert buy.status == "new"
    set_quote(exchange, "AA", "89.5", "89.9")
    assert buy.status == "filled" and buy.filled_value == 899  # the quote, not the limit


def test_nothing_is_filled_in_a_halt() -> None:
    exchange = make(now=TUESDAY)
    exchange.overlay([Addition("halt", "AA", {"since": exchange.now})])
    order, at_once = send(exchange), send(exchange, time_in_force="ioc")
    go(exchange, "2024-06-04T16:00:00Z")
    assert order.status == "new" and at_once.status == "canceled"
    exchange.overlay([Addition("halt", "AA", {"since": None})])
    exchange.look_again("AA")
    assert order.status == "filled"


def test_extended_hours_need_a_quote_of_their_own() -> None:
    exchange = make(now="2024-06-04T21:00:00Z")
    order = send(exchange, type="limit", limit_price="103", extended_hours=True)
    go(exchange, "2024-06-04T21:30:00Z")
    assert order.status == "new"
    plain = send(exchange, type="limit", limit_price="103")
    set_quote(exchange, "AA", "102.7", "102.8")
    assert (order.status, order.filled_value, plain.status) == ("filled", 1028, "accepted")


def test_a_queued_order_that_the_position_no_longer_covers() -> None:
    exchange = make(now=TUESDAY)
    send(exchange)
    stop = send(exchange, side="sell", type="stop", stop_price="80", time_in_force="gtc")
    exchange.stick(stop.id)
    exchange.positions["AA"].qty = D(4)
    exchange.release()
    set_quote(exchange, "AA", "79", "79.1")
    assert stop.status == "rejected" and "position" in stop.reason


# ---- partial fills


def test_a_tenth_of_the_looks_fills_a_part() -> None:
    parts = 0
    for seed in range(400):
        exchange = make(now=TUESDAY, rules=Rules(seed=seed, p_partial=0.10))
        parts += send(exchange, qty="100").status == "partially_filled"
    assert 20 <= parts <= 60  # forty expected, six the standard deviation


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), qty=st.sampled_from(["1", "2", "7", "0.5", "33.125"]))
def test_parts_add_up(seed: int, qty: str) -> None:
    exchange = make(now=TUESDAY, rules=Rules(seed=seed, p_partial=1.0))
    order = send(exchange, qty=qty)
    sizes = [order.filled_qty]
    while order.is_open:
        exchange.advance(exchange.now + SECOND)
        sizes.append(order.filled_qty)
    assert sizes == sorted(sizes) and sizes[-1] == D(qty) and min(sizes) > 0
    whole = D(qty) == int(D(qty))
    assert not whole or all(size == int(size) for size in sizes)
