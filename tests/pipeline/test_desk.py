"""The desk's day against a real twin: books to the cent, and no order lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import broker_records as records
from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Equity, Fill, Holding, Order, RiskEvent, RiskState
from quant50lib.errors import (
    BrokerError,
    OutcomeUnknown,
    ReconciliationError,
    RiskHalt,
)
from quant50lib.pipeline import desk
from quant50lib.pipeline.reconcile import adopt_differences, examine
from quant50lib.services import execute
from quant50lib.services.ledger import MEMO, Execution, Payment
from quant50lib.settings import ExecuteSettings
from quant50lib.simulator.process import Twin
from quant50lib.utils import dates
from quant50lib.utils.frames import typed
from tests import twins

pytestmark = pytest.mark.slow
D = Decimal
DAY, NEXT = twins.SESSIONS[1], twins.SESSIONS[2]
CLOSES, ACTIONS = twins.closes(), twins.actions()
THREE = {"AAA": 0.2, "BBB": 0.3, "EEE": 0.1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with twins.running(tmp_path_factory.mktemp("twin"), p_partial=0.0) as twin:
        yield twin


@pytest.fixture
def twin(server: Twin) -> Twin:
    return twins.reset(server)


@pytest.fixture
def free_books(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.duckdb")


@pytest.fixture
def books(free_books: Ledger) -> Iterator[Ledger]:
    """Held for the length of the test: opening and closing takes longer than all the rest."""
    with free_books.held():
        yield free_books


def knobs(**own: Any) -> ExecuteSettings:
    return twins.settings(max_order_weight=1.0, **own).execute


def settle(twin: Twin, books: Ledger, session: pd.Timestamp = DAY, **own: Any) -> desk.Settlement:
    actions = own.pop("actions", ACTIONS)
    return desk.settle(twins.broker(twin, **own), books, actions, session, CLOSES, knobs())


def plan(
    books: Ledger, done: desk.Settlement, session: pd.Timestamp, weights: dict[str, float]
) -> pd.DataFrame:
    return execute.plan_orders(
        twins.target(session, weights),
        done.holding,
        twins.universe(session, CLOSES),
        D(str(done.summary["equity"])),
        D(str(done.summary["cash"])),
        pd.Series(1e9, index=list(twins.SYMBOLS)),
        knobs(),
        session,
        books.open_symbols(),
        reduce_only=False,
        frozen=books.frozen(),
    )


def submit(twin: Twin, books: Ledger, orders: pd.DataFrame, **own: Any) -> pd.DataFrame:
    account = twins.broker(twin, **own)
    return desk.submit(account, books, orders, DAY, knobs(**own))


def first_plan(twin: Twin, books: Ledger) -> pd.DataFrame:
    return plan(books, settle(twin, books), DAY, THREE)


def sent(twin: Twin) -> list[tuple[str, str, str]]:
    """What exists at the twin: name, side, quantity."""
    return sorted((o["client_order_id"], o["side"], o["qty"]) for o in twin.truth()["orders"])


def wanted(orders: pd.DataFrame) -> list[tuple[str, str, str]]:
    rows = zip(orders["client_order_id"], orders["side"], orders["qty"])
    return sorted((name, side, f"{qty:.15g}") for name, side, qty in rows)


def agree(twin: Twin, books: Ledger) -> None:
    """Cash and shares are the twin's, exactly."""
    truth = twin.truth()
    assert books.cash() == D(truth["cash"])
    ours = {symbol: position.qty for symbol, position in books.positions().items()}
    assert ours == {row["symbol"]: D(row["qty"]) for row in truth["positions"]}


# -- days -------------------------------------------------------------------------------------


def test_seven_sessions_with_splits_and_partial_fills_agree_to_the_last_digit(
    twin: Twin, books: Ledger
) -> None:
    twins.reset(twin, p_partial=0.4)
    rng = np.random.default_rng(5)
    traded: dict[pd.Timestamp, float] = {}
    splits = 0
    for session in twins.SESSIONS[1:8]:
        twin.set_clock(dates.scheduled(session))
        done = settle(twin, books, session)
        agree(twin, books)
        for table, frame in (
            (Holding, done.holding),
            (Equity, done.equity),
            (Fill, done.fill),
        ):
            table.check(frame)
        last = done.equity.iloc[-1]
        assert last["equity"] == pytest.approx(last["broker_equity"], abs=0.005)
        assert last["holdings"] == pytest.approx(done.holding["value"].sum(), abs=1e-6)
        assert set(done.fill["session"]) <= {session}
        traded[session] = done.fill["value"].sum()
        splits += done.summary["splits_booked"]
        share = dict(zip(twins.SYMBOLS, 0.9 * rng.dirichlet(np.full(6, 2.0)).round(3)))
        orders = plan(books, done, session, {s: w for s, w in share.items() if w > 0.03})
        final = desk.submit(twins.broker(twin), books, orders, session, knobs())
        Order.check(final)
        assert set(final["state"]) <= {"accepted", "deferred"}
    line = done.equity.set_index("session")
    assert list(line.index) == list(twins.SESSIONS[1:8])
    before = line["equity"].shift()
    assert (line["turnover"] * before)[1:].round(6).tolist() == [
        round(value, 6) for value in list(traded.values())[1:]
    ]
    assert line["dividends"].iloc[-1] > 0 == line["dividends"].iloc[0]
    assert done.summary["economic_equity"] == pytest.approx(
        line["equity"].iloc[-1] + line["dividends"].iloc[-1]
    )
    truth = twin.truth()
    assert splits == 2
    filled = [order for order in truth["orders"] if order["status"] == "filled"]
    assert len(truth["executions"]) > len(filled) > 15


