"""The ledger against a model of a few dictionaries, under any sequence of what can happen to it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Order
from quant50lib.errors import ReconciliationError
from quant50lib.services.ledger import Event, Execution, Payment, Split
from quant50lib.utils import dates
from quant50lib.utils.frames import typed
from tests.proof.conftest import MEMORY

pytestmark = pytest.mark.proof
SYMBOLS = ("AAA", "BBB", "CCC")
NINE = Decimal("0.000000001")
SESSIONS = dates.sessions_between("2024-01-02", "2024-12-31")
quantities = st.decimals("0.000001", "500", places=6)
prices = st.decimals("0.01", "900", places=2)


class LedgerMachine(RuleBasedStateMachine):
    """Each step is done to the ledger on disk and to the model; they must always agree."""

    @initialize(cash=st.decimals("0", "200000", places=2))
    def open_books(self, cash: Decimal) -> None:
        place = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.folder = TemporaryDirectory(dir=place)
        self.path = Path(self.folder.name) / "ledger.duckdb"
        self.day, self.count, self.open = 0, 0, ExitStack()
        self.restart_ledger()
        self.cash, self.flow = cash, Decimal(0)
        self.shares: dict[str, Decimal] = {}
        self.orders: dict[str, dict] = {}
        self.said: list[Event] = []
        self.tell(Payment("opening", "opening", cash, self.now(), detail=self.now().isoformat()))

    def restart_ledger(self) -> None:
        """Close the file, and open it as another process would; kept open, because that is slow."""
        self.open.close()
        self.ledger = self.open.enter_context(Ledger(self.path).held())

    def teardown(self) -> None:
        self.open.close()
        self.folder.cleanup()

    def now(self) -> pd.Timestamp:
        """A new instant within the session."""
        self.count += 1
        opening = pd.Timestamp(SESSIONS[self.day]).tz_localize("UTC") + pd.Timedelta(hours=15)
        return (opening + pd.Timedelta(seconds=self.count)).as_unit("us")

    def tell(self, event: Event) -> None:
        self.said.append(event)
        assert len(self.ledger.book([event])) == 1

    # -- what can happen ------------------------------------------------------------------------

    @rule(wanted=st.dictionaries(st.sampled_from(SYMBOLS), quantities, min_size=1))
    def plan_a_session(self, wanted: dict[str, Decimal]) -> None:
        self.day += 1
        assume(self.day < len(SESSIONS) - 1)
        session, rows = pd.Timestamp(SESSIONS[self.day]), []
        for symbol, qty in wanted.items():
            held = self.shares.get(symbol, Decimal(0))
            side = "sell" if held and qty <= held else "buy"
            name = f"q50-{session:%Y%m%d}-{symbol}-{side}-rebalance-1"
            rows.append(self._order_row(session, name, symbol, side, qty))
            self.orders[name] = dict(state="planned", symbol=symbol, side=side, qty=qty, done=0)
        self.ledger.plan(typed(Order, rows), session, self.now())
        again = self.ledger.plan(typed(Order, rows[:1]), session, self.now())
        assert len(again) == len(rows), "a session has one plan"

    @staticmethod
    def _order_row(session, name: str, symbol: str, side: str, qty: Decimal) -> dict:  # type: ignore[no-untyped-def]
        return {
            "session": session,
            "client_order_id": name,
            "symbol": symbol,
            "side": side,
            "intent": "rebalance",
            "attempt": 1,
            "qty": float(qty),
            "price": 10.0,
            "notional": float(qty) * 10,
            "state": "planned",
            "broker_id": "",
            "filled_qty": 0.0,
            "filled_price": None,
            "reason": "",
        }

    def _in(self, *states: str) -> list[str]:
        return sorted(name for name, order in self.orders.items() if order["state"] in states)

    @precondition(lambda self: self._in("planned"))
    @rule(data=st.data(), answer=st.sampled_from(["accepted", "refused", "unknown"]))
    def send(self, data: st.DataObject, answer: str) -> None:
        name = data.draw(st.sampled_from(self._in("planned")))
        self.ledger.transition(name, "sending", self.now())
        words = {"broker_id": f"b-{name}"} if answer == "accepted" else {"reason": "because"}
        self.ledger.transition(name, answer, self.now(), **words)
        self.orders[name]["state"] = answer

    @precondition(lambda self: self._in("unknown"))
    @rule(data=st.data(), found=st.booleans())
    def resolve(self, data: st.DataObject, found: bool) -> None:
        name = data.draw(st.sampled_from(self._in("unknown")))
        state = "accepted" if found else "planned"
        self.ledger.transition(name, state, self.now(), broker_id=f"b-{name}" if found else "")
        self.orders[name]["state"] = state

    @precondition(lambda self: self._in("accepted", "partially_filled"))
    @rule(data=st.data(), price=prices, share=st.integers(1, 4))
    def fill(self, data: st.DataObject, price: Decimal, share: int) -> None:
        name = data.draw(st.sampled_from(self._in("accepted", "partially_filled")))
        order = self.orders[name]
        left = order["qty"] - order["done"]
        part = left if share == 4 else (left * share / 4).quantize(NINE, ROUND_DOWN)
        assume(part > 0)
        if order["side"] == "sell":
            assume(part <= self.shares.get(order["symbol"], Decimal(0)))
        order["done"] += part
        order["state"] = "filled" if order["done"] == order["qty"] else "partially_filled"
        at = self.now()
        self.ledger.transition(
            name, order["state"], at, broker_id=f"b-{name}", filled_qty=order["done"],
            filled_price=price,
        )  # fmt: skip
        fill_id = f"{name}-{self.count}"
        event = Execution(fill_id, name, order["symbol"], order["side"], part, price, at)
        self.tell(event)
        sign = 1 if order["side"] == "buy" else -1
        self.cash -= sign * part * price
        self._move(order["symbol"], sign * part)

    @precondition(lambda self: self._in("accepted", "partially_filled"))
    @rule(data=st.data(), how=st.sampled_from(["cancelled", "expired"]))
    def end(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(self._in("accepted", "partially_filled")))
        done = self.orders[name]["done"]
        self.ledger.transition(
            name, how, self.now(), broker_id=f"b-{name}", filled_qty=Decimal(done)
        )
        self.orders[name]["state"] = how

    @precondition(lambda self: self.shares and self.day < len(SESSIONS) - 2)
    @rule(data=st.data(), new=st.integers(1, 5), old=st.integers(1, 5))
    def split(self, data: st.DataObject, new: int, old: int) -> None:
        assume(new != old)
        self.day += 1
        symbol = data.draw(st.sampled_from(sorted(self.shares)))
        event = Split(symbol, pd.Timestamp(SESSIONS[self.day]), Decimal(new), Decimal(old))
        self.tell(event)
        after = (self.shares[symbol] * new / old).quantize(NINE, ROUND_DOWN)
        self._move(symbol, after - self.shares[symbol])

    @rule(amount=st.decimals("-500", "500", places=2), kind=st.sampled_from(["flow", "fee", "div"]))
    def pay(self, amount: Decimal, kind: str) -> None:
        assume(amount)
        self.tell(Payment(f"pay-{self.count}", kind, amount, self.now()))
        self.cash += amount
        self.flow += amount if kind == "flow" else 0

    @rule()
    def restart(self) -> None:
        """A new process knows what the old one knew, and is told all of it again."""
        self.restart_ledger()
        assert self.ledger.book(self.said) == []

    @precondition(lambda self: self._in("filled", "cancelled", "expired", "refused"))
    @rule(data=st.data(), state=st.sampled_from(["planned", "sending", "accepted"]))
    def an_ended_order_does_not_come_back(self, data: st.DataObject, state: str) -> None:
        ended = self._in("filled", "cancelled", "expired", "refused")
        name = data.draw(st.sampled_from(ended))
        with pytest.raises(ReconciliationError):
            self.ledger.transition(
                name, state, self.now(), filled_qty=Decimal(self.orders[name]["done"])
            )

    # -- what is always true ----------------------------------------------------------------------

    def _move(self, symbol: str, change: Decimal) -> None:
        self.shares[symbol] = self.shares.get(symbol, Decimal(0)) + change
        if not self.shares[symbol]:
            del self.shares[symbol]

    @invariant()
    def cash_and_shares_are_the_model_s(self) -> None:
        assert self.ledger.cash() == self.cash
        ours = {symbol: position.qty for symbol, position in self.ledger.positions().items()}
        assert ours == self.shares
        assert self.ledger.paid("flow", None) == self.flow

    @invariant()
    def every_order_is_where_the_model_has_it(self) -> None:
        frame = self.ledger.orders()
        assert dict(zip(frame["client_order_id"], frame["state"])) == {
            name: order["state"] for name, order in self.orders.items()
        }


LedgerMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase
