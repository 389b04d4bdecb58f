"""Orders in the ledger: the plan, every step of every order, and how they stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd

from quant50lib.adapters import journal_rows as rows
from quant50lib.adapters.journal_file import LedgerFile
from quant50lib.adapters.journal_schema import ENDED, OPEN, next_event
from quant50lib.errors import ReconciliationError
from quant50lib.services.ledger import ZERO, Execution

IS_PLANNED = "SELECT session FROM plans WHERE session = ?"
#: when an order was first sent, and how often
SENT = """
SELECT client_order_id, min(moment) AS first, count(*) AS times FROM order_events
WHERE state = 'sending' AND client_order_id IN (SELECT unnest(?)) GROUP BY client_order_id
"""
FILLED = """
SELECT client_order_id, sum(qty) AS qty, sum(qty * price) AS value FROM fills
WHERE client_order_id IN (SELECT unnest(?)) GROUP BY client_order_id
"""


@dataclass(frozen=True)
class Step:
    """What an order becomes; quantities are cumulative, as the broker says them."""

    client_order_id: str
    state: str
    broker_id: str = ""
    filled_qty: Decimal = ZERO
    filled_price: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True)
class Sent:
    """How often an order was on its way to the broker, and since when."""

    first: pd.Timestamp
    times: int


class Orders(LedgerFile):
    """The orders' part of the ledger."""

    _known: tuple[int, dict[str, dict[str, Any]]] = (0, {})  # orders as they stood at an event

    def plan(self, orders: pd.DataFrame, session: pd.Timestamp, at: pd.Timestamp) -> pd.DataFrame:
        """Write down the orders of a session before any is sent; returns what is written.

        A session has one plan: where it exists already, that one is returned and the given one is
        forgotten, so a resumed day never plans twice.

        Parameters
        ----------
        orders : Order frame
            Of the session; a plan may be empty, and is a plan all the same.
        at : Timestamp
            The broker's time.
        """
        if not orders["session"].eq(session).all():
            raise ValueError(f"a plan of {session.date()} holds orders of another session")
        with self._writing() as connection:
            if rows.records(connection, IS_PLANNED, [rows.date(session)]):
                return self.orders(session)
            noted = {"session": rows.date(session), "moment": rows.naive(at), "orders": len(orders)}
            rows.insert(connection, "plans", [noted])
            rows.insert(connection, "orders", rows.order_rows(orders))
            rows.insert(connection, "order_events", rows.first_events(orders, at))
        self._fresh = False
        return self.orders(session)

    def planned(self, session: pd.Timestamp) -> bool:
        """Whether the session has a plan (which may hold no order)."""
        return bool(self._rows(IS_PLANNED, rows.date(session)))

    def transition(
        self,
        client_order_id: str,
        state: str,
        at: pd.Timestamp,
        *,
        broker_id: str = "",
        filled_qty: Decimal = ZERO,
        filled_price: Decimal | None = None,
        reason: str = "",
    ) -> bool:
        """Note the next state of an order; False for a repeat, which changes nothing.

        Raises
        ------
        ReconciliationError
            The order is not ours, cannot take that step, or would lose what was filled.
        """
        step = Step(client_order_id, state, broker_id, filled_qty, filled_price, reason)
        return bool(self.advance([step], at))

    def advance(self, steps: Sequence[Step], at: pd.Timestamp) -> int:
        """Note many steps in one transaction, all or none; returns how many were no repeats.

        Raises
        ------
        ReconciliationError
            As `transition`.
        """
        changed: dict[str, dict[str, Any]] = {}
        with self._writing() as connection:
            now = self._now(connection)
            made = []
            for step in steps:
                name = step.client_order_id
                before = changed.get(name) or now.get(name)
                if before is None:
                    raise ReconciliationError(f"{name} is not in our books")
                event = next_event(before, vars(step))
                if event is not None:
                    made.append({**event, "moment": rows.naive(at)})
                    changed[name] = before | event
            rows.insert(connection, "order_events", made)
        now.update(changed)
        return len(made)

    def _now(self, connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
        """Orders as they stand, by name; only what happened since the last time is read."""
        if self._held is not None and self._fresh:
            return self._known[1]
        seen, orders = self._known
        newest, found = rows.orders_since(connection, seen)
        if newest < seen:  # another file has taken its place
            newest, found = rows.orders_since(connection, 0)
            orders = {}
        orders = orders | {row["client_order_id"]: row for row in found}
        self._known, self._fresh = (newest, orders), True
        return orders

    def _found(self, wanted: Callable[[dict[str, Any]], bool]) -> pd.DataFrame:
        """The orders that are wanted, in the sequence of their plans: an Order frame."""
        with self._opened() as connection:
            found = [row for row in self._now(connection).values() if wanted(row)]
        return rows.order_frame(sorted(found, key=lambda row: (row["session"], row["place"])))

    def orders(self, session: pd.Timestamp | None = None) -> pd.DataFrame:
        """Orders as they stand now, of one session or of all: an Order frame, as sent."""
        day = None if session is None else rows.date(session)
        return self._found(lambda row: day is None or row["session"] == day)

    def open_orders(self) -> pd.DataFrame:
        """Orders on which the broker may still act, and those of which that is not known."""
        return self._found(lambda row: row["state"] in OPEN)

    def unsent(self) -> pd.DataFrame:
        """Orders that are still to be sent: an Order frame."""
        return self._found(lambda row: row["state"] == "planned")

    def open_symbols(self) -> set[str]:
        """Names with an unfinished order: they take no other."""
        return set(self.open_orders()["symbol"])

    def sent(self, names: Collection[str]) -> dict[str, Sent]:
        """Of those orders that were ever on their way: since when, and how often."""
        found = self._rows(SENT, list(names)) if len(names) else []
        return {
            row["client_order_id"]: Sent(rows.instant(row["first"]), row["times"]) for row in found
        }

    def by_broker_id(self) -> dict[str, str]:
        """Our name of every order, by the broker's."""
        found = self._rows("SELECT DISTINCT broker_id, client_order_id FROM order_events")
        return {row["broker_id"]: row["client_order_id"] for row in found if row["broker_id"]}

    def history(self, client_order_id: str) -> list[str]:
        """The states of an order, oldest first."""
        query = "SELECT state FROM order_events WHERE client_order_id = ? ORDER BY event"
        return [row["state"] for row in self._rows(query, client_order_id)]

    def _grow_ended(
        self, connection: duckdb.DuckDBPyConnection, fills: Sequence[Execution]
    ) -> None:
        """Fills that came after an order had ended: the same end, with more filled."""
        now = self._now(connection) if fills else {}
        names = sorted({fill.client_order_id for fill in fills})
        names = [name for name in names if now.get(name, {}).get("state") in ENDED]
        made = []
        for total in rows.records(connection, FILLED, [names]) if names else []:
            order = now[total["client_order_id"]]
            if total["qty"] > order["filled_qty"]:
                moment = max(f.at for f in fills if f.client_order_id == order["client_order_id"])
                made.append(rows.grown_event(order, total["qty"], total["value"], moment))
        rows.insert(connection, "order_events", made)
        self._fresh = self._fresh and not made
