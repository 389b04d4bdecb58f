"""The append-only tables of the market store, and the SQL that reads and extends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from quant50lib.errors import ContractError

ARROW = {
    "VARCHAR": pa.string(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
}

#: the temporary table of stored rows that fresh ones meet
MET = "met"


@dataclass(frozen=True)
class AppendOnly:
    """A table whose rows are never changed: what identifies a thing, and what is said of it.

    Beside `columns` each row has `known_at` (UTC) and `source`. Of contradicting rows of the same
    moment either all stay in force (`ties`) or the one that arrived last.
    """

    name: str
    key: tuple[str, ...]
    columns: dict[str, str]  # name to SQL type, key included
    optional: tuple[str, ...] = ()
    ties: bool = False

    @property
    def ddl(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TABLE {self.name} ({columns}, known_at TIMESTAMP, source VARCHAR)"

    @property
    def everything(self) -> str:
        """SQL for every row that was ever known."""
        return f"SELECT {', '.join(self.columns)}, known_at, source FROM {self.name}"

    def insert(self, rows: str = "staged") -> str:
        """SQL that stores rows, by default those of `staged`, as known at `$known_at`."""
        return (
            f"INSERT INTO {self.name} SELECT {', '.join(self.columns)}, $known_at, "
            f"(SELECT value FROM meta WHERE key = 'source') FROM {rows}"
        )

    @property
    def reassert(self) -> str:
        """SQL that says again, just before `$next`, what is in force then of the revised keys.

        A row that arrives late, with a `known_at` before other knowledge, must not change what was
        seen at those later moments; and a row seen again then was not stored again. What an
        earlier late arrival has said again already is left alone.
        """
        key = ", ".join(self.key)
        revised = f"({key}) IN (SELECT ({key}) FROM staged WHERE revises)"
        return (
            f"INSERT INTO {self.name} SELECT {', '.join(self.columns)}, $eve, source "
            f"FROM ({self.in_force(['known_at <= $next', revised], MET)}) WHERE known_at < $eve"
        )

    def in_force(self, where: Sequence[str], of: str = "") -> str:
        """SQL for the newest row of each key among those of `of` that satisfy all of `where`."""
        key, condition = ", ".join(self.key), " AND ".join(where) or "true"
        rows = of or self.name
        if not self.ties:
            order = f"PARTITION BY {key} ORDER BY known_at DESC, rowid DESC"
            return f"SELECT * FROM {rows} WHERE {condition} QUALIFY row_number() OVER ({order}) = 1"
        # few of many rows are ever revised: find those, and leave the others unsorted
        return (
            f"SELECT t.* FROM {rows} t LEFT JOIN ("
            f"SELECT {key}, max(known_at) AS newest FROM {rows} WHERE {condition} "
            f"GROUP BY {key} HAVING count(*) > 1) r USING ({key}) "
            f"WHERE {condition} AND (r.newest IS NULL OR known_at = r.newest)"
        )

    @property
    def meet(self) -> str:
        """SQL that puts into `met` all stored rows of the keys of `fresh_frame`, as they arrived."""
        return (
            f"CREATE OR REPLACE TEMP TABLE {MET} AS SELECT t.* FROM {self.name} t "
            f"SEMI JOIN fresh_frame USING ({', '.join(self.key)}) ORDER BY t.rowid"
        )

    @property
    def unseen(self) -> str:
        """SQL for the rows of `fresh_frame`, each once, where none of their keys is known."""
        columns = ", ".join(self.columns)
        return f"(SELECT DISTINCT {columns} FROM fresh_frame ORDER BY {', '.join(self.key)})"

    @property
    def stage(self) -> str:
        """SQL that puts into `staged` those rows of `fresh_frame` that say something new.

        A key is left alone where the rows in force at `$known_at` are exactly the fresh ones, and
        a row of the same moment is not stored twice. `revises` marks keys known before.
        """
        key = ", ".join(self.key)
        columns = ", ".join(f"f.{name}" for name in self.columns)
        return f"""
        CREATE OR REPLACE TEMP TABLE staged AS
        WITH fresh AS (SELECT DISTINCT {', '.join(self.columns)} FROM fresh_frame),
        ours AS ({self.in_force(['known_at <= $known_at'], MET)}),
        held AS (SELECT {key}, count(*) AS n_held FROM ours GROUP BY {key}),
        compared AS (
            SELECT {columns}, o.known_at AS same_at,
                count(*) OVER (PARTITION BY {_prefixed('f', self.key)}) AS n_fresh,
                count(o.known_at) OVER (PARTITION BY {_prefixed('f', self.key)}) AS n_same
            FROM fresh f LEFT JOIN ours o ON {_equal('f', 'o', self.columns)}
        )
        SELECT c.*, n_held IS NOT NULL AS revises
        FROM compared c LEFT JOIN held USING ({key})
        WHERE NOT (n_same = n_fresh AND n_fresh = coalesce(n_held, 0))
            AND same_at IS DISTINCT FROM $known_at
        ORDER BY {key}
        """

    def to_arrow(self, frame: pd.DataFrame) -> pa.Table:
        """The frame with this table's columns and types; absent optional columns are null.

        Raises
        ------
        ContractError
            A column is missing or holds what its type cannot.
        """
        missing = [c for c in self.columns if c not in frame.columns and c not in self.optional]
        if missing:
            raise ContractError(f"{self.name}: missing columns {missing}")
        arrays = {name: _array(frame, name, ARROW[kind]) for name, kind in self.columns.items()}
        return pa.table(arrays)


def _array(frame: pd.DataFrame, name: str, kind: pa.DataType) -> pa.Array:
    if name not in frame.columns:
        return pa.nulls(len(frame), kind)
    try:
        found = pa.array(frame[name], from_pandas=True)
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        return found.cast(kind)
    except pa.ArrowException as error:
        raise ContractError(f"{name}: {error}") from error


def _prefixed(alias: str, names: Sequence[str]) -> str:
    return ", ".join(f"{alias}.{name}" for name in names)


def _equal(left: str, right: str, names: dict[str, str]) -> str:
    return " AND ".join(f"{left}.{n} IS NOT DISTINCT FROM {right}.{n}" for n in names)


BARS = AppendOnly(
    "bars",
    ("symbol", "session"),
    {"symbol": "VARCHAR", "session": "DATE"}
    | dict.fromkeys(("open", "high", "low", "close", "volume", "trade_count", "vwap"), "DOUBLE"),
    optional=("trade_count", "vwap"),
    ties=True,
)
ACTIONS = AppendOnly(
    "actions",
    ("id",),
    {"id": "VARCHAR", "symbol": "VARCHAR", "type": "VARCHAR", "ex_date": "DATE"}
    | {"new_rate": "DOUBLE", "old_rate": "DOUBLE", "cash": "DOUBLE", "other_symbol": "VARCHAR"},
    optional=("other_symbol",),
)
ASSETS = AppendOnly(
    "assets",
    ("symbol",),
    {"symbol": "VARCHAR", "name": "VARCHAR", "exchange": "VARCHAR"}
    | {"tradable": "BOOLEAN", "fractionable": "BOOLEAN", "status": "VARCHAR"},
)
#: what came of holding our adjusted closes against the vendor's, see `services.vendor`
CHECKS = AppendOnly(
    "checks",
    ("run_date", "symbol", "first"),
    {"run_date": "DATE", "symbol": "VARCHAR", "first": "DATE", "last": "DATE"}
    | {"sessions": "BIGINT", "ours": "DOUBLE", "theirs": "DOUBLE", "ratio": "DOUBLE"}
    | {"differs": "BOOLEAN", "near": "VARCHAR"},
)
TABLES = (BARS, ACTIONS, ASSETS, CHECKS)
MOMENTS_DDL = (
    "CREATE TABLE moments (name VARCHAR, known_at TIMESTAMP, PRIMARY KEY (name, known_at))"
)
META_DDL = "CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR)"
INGESTS_DDL = (
    "CREATE TABLE ingests (run_date DATE, known_at TIMESTAMP, first DATE, last DATE, "
    "symbols VARCHAR[], complete BOOLEAN, rows_stored BIGINT)"
)
