"""From acceptance to the end: queues, expiry, cancels, replacements, orders that hang together."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from quant50lib.simulator.account import acknowledgement, figures, order_reply
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.holdings import held_for_orders, position_reply
from quant50lib.simulator.records import Order
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.timetable import utc_text
from tests.simulator.orders import (
    MONDAY_NIGHT,
    QUIET,
    TUESDAY,
    TUESDAY_CLOSE,
    TUESDAY_OPEN,
    go,
    make,
    send,
    set_quote,
    statuses,
)

FAR = {"type": "limit", "limit_price": "50"}
WEDNESDAY_EARLY, WEDNESDAY_OPEN = "2024-06-05T08:00:00Z", "2024-06-05T13:30:00Z"


def rule(**changes: Any) -> Rules:
    return Rules(p_partial=0, half_spread_bps=0, **changes)


def refused(exchange: Exchange, order: Order, **body: Any) -> tuple[int, int, str]:
    with pytest.raises(Refusal) as caught:
        exchange.replace(order.id, body)
    return caught.value.status, caught.value.body["code"], caught.value.body["message"]


# ---- queues and ends


@pytest.mark.parametrize("how", ["pending_new", "accepted", "new"])
def test_the_first_status_in_a_session_is_a_rule(how: str) -> None:
    order = send(make(now=TUESDAY, rules=rule(acknowledge=how)))
    assert statuses(order) == [how, "new", "filled"][how == "new" :]
    shown = acknowledgement(order)
    assert (shown["status"], shown["filled_qty"], shown["filled_at"]) == (how, "0", None)
    assert shown["filled_avg_price"] is None and shown["updated_at"] == shown["created_at"]


@pytest.mark.parametrize(("how", "at"), [("rewritten", WEDNESDAY_EARLY), ("kept", TUESDAY_CLOSE)])
def test_the_submission_of_a_queued_order(how: str, at: str) -> None:
    exchange = make(now=TUESDAY_CLOSE, rules=rule(queued_submitted_at=how))
    order = send(exchange, **FAR, time_in_force="gtc")
    assert order.status == "accepted"
    go(exchange, WEDNESDAY_EARLY)
    assert order.status == "new" and utc_text(order.submitted_at) == at
    assert utc_text(order.created_at) == TUESDAY_CLOSE


@pytest.mark.parametrize(("how", "field"), [("expired", "expired_at"), ("canceled", "canceled_at")])
def test_the_end_of_a_day_order(how: str, field: str) -> None:
    exchange = make(now=TUESDAY, rules=rule(day_order_end=how))
    order = send(exchange, **FAR)
    go(exchange, TUESDAY_CLOSE)
    assert order.status == how and order_reply(order)[field] == TUESDAY_CLOSE


def test_a_gtc_order_lives_ninety_days() -> None:
    exchange = make(now=TUESDAY)
    order = send(exchange, **FAR, time_in_force="gtc")
    assert utc_text(order.expires_at) == "2024-09-02T20:15:00Z"  # 16:15 in New York
    go(exchange, "2024-09-02T20:14:59Z")
    assert order.status == "new" and statuses(order) == ["pending_new", "new"]
    go(exchange, "2024-09-02T20:15:00Z")
    assert order.status == "expired"
    winter = make(now="2024-10-01T15:00:00Z", AA=[("2024-10-01", 1.0, 1.0, 1.0, 1.0)])
    assert utc_text(
        send(winter, type="limit", limit_price="0.5", time_in_force="gtc").expires_at
    ) == (
        "2024-12-30T21:15:00Z"  # the same wall clock, after the clocks were set back
    )


def test_an_order_of_extended_hours_lives_until_twenty_oclock() -> None:
    exchange = make(now="2024-06-04T21:00:00Z")
    order = send(exchange, **FAR, extended_hours=True)
    assert statuses(order) == ["pending_new", "new"]
    assert utc_text(order.expires_at) == "2024-06-05T00:00:00Z"
    plain = send(exchange, symbol="BB", type="limit", limit_price="5")
    assert plain.status == "accepted"
    go(exchange, "2024-06-05T00:00:00Z")
    assert order.status == "expired" and plain.status == "accepted"
    night = send(exchange, **FAR, extended_hours=True)
    assert night.status == "accepted" and utc_text(night.expires_at) == "2024-06-06T00:00:00Z"
    go(exchange, WEDNESDAY_EARLY)
    assert night.status == plain.status == "new"
    half = make(now="2024-07-03T17:30:00Z")  # half past one on a half day
    assert utc_text(send(half, **FAR, extended_hours=True).expires_at) == "2024-07-03T21:00:00Z"


# ---- cancels


@pytest.mark.parametrize(
    ("how", "status"), [("at_once", "canceled"), ("pending", "pending_cancel")]
)
def test_a_cancel_outside_the_session(how: str, status: str) -> None:
    exchange = make(now=TUESDAY, rules=rule(cancel_outside=how))
    send(exchange)
    order = send(exchange, side="sell", type="limit", limit_price="500", time_in_force="gtc")
    go(exchange, "2024-06-04T21:00:00Z")
    exchange.cancel(order.id)
    exchange.cancel(order.id)  # again is no error
    assert order.status == status
    held = D(10) if how == "pending" else D(0)
    assert held_for_orders(exchange, "AA") == held
    shown = position_reply(exchange, exchange.positions["AA"])
    assert D(shown["qty_available"]) == 10 - held
    go(exchange, "2024-06-05T13:29:59Z")
    assert order.status == status
    go(exchange, WEDNESDAY_OPEN)
    assert order.status == "canceled" and held_for_orders(exchange, "AA") == 0


@pytest.mark.parametrize(("how", "shown"), [("null", None), ("last_fill", TUESDAY_OPEN)])
def test_when_an_order_that_ended_partly_filled_was_filled(how: str, shown: str | None) -> None:
    exchange = make(rules=Rules(p_partial=1, half_spread_bps=0, partial_filled_at=how))
    order = send(exchange, qty="40")
    go(exchange, TUESDAY_OPEN)
    assert order.status == "partially_filled" and order_reply(order)["filled_at"] is None
    exchange.cancel(order.id)
    row = order_reply(order)
    assert row["status"] == "canceled" and 0 < D(row["filled_qty"]) < 40
    assert row["filled_at"] == shown and row["filled_avg_price"] == "102"
    assert exchange.positions["AA"].qty == order.filled_qty


# ---- replacements


def test_a_replacement_has_a_new_id_and_both_know_each_other() -> None:
    exchange = make(now=TUESDAY)
    old = send(exchange, **FAR, client_order_id="first")
    new = exchange.replace(old.id, {"qty": "12", "limit_price": "51", "client_order_id": "second"})
    assert (old.status, old.replaced_by, new.replaces) == ("replaced", new.id, old.id)
    assert statuses(old)[-2:] == ["pending_replace", "replaced"]
    assert order_reply(old)["replaced_at"] and new.status == "new"
    assert (new.qty, new.limit_price, new.client_order_id) == (12, 51, "second")
    assert figures(exchange).reserved == 12 * 51
    assert exchange.by_client_id["first"] is old and exchange.by_client_id["second"] is new
    assert refused(exchange, old, qty="13")[2] == "order already replaced"
    with pytest.raises(Refusal, match='already in "replaced"'):
        exchange.cancel(old.id)
    again = exchange.replace(new.id, {"limit_price": "200"})
    assert again.status == "filled" and again.filled_value == 12 * D("101.65")


def test_a_replacement_takes_over_what_was_filled() -> None:
    exchange = make(now=TUESDAY, rules=Rules(p_partial=1, half_spread_bps=0))
    old = send(exchange, qty="40", type="limit", limit_price="200")
    assert old.status == "partially_filled"
    done = old.filled_qty
    assert refused(exchange, old, qty=str(done))[1:] == (42210000, "qty must be > filled_qty")
    new = exchange.replace(old.id, {"qty": "39"})
    assert new.filled_qty >= done and new.wanted == 39
    go(exchange, TUESDAY_CLOSE)
    assert new.status == "filled" and exchange.positions["AA"].qty == 39
    assert old.filled_qty == done


@pytest.mark.parametrize(
    ("body", "order", "expected"),
    [
        ({"qty": "12"}, {}, 'already in "filled"'),
        ({}, FAR, "parameters are not changed"),
        ({"qty": "10", "limit_price": "50"}, FAR, "parameters are not changed"),
        ({"qty": "12.5"}, FAR, "fractional qty"),
        ({"qty": "3"}, {**FAR, "qty": "2.5"}, "fractional qty"),
        ({"stop_price": "40"}, FAR, "no stop price"),
        ({"trail": "2"}, FAR, "invalid trail"),
        ({"limit_price": "50.001"}, FAR, "sub-penny"),
        ({"time_in_force": "soon"}, FAR, "invalid time_in_force"),
        ({"qty": "1000000"}, FAR, "insufficient buying power"),
        ({"client_order_id": "taken", "qty": "11"}, FAR, "must be unique"),
    ],
)
def test_replacements_that_are_refused(body: Any, order: Any, expected: str) -> None:
    exchange = make(now=TUESDAY)
    send(exchange, symbol="BB", type="limit", limit_price="3", client_order_id="taken")
    old = send(exchange, **order)
    before = old.status
    assert expected in refused(exchange, old, **body)[2]
    assert old.status == before and old.replaced_by is None


def test_states_that_cannot_be_replaced() -> None:
    exchange = make()
    queued = send(exchange, **FAR)
    found = refused(exchange, queued, qty="3")
    assert found == (422, 42210000, "cannot replace order in accepted status")
    go(exchange, TUESDAY)
    stuck = send(exchange, **FAR)
    exchange.stick(stuck.id, "pending_cancel")
    assert "pending_cancel status" in refused(exchange, stuck, qty="3")[2]
    by_value = send(exchange, symbol="BB", qty=None, notional="100")
    assert "filled" in refused(exchange, by_value, qty="3")[2]
    with pytest.raises(Refusal, match="order not found for nobody"):
        exchange.replace("nobody", {})


def test_an_order_that_is_filled_first_rejects_its_replacement() -> None:
    exchange = make(now=TUESDAY)
    old = send(exchange, **FAR)
    exchange.stick(old.id)
    new = exchange.replace(old.id, {"qty": "12"})
    assert (old.status, new.status) == ("pending_replace", "pending_new")
    assert figures(exchange).reserved == 500  # one of the two
    with pytest.raises(Refusal, match="pending_replace"):
        exchange.cancel(old.id)
    exchange.fill(old.id)
    assert (old.status, new.status) == ("filled", "rejected") and order_reply(new)["failed_at"]
    assert old.replaced_by is None and exchange.positions["AA"].qty == 10


def test_a_trail_is_replaced_under_its_one_name() -> None:
    exchange = make(now=TUESDAY)
    send(exchange)
    old = send(exchange, side="sell", type="trailing_stop", trail_percent="5")
    new = exchange.replace(old.id, {"trail": "6"})
    assert new.trail_percent == 6 and new.trail_price is None and new.hwm == D("101.65")


# ---- orders that hang together


def bracket(exchange: Exchange, **changes: Any) -> tuple[Order, Order, Order]:
    body = {"order_class": "bracket", "take_profit": {"limit_price": "102.4"}}
    entry = send(exchange, **body | {"stop_loss": {"stop_price": "101"}} | changes)
    profit, loss = exchange.legs_of(entry)
    return entry, profit, loss


def test_a_bracket_takes_its_profit() -> None:
    exchange = make(now=TUESDAY)
    entry, profit, loss = bracket(exchange)
    assert (entry.status, profit.status, loss.status) == ("filled", "new", "held")
    assert {leg.position_intent for leg in (profit, loss)} == {"sell_to_close"}
    assert held_for_orders(exchange, "AA") == 10  # once, not twice
    go(exchange, TUESDAY_CLOSE)
    assert (profit.status, loss.status) == ("filled", "canceled")
    assert profit.filled_value == 10 * D("102.4") and not exchange.positions


def test_a_bracket_cuts_its_loss() -> None:
    exchange = make(now=TUESDAY)
    _, profit, loss = bracket(exchange, stop_loss={"stop_price": "101.55", "limit_price": "101"})
    go(exchange, TUESDAY_CLOSE)
    assert (profit.status, loss.status) == ("canceled", "filled") and loss.kind == "stop_limit"
    assert statuses(loss) == ["held", "new", "filled"]
    assert loss.filled_value == 10 * D("101.55")


def test_a_bracket_that_waits_ends_with_its_entry() -> None:
    exchange = make(now=TUESDAY)
    for end in ("cancel", "expire"):
        entry, profit, loss = bracket(exchange, type="limit", limit_price="101.2")
        assert (entry.status, profit.status, loss.status) == ("new", "held", "held")
        shown = order_reply(entry, exchange.legs_of(entry))
        assert [leg["id"] for leg in shown["legs"]] == [profit.id, loss.id]
        assert figures(exchange).reserved == 1012 and held_for_orders(exchange, "AA") == 0
        exchange.cancel(entry.id) if end == "cancel" else go(exchange, TUESDAY_CLOSE)
        found = {order.status for order in (entry, profit, loss)}
        assert found == {"canceled" if end == "cancel" else "expired"}


def test_cancelling_a_leg_cancels_the_other() -> None:
    exchange = make(now=TUESDAY)
    _, profit, loss = bracket(exchange)
    exchange.cancel(loss.id)
    assert profit.status == loss.status == "canceled" and exchange.positions["AA"].qty == 10


def test_a_profit_partly_taken_leaves_less_to_protect() -> None:
    exchange = make(now=TUESDAY, rules=Rules(p_partial=1, half_spread_bps=0))
    send(exchange, qty="40")
    go(exchange, "2024-06-04T15:01:00Z")
    assert exchange.positions["AA"].qty == 40
    profit = send(
        exchange, side="sell", qty="40", type="limit", order_class="oco",
        take_profit={"limit_price": "101.6"}, stop_loss={"stop_price": "100"},
    )  # fmt: skip
    [loss] = exchange.legs_of(profit)
    assert profit.status == "partially_filled" and loss.status == "held"
    assert loss.qty == 40 - profit.filled_qty == held_for_orders(exchange, "AA")
    set_quote(exchange, "AA", "99", "99.1")
    assert (profit.status, loss.triggered) == ("canceled", True)
    go(exchange, TUESDAY_CLOSE)
    assert loss.status == "filled" and not exchange.positions


def test_an_oto_has_one_leg() -> None:
    exchange = make(now=TUESDAY)
    entry = send(exchange, order_class="oto", stop_loss={"stop_price": "101.55"})
    [leg] = exchange.legs_of(entry)
    assert leg.status == "new" and leg.order_class == "oto" and leg.parent == entry.id
    go(exchange, TUESDAY_CLOSE)
    assert leg.status == "filled"


def test_a_leg_can_be_replaced() -> None:
    exchange = make(now=TUESDAY)
    entry, profit, loss = bracket(exchange)
    new = exchange.replace(loss.id, {"stop_price": "101.55"})
    assert (new.status, loss.status) == ("held", "replaced")
    assert entry.legs == [profit.id, new.id] and new.parent == entry.id
    go(exchange, TUESDAY_CLOSE)
    assert (new.status, profit.status) == ("filled", "canceled")


# ---- the hand of the control plane, and memory


def test_a_stuck_order_waits_for_its_release() -> None:
    exchange = make()
    order = send(exchange)
    exchange.stick(order.id)
    go(exchange, TUESDAY)
    assert order.status == "accepted"
    exchange.release()
    assert statuses(order) == ["accepted", "new", "filled"]
    late = send(exchange, **FAR)
    exchange.stick(late.id, "stopped")
    go(exchange, "2024-06-04T22:00:00Z")
    assert late.status == "stopped" and late.is_open
    exchange.release(late.id)
    assert late.status == "expired"
    with pytest.raises(Refusal, match="expired"):
        exchange.stick(late.id)


def test_a_cancel_of_a_stuck_order_stays_pending() -> None:
    exchange = make(now=TUESDAY)
    order = send(exchange, **FAR)
    exchange.stick(order.id)
    exchange.cancel(order.id)
    assert order.status == "pending_cancel" and figures(exchange).reserved == 500
    exchange.release(order.id)
    assert order.status == "canceled"


def test_an_order_is_rejected_after_its_acceptance() -> None:
    exchange = make(now=TUESDAY)
    order = send(exchange, **FAR)
    exchange.reject(order.id, "no such venue")
    assert (order.status, order.reason) == ("rejected", "no such venue")
    assert order_reply(order)["failed_at"] and figures(exchange).reserved == 0


def test_an_order_that_a_fault_holds_goes_no_further() -> None:
    exchange = make(now=TUESDAY)
    exchange.holding = True
    order = send(exchange)
    exchange.holding = False
    assert order.status == "pending_new"
    exchange.stick(order.id)
    exchange.release()
    assert order.status == "filled"


def test_groups_and_successors_survive_a_restart(tmp_path: Path) -> None:
    exchange = make(tmp_path, now=TUESDAY)
    bracket(exchange, qty="4")
    old = send(exchange, symbol="BB", type="limit", limit_price="5", time_in_force="gtc")
    exchange.stick(old.id)
    exchange.replace(old.id, {"qty": "3"})
    again = make(tmp_path, QUIET, MONDAY_NIGHT)
    assert again.orders == exchange.orders and list(again.working) == list(exchange.working)
    for each in (exchange, again):
        each.release()
        go(each, "2024-06-05T22:00:00Z")
    assert again.orders == exchange.orders and again.account == exchange.account


def test_a_state_file_of_the_first_release_loads(tmp_path: Path) -> None:
    """Its orders were market orders for the day, and its activities knew one instant."""
    exchange = make(tmp_path, now=TUESDAY)
    filled, resting = send(exchange), send(exchange, **FAR)
    first = {f.name for f in fields(Order)[: [f.name for f in fields(Order)].index("kind")]}
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        rows = db.execute("SELECT kind, key, body FROM records").fetchall()
        for kind, key, body in rows:
            kept = {k: v for k, v in json.loads(body).items() if kind != "orders" or k in first}
            kept.pop("t", None) if kind == "activities" else None
            found = (json.dumps(kept).encode(), kind, key)
            db.execute("UPDATE records SET body = ? WHERE kind = ? AND key = ?", found)
    again = make(tmp_path)
    assert again.positions == exchange.positions and again.ledger == exchange.ledger
    assert again.orders[filled.id].position_intent == "buy_to_open"
    assert again.orders[filled.id].asset_id == filled.asset_id
    assert again.orders[resting.id].kind == "market" and resting.id in again.working
    go(again, TUESDAY_CLOSE)
