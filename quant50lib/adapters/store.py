"""The market store: raw bars, corporate actions and assets, each row with when it became known.

Nothing is overwritten. A vendor's revision is a new row with another `known_at`; a row equal to the
one in force is not stored again. Reading *as of* a moment takes, of every key, the newest row known
by then, so a past day is read exactly as it was seen, even where older knowledge arrives late.

Two rows for one bar known at the very same moment contradict each other: `bars_asof` returns both,
and the quality gate of duplicates says so. For actions and assets the later arrival wins.

Each public method opens the file, works and closes it again, within milliseconds. Every one raises
SettingsError where another process keeps the file (it is named), the disk is full or the folder may
not be written, and ContractError where the file is damaged or of another layout.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from quant50lib.adapters import fingerprint, store_rows
from quant50lib.adapters.store_file import StoreFile, meta
from quant50lib.adapters.store_rows import FIELDS
from quant50lib.adapters.store_tables import (
    ACTIONS,
    ASSETS,
    BARS,
    CHECKS,
    MET,
    TABLES,
    AppendOnly,
)
from quant50lib.errors import SettingsError
from quant50lib.services.adjust import Raw
from quant50lib.utils import dates

#: an action of this type was taken back by the vendor
WITHDRAWN = "withdrawn"


class Stored(NamedTuple):
    """What an append did: rows stored in all, and those of them that revise an earlier row."""

    rows: int
    revised: int


class Store(StoreFile):
    """The file at `path`, waited for up to `wait_seconds` where another process holds it."""

    # -- writing -------------------------------------------------------------------------------

    def claim_source(self, identity: str) -> None:
        """Say where this store's data come from; the first call decides.

        Raises
        ------
        SettingsError
            The store holds data of another source: two markets are never mixed.
        """
        with self.writing() as connection:
            known = meta(connection, "source")
            if known is None:
                connection.execute("INSERT INTO meta VALUES ('source', ?)", [identity])
        if known not in (None, identity):
            raise SettingsError(
                f"{self.path} holds data of {known!r} and cannot take data of {identity!r}; "
                "set QUANT50_HOME to another folder for the other market"
            )

    def append_bars(self, frame: pd.DataFrame, known_at: pd.Timestamp) -> Stored:
        """Add raw bars as they are known at an instant.

        `frame` has symbol, session, open, high, low, close, volume and, where known, trade_count
        and vwap: prices as traded in US dollars, volume in shares.
        """
        return self._append(BARS, frame, known_at)

    def append_actions(self, frame: pd.DataFrame, known_at: pd.Timestamp) -> Stored:
        """Add corporate actions: id, symbol, type, ex_date, new_rate, old_rate, cash, other_symbol.

        Rates are shares, cash is US dollars a share. Type ``withdrawn`` takes an action back.
        """
        return self._append(ACTIONS, frame, known_at)

    def append_assets(self, frame: pd.DataFrame, known_at: pd.Timestamp) -> Stored:
        """Add what the broker says: symbol, name, exchange, tradable, fractionable, status."""
        return self._append(ASSETS, frame, known_at)

    def append_checks(
        self, frame: pd.DataFrame, run_date: pd.Timestamp, known_at: pd.Timestamp
    ) -> Stored:
        """Add what `services.vendor.vendor_differences` found as of a session."""
        day = pd.Series(pd.Timestamp(run_date), index=frame.index, dtype="datetime64[us]")
        return self._append(CHECKS, frame.assign(run_date=day), known_at)

    def log_ingest(
        self,
        run_date: pd.Timestamp,
        known_at: pd.Timestamp,
        span: tuple[pd.Timestamp, pd.Timestamp],
        symbols: Sequence[str],
        *,
        complete: bool,
        rows_stored: int = 0,
    ) -> None:
        """Note that the bars of a span are being fetched or, where `complete`, are all stored."""
        first, last = map(_day, span)
        row = [_day(run_date), _utc(known_at), first, last, list(symbols), complete, rows_stored]
        with self.writing() as connection:
            connection.execute("INSERT INTO ingests VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    # -- reading -------------------------------------------------------------------------------

    def newest_sessions(
        self, until: pd.Timestamp | None = None, known_at: pd.Timestamp | None = None
    ) -> pd.Series:
        """The newest stored session of each symbol, at or before `until`, known at an instant."""
        where, values = _known_by(known_at)
        found = self._frame(
            "SELECT symbol, max(session)::TIMESTAMP AS session FROM bars "
            f"WHERE {' AND '.join([*where, 'session <= $until'])} GROUP BY symbol ORDER BY symbol",
            values | {"until": dt.date.max if until is None else _day(until)},
        )
        return found.set_index("symbol")["session"]

    def ingests(self, known_at: pd.Timestamp | None = None) -> pd.DataFrame:
        """The log, oldest first: run_date, known_at, first, last, symbols (a list), complete."""
        where, values = _known_by(known_at)
        return self._frame(
            "SELECT run_date::TIMESTAMP AS run_date, known_at, first::TIMESTAMP AS first, "
            "last::TIMESTAMP AS last, symbols, complete, rows_stored FROM ingests "
            f"WHERE {' AND '.join(where) or 'true'} ORDER BY rowid",
            values,
        )

    def bars_asof(
        self,
        run_date: pd.Timestamp,
        known_at: pd.Timestamp | None = None,
        sessions: int | None = None,
        symbols: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Raw bars up to a session, as they were known at an instant.

        Parameters
        ----------
        run_date : Timestamp
            The last session.
        known_at : Timestamp, optional
            Timezone-aware; rows learnt later are not seen. None: all that is known.
        sessions : int, optional
            How many sessions of the exchange, `run_date` included. None: all.
        symbols : sequence of str, optional
            None: all.

        Returns
        -------
        DataFrame with symbol, session, open, high, low, close, volume
            Sorted by symbol and session; one row of each, but for contradictions of one moment.
        """
        where, values = _within(run_date, known_at, sessions)
        if symbols is not None:
            where.append("symbol IN (SELECT unnest($symbols))")
            values["symbols"] = list(symbols)
        return self._frame(
            "SELECT symbol, session::TIMESTAMP AS session, open, high, low, close, volume "
            f"FROM ({BARS.in_force(where)}) ORDER BY symbol, session, close, open",
            values,
        )

    def raw_asof(
        self,
        run_date: pd.Timestamp,
        known_at: pd.Timestamp | None = None,
        sessions: int | None = None,
        symbols: Sequence[str] | None = None,
        fields: Sequence[str] = FIELDS,
    ) -> Raw:
        """The same bars as matrices, many times as fast; some `fields` of them alone if wanted.

        Of contradictions of one moment the row that `bars_asof` has last counts. The columns are
        the symbols asked for, or those with any bar; the rows every session of the exchange from
        the first bar.
        """
        where, values = _within(run_date, known_at, sessions)
        names = self._names(where, values) if symbols is None else sorted(symbols)
        query = (
            "SELECT w.at, (b.session - DATE '1970-01-01')::INTEGER AS day, b.known_at, "
            f"{', '.join('b.' + name for name in fields)} FROM bars b JOIN wanted w USING (symbol) "
            f"WHERE {' AND '.join(where)}"
        )
        columns = np.arange(len(names), dtype=np.int32)
        wanted = pa.table({"symbol": pa.array(names, pa.string()), "at": columns})
        self.prepare()
        with self.opened(read_only=True) as connection:
            connection.register("wanted", wanted)
            found = connection.execute(query, values).fetchnumpy()
        return store_rows.matrices(found, names, run_date, fields)

    def _names(self, where: list[str], values: dict[str, Any]) -> list[str]:
        query = f"SELECT DISTINCT symbol FROM bars WHERE {' AND '.join(where)} ORDER BY symbol"
        return self._frame(query, values)["symbol"].tolist()

    def checks_asof(
        self, run_date: pd.Timestamp, known_at: pd.Timestamp | None = None
    ) -> pd.DataFrame:
        """What came of the comparison with the vendor's adjusted closes as of a session."""
        where, values = _known_by(known_at)
        return self._frame(
            'SELECT symbol, "first"::TIMESTAMP AS "first", "last"::TIMESTAMP AS "last", sessions, '
            "ours, theirs, ratio, differs, near "
            f"FROM ({CHECKS.in_force([*where, 'run_date = $day'])}) ORDER BY symbol, 2",
            values | {"day": _day(run_date)},
        )

    def revisions(self, since: pd.Timestamp) -> pd.DataFrame:
        """Bars that were said anew after an instant, each beside what was in force before.

        Returns
        -------
        DataFrame
            symbol, session, was_known_at, known_at (naive UTC), and of each price and the volume
            two columns, `was_close` and `close`. What a late arrival of older knowledge brought,
            and what was only said again, is none.
        """
        pairs = ", ".join(f"lag({f}) OVER w AS was_{f}, {f}" for f in FIELDS)
        changed = " OR ".join(f"was_{f} IS DISTINCT FROM {f}" for f in FIELDS)
        return self._frame(
            "SELECT symbol, session::TIMESTAMP AS session, was_known_at, known_at, "
            f"{', '.join(f'was_{f}, {f}' for f in FIELDS)} FROM ("
            f"SELECT symbol, session, lag(known_at) OVER w AS was_known_at, known_at, {pairs} "
            "FROM bars SEMI JOIN (SELECT symbol, session FROM bars WHERE known_at > $since) "
            "USING (symbol, session) "
            "WINDOW w AS (PARTITION BY symbol, session ORDER BY known_at, close, open)) "
            f"WHERE known_at > $since AND was_known_at < known_at AND ({changed}) "
            "ORDER BY known_at, symbol, session",
            {"since": _utc(since)},
        )

    def newest_moment(self) -> pd.Timestamp | None:
        """When anything was last learnt (UTC); None for an empty store."""
        newest = self._frame("SELECT max(known_at) AS newest FROM moments")["newest"].iloc[0]
        return None if pd.isna(newest) else pd.Timestamp(newest).tz_localize("UTC")

    def contents(self) -> dict[str, str]:
        """The digest of each table, every row that was ever known included."""
        return {table.name: fingerprint.digest(self._frame(table.everything)) for table in TABLES}

    def actions_asof(
        self, run_date: pd.Timestamp, known_at: pd.Timestamp | None = None
    ) -> pd.DataFrame:
        """Corporate actions with an ex-date up to a session, as they were known at an instant."""
        where, values = _known_by(known_at)
        return self._frame(
            "SELECT id, symbol, type, ex_date::TIMESTAMP AS ex_date, new_rate, old_rate, cash, "
            f"other_symbol FROM ({ACTIONS.in_force(where)}) "
            f"WHERE ex_date <= $last AND type <> '{WITHDRAWN}' ORDER BY ex_date, symbol, id",
            values | {"last": _day(run_date)},
        )

    def assets_asof(self, known_at: pd.Timestamp | None = None) -> pd.DataFrame:
        """What the broker said of each name, as known at an instant; one row a symbol."""
        where, values = _known_by(known_at)
        return self._frame(
            "SELECT symbol, name, exchange, tradable, fractionable, status "
            f"FROM ({ASSETS.in_force(where)}) ORDER BY symbol",
            values,
        )

    @staticmethod
    def digest(frame: pd.DataFrame) -> str:
        """SHA-256 of a frame's content, whatever the order of its rows."""
        return fingerprint.digest(frame)

    def _append(self, table: AppendOnly, frame: pd.DataFrame, known_at: pd.Timestamp) -> Stored:
        moment = {"known_at": _utc(known_at)}
        if frame.empty:
            return Stored(0, 0)
        with self.writing() as connection:
            connection.register("fresh_frame", table.to_arrow(frame))
            connection.execute(table.meet)
            following = _next_moment(connection, table.name, moment["known_at"])
            if connection.execute(f"SELECT count(*) FROM {MET}").fetchall() == [(0,)]:
                new = connection.execute(table.insert(table.unseen), moment).fetchall()
                return Stored(new[0][0], 0)
            connection.execute(table.stage, moment)
            counts = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE revises) FROM staged"
            ).fetchall()
            if following is not None:
                eve = following - dt.timedelta(microseconds=1)
                connection.execute(table.reassert, {"next": following, "eve": eve})
            connection.execute(table.insert(), moment)
        return Stored(*counts[0])


