"""What keeps the desk from trading, as the ledger remembers it: risk rules, switch, frozen names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.adapters import journal_rows as rows
from quant50lib.adapters.journal_file import LedgerFile
from quant50lib.contracts import RiskEvent, RiskState, Table
from quant50lib.utils.frames import typed

#: the newest word on each name that was ever frozen; an empty reason: it was released
FROZEN = """
SELECT symbol, reason FROM freezes QUALIFY row_number() OVER (
    PARTITION BY symbol ORDER BY event DESC) = 1 ORDER BY symbol
"""
LAST_HALT = "SELECT halted, reason FROM halts ORDER BY event DESC LIMIT 1"


class Brakes(LedgerFile):
    """The part of the ledger that says no."""

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

    def reduce_only(self, session: pd.Timestamp) -> bool:
        """Whether the risk rules, as last kept up to that session, forbid to buy."""
        state = self.load_risk(session + pd.Timedelta(days=1))
        return bool(len(state)) and bool(state["halted"].iloc[0])

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
        """Stop all buying until `resume`; in force at once, even while the ledger is in use.

        Raises
        ------
        SettingsError
            Another process keeps the ledger: the desk is halted all the same, and the next start
            notes it (`note_switch`).
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_durably(self.switch, reason or "halted by hand")
        self._note_halt(True, reason, at)

    def resume(self, reason: str, at: pd.Timestamp) -> None:
        """Undo `halt`."""
        self._note_halt(False, reason, at)
        self.switch.unlink(missing_ok=True)

    def note_switch(self, at: pd.Timestamp) -> None:
        """Make an event of a switch that was thrown while the ledger could not be written."""
        reason = self.switched()
        last = self._rows(LAST_HALT) if reason else []
        if reason and not (last and last[0]["halted"]):
            self._note_halt(True, reason, at)

    def _note_halt(self, halted: bool, reason: str, at: pd.Timestamp) -> None:
        event = {"halted": halted, "reason": reason, "moment": rows.naive(at)}
        with self._writing() as connection:
            rows.insert(connection, "halts", [event])

    def switched(self) -> str:
        """Why the file halts the desk, or empty; asks no database, so it may be asked often."""
        if not self.switch.exists():
            return ""
        return self.switch.read_text("utf-8").strip() or f"the file {self.switch.name} exists"

    def halted(self) -> str:
        """Why the desk is halted, or empty if it is not; file and ledger are both heeded."""
        if reason := self.switched():
            return reason
        last = self._rows(LAST_HALT)
        return (last[0]["reason"] or "halted by hand") if last and last[0]["halted"] else ""

    # -- frozen names ---------------------------------------------------------------------------

    def frozen(self) -> dict[str, str]:
        """Names in which nothing may be sent, and why."""
        return {row["symbol"]: row["reason"] for row in self._rows(FROZEN) if row["reason"]}

    def freeze(self, wanted: Mapping[str, str], at: pd.Timestamp) -> dict[str, str]:
        """Make these the frozen names: symbol to reason. Each change is an event; returns them."""
        now = self.frozen()
        changes = {s: wanted.get(s, "") for s in {*now, *wanted} if now.get(s) != wanted.get(s)}
        noted: list[dict[str, Any]] = [
            {"symbol": symbol, "reason": reason, "moment": rows.naive(at)}
            for symbol, reason in sorted(changes.items())
        ]
        if noted:
            with self._writing() as connection:
                rows.insert(connection, "freezes", noted)
        return changes
