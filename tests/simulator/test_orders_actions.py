"""What corporate actions do to shares, cash and resting orders."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal as D
from typing import Any

import pytest

from quant50lib.simulator.account import figures
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.listing import list_activities
from quant50lib.simulator.market import Action
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from tests.simulator.markets import WEEK, flat
from tests.simulator.orders import TUESDAY, check_books, go, make, send

WEDNESDAY = dt.date(2024, 6, 5)
EARLY, AFTER = "2024-06-05T08:00:00Z", "2024-06-05T22:00:00Z"


def action(kind: Any, symbol: str = "AA", **terms: Any) -> Action:
    numbers = {k: D(str(v)) if k in ("new", "old", "cash") else v for k, v in terms.items()}
    return Action(kind, symbol, WEDNESDAY, **numbers)


def held(found: Action, qty: str = "10.5", to: str = EARLY, **rules: Any) -> Exchange:
    """An account with AA, bought at 101.65 on the eve, after the action."""
    exchange = make(
        rules=Rules(**{"p_partial": 0.0, "half_spread_bps": 0.0} | rules),
        now=TUESDAY,
        actions=[found],
    )
    send(exchange, qty=qty)
    go(exchange, to)
    check_books(exchange)
    return exchange


def rows(exchange: Exchange) -> list[tuple[Any, ...]]:
    found = list_activities(exchange, {"category": "non_trade_activity", "direction": "asc"}, None)
    names = ("activity_type", "activity_sub_type", "symbol", "qty", "net_amount")
    return [tuple(row[name] for name in names) for row in found]


COST = D("10.5") * D("101.65")


def test_a_name_change_moves_the_position() -> None:
    exchange = held(action("name_change", other_symbol="NEW"))
    position = exchange.positions["NEW"]
    assert "AA" not in exchange.positions and (position.qty, position.cost) == (D("10.5"), COST)
    assert rows(exchange) == [("NC", "SNC", "AA", "-10.5", "0"), ("NC", "SNC", "NEW", "10.5", "0")]
    assert figures(exchange).long_market_value == D("10.5") * 102  # the last close of AA
    with pytest.raises(Refusal, match="AA"):
        send(exchange, side="sell")
    sold = send(exchange, symbol="NEW", side="sell", qty="10.5")
    go(exchange, AFTER)
    assert sold.filled_value == D("10.5") * 103 and not exchange.positions


@pytest.mark.parametrize(("rule", "same"), [("same_id", True), ("new_id", False)])
def test_the_asset_of_a_new_name(rule: str, same: bool) -> None:
    exchange = held(action("name_change", other_symbol="NEW"), renamed_asset=rule)
    before = next(iter(exchange.orders.values())).asset_id
    order = send(exchange, symbol="NEW", side="sell", qty="1")
    assert (order.asset_id == before) is same


def test_a_stock_merger_pays_fractions_in_cash() -> None:
    # 10.5 shares at 3 for 2 are 15.75 of BB, whose last close was 22
    exchange = held(action("stock_merger", new=3, old=2, other_symbol="BB"))
    assert exchange.positions["BB"].qty == 15 and exchange.positions["BB"].cost == COST
    assert rows(exchange) == [
        ("MA", "SMA", "AA", "-10.5", "0"),
        ("MA", "SMA", "BB", "15", "0"),
        ("CIL", None, "BB", "0", "16.5"),
    ]
    assert exchange.account.cash == 100_000 - COST + D("16.5")


def test_a_merger_for_stock_and_cash() -> None:
    found = action("stock_and_cash_merger", new=2, old=1, cash="4.2", other_symbol="BB")
    exchange = held(found)
    assert exchange.positions["BB"].qty == 21
    assert rows(exchange)[0] == ("MA", "SCMA", "AA", "-10.5", "44.1")
    assert exchange.account.cash == 100_000 - COST + D("44.1")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("redemption", ("REORG", "RDM")), ("worthless_removal", ("REORG", "WRM")), ("cash_merger", ("MA", "CMA"))],
)  # fmt: skip
def test_paid_off(kind: str, expected: tuple[str, str]) -> None:
    cash = D(0) if kind == "worthless_removal" else D(50)
    exchange = held(action(kind, cash=cash), "10")
    assert not exchange.positions and exchange.account.cash == 100_000 - D("1016.5") + 10 * cash
    assert rows(exchange) == [(*expected, "AA", "-10", str(10 * cash))]


def test_a_spin_off_comes_on_top() -> None:
    exchange = held(action("spin_off", new=1, old=4, other_symbol="BB"))
    assert exchange.positions["BB"].qty == D("2.625") and exchange.positions["BB"].cost == 0
    assert exchange.positions["AA"].cost == COST
    assert rows(exchange) == [("SPIN", None, "BB", "2.625", "0")]


def test_a_stock_dividend_and_a_unit_split() -> None:
    exchange = held(action("stock_dividend", new="1.05", old=1), "10")
    assert exchange.positions["AA"].qty == D("10.5")
    assert rows(exchange) == [("DIV", "SDIV", "AA", "0.5", "0")]
    exchange = held(action("unit_split", new=2, old=1, other_symbol="BB"), "10")
    assert exchange.positions["BB"].qty == 20 and "AA" not in exchange.positions
    assert [row[:2] for row in rows(exchange)] == [("SPLIT", "USPLIT")] * 2


@pytest.mark.parametrize(("special", "sub"), [(False, "CDIV"), (True, "SPD")])
def test_dividends_are_paid_on_request_only(special: bool, sub: str) -> None:
    found = action("cash_dividend", cash="0.333", special=special)
    assert rows(held(found, "10")) == []
    exchange = held(found, "10", simulate_dividends=True)
    assert rows(exchange) == [("DIV", sub, "AA", "0", "3.33")]
    assert exchange.account.cash == 100_000 - D("1016.5") + D("3.33")


def test_a_split_that_comes_late() -> None:
    found = action("forward_split", new=3, old=1)
    exchange = held(found, "10", splits_on_paper="late", splits_late_days=2)
    assert exchange.positions["AA"].qty == 10
    go(exchange, "2024-06-05T15:00:00Z")
    send(exchange, qty="1")  # already of the new kind
    go(exchange, "2024-06-07T07:59:59Z")
    assert exchange.positions["AA"].qty == 11
    go(exchange, "2024-06-07T08:00:00Z")
    assert exchange.positions["AA"].qty == 31
    check_books(exchange)
    sold = held(found, "10", splits_on_paper="late")
    send(sold, side="sell")
    go(sold, "2024-06-05T20:00:00Z")
    assert not sold.positions
    go(sold, "2024-06-06T08:00:00Z")
    assert sold.positions["AA"].qty == 20
    check_books(sold)


def test_activities_may_appear_a_day_late() -> None:
    exchange = held(action("forward_split", new=3, old=1), activity_delay="next_day")
    assert exchange.positions["AA"].qty == D("31.5") and rows(exchange) == []
    go(exchange, "2024-06-06T04:00:01Z")  # a second after midnight in New York
    assert rows(exchange) == [("SPLIT", "FSPLIT", "AA", "21", "0")]
    [row] = list_activities(exchange, {}, "SPLIT")
    assert (row["date"], row["created_at"]) == ("2024-06-05", "2024-06-06T04:00:00Z")


def test_what_a_split_does_to_resting_orders() -> None:
    exchange = make(now=TUESDAY, actions=[action("forward_split", new=4, old=1)])
    body = {"type": "limit", "time_in_force": "gtc", "qty": "3"}
    low = send(exchange, **body, limit_price="50.02")
    queued = send(exchange, symbol="BB", qty="3")
    go(exchange, "2024-06-04T22:00:00Z")
    day = send(exchange, qty="3")
    go(exchange, EARLY)
    assert (low.qty, low.limit_price) == (12, D("12.50")) and queued.qty == day.qty == 3
    assert figures(exchange).reserved == 150 + 3 * D(102)
    few = make(now=TUESDAY, actions=[action("reverse_split", new=1, old=8)])
    gone = send(few, **body, limit_price="50")
    kept = send(few, **body | {"qty": "17"}, limit_price="50")
    go(few, EARLY)
    assert gone.status == "canceled" and (kept.qty, kept.limit_price) == (2, 400)


def test_orders_of_a_name_that_ends_are_cancelled() -> None:
    exchange = make(now=TUESDAY, actions=[action("worthless_removal")], AA=flat(100, WEEK[:2]))
    order = send(exchange, type="limit", limit_price="5", time_in_force="gtc")
    go(exchange, EARLY)
    assert order.status == "canceled" and "worthless" in order.reason
    with pytest.raises(Refusal, match="not active"):
        send(exchange)