def _next_moment(
    connection: duckdb.DuckDBPyConnection, name: str, moment: dt.datetime
) -> dt.datetime | None:
    """Note that something was learnt at a moment; the next one already noted after it."""
    connection.execute("INSERT OR IGNORE INTO moments VALUES (?, ?)", [name, moment])
    query = "SELECT min(known_at) FROM moments WHERE name = ? AND known_at > ?"
    following: dt.datetime | None = connection.execute(query, [name, moment]).fetchall()[0][0]
    return following


def _known_by(known_at: pd.Timestamp | None) -> tuple[list[str], dict[str, Any]]:
    """The condition that a row was known at an instant, and its value."""
    if known_at is None:
        return [], {}
    return ["known_at <= $known_at"], {"known_at": _utc(known_at)}


def _within(
    run_date: pd.Timestamp, known_at: pd.Timestamp | None, sessions: int | None
) -> tuple[list[str], dict[str, Any]]:
    """The condition that a bar lies in a window of sessions and was known, and its values."""
    where, values = _known_by(known_at)
    where, values = [*where, "session <= $last"], values | {"last": _day(run_date)}
    if sessions is None:
        return where, values
    first = _day(dates.shift(run_date, 1 - sessions))
    return [*where, "session >= $first"], values | {"first": first}


def _day(session: pd.Timestamp) -> dt.date:
    return pd.Timestamp(session).date()


def _utc(instant: pd.Timestamp) -> dt.datetime:
    """An instant as naive UTC in microseconds, the form of a TIMESTAMP column."""
    moment = pd.Timestamp(instant)
    if moment.tzinfo is None:
        raise ValueError("known_at is an instant: it needs a timezone")
    return moment.tz_convert("UTC").tz_localize(None).floor("us").to_pydatetime()
