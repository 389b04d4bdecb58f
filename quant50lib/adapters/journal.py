"""The ledger: what we meant, what we sent, what came of it, and what we own. On disk, append-only.

An order is written here before it leaves the machine. Every method returns only when its change is
on disk; each is one transaction. Connections live for milliseconds, or for the length of a block
`with ledger.held():`. The kill switch is a file beside the ledger, so that it works even while
another process holds the database, and every change of it is an event in the ledger as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from quant50lib.adapters import database
from quant50lib.adapters import journal_rows as rows
from quant50lib.adapters.journal_rows import LINES, NOW
from quant50lib.adapters.journal_schema import OPEN, TABLES, require_way
from quant50lib.contracts import Equity, Fill, RiskEvent, RiskState, Table
from quant50lib.errors import ReconciliationError
from quant50lib.services import ledger as booking
from quant50lib.services.ledger import MEMO, ZERO, Entry, Event, Execution, Position
from quant50lib.utils.frames import typed

IS_PLANNED = "SELECT session FROM plans WHERE session = ?"


class Ledger:
    """The books of one desk in one DuckDB file.

    Parameters
    ----------
    path : Path
        Created, with its folder, on first use.
    wait_seconds : float
        Patience with another process that has the file open; then `SettingsError` names it.
    """

    def __init__(self, path: Path, wait_seconds: float = 10.0) -> None:
        self.path = Path(path)
        self._wait = wait_seconds
        self._held: duckdb.DuckDBPyConnection | None = None
        self._has_tables = False

    # -- opening ------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[Ledger]:
        """Keep one connection for a block of many small steps; other processes wait meanwhile."""
        if self._held is not None:
            yield self
            return
        with self._opened() as connection:
            self._held = connection
            try:
                yield self
            finally:
                self._held = None

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._held is not None:
            yield self._held
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with database.connect(self.path, wait_seconds=self._wait) as connection:
            if not self._has_tables:
                connection.execute(TABLES)
                self._has_tables = True
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._opened() as connection, database.transaction(connection):
            yield connection

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self._opened() as connection:
            return rows.records(connection, query, values)

    # -- orders -------------------------------------------------------------------------------

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
                return rows.orders_of(connection, session)
            noted = {"session": rows.date(session), "moment": rows.naive(at), "orders": len(orders)}
            rows.insert(connection, "plans", [noted])
            rows.insert(connection, "orders", rows.order_rows(orders))
            rows.insert(connection, "order_events", rows.first_events(orders, at))
            return rows.orders_of(connection, session)

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
        with self._writing() as connection:
            found = rows.records(connection, f"{NOW} WHERE client_order_id = ?", [client_order_id])
            if not found:
                raise ReconciliationError(f"{client_order_id} is not in our books")
            before = found[0]
            broker_id = broker_id or before["broker_id"]
            now = {"state": state, "broker_id": broker_id, "filled_qty": filled_qty}
            if all(before[key] == value for key, value in now.items()):
                return False
            if filled_qty < before["filled_qty"] or before["broker_id"] not in ("", broker_id):
                raise ReconciliationError(
                    f"{client_order_id}: the broker takes back what it said: {before['filled_qty']}"
                    f" filled as {before['broker_id']}, now {filled_qty} as {broker_id}"
                )
            require_way(client_order_id, before["state"], state)
            event = {
                "client_order_id": client_order_id,
                **now,
                "filled_price": filled_price,
                "reason": reason,
                "moment": rows.naive(at),
            }
            rows.insert(connection, "order_events", [event])
            return True

    def orders(self, session: pd.Timestamp | None = None) -> pd.DataFrame:
        """Orders as they stand now, of one session or of all: an Order frame, as sent."""
        with self._opened() as connection:
            return rows.orders_of(connection, session)

    def open_orders(self) -> pd.DataFrame:
        """Orders on which the broker may still act, and those of which that is not known."""
        states = ", ".join(f"'{state}'" for state in OPEN)
        return rows.order_frame(
            self._rows(f"{NOW} WHERE state IN ({states}) ORDER BY session, place")
        )

    def unsent(self) -> pd.DataFrame:
        """Orders that are still to be sent: an Order frame."""
        return rows.order_frame(
            self._rows(f"{NOW} WHERE state = 'planned' ORDER BY session, place")
        )

    def open_symbols(self) -> set[str]:
        """Names with an unfinished order: they take no other."""
        return set(self.open_orders()["symbol"])

    def by_broker_id(self) -> dict[str, str]:
        """Our name of every order, by the broker's."""
        found = self._rows("SELECT DISTINCT broker_id, client_order_id FROM order_events")
        return {row["broker_id"]: row["client_order_id"] for row in found if row["broker_id"]}

    def history(self, client_order_id: str) -> list[str]:
        """The states of an order, oldest first."""
        query = "SELECT state FROM order_events WHERE client_order_id = ? ORDER BY event"
        return [row["state"] for row in self._rows(query, client_order_id)]

    # -- the books ----------------------------------------------------------------------------

    def book(self, events: Iterable[Event]) -> list[Entry]:
        """Book executions, splits and payments in the order of time; known ones change nothing.

        Returns the entries of the new ones.
        """
        with self._writing() as connection:
            known = rows.event_ids(connection)
            fresh = {e.event_id: e for e in events if e.event_id not in known}
            entries = booking.book(fresh.values(), rows.position_entries(connection))
            fills = [e for e in fresh.values() if isinstance(e, Execution)]
            rows.insert(connection, "fills", [rows.fill_row(fill) for fill in fills])
            paid = [rows.cash_row(e) for e in entries if e.kind != "split"]
            moved = [rows.position_row(e) for e in entries if e.kind in booking.MOVES_SHARES]
            rows.insert(connection, "cash_events", paid)
            rows.insert(connection, "position_events", moved)
            return entries

    def opened_at(self) -> pd.Timestamp | None:
        """The broker's time when the books were opened; None before that."""
        found = self._rows("SELECT detail FROM cash_events WHERE kind = 'opening'")
        return pd.Timestamp(found[0]["detail"]).as_unit("us") if found else None

    def newest_fill(self) -> pd.Timestamp | None:
        """The instant of the newest fill that is booked; None before the first."""
        newest = self._rows("SELECT max(moment) AS newest FROM fills")[0]["newest"]
        return None if newest is None else rows.instant(newest)

    def positions(self, until: pd.Timestamp | None = None) -> dict[str, Position]:
        """What is owned, by symbol; up to and including an instant, or now."""
        with self._opened() as connection:
            return booking.fold(rows.position_entries(connection, until))

    def cash(self, until: pd.Timestamp | None = None) -> Decimal:
        """Cash up to and including an instant, or now; without what is only owed."""
        return self._sum("kind <> ?", until, MEMO)

    def dividends_due(self, until: pd.Timestamp | None = None) -> Decimal:
        """Dividends owed since the beginning and never paid."""
        return self._sum("kind = ?", until, MEMO)

    def paid(
        self, kind: str, after: pd.Timestamp | None, until: pd.Timestamp | None = None
    ) -> Decimal:
        """Sum of the cash events of a kind after one instant and up to another."""
        since = "TIMESTAMP '1900-01-01'" if after is None else f"TIMESTAMP '{rows.naive(after)}'"
        return self._sum(f"kind = ? AND moment > {since}", until, kind)

    def _sum(self, where: str, until: pd.Timestamp | None, *values: Any) -> Decimal:
        limit = "" if until is None else f" AND moment <= TIMESTAMP '{rows.naive(until)}'"
        query = f"SELECT sum(amount) AS total FROM cash_events WHERE {where}{limit}"
        return self._rows(query, *values)[0]["total"] or ZERO

    def traded(self, first: pd.Timestamp, last: pd.Timestamp) -> dict[pd.Timestamp, Decimal]:
        """Value of all fills by session, from one to another."""
        found = self._rows(
            "SELECT session, sum(qty * price) AS value FROM fills "
            "WHERE session BETWEEN ? AND ? GROUP BY session",
            rows.date(first),
            rows.date(last),
        )
        return {rows.session(row["session"]): row["value"] for row in found}

    # -- sessions -----------------------------------------------------------------------------

    def close_session(
        self,
        session: pd.Timestamp,
        settled_by: pd.Timestamp,
        *,
        cash: Decimal,
        holdings: Decimal,
        broker_equity: Decimal | None,
        dividends: Decimal,
        flow: Decimal,
        turnover: Decimal,
    ) -> None:
        """Write the day's line of the account; the same line again changes nothing.

        Another line for a session that has one (a late fill, a revised close) is appended and
        counts from then on; it keeps the broker's equity of the first where it has none.
        """
        line = {
            "cash": cash,
            "holdings": holdings,
            "dividends": dividends,
            "flow": flow,
            "turnover": turnover,
        }
        line = {name: value.quantize(booking.MONEY) for name, value in line.items()}
        with self._writing() as connection:
            found = rows.records(connection, f"{LINES} AND session = ?", [rows.date(session)])
            if found and all(found[0][name] == value for name, value in line.items()):
                return
            first = {"broker_equity": broker_equity, "settled_by": rows.date(settled_by)}
            first = {name: found[0][name] if found else value for name, value in first.items()}
            rows.insert(connection, "sessions", [{"session": rows.date(session), **first, **line}])

    def last_session(self) -> pd.Timestamp | None:
        """The newest session with a line; None before the first."""
        newest = self._rows("SELECT max(session) AS newest FROM sessions")[0]["newest"]
        return None if newest is None else rows.session(newest)

    def equity_table(self, until: pd.Timestamp | None = None) -> pd.DataFrame:
        """The account session by session: an Equity frame."""
        found = self._rows(f"{LINES} ORDER BY session")
        kept = [row for row in found if until is None or rows.session(row["session"]) <= until]
        return typed(Equity, [rows.equity_row(row) for row in kept])

    def fills_of(self, run_date: pd.Timestamp) -> pd.DataFrame:
        """Fills of the sessions that the run of that date closed: a Fill frame."""
        lines = self._rows(f"{LINES} AND settled_by = ? ORDER BY session", rows.date(run_date))
        if not lines:
            return typed(Fill, [])
        first, last = lines[0]["session"], lines[-1]["session"]
        return self.fills_between(rows.session(first), rows.session(last))

    def fills_between(self, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """Fills of the sessions from one to another, both included: a Fill frame.

        The slippage is against the close that the order was planned on; it is missing where a
        split lies between the two.
        """
        found = self._rows(rows.FILLS, rows.date(first), rows.date(last))
        return typed(Fill, [rows.fill_record(row) for row in found])

    # -- risk ---------------------------------------------------------------------------------

    def save_risk(self, state: pd.DataFrame, events: pd.DataFrame) -> None:
        """Keep a RiskState row and the RiskEvents of its session; the newest version counts."""
        session = rows.only_session(state)
        with self._writing() as connection:
            rows.insert(connection, "risk_states", [rows.body(session, state)])
            rows.insert(connection, "risk_events", [rows.body(session, events)])

    def load_risk(self, before: pd.Timestamp) -> pd.DataFrame:
        """The newest RiskState of a session before the given one; without rows if there is none."""
        return self._newest(RiskState, "risk_states", before, 1)

    def risk_events(self, before: pd.Timestamp) -> pd.DataFrame:
        """All RiskEvents of the sessions before the given one."""
        return self._newest(RiskEvent, "risk_events", before, None)

    def _newest(
        self, table: type[Table], name: str, before: pd.Timestamp, limit: int | None
    ) -> pd.DataFrame:
        found = self._rows(
            f"SELECT session, body FROM {name} WHERE session < ? QUALIFY row_number() OVER "
            "(PARTITION BY session ORDER BY event DESC) = 1 ORDER BY session DESC "
            f"LIMIT {limit or 'ALL'}",
            rows.date(before),
        )
        records = [record for row in found for record in rows.unpacked(row)]
        return typed(table, records)

    # -- the kill switch ------------------------------------------------------------------------

    @property
    def switch(self) -> Path:
        """The file whose existence halts the desk."""
        return self.path.with_name("HALT")

    def halt(self, reason: str, at: pd.Timestamp) -> None:
        """Stop all buying until `resume`; in force at once, even while the ledger is in use."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_durably(self.switch, reason or "halted by hand")
        self._note_halt(True, reason, at)

    def resume(self, reason: str, at: pd.Timestamp) -> None:
        """Undo `halt`."""
        self._note_halt(False, reason, at)
        self.switch.unlink(missing_ok=True)

    def _note_halt(self, halted: bool, reason: str, at: pd.Timestamp) -> None:
        event = {"halted": halted, "reason": reason, "moment": rows.naive(at)}
        with self._writing() as connection:
            rows.insert(connection, "halts", [event])

    def halted(self) -> str:
        """Why the desk is halted, or empty if it is not; file and ledger are both heeded."""
        if self.switch.exists():
            return self.switch.read_text("utf-8").strip() or f"the file {self.switch.name} exists"
        last = self._rows("SELECT halted, reason FROM halts ORDER BY event DESC LIMIT 1")
        return (last[0]["reason"] or "halted by hand") if last and last[0]["halted"] else ""
