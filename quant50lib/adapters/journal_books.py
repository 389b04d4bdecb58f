"""Cash, positions, fills and the line of each session in the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd

from quant50lib.adapters import journal_rows as rows
from quant50lib.adapters.journal_orders import Orders
from quant50lib.adapters.journal_rows import LINES
from quant50lib.contracts import Equity, Fill
from quant50lib.services import ledger as booking
from quant50lib.services.ledger import (
    MEMO,
    REVISED,
    SECOND,
    ZERO,
    Entry,
    Event,
    Execution,
    Position,
)
from quant50lib.utils.frames import typed


class Books(Orders):
    """The books' part of the ledger."""

    _entries: tuple[int, list[Entry]] = (0, [])  # position entries up to an event, by time
    _folded: tuple[list[Entry], dict[str, Position]] | None = None  # and what they come to

    def book(self, events: Iterable[Event]) -> list[Entry]:
        """Book executions, splits and payments in the order of time; known ones change nothing.

        All entries of all events are one transaction. Returns the entries of the new ones.
        """
        asked = {event.event_id: event for event in events}
        with self._writing() as connection:
            known = rows.known_events(connection, asked)
            fresh = {name: event for name, event in asked.items() if name not in known}
            if not fresh:
                return []
            entries = booking.book(fresh.values(), *self._ground(connection, fresh.values()))
            fills = [e for e in fresh.values() if isinstance(e, Execution)]
            rows.insert(connection, "fills", [rows.fill_row(fill) for fill in fills])
            moved = [e for e in entries if e.kind in booking.MOVES_SHARES]
            paid = [e for e in entries if e.cash or e.kind not in booking.MOVES_SHARES]
            rows.insert(connection, "cash_events", [rows.cash_row(e) for e in paid])
            rows.insert(connection, "position_events", [rows.position_row(e) for e in moved])
            self._grow_ended(connection, fills)
            return entries

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the events that are booked."""
        with self._opened() as connection:
            return rows.known_events(connection, event_ids)

    def opened_at(self) -> pd.Timestamp | None:
        """The broker's time when the books were opened; None before that."""
        found = self._rows("SELECT detail FROM cash_events WHERE kind = 'opening'")
        return pd.Timestamp(found[0]["detail"]).as_unit("us") if found else None

    def newest_fill(self) -> pd.Timestamp | None:
        """The instant of the newest fill that is booked; None before the first."""
        newest = self._rows("SELECT max(moment) AS newest FROM fills")[0]["newest"]
        return None if newest is None else rows.instant(newest)

    def _position_entries(self, connection: duckdb.DuckDBPyConnection) -> list[Entry]:
        """Every position entry in the order of time; only what is new is read from the file."""
        seen, entries = self._entries
        newest, fresh = rows.position_entries(connection, seen)
        if newest < seen:  # another file has taken its place
            newest, fresh = rows.position_entries(connection, 0)
            entries = []
        if fresh:
            entries = sorted([*entries, *fresh], key=lambda entry: entry.at)
        self._entries = newest, entries
        return entries

    def position_entries(self, until: pd.Timestamp | None = None) -> list[Entry]:
        """What moved shares, in the order of time; up to and including an instant, or all."""
        with self._opened() as connection:
            entries = self._position_entries(connection)
        return [entry for entry in entries if until is None or entry.at <= until]

    def positions(self, until: pd.Timestamp | None = None) -> dict[str, Position]:
        """What is owned, by symbol; up to and including an instant, or now."""
        if until is not None:
            return booking.fold(self.position_entries(until))
        with self._opened() as connection:
            return dict(self._positions_now(connection))

    def _positions_now(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Position]:
        entries = self._position_entries(connection)
        if self._folded is None or self._folded[0] is not entries:
            self._folded = entries, booking.fold(entries)
        return self._folded[1]

    def _ground(
        self, connection: duckdb.DuckDBPyConnection, events: Iterable[Event]
    ) -> tuple[list[Entry], dict[str, Position]]:
        """What events are booked on: all entries, or, where all come later, what they come to."""
        entries = self._position_entries(connection)
        if entries and min(event.at for event in events) > entries[-1].at:
            return [], self._positions_now(connection)
        return entries, {}

    def renamed(self) -> dict[str, str]:
        """The old symbol of every name that was renamed while it was owned, by the new one."""
        found = {e.event_id: e.symbol for e in self.position_entries() if e.kind == "rename"}
        return {
            symbol: found[name.removesuffix(SECOND)]
            for name, symbol in found.items()
            if name.endswith(SECOND)
        }

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

    def paid_under(self, event_id: str) -> Decimal | None:
        """Cash of the event of that id and of those that revised it; None if it is not booked."""
        query = (
            "SELECT sum(amount) AS total FROM cash_events WHERE kind <> ? "
            "AND (event_id = ? OR starts_with(event_id, ?))"
        )
        found = self._rows(query, MEMO, event_id, f"{event_id}{REVISED}")[0]["total"]
        return None if found is None else Decimal(found)

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
