"""The ledger on a real file: what it keeps, what it refuses, and what a crash leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import ORDER_STATES, Equity, Fill, Order, RiskEvent, RiskState
from quant50lib.errors import ReconciliationError
from quant50lib.services.ledger import MEMO, Execution, Payment, Split
from quant50lib.utils.frames import typed

D = Decimal
DAY = pd.Timestamp("2024-06-28").as_unit("us")
NEXT = pd.Timestamp("2024-07-01").as_unit("us")
EVENING = pd.Timestamp("2024-06-28 22:00", tz="UTC")
MORNING = pd.Timestamp("2024-07-01 13:30", tz="UTC")
NAME = "q50-20240628-AAA-buy-rebalance-1"


@pytest.fixture
def books(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "data" / "ledger.duckdb")


def order(symbol: str = "AAA", side: str = "buy", session: pd.Timestamp = DAY, **own: Any) -> dict:
    return {
        "session": session,
        "client_order_id": f"q50-{session:%Y%m%d}-{symbol}-{side}-rebalance-1",
        "symbol": symbol,
        "side": side,
        "intent": "rebalance",
        "attempt": 1,
        "qty": 10.0,
        "price": 5.0,
        "notional": 50.0,
        "state": "planned",
        "broker_id": "",
        "filled_qty": 0.0,
        "filled_price": None,
        "reason": "",
    } | own


def orders(*rows: dict) -> pd.DataFrame:
    return typed(Order, rows)


def opened(books: Ledger, cash: str = "1000") -> Ledger:
    detail = EVENING.isoformat()
    begin = EVENING - pd.Timedelta(hours=2)
    books.book([Payment("opening", "opening", D(cash), begin, detail=detail)])
    return books


def bought(n: int, qty: str, price: str, at: pd.Timestamp = MORNING) -> Execution:
    return Execution(f"f{n}", NAME, "AAA", "buy", D(qty), D(price), at)


# -- orders -----------------------------------------------------------------------------------


def test_a_plan_comes_back_in_the_sequence_of_sending(books: Ledger) -> None:
    plan = orders(order("CCC"), order("BBB", notional=90.0, qty=18.0), order("AAA", "sell"))
    kept = books.plan(plan, DAY, EVENING)
    assert kept["symbol"].tolist() == ["AAA", "BBB", "CCC"]
    pd.testing.assert_frame_equal(Order.check(kept), Order.check(plan))
    pd.testing.assert_frame_equal(books.orders(DAY), kept)
    pd.testing.assert_frame_equal(books.orders(), kept)


def test_a_session_is_planned_once(books: Ledger) -> None:
    books.plan(orders(order("AAA")), DAY, EVENING)
    assert books.plan(orders(order("BBB")), DAY, EVENING)["symbol"].tolist() == ["AAA"]
    assert books.orders()["symbol"].tolist() == ["AAA"]


def test_a_plan_without_orders_is_a_plan(books: Ledger) -> None:
    assert not books.planned(DAY)
    Order.check(books.plan(orders(), DAY, EVENING))
    assert books.planned(DAY) and not books.planned(NEXT)
    assert books.plan(orders(order("AAA")), DAY, EVENING).empty


def test_a_plan_is_of_one_session(books: Ledger) -> None:
    with pytest.raises(ValueError, match="another session"):
        books.plan(orders(order()), NEXT, EVENING)


LEGAL = {
    "planned": {"sending", "expired"},
    "sending": {"accepted", "partially_filled", "filled", "cancelled", "expired", "refused"}
    | {"unknown", "planned"},
    "unknown": {"accepted", "partially_filled", "filled", "cancelled", "expired", "refused"}
    | {"planned"},
    "accepted": {"partially_filled", "filled", "cancelled", "expired", "refused"},
    "partially_filled": {"filled", "cancelled", "expired", "refused"},
}


def test_every_step_between_two_states_is_allowed_or_refused(books: Ledger) -> None:
    states = [(before, after) for before in ORDER_STATES for after in ORDER_STATES]
    rows = [
        order(f"A{chr(65 + i // 26)}{chr(65 + i % 26)}", state=before)
        for i, (before, _) in enumerate(states)
    ]
    books.plan(orders(*rows), DAY, EVENING)
    with books.held():
        for row, (before, after) in zip(rows, states):
            name = row["client_order_id"]
            if after == before:
                assert not books.transition(name, after, EVENING)
            elif after in LEGAL.get(before, ()):
                assert books.transition(name, after, EVENING)
                assert books.history(name) == [before, after]
            else:
                with pytest.raises(ReconciliationError, match=f"is {before} .* become {after}"):
                    books.transition(name, after, EVENING)
                assert books.history(name) == [before]


def test_facts_of_an_order_grow_and_are_never_taken_back(books: Ledger) -> None:
    books.plan(orders(order()), DAY, EVENING)
    books.transition(NAME, "sending", EVENING)
    books.transition(NAME, "accepted", EVENING, broker_id="b1")
    part = {"broker_id": "b1", "filled_price": D("5.01")}
    assert books.transition(NAME, "partially_filled", EVENING, filled_qty=D(4), **part)
    assert books.transition(NAME, "partially_filled", EVENING, filled_qty=D(6), **part)
    assert not books.transition(NAME, "partially_filled", EVENING, filled_qty=D(6), **part)
    with pytest.raises(ReconciliationError, match="takes back"):
        books.transition(NAME, "partially_filled", EVENING, filled_qty=D(5), **part)
    with pytest.raises(ReconciliationError, match="takes back"):
        books.transition(NAME, "filled", EVENING, filled_qty=D(10), broker_id="b2")
    row = books.orders().iloc[0]
    assert (row["state"], row["broker_id"], row["filled_qty"]) == ("partially_filled", "b1", 6.0)
    assert row["filled_price"] == 5.01
    assert books.by_broker_id() == {"b1": NAME}


def test_a_stranger_has_no_state(books: Ledger) -> None:
    with pytest.raises(ReconciliationError, match="not in our books"):
        books.transition(NAME, "sending", EVENING)


def test_open_and_unsent(books: Ledger) -> None:
    states = ("planned", "sending", "unknown", "accepted", "filled", "deferred")
    rows = [order(f"AA{chr(65 + i)}", state=state) for i, state in enumerate(states)]
    books.plan(orders(*rows), DAY, EVENING)
    assert books.unsent()["state"].tolist() == ["planned"]
    assert set(books.open_orders()["state"]) == {"sending", "unknown", "accepted"}
    assert books.open_symbols() == {"AAB", "AAC", "AAD"}


# -- the books --------------------------------------------------------------------------------


def test_a_fill_is_booked_once(books: Ledger) -> None:
    opened(books).plan(orders(order()), DAY, EVENING)
    assert len(books.book([bought(1, "2.5", "4.01")])) == 1
    assert books.book([bought(1, "2.5", "4.01")]) == []
    assert books.cash() == D("989.975")
    assert books.cash(EVENING) == 1000
    assert books.positions(EVENING) == {}
    position = books.positions()["AAA"]
    assert (position.qty, position.cost, position.entry_session) == (D("2.5"), D("10.025"), NEXT)
    assert books.newest_fill() == MORNING
    assert books.traded(DAY, NEXT) == {NEXT: D("10.025")}


def test_the_opening_remembers_when_it_was(books: Ledger) -> None:
    assert books.opened_at() is None and books.newest_fill() is None
    assert opened(books).opened_at() == EVENING
    assert books.cash(EVENING - pd.Timedelta(hours=2)) == 1000


def test_what_is_owed_is_not_cash(books: Ledger) -> None:
    opened(books).book(
        [Payment("d", MEMO, D("1.25"), MORNING), Payment("c", "flow", D(50), MORNING)]
    )
    assert (books.cash(), books.dividends_due()) == (D(1050), D("1.25"))
    assert books.dividends_due(EVENING) == 0
    assert books.paid("flow", EVENING, MORNING) == 50
    assert books.paid("flow", MORNING) == 0


def test_more_digits_than_the_books_keep_are_an_error(books: Ledger) -> None:
    with pytest.raises(ReconciliationError, match="more than nine decimals"):
        opened(books).book([bought(1, "1.0000000001", "1")])
    assert books.positions() == {}


def test_fills_show_what_they_cost_against_the_plan(books: Ledger) -> None:
    opened(books).plan(orders(order()), DAY, EVENING)
    books.book([bought(1, "4", "5.01"), bought(2, "1", "4.99")])
    fills = books.fills_between(NEXT, NEXT)
    assert Fill.check(fills)["slippage_bps"].round(6).tolist() == [20.0, -20.0]
    assert fills["value"].tolist() == [20.04, 4.99]
    assert books.fills_between(DAY, DAY).empty


def test_across_a_split_slippage_has_no_meaning(books: Ledger) -> None:
    opened(books).plan(orders(order()), DAY, EVENING)
    books.book([Split("AAA", NEXT, D(2), D(1)), bought(1, "4", "2.5")])
    assert Fill.check(books.fills_between(NEXT, NEXT))["slippage_bps"].isna().all()


def line(books: Ledger, session: pd.Timestamp = NEXT, **own: Any) -> None:
    usual = {
        "cash": D(900),
        "holdings": D("100.5"),
        "broker_equity": D("1000.5"),
        "dividends": D(0),
        "flow": D(0),
        "turnover": D("0.1"),
    }
    books.close_session(session, NEXT, **(usual | own))


def test_a_session_has_one_line_and_the_newest_counts(books: Ledger) -> None:
    assert books.last_session() is None
    Equity.check(books.equity_table())
    line(books, DAY, broker_equity=None)
    line(books)
    line(books, broker_equity=D(5))
    assert books.last_session() == NEXT
    table = Equity.check(books.equity_table())
    assert table["equity"].tolist() == [1000.5, 1000.5]
    assert table["broker_equity"].tolist()[1] == 1000.5 and table["broker_equity"].isna()[0]
    line(books, holdings=D(101))
    assert books.equity_table()["equity"].tolist() == [1000.5, 1001.0]
    assert books.equity_table(DAY)["session"].tolist() == [DAY]


def test_fills_of_a_run_are_those_of_the_sessions_that_it_closed(books: Ledger) -> None:
    opened(books).plan(orders(order()), DAY, EVENING)
    books.book([bought(1, "4", "5"), bought(2, "1", "5", MORNING + pd.Timedelta(days=1))])
    assert books.fills_of(NEXT).empty
    line(books)
    assert books.fills_of(NEXT)["fill_id"].tolist() == ["f1"]


numbers = st.decimals("0.000000001", "9999", places=9)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(trades=st.lists(st.tuples(numbers, st.decimals("0.0001", "999", places=4)), max_size=8))
def test_sums_of_the_database_are_exact(
    tmp_path_factory: pytest.TempPathFactory, trades: list
) -> None:
    books = opened(Ledger(tmp_path_factory.mktemp("books") / "ledger.duckdb"), "1e9")
    fills = [bought(n, str(qty), str(price)) for n, (qty, price) in enumerate(trades)]
    with books.held():
        for fill in [*fills, *fills]:
            books.book([fill])
        assert books.cash() == D(10**9) - sum(qty * price for qty, price in trades)
        assert sum(p.qty for p in books.positions().values()) == sum(qty for qty, _ in trades)


# -- risk, switch, crash ----------------------------------------------------------------------


def state(session: pd.Timestamp, mark: float) -> pd.DataFrame:
    row = {"session": session, "mark": mark, "drawdown": 0.01, "budget": 1.0}
    return typed(RiskState, [row | {"halted": False, "halted_sessions": 0, "feedback": 1.1}])


def test_risk_is_remembered_from_the_session_before(books: Ledger) -> None:
    event = {"session": DAY, "rule": "stop_loss", "symbol": "AAA", "value": 0.1, "limit": 0.05}
    events = typed(RiskEvent, [event | {"detail": "sold"}])
    books.save_risk(state(DAY, 1.0), typed(RiskEvent, []))
    books.save_risk(state(DAY, 2.0), events)
    books.save_risk(state(NEXT, 3.0), typed(RiskEvent, []))
    assert books.load_risk(DAY).empty
    pd.testing.assert_frame_equal(RiskState.check(books.load_risk(NEXT)), state(DAY, 2.0))
    pd.testing.assert_frame_equal(RiskEvent.check(books.risk_events(NEXT)), events)
    assert books.load_risk(NEXT + pd.Timedelta(days=1))["mark"].tolist() == [3.0]


def test_the_switch_survives_and_is_an_event(books: Ledger) -> None:
    assert books.halted() == ""
    books.halt("broker looks wrong", EVENING)
    assert Ledger(books.path).halted() == "broker looks wrong"
    books.switch.unlink()
    assert Ledger(books.path).halted() == "broker looks wrong"
    books.resume("all good", EVENING)
    assert books.halted() == ""


def test_the_file_alone_halts(books: Ledger) -> None:
    books.path.parent.mkdir()
    books.switch.touch()
    assert books.halted() == "the file HALT exists"


CRASH = """
import os, signal, sys
from pathlib import Path
import pandas as pd
from quant50lib.adapters.journal import Ledger
at = pd.Timestamp("2024-06-28 22:00", tz="UTC")
books = Ledger(Path(sys.argv[1]))
with books.held():
    books.transition(sys.argv[2], "sending", at)
    with books._writing() as connection:
        copy = "SELECT * REPLACE (99 AS event, 'accepted' AS state) FROM order_events LIMIT 1"
        connection.execute(f"INSERT INTO order_events {copy}")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_survives_and_what_was_not_is_gone(books: Ledger) -> None:
    books.plan(orders(order()), DAY, EVENING)
    words = [sys.executable, "-c", CRASH, str(books.path), NAME]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Ledger(books.path).history(NAME) == ["planned", "sending"]
