"""What is refused, with which status, code and words: the table of the specification."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from quant50lib.simulator.order_form import parse_order, read_body
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from tests.simulator.orders import (
    TUESDAY,
    TUESDAY_OPEN,
    go,
    make,
    refusal,
    send,
    set_asset,
)

LIMIT = {"type": "limit", "limit_price": "50"}
STOP = {"type": "stop", "stop_price": "150"}
BOTH = {"take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "90"}}
INVALID, UNPROCESSABLE, FORBIDDEN = (422, 40010001), (422, 42210000), (403, 40310000)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"type": None}, INVALID, "type is required"),
        ({"time_in_force": None}, INVALID, "time_in_force is required"),
        ({"side": None}, INVALID, "side is required"),
        ({"symbol": ["AA"]}, INVALID, "invalid symbol"),
        ({"order_class": "pair"}, INVALID, "invalid order_class"),
        ({"order_class": 3}, INVALID, "invalid order_class"),
        ({"order_class": "mleg"}, UNPROCESSABLE, "mleg"),
        ({"position_intent": "keep"}, INVALID, "invalid position_intent"),
        ({"extended_hours": "perhaps"}, INVALID, "invalid extended_hours"),
        ({"client_order_id": 7}, INVALID, "client_order_id"),
        ({"qty": "1e13"}, INVALID, "invalid qty"),
        ({"qty": "-1e400"}, INVALID, "invalid qty"),
        ({"take_profit": "120"}, INVALID, "invalid take_profit"),
        ({"type": "limit"}, INVALID, "limit orders require a limit price"),
        ({"type": "stop"}, INVALID, "stop orders require a stop price"),
        ({**STOP, "type": "stop_limit"}, INVALID, "require both stop and limit price"),
        ({**LIMIT, "type": "stop_limit"}, INVALID, "require both stop and limit price"),
        ({"stop_price": "90"}, INVALID, "market orders require no stop or limit price"),
        ({**LIMIT, "stop_price": "90"}, INVALID, "require no stop price"),
        ({**STOP, "limit_price": "90"}, INVALID, "require no limit price"),
        ({**LIMIT, "limit_price": "0"}, INVALID, "limit_price must be > 0"),
        ({**LIMIT, "limit_price": "1.001"}, UNPROCESSABLE, "invalid limit_price 1.001. sub-penny"),
        ({**LIMIT, "limit_price": "0.12345"}, UNPROCESSABLE, "sub-penny"),
        ({**STOP, "stop_price": "99.999"}, UNPROCESSABLE, "invalid stop_price 99.999. sub-penny"),
        ({"type": "trailing_stop"}, INVALID, "one of trail_price or trail_percent"),
        (
            {"type": "trailing_stop", "trail_price": "1", "trail_percent": "1"},
            INVALID,
            "one of trail_price or trail_percent",
        ),
        ({"type": "trailing_stop", "trail_percent": "100"}, INVALID, "trail_percent"),
        ({"trail_price": "1"}, INVALID, "trail"),
        (
            {"type": "trailing_stop", "trail_price": "1", "time_in_force": "ioc"},
            UNPROCESSABLE,
            "ioc orders must be market or limit",
        ),
        ({"qty": None, "notional": "50", **LIMIT}, UNPROCESSABLE, "notional orders must be market"),
        ({"qty": "1.5", "time_in_force": "gtc"}, UNPROCESSABLE, "fractional orders must be DAY"),
        (
            {"qty": "1.5", "order_class": "bracket", **BOTH},
            UNPROCESSABLE,
            "fractional orders must be simple",
        ),
        (
            {"qty": "1.5", "type": "trailing_stop", "trail_price": "1"},
            UNPROCESSABLE,
            "fractional orders must be market, limit, stop or stop_limit",
        ),
        ({**STOP, "extended_hours": True}, UNPROCESSABLE, "must be DAY or GTC limit orders"),
        (
            {**LIMIT, "extended_hours": "true", "time_in_force": "ioc"},
            UNPROCESSABLE,
            "must be DAY or GTC limit orders",
        ),
        (
            {"type": "limit", "limit_price": "99", "extended_hours": True, "order_class": "bracket"}
            | BOTH,
            UNPROCESSABLE,
            "must be DAY or GTC limit orders",
        ),
        ({**STOP, "time_in_force": "opg"}, UNPROCESSABLE, "opg orders must be market or limit"),
        ({"order_class": "bracket", "stop_loss": BOTH["stop_loss"]}, INVALID, "take_profit"),
        ({"order_class": "bracket", "take_profit": BOTH["take_profit"]}, INVALID, "stop_loss"),
        ({"order_class": "oto", **BOTH}, INVALID, "one of take_profit and stop_loss"),
        ({"order_class": "oto"}, INVALID, "one of take_profit and stop_loss"),
        ({**BOTH}, INVALID, "simple orders require no"),
        (
            {"order_class": "bracket", **BOTH, "stop_loss": {"limit_price": "89"}},
            INVALID,
            "stop_loss.stop_price is required",
        ),
        (
            {"order_class": "bracket", **BOTH, "time_in_force": "fok"},
            UNPROCESSABLE,
            "bracket orders must be DAY or GTC",
        ),
        (
            {"order_class": "bracket", **BOTH, "take_profit": {"limit_price": "80"}},
            UNPROCESSABLE,
            "take_profit.limit_price must be higher than stop_loss.stop_price",
        ),
        (
            {"order_class": "bracket", **LIMIT, **BOTH},
            UNPROCESSABLE,
            "stop_loss.stop_price must be lower than limit_price",
        ),
        ({"order_class": "bracket", **STOP, **BOTH}, UNPROCESSABLE, "market or limit orders"),
        ({"order_class": "oco", **BOTH}, UNPROCESSABLE, "oco orders must be limit orders"),
        (
            {"order_class": "oco", "type": "limit", **BOTH},
            UNPROCESSABLE,
            "take_profit.limit_price must be lower",
        ),
        ({"position_intent": "buy_to_close"}, UNPROCESSABLE, "position intent mismatch"),
    ],
)
def test_refused_before_and_beside_the_account(changes: Any, expected: Any, words: str) -> None:
    exchange = make()
    status, code, text = refusal(exchange, **changes)
    assert (status, code) == expected and words in text, text
    assert not exchange.orders


def test_prices_below_a_dollar_have_four_decimals() -> None:
    order = send(make(), type="limit", limit_price="0.1234")
    assert order.limit_price == D("0.1234")
    assert send(make(), type="limit", limit_price=D("1.05")).limit_price == D("1.05")


def test_numbers_of_python_clients_are_cut_at_nine_decimals() -> None:
    exchange = make()
    raw = b'{"symbol":"AA","side":"buy","type":"market","time_in_force":"day","qty":1.1234567899}'
    assert parse_order(read_body(raw), exchange.prices).qty == D("1.123456789")


@pytest.mark.parametrize(
    ("rule", "sell", "inactive", "whole"),
    [
        ("table", FORBIDDEN, UNPROCESSABLE, UNPROCESSABLE),
        ("other", UNPROCESSABLE, INVALID, FORBIDDEN),
    ],
)
def test_refusals_of_which_two_kinds_were_seen(
    rule: str, sell: Any, inactive: Any, whole: Any
) -> None:
    exchange = make(rules=Rules(p_partial=0, refusal_status=rule))
    first = send(exchange)
    with pytest.raises(Refusal) as caught:
        send(exchange, symbol="AA", side="sell", **LIMIT)
    assert caught.value.body["message"] == "account is not allowed to short"
    go(exchange, TUESDAY_OPEN)
    assert first.status == "filled"
    send(exchange, side="sell", type="limit", limit_price="120")
    with pytest.raises(Refusal) as caught:
        send(exchange, qty="1")
    assert (caught.value.status, caught.value.body["code"]) == sell
    assert caught.value.body["sell_limit_price"] == "120"
    set_asset(exchange, "BB", fractionable=False)
    assert refusal(exchange, symbol="BB", qty="1.5")[:2] == whole
    set_asset(exchange, "BB", tradable=False)
    assert refusal(exchange, symbol="BB")[::2] == (422, 'asset "BB" is not tradable')
    set_asset(exchange, "BB", status="inactive")
    assert refusal(exchange, symbol="BB")[:2] == inactive


@pytest.mark.parametrize(
    ("resting", "coming", "refused"),
    [
        (
            {"type": "limit", "limit_price": "120"},
            {"type": "limit", "limit_price": "119.99"},
            False,
        ),
        ({"type": "limit", "limit_price": "120"}, {"type": "limit", "limit_price": "120"}, True),
        ({"type": "limit", "limit_price": "120"}, {}, True),
        ({"type": "limit", "limit_price": "120"}, {"type": "stop", "stop_price": "130"}, True),
        ({"type": "stop", "stop_price": "90"}, {"type": "limit", "limit_price": "80"}, True),
        ({"type": "trailing_stop", "trail_price": "5"}, {}, False),
        ({"type": "limit", "limit_price": "120"}, {"order_class": "bracket", **BOTH}, False),
        ({"type": "limit", "order_class": "oco", **BOTH}, {}, False),
    ],
)
def test_wash_trades(resting: Any, coming: Any, refused: bool) -> None:
    exchange = make(now="2024-06-04T13:30:00Z")
    send(exchange)
    rests = send(exchange, side="sell", **resting)
    assert rests.is_open
    if not refused:
        send(exchange, qty="3", **coming)
        return
    with pytest.raises(Refusal, match="wash trade") as caught:
        send(exchange, qty="3", **coming)
    assert caught.value.body["existing_order_id"] == rests.id
    assert caught.value.body["reject_reason"]


@pytest.mark.parametrize(
    ("force", "now", "taken"),
    [
        ("opg", "2024-06-04T13:27:59Z", True),
        ("opg", "2024-06-04T13:28:00Z", False),
        ("opg", "2024-06-04T22:59:59Z", False),
        ("opg", "2024-06-04T23:00:00Z", True),
        ("opg", "2024-06-08T15:00:00Z", True),  # a Saturday
        ("cls", "2024-06-04T19:49:59Z", True),
        ("cls", "2024-06-04T19:50:00Z", False),
        ("cls", "2024-06-04T23:00:00Z", True),
        ("cls", "2024-07-03T16:49:59Z", True),  # closes at 13:00 in New York
        ("cls", "2024-07-03T16:50:00Z", False),
    ],
)
def test_windows_of_the_auctions(force: str, now: str, taken: bool) -> None:
    exchange = make(now=now)
    if taken:
        assert send(exchange, time_in_force=force).is_open
    else:
        assert refusal(exchange, time_in_force=force)[:2] == FORBIDDEN


def test_a_client_id_is_taken_for_ever_or_while_open() -> None:
    for rule, free in (("for_ever", False), ("open", True)):
        exchange = make(rules=Rules(client_ids=rule))
        order = send(exchange, client_order_id="x")
        assert refusal(exchange, client_order_id="x")[1] == 40010001
        exchange.cancel(order.id)
        if free:
            again = send(exchange, client_order_id="x")
            assert exchange.by_client_id["x"] is again
        else:
            assert refusal(exchange, client_order_id="x")[1] == 40010001


def test_what_a_purchase_is_taken_to_cost() -> None:
    """The ask in the session, the latest price outside; a limit order costs its limit."""
    inside = make(now=TUESDAY, rules=Rules(half_spread_bps=10, reserve_factor="1.04"))
    assert "cost_basis" in _refused_body(inside, qty="10000")
    # 101.65 plus ten basis points is 101.75165, shown to four decimals, times 1.04
    assert D(_refused_body(inside, qty="10000")["cost_basis"]) == D("101.7516") * 10000 * D("1.04")
    outside = make(rules=Rules(half_spread_bps=10))
    assert D(_refused_body(outside, qty="10000")["cost_basis"]) == 1_010_000
    own = {"type": "limit", "limit_price": "11"}
    assert D(_refused_body(outside, qty="10000", **own)["cost_basis"]) == 110_000
    assert _refused_body(outside, qty="10000", **own)["buying_power"] == "100000"


def _refused_body(exchange: Any, **changes: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        send(exchange, **changes)
    assert caught.value.body["message"] == "insufficient buying power"
    return caught.value.body
