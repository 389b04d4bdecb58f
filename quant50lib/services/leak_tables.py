"""What a pipeline has made, as matrices, and the first cell in which two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from quant50lib.services.training import TrainingSet

#: by column, (n_sessions, n_symbols); what is not there is missing
Columns: TypeAlias = Mapping[str, pd.DataFrame]
#: by table
Tables: TypeAlias = Mapping[str, Columns]
#: whether a long table has a row
ROW = "row"


@dataclass(frozen=True)
class Leak:
    """A value at or before a session that what came after it has changed."""

    table: str
    column: str
    session: pd.Timestamp  # of the first cell that differs
    symbol: str
    expected: Any  # without a future; missing: no value
    found: Any  # with one
    cut: pd.Timestamp  # nothing after it may matter
    cells: int  # that differ, up to the cut
    how: str  # in which comparison it was seen

    @property
    def without(self) -> str:
        """The value without a future, in words."""
        return _said(self.expected)

    @property
    def behind(self) -> str:
        """The value with a future behind it, in words."""
        return _said(self.found)

    def __str__(self) -> str:
        return (
            f"{self.table}.{self.column} of {self.symbol} at {self.session.date()} is "
            f"{self.without} without and {self.behind} with a future after "
            f"{self.cut.date()} ({self.how}; {self.cells:,} cells differ)"
        )


def _said(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    return repr(float(value)) if isinstance(value, float | np.float32) else str(value)


def wide(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A long table with the keys session and symbol as a matrix for each other column, and `ROW`."""
    keyed = table.set_index(["session", "symbol"])
    found = {str(name): keyed[name].unstack() for name in keyed.columns}
    return found | {ROW: pd.Series(1.0, keyed.index).unstack()}


def rows(known: TrainingSet) -> pd.DataFrame:
    """A training set as one long table: features beside all that is told of each row."""
    told = {f.name: getattr(known, f.name) for f in fields(known)}
    columns = {name: value for name, value in told.items() if isinstance(value, pd.Series)}
    return known.X.assign(**columns)


def first_difference(a: pd.DataFrame, b: pd.DataFrame) -> tuple[Any, str, Any, Any, int] | None:
    """Session, symbol and both values of the first cell that differs, and how many do.

    By session, then by symbol. Two missing values are equal; no tolerance.
    """
    index, columns = a.index.union(b.index), a.columns.union(b.columns)
    left, right = (frame.reindex(index=index, columns=columns) for frame in (a, b))
    x, y = left.to_numpy(), right.to_numpy()
    differs = (x != y) & ~(left.isna().to_numpy() & right.isna().to_numpy())
    if not differs.any():
        return None
    row, column = np.argwhere(differs)[0]
    values = left.iat[row, column], right.iat[row, column]
    return index[row], str(columns[column]), *values, int(differs.sum())


def differences(expected: Tables, found: Tables, cut: pd.Timestamp, how: str) -> list[Leak]:
    """One leak for every column that differs at a session up to `cut`.

    A table or column that only one of the two has is compared with nothing at all.
    """
    nothing = pd.DataFrame(index=pd.DatetimeIndex([], dtype="datetime64[us]"))
    leaks = []
    for table in dict.fromkeys([*expected, *found]):
        ours, theirs = expected.get(table, {}), found.get(table, {})
        for column in dict.fromkeys([*ours, *theirs]):
            pair = (side.get(column, nothing).loc[:cut] for side in (ours, theirs))
            seen = first_difference(*pair)
            if seen is not None:
                session, symbol, a, b, cells = seen
                leaks.append(Leak(table, column, session, symbol, a, b, cut, cells, how))
    return leaks


def merged(leaks: list[Leak]) -> tuple[Leak, ...]:
    """For each table and column the leak that was seen first; `ROW` only where no value tells."""
    found: dict[tuple[str, str], Leak] = {}
    for leak in leaks:
        found.setdefault((leak.table, leak.column), leak)
    told = {table for table, column in found if column != ROW}
    return tuple(v for (table, column), v in found.items() if column != ROW or table not in told)
