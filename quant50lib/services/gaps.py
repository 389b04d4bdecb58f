"""What a call for bars did not bring: rows that could not be used, and sessions left out.

A bar may be missing because nothing was traded, or because the service had a bad moment. The first
is found out by asking again; what is missing then is believed, unless it is so young that it keeps
the name out of trading, or was there and could not be used: that is owed until it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

Run = tuple[pd.Timestamp, pd.Timestamp, tuple[str, ...]]


class Received:
    """Which bars of some names have arrived, (n_symbols, n_sessions)."""

    def __init__(self, symbols: tuple[str, ...], sessions: pd.DatetimeIndex) -> None:
        self._names, self._sessions = pd.Index(symbols), sessions
        self._there = np.zeros((len(symbols), len(sessions)), dtype=bool)
        self._refused = self._there.copy()

    def add(self, bars: pd.DataFrame, refused: pd.DataFrame) -> None:
        """Note the bars of a page, and its rows that could not be used: symbol, session."""
        for rows, told in ((bars, self._there), (refused, self._refused)):
            at = self._names.get_indexer(rows["symbol"]), self._sessions.get_indexer(
                rows["session"]
            )
            known = (at[0] >= 0) & (at[1] >= 0)
            told[at[0][known], at[1][known]] = True

    @property
    def silent(self) -> list[str]:
        """Names of which no bar has arrived."""
        return self._names[~self._there.any(axis=1)].tolist()

    def doubtful(self) -> tuple[list[str], pd.Timestamp, pd.Timestamp] | None:
        """What to ask for again: the names with something missing, and from when to when.

        A name that begins later than others may have been listed later, or its first bars withheld.
        """
        begun = np.maximum.accumulate(self._there.any(axis=0))
        missing = (begun & ~self._there) | self._unused()
        if not missing.any():
            return None
        at = np.flatnonzero(missing.any(axis=0))
        names = self._names[missing.any(axis=1)].tolist()
        return names, self._sessions[at[0]], self._sessions[at[-1]]

    def runs(self, recent_sessions: int, without: set[str]) -> Iterator[Run]:
        """The sessions that need not be asked for again, as (first, last, names).

        Left out are rows that could not be used, gaps that began within the last sessions, and
        all sessions of the names `without`.
        """
        owed = self._unused() | (self._left_out() & self._is_recent(recent_sessions))
        owed[self._names.isin(list(without))] = True
        whole = ~owed.any(axis=1)
        if whole.any():
            yield self._sessions[0], self._sessions[-1], tuple(self._names[whole])
        for row in np.flatnonzero(~whole):
            edges = np.flatnonzero(np.diff(np.r_[True, owed[row], True].astype(int)))
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                yield self._sessions[a], self._sessions[b - 1], (self._names[row],)

    def _unused(self) -> np.ndarray:
        return self._refused & ~self._there

    def _left_out(self) -> np.ndarray:
        """Sessions after a name's first bar without one."""
        return np.maximum.accumulate(self._there, axis=1) & ~self._there

    def _is_recent(self, sessions: int) -> np.ndarray:
        """Whether the last bar before each session is among the newest, or just before them."""
        count = len(self._sessions)
        at = np.where(self._there, np.arange(count), -1)
        last: np.ndarray = np.maximum.accumulate(at, axis=1)
        return last + 1 >= count - sessions
