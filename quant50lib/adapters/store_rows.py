"""Rows of the store laid out as matrices, sessions x symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quant50lib.services.adjust import Raw
from quant50lib.utils import dates

FIELDS = ("open", "high", "low", "close", "volume")


def matrices(
    rows: Mapping[str, np.ndarray],
    symbols: Sequence[str],
    run_date: pd.Timestamp,
    fields: Sequence[str],
) -> Raw:
    """Bars up to a session as matrices; of several rows of a key the newest known one.

    `rows` holds, one element a row, `at` (column), `day` (since 1970), `known_at` and the fields.
    """
    last = dates.as_session(run_date)
    day = np.asarray(rows["day"], dtype=np.int64)
    first = pd.Timestamp(0) + pd.Timedelta(days=int(day.min())) if len(day) else last
    sessions = dates.sessions_between(first, last)
    row = _row_of_day(sessions, first)[day - _day(first)]
    shape = len(sessions), len(symbols)
    cell = row * shape[1] + rows["at"]
    keep = np.flatnonzero(row >= 0)
    present = np.zeros(shape, dtype=bool)
    present.flat[cell[keep]] = True
    if present.sum() < len(keep):
        keep = _newest(cell, keep, rows)
    place = cell[keep] if len(keep) < len(cell) else cell
    filled = {}
    for name in fields:
        values = np.ma.filled(np.ma.asanyarray(rows[name]).astype(float), np.nan)
        filled[name] = np.full(shape, np.nan)
        filled[name].ravel()[place] = values[keep] if len(keep) < len(cell) else values
    return Raw(sessions, pd.Index(symbols, dtype="str"), filled, present)


def _row_of_day(sessions: pd.DatetimeIndex, first: pd.Timestamp) -> np.ndarray:
    """The row of each day from `first` to the last session; -1 where the exchange is closed."""
    days = sessions.to_numpy().astype("datetime64[D]").astype(np.int64) - _day(first)
    rows = np.full(days[-1] + 1, -1)
    rows[days] = np.arange(len(days))
    return rows


def _day(session: pd.Timestamp) -> int:
    return int((pd.Timestamp(session) - pd.Timestamp(0)).days)


def _newest(cell: np.ndarray, keep: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of the rows to keep, one of each cell: the newest known; of one moment the greatest."""
    often = np.bincount(cell[keep])[cell[keep]] > 1
    twice = keep[often]
    greatest = [np.asarray(rows[name])[twice] for name in ("open", "close") if name in rows]
    order = np.lexsort([*greatest, np.asarray(rows["known_at"])[twice], cell[twice]])
    ranked = twice[order]
    newest = np.append(cell[ranked][1:] != cell[ranked][:-1], True)
    return np.concatenate([keep[~often], ranked[newest]])
