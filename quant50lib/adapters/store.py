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
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from quant50lib.adapters import database, fingerprint
from quant50lib.adapters.store_tables import (
    ACTIONS,
    ASSETS,
    BARS,
    INGESTS_DDL,
    META_DDL,
    MOMENTS_DDL,
    AppendOnly,
)
from quant50lib.errors import ContractError, SettingsError
from quant50lib.utils import dates

LAYOUT = "1"
#: two threads that open one file at once meet a database that is not wholly set up
ONE_AT_A_TIME = threading.RLock()
#: an action of this type was taken back by the vendor
WITHDRAWN = "withdrawn"
BROKEN = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.InvalidInputException,
)
#: what DuckDB says where the file itself is sound
SOUND = ("Permission denied", "directory", "Could not set lock", "does not exist")


class Stored(NamedTuple):
    """What an append did: rows stored in all, and those of them that revise an earlier row."""

    rows: int
    revised: int


class Store:
    """The file at `path`, waited for up to `wait_seconds` where another process holds it."""

    def __init__(self, path: Path, wait_seconds: float = 10.0) -> None:
        self.path = path
        self._wait_seconds = wait_seconds
        self._ready = False

    # -- writing -------------------------------------------------------------------------------

    def claim_source(self, identity: str) -> None:
        """Say where this store's data come from; the first call decides.

        Raises
        ------
        SettingsError
            The store holds data of another source: two markets are never mixed.
        """
        with self._writing() as connection:
            known = _meta(connection, "source")
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
        with self._writing() as connection:
            connection.execute("INSERT INTO ingests VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    # -- reading -------------------------------------------------------------------------------

    def newest_sessions(self, until: pd.Timestamp | None = None) -> pd.Series:
        """The newest stored session of each symbol, at or before `until`."""
        found = self._frame(
            "SELECT symbol, max(session)::TIMESTAMP AS session FROM bars "
            "WHERE session <= $until GROUP BY symbol ORDER BY symbol",
            {"until": dt.date.max if until is None else _day(until)},
        )
        return found.set_index("symbol")["session"]

    def ingests(self) -> pd.DataFrame:
        """The log, oldest first: run_date, known_at, first, last, symbols (a list), complete."""
        return self._frame(
            "SELECT run_date::TIMESTAMP AS run_date, known_at, first::TIMESTAMP AS first, "
            "last::TIMESTAMP AS last, symbols, complete, rows_stored FROM ingests ORDER BY rowid"
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
        where, values = _known_by(known_at)
        where, values = [*where, "session <= $last"], values | {"last": _day(run_date)}
        if sessions is not None:
            where.append("session >= $first")
            values["first"] = _day(dates.shift(run_date, 1 - sessions))
        if symbols is not None:
            where.append("symbol IN (SELECT unnest($symbols))")
            values["symbols"] = list(symbols)
        return self._frame(
            "SELECT symbol, session::TIMESTAMP AS session, open, high, low, close, volume "
            f"FROM ({BARS.in_force(where)}) ORDER BY symbol, session, close, open",
            values,
        )

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

    # -- the file ------------------------------------------------------------------------------

    def _append(self, table: AppendOnly, frame: pd.DataFrame, known_at: pd.Timestamp) -> Stored:
        moment = {"known_at": _utc(known_at)}
        if frame.empty:
            return Stored(0, 0)
        with self._writing() as connection:
            connection.register("fresh_frame", table.to_arrow(frame))
            connection.execute(table.stage, moment)
            counts = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE revises) FROM staged"
            ).fetchall()
            following = _next_moment(connection, table.name, moment["known_at"])
            if following is not None:
                eve = following - dt.timedelta(microseconds=1)
                connection.execute(table.reassert, {"next": following, "eve": eve})
            connection.execute(table.insert, moment)
        return Stored(*counts[0])

    def _frame(self, query: str, values: dict[str, Any] | None = None) -> pd.DataFrame:
        self._prepare()
        with self._opened(read_only=True) as connection:
            table = connection.sql(query, params=values or {}).to_arrow_table()
        return table.to_pandas()

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        self._prepare()
        with self._opened(read_only=False) as connection, database.transaction(connection):
            yield connection

    def _prepare(self) -> None:
        """Create the tables of a new file; refuse a file of another layout."""
        if self._ready:
            return
        layout = self._layout() if self.path.exists() else None
        if layout is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened(read_only=False) as connection, database.transaction(connection):
                layout = _create(connection)
        if layout != LAYOUT:
            raise ContractError(
                f"{self.path} has layout {layout} and this program knows layout {LAYOUT}: use the "
                "program that made it, or move the file away and ingest again"
            )
        self._ready = True

    def _layout(self) -> str | None:
        with self._opened(read_only=True) as connection:
            return _meta(connection, "layout") if _has_meta(connection) else None

    @contextmanager
    def _opened(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, with the failures of a file told apart."""
        try:
            with (
                ONE_AT_A_TIME,
                database.connect(
                    self.path, read_only=read_only, wait_seconds=self._wait_seconds
                ) as connection,
            ):
                yield connection
        except SettingsError as error:
            if isinstance(error.__cause__, BROKEN):
                self._explain(error.__cause__)
            raise
        except BROKEN as error:
            self._explain(error)
            raise

    def _explain(self, error: duckdb.Error) -> None:
        """Raise what a failure of DuckDB means to the operator."""
        text = str(error)
        if "No space left" in text:
            raise SettingsError(f"the disk is full: free space for {self.path}") from error
        if not any(word in text for word in SOUND):
            raise ContractError(
                f"{self.path} is damaged or no DuckDB file ({text.splitlines()[0]}): restore it "
                "from a backup, or move it away and ingest again"
            ) from error


def _has_meta(connection: duckdb.DuckDBPyConnection) -> bool:
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'meta'"
    return connection.execute(query).fetchall() == [(1,)]


def _meta(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    found = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
    return found[0] if found else None


def _create(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Create all tables, unless another process was faster; the layout then found."""
    if not _has_meta(connection):
        for statement in (META_DDL, MOMENTS_DDL, BARS.ddl, ACTIONS.ddl, ASSETS.ddl, INGESTS_DDL):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('layout', ?)", [LAYOUT])
    return _meta(connection, "layout")


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


def _day(session: pd.Timestamp) -> dt.date:
    return pd.Timestamp(session).date()


def _utc(instant: pd.Timestamp) -> dt.datetime:
    """An instant as naive UTC in microseconds, the form of a TIMESTAMP column."""
    moment = pd.Timestamp(instant)
    if moment.tzinfo is None:
        raise ValueError("known_at is an instant: it needs a timezone")
    return moment.tz_convert("UTC").tz_localize(None).floor("us").to_pydatetime()