def test_a_session_settled_twice_is_settled_once(twin: Twin, free_books: Ledger) -> None:
    books = free_books
    submit(twin, books, first_plan(twin, books))
    twin.set_clock(dates.scheduled(NEXT))
    first, again = settle(twin, books, NEXT), settle(twin, books, NEXT)
    for frame in ("holding", "equity", "fill"):
        pd.testing.assert_frame_equal(getattr(first, frame), getattr(again, frame))
    assert first.summary["fills_booked"] == 3 and again.summary["fills_booked"] == 0
    agree(twin, books)


def test_missed_sessions_are_closed_when_the_desk_comes_back(twin: Twin, books: Ledger) -> None:
    submit(twin, books, first_plan(twin, books))
    back = twins.SESSIONS[5]
    twin.set_clock(dates.scheduled(back))
    done = settle(twin, books, back)
    assert done.equity["session"].tolist() == list(twins.SESSIONS[1:6])
    assert done.fill["session"].unique().tolist() == [NEXT]
    shares = done.holding.set_index("symbol")["qty"]
    shares["BBB"] *= 2 / 3  # before its split
    by_hand = done.equity["cash"].iloc[-1] + CLOSES.loc[twins.SESSIONS[3], shares.index] @ shares
    assert done.equity["equity"].iloc[2] == pytest.approx(by_hand)
    assert done.equity["broker_equity"].notna().tolist() == [True, False, False, False, True]


def test_a_day_settled_late_does_not_know_the_next_one(twin: Twin, books: Ledger) -> None:
    """The run of a session that comes after the next open sees neither its fills nor its split."""
    submit(twin, books, first_plan(twin, books))
    eve = twins.SESSIONS[3]
    twin.set_clock(dates.scheduled(eve))
    settle(twin, books, eve)
    twin.set_clock(dates.open_of(twins.SESSIONS[4]) + pd.Timedelta(minutes=30))
    late = settle(twin, books, eve)
    agree(twin, books)
    qty = late.holding.set_index("symbol")["qty"]
    assert books.positions()["BBB"].qty == D(str(qty["BBB"])) * 3 / 2
    assert late.holding.set_index("symbol")["price"]["BBB"] == CLOSES.loc[eve, "BBB"]


def test_a_split_that_only_the_broker_knows_of_is_taken_from_its_activity(
    twin: Twin, books: Ledger
) -> None:
    submit(twin, books, first_plan(twin, books))
    twin.set_clock(dates.scheduled(twins.SESSIONS[5]))
    settle(twin, books, twins.SESSIONS[5], actions=ACTIONS.iloc[:0])
    agree(twin, books)
    settle(twin, books, twins.SESSIONS[5])  # now the table has it as well
    agree(twin, books)


def test_a_series_of_closes_closes_one_session(twin: Twin, books: Ledger) -> None:
    closes = CLOSES.loc[DAY]
    done = desk.settle(twins.broker(twin), books, ACTIONS, DAY, closes, knobs())
    assert done.equity["equity"].tolist() == [100_000.0]
    assert done.summary["books_opened"] and done.summary["holdings"] == 0


# -- differences ------------------------------------------------------------------------------


def test_books_begin_with_an_account_in_cash(twin: Twin, books: Ledger) -> None:
    twins.broker(twin).submit("by-hand", "AAA", "buy", D(1))
    with pytest.raises(ReconciliationError, match="0 positions .* 1 open orders"):
        settle(twin, books)
    twin.set_clock(dates.scheduled(NEXT))
    with pytest.raises(ReconciliationError, match=r"1 positions \(AAA\)"):
        settle(twin, books, NEXT)
    assert books.opened_at() is None


def test_a_trade_by_hand_stops_the_desk_with_a_table(twin: Twin, books: Ledger) -> None:
    settle(twin, books)
    twins.broker(twin).submit("by-hand", "AAA", "buy", D(1))
    with pytest.raises(ReconciliationError, match=r"open order\s+by-hand\s+none\s+buy 1 AAA"):
        settle(twin, books)
    twin.set_clock(dates.scheduled(NEXT))
    with pytest.raises(ReconciliationError, match="differ in 3 places") as caught:
        settle(twin, books, NEXT)
    for word in ("fill of an order not ours", "shares", "cash"):
        assert word in str(caught.value)


def test_a_difference_is_shown_on_a_page_and_adopted_on_demand(
    twin: Twin, books: Ledger, tmp_path: Path
) -> None:
    submit(twin, books, first_plan(twin, books))
    account = twins.broker(twin)
    account.submit("by-hand", "AAA", "buy", D(1))
    account.submit("by-hand-too", "DDD", "buy", D(30))
    done = examined(twin, books)
    with pytest.raises(ReconciliationError, match="cancel by-hand, by-hand-too there"):
        adopt_differences(books, done, "ann", "my own trade")
    twin.set_clock(dates.scheduled(NEXT))
    page = tmp_path / "data" / "reports" / "reconcile.html"
    with pytest.raises(ReconciliationError, match="page data/reports/reconcile.html"):
        desk.settle(account, books, ACTIONS, NEXT, CLOSES, knobs(), page=page)
    for words in ("fill of an order not ours", "DDD", "+30", "What differs: 5 lines"):
        assert words in page.read_text()
    done = examined(twin, books)
    assert adopt_differences(books, done, "ann", "my own trade")
    agree(twin, books)
    assert books.position_entries()[-1].detail.startswith("adopted by ann: my own trade (buy ")
    again = settle(twin, books, NEXT)
    assert again.summary["conversions_booked"] == 0
    fill = next(f for f in twin.truth()["executions"] if f["symbol"] == "DDD")
    assert books.positions()["DDD"].entry_price == D(fill["price"])


