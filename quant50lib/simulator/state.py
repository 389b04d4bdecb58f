"""The twin's memory: one SQLite file, on disk before any reply that says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from quant50lib.errors import SettingsError
from quant50lib.simulator.records import (
    Activity,
    Addition,
    Close,
    Entry,
    Order,
    Position,
    Record,
    from_json,
    to_json,
)

KINDS: dict[str, type[Record]] = {
    "orders": Order,
    "positions": Position,
    "activities": Activity,
    "ledger": Entry,
    "closes": Close,
    "overlay": Addition,
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
"""


def _key(record: Record) -> str:
    if isinstance(record, Addition):
        return record.key
    return record.symbol if isinstance(record, Position) else f"{record.seq:012d}"


class StateFile:
    """Reads all at the start, then appends and replaces; every save is one durable transaction.

    Raises
    ------
    SettingsError
        The file cannot be opened, or is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.DatabaseError) as error:
            raise SettingsError(
                f"the simulator's state file {path} cannot be used ({error}); "
                "name another file, or move this one away"
            ) from error

    def meta(self) -> dict[str, Any]:
        rows = self._db.execute("SELECT key, value FROM meta").fetchall()
        return {key: orjson.loads(value) for key, value in rows}

    def load(self, kind: str) -> list[Any]:
        """All records of a kind, in the order in which they were made."""
        rows = self._db.execute("SELECT body FROM records WHERE kind = ? ORDER BY key", (kind,))
        return [KINDS[kind](**from_json(orjson.loads(body))) for (body,) in rows]

    def save(
        self,
        meta: dict[str, Any],
        records: Iterable[tuple[str, Record]],
        *,
        gone: Iterable[tuple[str, str]] = (),
        empty_first: bool = False,
    ) -> None:
        """Write all of it or nothing; on return it is on disk."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if empty_first:
                self._db.execute("DELETE FROM records")
                self._db.execute("DELETE FROM meta")
            self._db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(key, orjson.dumps(value)) for key, value in meta.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                [(kind, _key(r), orjson.dumps(to_json(r))) for kind, r in records],
            )
            self._db.executemany("DELETE FROM records WHERE kind = ? AND key = ?", list(gone))

    def close(self) -> None:
        self._db.close()
