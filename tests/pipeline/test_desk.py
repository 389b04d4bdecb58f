"""The desk's day against a real twin: books to the cent, and no order lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import broker_records as records
from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Equity, Fill, Holding, Order
from quant50lib.errors import (
    BrokerError,
    OutcomeUnknown,
    ReconciliationError,
    RiskHalt,
)
from quant50lib.pipeline import desk
from quant50lib.services import execute
from quant50lib.services.ledger import MEMO, Execution, Payment
from quant50lib.settings import ExecuteSettings
from quant50lib.simulator.process import Twin
from quant50lib.utils import dates
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
def books(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.duckdb")


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


def test_a_session_settled_twice_is_settled_once(twin: Twin, books: Ledger) -> None:
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
    with pytest.raises(ReconciliationError, match=r"open order\s+AAA\s+none\s+by-hand buy"):
        settle(twin, books)
    twin.set_clock(dates.scheduled(NEXT))
    with pytest.raises(ReconciliationError, match="differ in 3 places") as caught:
        settle(twin, books, NEXT)
    for word in ("fill of an order not ours", "shares", "cash"):
        assert word in str(caught.value)


def test_a_split_that_paper_forgot_stops_the_desk(twin: Twin, books: Ledger) -> None:
    twins.reset(twin, splits_on_paper="ignore")
    submit(twin, books, first_plan(twin, books))
    twin.set_clock(dates.scheduled(twins.SESSIONS[4]))
    with pytest.raises(ReconciliationError, match=r"shares\s+BBB"):
        settle(twin, books, twins.SESSIONS[4])


def test_another_order_under_our_name_stops_the_desk(twin: Twin, books: Ledger) -> None:
    orders = first_plan(twin, books)
    name, symbol = orders.loc[0, ["client_order_id", "symbol"]]
    twins.broker(twin).submit(name, symbol, "buy", D(1))
    with pytest.raises(ReconciliationError, match="who sent it"):
        submit(twin, books, orders)


def test_an_account_that_was_reset_stops_the_desk(twin: Twin, books: Ledger) -> None:
    submit(twin, books, first_plan(twin, books))
    twins.reset(twin)
    with pytest.raises(ReconciliationError, match="does not know it any more"):
        settle(twin, books)


class Scripted:
    """A broker that says what it is told to say."""

    def __init__(self, at: pd.Timestamp, cash: str) -> None:
        self.at, self.cash = at, cash
        self.held: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def clock(self) -> pd.Timestamp:
        return self.at

    def account(self) -> records.Account:
        return records.Account("PA1", "ACTIVE", D(self.cash), D(self.cash), D(self.cash), ())

    def positions(self) -> dict[str, records.Position]:
        return {s: records.Position(s, D(q), D(q), D(1)) for s, q in self.held.items()}

    def orders(self, **_: Any) -> list[records.BrokerOrder]:
        return []

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
    twin: Twin, books: Ledger, tmp_path: Path, action: dict[str, Any], arrived: int
) -> None:
    """`hang`: the order never arrived. `delay` after: it did, and nobody was told."""
    orders = first_plan(twin, books)
    orders.to_pickle(tmp_path / "plan.pickle")
    twins.fault(twin, action, method="POST", nth=2)
    process = begin_day(twin, books, tmp_path / "plan.pickle")
    try:
        wait_for_second_post(twin, process, arrived)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    twins.no_faults(twin)
    submit(twin, Ledger(books.path), orders)
    assert sent(twin) == wanted(orders)
    assert set(books.orders(DAY)["state"]) == {"accepted"}
    settle(twin, books)
    agree(twin, books)
