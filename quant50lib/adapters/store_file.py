"""The file under the market store: opened for milliseconds, of one layout, its failures explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from quant50lib.adapters import database
from quant50lib.adapters.store_tables import CHECKS, INGESTS_DDL, META_DDL, MOMENTS_DDL, TABLES
from quant50lib.errors import ContractError, SettingsError

LAYOUT = "2"
#: what brings a store of an older layout up to this one
MIGRATIONS = {"1": (CHECKS.ddl,)}
BROKEN = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.InvalidInputException,
)
#: what DuckDB says, in an exception of no kind, where a block has another checksum
CORRUPT = "Corrupt database file"
#: what it says where the file itself is sound
SOUND = ("Permission denied", "directory", "Could not set lock", "does not exist")


class StoreFile:
    """The file at `path`, waited for up to `wait_seconds` where another process holds it."""

    def __init__(self, path: Path, wait_seconds: float = 10.0) -> None:
        self.path = path
        self._wait_seconds = wait_seconds
        self._ready = False

    def _frame(self, query: str, values: dict[str, Any] | None = None) -> pd.DataFrame:
        self.prepare()
        with self.opened(read_only=True) as connection:
            table = connection.sql(query, params=values or {}).to_arrow_table()
        return table.to_pandas()

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose changes are stored all together, or not at all."""
        self.prepare()
        with self.opened(read_only=False) as connection, database.transaction(connection):
            yield connection

    def prepare(self) -> None:
        """Create the tables of a new file; refuse a file of another layout."""
        if self._ready:
            return
        layout = self._layout() if self.path.exists() else None
        if layout is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.opened(read_only=False) as connection, database.transaction(connection):
                layout = _create(connection)
        if layout in MIGRATIONS:
            with self.opened(read_only=False) as connection, database.transaction(connection):
                layout = _migrate(connection)
        if layout != LAYOUT:
            raise ContractError(
                f"{self.path} has layout {layout} and this program knows layout {LAYOUT}: use the "
                "program that made it, or move the file away and ingest again"
            )
        self._ready = True

    def _layout(self) -> str | None:
        with self.opened(read_only=True) as connection:
            return meta(connection, "layout") if _has_meta(connection) else None

    @contextmanager
    def opened(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, with the failures of a file told apart."""
        try:
            with (
                # threads that open one file at once meet a database that is not wholly set up
                database.alone(self.path, self._wait_seconds),
                database.connect(
                    self.path, read_only=read_only, wait_seconds=self._wait_seconds
                ) as connection,
            ):
                yield connection
        except SettingsError as error:
            if isinstance(error.__cause__, duckdb.Error):
                self.explain(error.__cause__)
            raise
        except duckdb.Error as error:
            self.explain(error)
            raise

    def explain(self, error: duckdb.Error) -> None:
        """Raise what a failure of DuckDB means to the operator, if it is one of the file."""
        text = str(error)
        if not isinstance(error, BROKEN) and CORRUPT not in text:
            return
        if "No space left" in text:
            raise SettingsError(f"the disk is full: free space for {self.path}") from error
        if not any(word in text for word in SOUND):
            raise ContractError(
                f"{self.path} is damaged or no DuckDB file ({text.splitlines()[0]}): restore it "
                "(`quant50 restore FILE --only store`), or move it away and ingest again"
            ) from error


def _has_meta(connection: duckdb.DuckDBPyConnection) -> bool:
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'meta'"
    return connection.execute(query).fetchall() == [(1,)]


def meta(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """What the file says of itself."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
    return found[0] if found else None


def _create(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Create all tables, unless another process was faster; the layout then found."""
    if not _has_meta(connection):
        for statement in (META_DDL, MOMENTS_DDL, INGESTS_DDL, *(table.ddl for table in TABLES)):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('layout', ?)", [LAYOUT])
    return meta(connection, "layout")


def _migrate(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Bring an older layout up to ours, unless another process was faster; the layout then found."""
    layout = meta(connection, "layout")
    for statement in MIGRATIONS.get(layout or "", ()):
        connection.execute(statement)
    if layout in MIGRATIONS:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'layout'", [LAYOUT])
    return meta(connection, "layout")