def examined(twin: Twin, books: Ledger, **own: Any) -> Any:
    account = twins.broker(twin)
    with books.held():
        return examine(account, books, ACTIONS, knobs(), account.clock(), **own)


def test_what_no_execution_explains_is_adopted_at_the_brokers_price(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    broker.cash, broker.held = "900.25", {"AAA": "3"}
    done = examine(broker, books, ACTIONS, knobs(), broker.at)  # type: ignore[arg-type]
    assert len(adopt_differences(books, done, "ann", "a gift")) == 2
    assert books.cash() == D("900.25") and books.positions()["AAA"].cost == 3
    assert not examine(broker, books, ACTIONS, knobs(), broker.at).differences  # type: ignore[arg-type]


SPLIT_EVE, SPLIT_DAY, AFTER_SPLIT = twins.SESSIONS[3:6]  # of BBB, three for two


def holding_bbb(twin: Twin, books: Ledger, **rules: Any) -> None:
    twins.reset(twin, **rules)
    submit(twin, books, first_plan(twin, books))


def test_a_split_that_paper_forgot_freezes_its_name_and_the_others_trade(
    twin: Twin, books: Ledger
) -> None:
    holding_bbb(twin, books, splits_on_paper="ignore")
    twin.set_clock(dates.scheduled(SPLIT_EVE))
    eve = settle(twin, books, SPLIT_EVE)
    twin.set_clock(dates.scheduled(SPLIT_DAY))
    done = settle(twin, books, SPLIT_DAY)
    qty = [d.holding.set_index("symbol")["qty"]["BBB"] for d in (eve, done)]
    assert qty[1] == pytest.approx(1.5 * qty[0])
    assert list(done.frozen_table["symbol"]) == ["BBB"]
    assert "split of 3 for 2" in done.summary["frozen"][0]
    growth = done.summary["equity"] / eve.summary["equity"]
    assert growth == pytest.approx(1, abs=0.02) and done.summary["broker_equity"] < 92_000
    orders = plan(books, done, SPLIT_DAY, {"SPY": 0.1})
    final = desk.submit(twins.broker(twin), books, orders, SPLIT_DAY, knobs())
    states = final.set_index("symbol")["state"].to_dict()
    assert states == {"AAA": "accepted", "BBB": "deferred", "EEE": "accepted", "SPY": "accepted"}
    assert final.set_index("symbol").loc["BBB", "reason"].startswith("frozen: split of 3 for 2")
    twin.set_clock(dates.scheduled(AFTER_SPLIT))
    settle(twin, books, AFTER_SPLIT)
    assert list(books.positions()) == ["BBB", "SPY"]
    done = examined(twin, books)
    assert not done.differences and not adopt_differences(books, done, "ann", "all")
    adopt_differences(books, done, "ann", "paper will never do it", symbol="BBB")
    agree(twin, books)
    assert settle(twin, books, AFTER_SPLIT).frozen == {}


def test_a_late_split_of_the_broker_releases_its_name_and_is_booked_once(
    twin: Twin, books: Ledger
) -> None:
    holding_bbb(twin, books, splits_on_paper="late")
    for session in (SPLIT_EVE, SPLIT_DAY, AFTER_SPLIT):
        twin.set_clock(dates.scheduled(session))
        done = settle(twin, books, session)
        assert list(done.frozen) == (["BBB"] if session == SPLIT_DAY else [])
    agree(twin, books)
    assert done.summary["equity"] == pytest.approx(done.summary["broker_equity"], abs=0.005)


def test_a_split_that_neither_broker_nor_price_knows_of_stops_the_desk(
    twin: Twin, books: Ledger
) -> None:
    submit(twin, books, first_plan(twin, books))
    false = twins.known_action("AAA", "forward_split", SPLIT_EVE, new_rate=10, old_rate=1)
    twin.set_clock(dates.scheduled(SPLIT_EVE))
    with pytest.raises(ReconciliationError, match=r"shares\s+AAA"):
        settle(twin, books, SPLIT_EVE, actions=false)


# -- names that become others -------------------------------------------------------------------


EFFECTIVE = twins.SESSIONS[3]
CHANGES = {
    "name_change": (
        {"old_symbol": "EEE", "new_symbol": "NEW", "process_date": str(EFFECTIVE.date())},
        {"other_symbol": "NEW"},
    ),
    "stock_merger": (
        {
            "acquiree_symbol": "EEE",
            "acquirer_symbol": "CCC",
            "effective_date": str(EFFECTIVE.date()),
        }
        | {"acquirer_rate": 3, "acquiree_rate": 2},
        {"other_symbol": "CCC", "new_rate": 3.0, "old_rate": 2.0},
    ),
    "stock_and_cash_merger": (
        {
            "acquiree_symbol": "EEE",
            "acquirer_symbol": "CCC",
            "effective_date": str(EFFECTIVE.date()),
        }
        | {"acquirer_rate": 3, "acquiree_rate": 2, "cash_rate": 12.5},
        {"other_symbol": "CCC", "new_rate": 3.0, "old_rate": 2.0, "cash": 12.5},
    ),
    "cash_merger": (
        {"acquiree_symbol": "EEE", "rate": 270.5, "effective_date": str(EFFECTIVE.date())},
        {"cash": 270.5},
    ),
    "spin_off": (
        {"source_symbol": "EEE", "new_symbol": "NEW", "ex_date": str(EFFECTIVE.date())}
        | {"new_rate": 1, "source_rate": 4},
        {"other_symbol": "NEW", "new_rate": 1.0, "old_rate": 4.0},
    ),
    "worthless_removal": ({"symbol": "EEE", "process_date": str(EFFECTIVE.date())}, {}),
}


FOLLOWED = [(kind, "table and report") for kind in CHANGES] + [
    ("stock_merger", "table alone"),
    ("spin_off", "table alone"),
    ("worthless_removal", "table alone"),
    ("spin_off", "report alone"),
    ("stock_and_cash_merger", "report alone"),
]


@pytest.mark.parametrize(("kind", "known"), FOLLOWED)
def test_a_name_that_becomes_something_else_is_followed_in_our_books(
    twin: Twin, books: Ledger, kind: str, known: str
) -> None:
    late = "next_day" if known == "table alone" else "at_once"
    twins.reset(twin, activity_delay=late)
    submit(twin, books, first_plan(twin, books))
    told, row = CHANGES[kind]
    twins.corporate_action(twin, type=kind, **told)
    table = twins.known_action("EEE", kind, EFFECTIVE, **row)
    table = ACTIONS if known == "report alone" else table
    twin.set_clock(dates.scheduled(NEXT))
    before = settle(twin, books, NEXT, actions=table).holding.set_index("symbol")
    twin.set_clock(dates.scheduled(EFFECTIVE))
    if (kind, known) == ("stock_merger", "table alone"):
        with pytest.raises(ReconciliationError, match="cash"):  # that of the fraction is missing
            settle(twin, books, EFFECTIVE, actions=table)
    else:
        done = settle(twin, books, EFFECTIVE, actions=table)
        assert done.summary["conversions_booked"] >= 1
        agree(twin, books)
        cost = sum(p.cost for p in books.positions().values())
        paid = float(before["entry_price"] @ before["qty"])
        if kind in ("name_change", "stock_merger", "spin_off") and known != "report alone":
            assert float(cost) == pytest.approx(paid, abs=1e-6)
    twin.set_clock(dates.scheduled(twins.SESSIONS[4]))
    done = settle(twin, books, twins.SESSIONS[4], actions=table)
    agree(twin, books)
    Holding.check(done.holding)


def test_another_order_under_our_name_stops_the_desk(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    name, symbol = orders.loc[0, ["client_order_id", "symbol"]]
    twins.broker(twin).submit(name, symbol, "buy", D(1))
    with pytest.raises(ReconciliationError, match="who sent it"):
        submit(twin, books, orders)


def test_an_account_that_was_reset_stops_the_desk_until_that_is_adopted(
    twin: Twin, books: Ledger
) -> None:
    submit(twin, books, first_plan(twin, books))
    twins.reset(twin, cash="50000")
    with pytest.raises(ReconciliationError, match="(?s)differ in 4 places.*not know it any more"):
        settle(twin, books)
    adopt_differences(books, examined(twin, books), "ann", "paper account reset")
    assert settle(twin, books).summary["cash"] == 100_000  # it was, when the session closed
    assert books.cash() == 50_000
    assert set(books.orders(DAY)["state"]) == {"expired"}
    agree(twin, books)


class Scripted:
    """A broker that says what it is told to say."""

    unknown: tuple[str, ...] = ()

    def __init__(self, at: pd.Timestamp, cash: str) -> None:
        self.at, self.cash = at, cash
        self.held: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.known: list[records.BrokerOrder] = []
        self.cancelled: list[str] = []

    def clock(self) -> pd.Timestamp:
        return self.at

    def account(self) -> records.Account:
        return records.Account("PA1", "ACTIVE", D(self.cash), D(self.cash), D(self.cash), ())

    def positions(self) -> dict[str, records.Position]:
        return {s: records.Position(s, D(q), D(q), D(1)) for s, q in self.held.items()}

    def orders(self, status: str = "all", **_: Any) -> list[records.BrokerOrder]:
        live = ("accepted", "partially_filled")
        return [o for o in self.known if status == "all" or o.state in live]

    def find(self, name: str) -> records.BrokerOrder | None:
        return next((order for order in self.known if order.client_order_id == name), None)

    def cancel(self, broker_id: str) -> None:
        self.cancelled.append(broker_id)

    def executions(self, **_: Any) -> list[records.Execution]:
        return []

    def activities(self, **_: Any) -> list[records.Activity]:
        return [records.activity(event) for event in self.events]


def activity(n: int, kind: str, amount: str, hours: int, **own: Any) -> dict[str, Any]:
    at = dates.scheduled(DAY) + pd.Timedelta(hours=hours)
    made = {"id": f"a{n}", "activity_type": kind, "net_amount": amount}
    return made | {"created_at": at.isoformat(), "date": str(at.date())} | own


def test_payments_move_cash_and_a_paid_dividend_is_no_longer_due(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    opening = desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    due = Payment("due", MEMO, D("3"), dates.open_of(NEXT), "CCC")
    books.book([due])
    broker.at, broker.cash = dates.scheduled(NEXT), "1502.49"
    broker.events = [
        activity(0, "CSD", "7", -1),  # before the books were opened
        activity(1, "CSD", "500", 12),
        activity(2, "DIV", "3", 13, symbol="CCC"),
        activity(3, "FEE", "-0.51", 14),
    ]
    done = desk.settle(broker, books, ACTIONS, NEXT, CLOSES, knobs())  # type: ignore[arg-type]
    line = done.equity.iloc[-1]
    assert (line["cash"], line["flow"], line["dividends"]) == (1502.49, 500.0, 0.0)
    assert opening.equity["flow"].tolist() == [0.0]
    assert done.summary["payments_booked"] == 4


def test_an_activity_that_the_broker_takes_back_or_replaces_ends_at_what_it_made_of_it(
    books: Ledger,
) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    settled(broker, books, DAY)
    books.book([Payment("due", MEMO, D("3"), dates.open_of(NEXT), "CCC")])
    fee = {"group_id": "g", "symbol": "AAA"}
    flow, paid = activity(1, "CSD", "500", 12), activity(2, "DIV", "3", 13, symbol="CCC")
    charged = activity(3, "FEE", "-0.51", 14, **fee)
    never = activity(4, "INT", "9", 15, status="canceled")
    broker.at, broker.cash = dates.scheduled(NEXT), "1502.49"
    broker.events = [flow, paid, charged, never]
    first = settled(broker, books, NEXT)
    assert first.summary["cash"] == 1502.49 and books.dividends_due() == 0

    broker.events = [
        flow | {"status": "canceled"},
        paid | {"status": "correct", "net_amount": "2.8"},
        charged,
        activity(5, "FEE", "-0.40", 16, status="correct", **fee),
        never,
    ]
    broker.at += pd.Timedelta(hours=1)
    broker.cash = "1002.40"  # 1000 + 2.80 - 0.40
    again = settled(broker, books, NEXT)
    assert books.cash() == D("1002.40") and books.dividends_due() == D("0.2")
    assert again.equity["flow"].tolist() == first.equity["flow"].tolist()  # the past stays
    broker.at += pd.Timedelta(hours=1)
    assert settled(broker, books, NEXT).summary["payments_booked"] == 0
    broker.events[0] = flow | {"status": "correct", "net_amount": "200"}
    broker.at, broker.cash = dates.scheduled(twins.SESSIONS[3]), "1202.40"
    later = settled(
        broker, books, twins.SESSIONS[3]
    )  # what is seen after a close is the next day's
    assert later.equity["flow"].tolist() == [0, 500, -500] and books.cash() == D("1202.40")


def test_shares_of_an_activity_that_was_cancelled_are_not_booked(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    settled(broker, books, DAY)
    broker.at = dates.scheduled(NEXT)
    broker.events = [activity(1, "SPIN", "0", 20, symbol="NEW", qty="2", status="canceled")]
    assert settled(broker, books, NEXT).holding.empty


def test_words_of_the_broker_that_are_new_are_put_before_a_person(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    assert settled(broker, books, DAY).summary["to_look_at"] == []
    broker.unknown = ("order.status = 'quantum'", "account.tier")
    (said,) = settled(broker, books, DAY).summary["to_look_at"]
    assert "order.status = 'quantum', account.tier" in said


def test_a_merger_into_cash_is_booked_from_its_activity(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    bought = Execution("f", "o", "EEE", "buy", D(2), D(100), dates.open_of(NEXT))
    books.book([bought])
    broker.at, broker.cash = dates.scheduled(NEXT), "1020"
    broker.events = [activity(1, "MA", "220", 20, symbol="EEE", qty="-2")]
    done = desk.settle(broker, books, ACTIONS, NEXT, CLOSES, knobs())  # type: ignore[arg-type]
    assert done.holding.empty and done.equity["cash"].iloc[-1] == 1020.0


def test_a_cent_is_a_difference(books: Ledger) -> None:
    broker = Scripted(dates.scheduled(DAY), "1000")
    desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    broker.cash = "1000.004"
    desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    broker.cash = "1000.01"
    with pytest.raises(ReconciliationError, match="cash"):
        desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]


# -- orders that do not end -------------------------------------------------------------------


def sent_one(books: Ledger, status: str = "accepted") -> tuple[Scripted, str]:
    """Books with one order of ten AAA, at a broker that calls it so; the evening it was sent."""
    broker = Scripted(dates.scheduled(DAY), "1000")
    done = desk.settle(broker, books, ACTIONS, DAY, CLOSES, knobs())  # type: ignore[arg-type]
    orders = plan(books, done, DAY, {"AAA": 0.4})
    books.plan(orders, DAY, broker.at)
    name, qty = orders.loc[0, ["client_order_id", "qty"]]
    books.transition(name, "sending", broker.at)
    broker.known = [records.BrokerOrder("b1", name, "AAA", "buy", D(str(qty)), status, D(0), None)]
    return broker, name


def settled(broker: Scripted, books: Ledger, session: pd.Timestamp, **own: Any) -> desk.Settlement:
    table = own.pop("actions", ACTIONS)
    return desk.settle(broker, books, table, session, CLOSES, knobs(**own))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["accepted", "new", "pending_cancel", "held", "suspended"])
def test_an_order_still_open_after_its_session_freezes_its_name_until_it_ends(
    books: Ledger, status: str
) -> None:
    broker, name = sent_one(books, status)
    assert settled(broker, books, DAY).frozen == {}
    broker.at = dates.close_of(NEXT) + pd.Timedelta(minutes=29)
    assert settled(broker, books, NEXT).frozen == {}
    broker.at += pd.Timedelta(minutes=1)
    done = settled(broker, books, NEXT)
    assert done.frozen == {"AAA": f"{name} is still accepted after the close of {NEXT.date()}"}
    assert books.frozen() == done.frozen and books.history(name)[-1] == "accepted"
    broker.known = [replace(broker.known[0], status="canceled")]
    assert settled(broker, books, NEXT).frozen == {} == books.frozen()
    assert books.history(name) == ["planned", "sending", "accepted", "cancelled"]


def test_a_word_that_we_do_not_know_is_a_live_order_to_look_at(books: Ledger) -> None:
    broker, name = sent_one(books, "pondering")
    done = settled(broker, books, DAY)
    assert done.summary["to_look_at"] == [
        f"{name}: the broker calls it 'pondering', a word that we do not know: look at it"
    ]
    assert books.open_symbols() == {"AAA"} and books.unsent().empty
    broker.at = dates.scheduled(NEXT)
    assert "pondering" in settled(broker, books, NEXT).frozen["AAA"]


def test_an_order_of_unknown_fate_freezes_its_name_after_the_deadline(books: Ledger) -> None:
    broker, name = sent_one(books)
    known, broker.known = broker.known, []
    for _ in range(2):
        books.transition(name, "unknown", broker.at)
        books.transition(name, "planned", broker.at)
        books.transition(name, "sending", broker.at)
    books.transition(name, "unknown", broker.at)
    broker.at += pd.Timedelta(minutes=30)
    done = settled(broker, books, DAY)
    assert books.history(name)[-1] == "unknown" and "nobody knows" in done.frozen["AAA"]
    broker.known = known
    assert settled(broker, books, DAY).frozen == {}
    assert books.history(name)[-1] == "accepted"


def test_an_order_that_a_coming_split_makes_wrong_is_cancelled(twin: Twin, books: Ledger) -> None:
    submit(twin, books, first_plan(twin, books))
    coming = twins.known_action("AAA", "forward_split", NEXT, new_rate=2, old_rate=1)
    done = settle(twin, books, actions=coming)
    assert done.summary["orders_cancelled"] == ["q50-20240521-AAA-buy-rebalance-1"]
    states = books.orders(DAY).set_index("symbol")["state"].to_dict()
    assert states == {"AAA": "cancelled", "BBB": "accepted", "EEE": "accepted"}
    again = settle(twin, books, actions=coming)
    assert again.summary["orders_cancelled"] == []


def test_an_order_that_ended_is_not_cancelled_for_a_split(books: Ledger) -> None:
    broker, name = sent_one(books)
    coming = twins.known_action("AAA", "forward_split", NEXT, new_rate=2, old_rate=1)
    settled(broker, books, DAY)
    settled(broker, books, DAY, actions=coming)
    assert broker.cancelled == ["b1"]
    broker.at = dates.scheduled(NEXT)
    broker.known = [replace(broker.known[0], status="expired")]
    settled(broker, books, NEXT, actions=coming)
    assert broker.cancelled == ["b1"]


def test_an_order_given_up_as_absent_that_was_filled_is_adopted(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    books.plan(orders, DAY, dates.scheduled(DAY))
    name, qty = books.orders(DAY).loc[0, ["client_order_id", "qty"]]
    books.transition(name, "sending", dates.scheduled(DAY))
    books.transition(name, "expired", dates.scheduled(DAY), reason="never reached the broker")
    symbol = name.split("-")[2]
    twins.broker(twin).submit(name, symbol, "buy", D(str(qty)))
    twin.set_clock(dates.scheduled(NEXT))
    settle(twin, books, NEXT)
    agree(twin, books)
    row = books.orders(DAY).set_index("client_order_id").loc[name]
    assert (row["state"], row["filled_qty"]) == ("expired", qty)


@pytest.mark.parametrize("over", [False, True])
def test_an_order_to_be_sent_again_that_arrived_late_is_found(
    twin: Twin, books: Ledger, over: bool
) -> None:
    orders = first_plan(twin, books)
    books.plan(orders, DAY, dates.scheduled(DAY))
    name, qty, symbol = books.orders(DAY).loc[0, ["client_order_id", "qty", "symbol"]]
    books.transition(name, "sending", dates.scheduled(DAY))
    books.transition(name, "planned", dates.scheduled(DAY), reason="proven absent at the broker")
    twins.broker(twin).submit(name, symbol, "buy", D(str(qty)))
    session = NEXT if over else DAY
    twin.set_clock(dates.scheduled(session))
    settle(twin, books, session)
    assert books.history(name)[-2:] == ["unknown", "filled" if over else "accepted"]
    if not over:
        submit(twin, books, orders)
        assert sent(twin) == wanted(orders)
    else:
        agree(twin, books)


# -- sending ----------------------------------------------------------------------------------


def test_what_was_planned_is_what_was_sent(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    told: list[tuple[str, int, int]] = []
    account = twins.broker(twin)
    final = desk.submit(
        account,
        books,
        orders,
        DAY,
        knobs(),
        lambda doing, done, total: told.append((doing, done, total)),
    )
    assert sent(twin) == wanted(orders)
    assert final["state"].tolist() == ["accepted"] * 3 and final["broker_id"].all()
    assert told == [("buy BBB", 0, 3), ("buy AAA", 1, 3), ("buy EEE", 2, 3)]
    assert books.history(final["client_order_id"][0]) == ["planned", "sending", "accepted"]


def test_the_same_session_twice_sends_nothing_twice(twin: Twin, books: Ledger) -> None:
    first = submit(twin, books, first_plan(twin, books))
    other = plan(books, settle(twin, books), DAY, {"SPY": 0.5})
    pd.testing.assert_frame_equal(submit(twin, books, other), first)
    assert len(twins.requests_of(twin, "POST")) == 3


def test_a_plan_without_orders_stays_one(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    assert submit(twin, books, orders.iloc[:0]).empty
    assert submit(twin, books, orders).empty and sent(twin) == []


@pytest.mark.parametrize(
    "action",
    [
        {"after": {"code": 504, "body": "<html>"}},
        {"html": {"code": 502}},
        {"drop_before": {}},
        {"drop_after": {}},
        {"truncate": {"bytes": 30}},
        {"hang": {}},
        {"delay": {"s": 0.7}},
    ],
    ids=lambda action: next(iter(action)),
)
def test_an_answer_that_never_came_neither_loses_nor_doubles_an_order(
    twin: Twin, books: Ledger, action: dict[str, Any]
) -> None:
    """`delay`: the order arrives after it was proven absent; its name keeps it from being two."""
    orders = first_plan(twin, books)
    twins.fault(twin, action, method="POST", nth=2)
    final = submit(twin, books, orders, read_timeout_seconds=0.3)
    if "delay" in action:
        time.sleep(0.8)
    assert sent(twin) == wanted(orders)
    assert final["state"].tolist() == ["accepted"] * 3
    assert any("unknown" in books.history(name) for name in final["client_order_id"])


def test_an_order_that_nobody_ever_sees_stays_unknown_and_the_others_go(
    twin: Twin, books: Ledger
) -> None:
    orders = first_plan(twin, books)
    first = execute.in_sequence(orders)["client_order_id"][0]
    twins.fault(twin, {"html": {"code": 503}}, times=3, method="POST")
    with pytest.raises(OutcomeUnknown, match=f"{first}; they were sent 3 times"):
        submit(twin, books, orders)
    assert len(sent(twin)) == 2
    assert books.history(first)[-1] == "unknown"
    assert submit(twin, books, orders)["state"].tolist() == ["accepted"] * 3
    assert sent(twin) == wanted(orders)


def test_a_broker_that_falls_silent_stops_the_day_and_the_next_run_goes_on(
    twin: Twin, books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant50lib.adapters.broker.PAUSES", (0.0, 0.0))
    orders = first_plan(twin, books)
    twins.fault(twin, {"drop_after": {}}, method="POST")
    twins.fault(twin, {"html": {"code": 502}}, times=9, path_regex="v2/orders", method="GET")
    with pytest.raises(OutcomeUnknown, match="not known whether these orders exist: q50-.*502"):
        submit(twin, books, orders)
    twins.no_faults(twin)
    submit(twin, books, orders)
    assert sent(twin) == wanted(orders)


def test_a_refused_order_keeps_its_reason_and_the_others_go(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    said = {"code": 403, "body": {"code": 40310000, "message": "not today"}}
    twins.fault(twin, {"status": said}, method="POST", nth=2)
    final = submit(twin, books, orders).set_index("symbol")
    assert final["state"].to_dict() == {"BBB": "accepted", "AAA": "refused", "EEE": "accepted"}
    assert final.loc["AAA", "reason"] == "403: not today"


def test_an_account_that_may_not_trade_is_sent_nothing(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    raw = {"status": "ACTIVE", "cash": "1", "equity": "1", "buying_power": "1"}
    raw["account_number"] = "PA1"
    body = {**raw, "account_blocked": True}
    twins.fault(twin, {"status": {"code": 200, "body": body}}, path_regex="account$")
    with pytest.raises(BrokerError, match="account_blocked"):
        submit(twin, books, orders)
    assert sent(twin) == []
    assert submit(twin, books, orders)["state"].tolist() == ["accepted"] * 3


def test_nothing_is_sent_for_a_session_that_is_over(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    twin.set_clock(dates.scheduled(NEXT))
    late = submit(twin, books, orders)
    assert late["state"].tolist() == ["shadow"] * 3
    assert not books.planned(DAY) and sent(twin) == []


def test_a_plan_that_was_never_sent_expires_with_its_session(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    books.plan(orders, DAY, dates.scheduled(DAY))
    books.transition(orders["client_order_id"][0], "sending", dates.scheduled(DAY))
    twin.set_clock(dates.scheduled(NEXT))
    assert settle(twin, books, NEXT).summary["orders_resolved"] == 3
    assert books.orders(DAY)["state"].tolist() == ["expired"] * 3
    assert set(books.orders(DAY)["reason"]) == {
        "never reached the broker",
        "never sent: its session is over",
    }


def test_the_switch_stops_buys_and_lets_sells_go(twin: Twin, books: Ledger) -> None:
    submit(twin, books, first_plan(twin, books))
    twin.set_clock(dates.scheduled(NEXT))
    done = settle(twin, books, NEXT)
    orders = plan(books, done, NEXT, {"SPY": 0.1})
    books.halt("the quotes look wrong", dates.scheduled(NEXT))
    account = twins.broker(twin)
    with pytest.raises(RiskHalt, match=r"the quotes look wrong\): 1 buys were not sent"):
        desk.submit(account, books, orders, NEXT, knobs())
    state = books.orders(NEXT).set_index("symbol")["state"].to_dict()
    assert state == {"AAA": "accepted", "BBB": "accepted", "EEE": "accepted", "SPY": "planned"}
    books.resume("they were right", dates.scheduled(NEXT))
    final = desk.submit(account, books, orders, NEXT, knobs())
    assert set(final["state"]) == {"accepted"}


def test_the_risk_rules_are_asked_again_when_orders_are_sent(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    row = {"session": DAY, "mark": 1.0, "drawdown": 0.09, "budget": 0.0, "halted": True}
    state = typed(RiskState, [row | {"halted_sessions": 0, "feedback": 1.0}])
    books.save_risk(state, typed(RiskEvent, []))
    with pytest.raises(RiskHalt, match="reduce only: 3 buys were not sent"):
        submit(twin, books, orders)
    assert sent(twin) == []


def test_a_name_frozen_after_the_plan_is_not_sent(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    books.freeze({"AAA": "somebody looks into it"}, dates.scheduled(DAY))
    final = submit(twin, books, orders).set_index("symbol")
    assert final["state"].to_dict() == {"BBB": "accepted", "AAA": "expired", "EEE": "accepted"}
    assert final.loc["AAA", "reason"] == "frozen: somebody looks into it"


def test_a_buy_refused_for_want_of_money_is_planned_anew_the_next_day(
    twin: Twin, books: Ledger
) -> None:
    orders = first_plan(twin, books)
    body = {"code": 40310000, "message": "insufficient buying power", "buying_power": "0"}
    twins.fault(twin, {"status": {"code": 403, "body": body}}, method="POST", nth=3)
    assert "refused" in set(submit(twin, books, orders)["state"])
    twin.set_clock(dates.scheduled(NEXT))
    again = plan(books, settle(twin, books, NEXT), NEXT, THREE)
    refused = books.orders(DAY).query("state == 'refused'")
    assert again.loc[again["notional"].idxmax(), "symbol"] == refused["symbol"].iloc[0] == "EEE"
    assert again["client_order_id"].str.contains(f"{NEXT:%Y%m%d}").all()


def test_the_switch_works_between_two_orders(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)

    def thrown(doing: str, done: int, total: int) -> None:
        if done == 1:
            books.switch.write_text("stop")

    account = twins.broker(twin)
    with pytest.raises(RiskHalt, match=r"\(stop\): 1 buys"):
        desk.submit(account, books, orders, DAY, knobs(), thrown)
    assert len(sent(twin)) == 2


# -- crashes ----------------------------------------------------------------------------------

DAY_OF_A_DESK = """
import sys
from pathlib import Path
import pandas as pd
from quant50lib.adapters.broker import connect
from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Order
from quant50lib.pipeline import desk
from quant50lib.pipeline.reconcile import adopt_differences, examine
from quant50lib.settings import Secrets, Settings

books, plan, url, knobs = sys.argv[1:]
settings = Settings.model_validate_json(knobs)
orders = pd.read_pickle(plan)
account = connect(settings, Secrets(), url)
desk.submit(account, Ledger(Path(books)), orders, orders["session"][0], settings.execute)
"""


def begin_day(twin: Twin, books: Ledger, plan_file: Path) -> subprocess.Popen:
    settings = twins.settings(max_order_weight=1.0, read_timeout_seconds=60)
    words = [str(books.path), str(plan_file), twin.url, settings.model_dump_json()]
    return subprocess.Popen([sys.executable, "-c", DAY_OF_A_DESK, *words], env={**os.environ})


def wait_for_second_post(twin: Twin, process: subprocess.Popen, orders: int) -> None:
    """Until the second POST has reached the twin, and so many orders exist there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(twins.requests_of(twin, "POST")) == 2 and len(sent(twin)) == orders:
            return
        time.sleep(0.05)
    raise AssertionError("the second order never left")


@pytest.mark.parametrize(
    ("action", "arrived"), [({"hang": {}}, 1), ({"delay": {"s": 30, "when": "after"}}, 2)]
)
def test_killed_between_journal_and_answer_the_next_start_sends_the_rest_once(
    twin: Twin, free_books: Ledger, tmp_path: Path, action: dict[str, Any], arrived: int
) -> None:
    """`hang`: the order never arrived. `delay` after: it did, and nobody was told."""
    orders = first_plan(twin, free_books)
    orders.to_pickle(tmp_path / "plan.pickle")
    twins.fault(twin, action, method="POST", nth=2)
    process = begin_day(twin, free_books, tmp_path / "plan.pickle")
    try:
        wait_for_second_post(twin, process, arrived)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    twins.no_faults(twin)
    submit(twin, Ledger(free_books.path), orders)
    assert sent(twin) == wanted(orders)
    assert set(free_books.orders(DAY)["state"]) == {"accepted"}
    settle(twin, free_books)
    agree(twin, free_books)
