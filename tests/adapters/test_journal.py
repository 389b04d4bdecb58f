"""The ledger on a real file: what it keeps, what it refuses, and what a crash leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant50lib.adapters.journal import Ledger, Step
from quant50lib.contracts import ORDER_STATES, Equity, Fill, Order, RiskEvent, RiskState
from quant50lib.errors import ReconciliationError, SettingsError
from quant50lib.services.ledger import MEMO, Execution, Payment, Split, Swap
from quant50lib.utils.frames import typed
from tests.adapters.test_database import another_process

D = Decimal
DAY = pd.Timestamp("2024-06-28").as_unit("us")
NEXT = pd.Timestamp("2024-07-01").as_unit("us")
EVENING = pd.Timestamp("2024-06-28 22:00", tz="UTC")
MORNING = pd.Timestamp("2024-07-01 13:30", tz="UTC")
DAY_LATER = pd.Timedelta(days=1)
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
    "planned": {"sending", "expired", "unknown"},
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


def ended(books: Ledger, state: str, filled: str = "0") -> None:
    books.plan(orders(order()), DAY, EVENING)
    books.transition(NAME, "sending", EVENING)
    books.transition(NAME, "accepted", EVENING, broker_id="b1")
    if state != "accepted":
        books.transition(NAME, state, EVENING, broker_id="b1", filled_qty=D(filled))


@pytest.mark.parametrize("state", ["cancelled", "expired"])
def test_fills_that_come_to_light_after_the_end_grow_the_order_and_not_its_state(
    books: Ledger, state: str
) -> None:
    ended(opened(books), state, "2")
    books.book([bought(1, "2", "4")])
    assert books.history(NAME)[-1] == state and len(books.history(NAME)) == 4
    books.book([bought(2, "3", "5")])
    row = books.orders().iloc[0]
    assert (row["state"], row["filled_qty"], row["filled_price"]) == (state, 5.0, 4.6)
    assert books.history(NAME)[-2:] == [state, state]
    assert books.open_orders().empty


def test_an_open_order_learns_of_its_fills_from_the_broker_alone(books: Ledger) -> None:
    ended(opened(books), "accepted")
    books.book([bought(1, "2", "4")])
    assert books.orders().iloc[0]["filled_qty"] == 0.0


def test_a_new_remark_on_an_open_order_is_kept_and_on_an_ended_one_is_not(books: Ledger) -> None:
    ended(books, "accepted")
    assert books.transition(NAME, "accepted", EVENING, broker_id="b1", reason="a new word")
    assert not books.transition(NAME, "accepted", EVENING, broker_id="b1", reason="a new word")
    assert books.orders()["reason"].tolist() == ["a new word"]
    assert books.transition(NAME, "cancelled", EVENING, broker_id="b1")
    assert not books.transition(NAME, "cancelled", EVENING, broker_id="b1", reason="late")


def test_more_than_was_ordered_cannot_be_filled(books: Ledger) -> None:
    ended(books, "accepted")
    with pytest.raises(ReconciliationError, match="11 filled of 10"):
        books.transition(NAME, "filled", EVENING, broker_id="b1", filled_qty=D(11))


def test_many_steps_are_all_taken_or_none(books: Ledger) -> None:
    books.plan(orders(order("AAA"), order("BBB")), DAY, EVENING)
    names = books.orders()["client_order_id"].tolist()
    steps = [Step(names[0], "sending"), Step(names[0], "accepted", "b"), Step(names[1], "filled")]
    with books.held():
        with pytest.raises(ReconciliationError, match="cannot become filled"):
            books.advance(steps, EVENING)
        assert books.history(names[0]) == ["planned"]
        assert books.advance(steps[:2], EVENING) == 2
        assert books.advance(steps[:2][1:], EVENING) == 0
    assert books.history(names[0]) == ["planned", "sending", "accepted"]
    sent = books.sent(names)
    assert {name: (found.first, found.times) for name, found in sent.items()} == {
        names[0]: (EVENING, 1)
    }


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


def test_one_ledger_sees_what_another_has_booked(books: Ledger) -> None:
    opened(books)
    young = books.path.read_bytes()
    books.book([bought(1, "2", "4")])
    assert books.positions()["AAA"].qty == 2
    Ledger(books.path).book([bought(3, "1", "4"), bought(2, "1", "4", EVENING)])
    assert [entry.event_id for entry in books.position_entries()] == ["f2", "f1", "f3"]
    books.path.write_bytes(young)
    assert books.positions() == {}


def test_a_name_that_was_renamed_is_known_by_its_old_one(books: Ledger) -> None:
    swap = Swap("rename-AAA-1", "rename", "AAA", D(2), "NEW", D(2), MORNING + DAY_LATER)
    opened(books).book([bought(1, "2", "4"), swap])
    assert books.renamed() == {"NEW": "AAA"}
    position = books.positions()["NEW"]
    assert (position.qty, position.cost) == (D(2), D(8)) and len(books.positions()) == 1
    assert books.book([swap]) == [] and books.known(["rename-AAA-1", "x"]) == {"rename-AAA-1"}
    assert books.cash() == 992


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


def test_a_switch_thrown_while_the_ledger_was_in_use_becomes_an_event(books: Ledger) -> None:
    with books.held():
        pass
    with another_process(books.path, 30), pytest.raises(SettingsError, match="in use by process"):
        Ledger(books.path, wait_seconds=0.05).halt("stop it", EVENING)
    assert books.switched() == "stop it"
    books.note_switch(EVENING)
    books.note_switch(EVENING)
    books.switch.unlink()
    assert books.halted() == "stop it"
    assert books._rows("SELECT count(*) AS n FROM halts") == [{"n": 1}]


def test_names_are_frozen_and_released_by_events(books: Ledger) -> None:
    assert books.frozen() == {}
    assert books.freeze({"AAA": "stuck", "BBB": "split"}, EVENING) == {
        "AAA": "stuck",
        "BBB": "split",
    }
    assert books.freeze({"AAA": "stuck", "BBB": "split"}, EVENING) == {}
    assert books.freeze({"BBB": "split of July"}, EVENING) == {"AAA": "", "BBB": "split of July"}
    assert Ledger(books.path).frozen() == {"BBB": "split of July"}


def test_the_risk_rules_of_the_session_or_the_last_before_it_forbid_to_buy(books: Ledger) -> None:
    assert not books.reduce_only(DAY)
    books.save_risk(state(DAY, 1.0).assign(halted=True), typed(RiskEvent, []))
    assert books.reduce_only(DAY) and books.reduce_only(NEXT)
    books.save_risk(state(NEXT, 1.0), typed(RiskEvent, []))
    assert books.reduce_only(DAY) and not books.reduce_only(NEXT)


def test_threads_take_turns(books: Ledger) -> None:
    rows = [order(f"A{chr(65 + n)}") for n in range(8)]
    books.plan(orders(*rows), DAY, EVENING)

    def send(row: dict) -> None:
        with books.held():
            books.transition(row["client_order_id"], "sending", EVENING)
            books.transition(row["client_order_id"], "accepted", EVENING, broker_id=row["symbol"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, rows))
    assert books.orders()["state"].tolist() == ["accepted"] * 8
    with books.held(), ThreadPoolExecutor(1) as pool:
        impatient = Ledger(books.path, wait_seconds=0.05)
        with pytest.raises(SettingsError, match="another thread"):
            pool.submit(impatient.cash).result()


def test_the_file_alone_halts(books: Ledger) -> None:
    books.path.parent.mkdir()
    books.switch.touch()
    assert books.halted() == "the file HALT exists"


CRASH = """
import os, signal, sys
from pathlib import Path
import pandas as pd
from quant50lib.adapters.journal import Ledger, Step
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
