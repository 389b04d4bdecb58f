"""The file of the ledger: one way to read it and one way to write it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from quant50lib.adapters import database
from quant50lib.adapters import journal_rows as rows
from quant50lib.adapters.journal_schema import TABLES


class LedgerFile:
    """The DuckDB file under the books, opened for milliseconds or for the length of a block."""

    def __init__(self, path: Path, wait_seconds: float = 10.0) -> None:
        self.path = Path(path)
        self._wait = wait_seconds
        self._held: duckdb.DuckDBPyConnection | None = None
        self._has_tables = False
        self._fresh = False  # what was read of orders is all there is: while the file is held

    @contextmanager
    def held(self) -> Iterator[Any]:
        """Keep one connection for a block of many small steps.

        Other processes and other threads of this one wait meanwhile.
        """
        with database.alone(self.path, self._wait):
            if self._held is not None:
                yield self
                return
            with self._opened() as connection:
                self._held, self._fresh = connection, False
                try:
                    yield self
                finally:
                    self._held = None

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with database.alone(self.path, self._wait):
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
        """Every change of the ledger passes here: all of the block is on disk, or nothing of it."""
        with self._opened() as connection, database.transaction(connection):
            yield connection

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self._opened() as connection:
            return rows.records(connection, query, values)
