"""What has to be fetched: the bars that a run needs, less those that earlier ingests brought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Span:
    """One call: bars of some symbols from one session to another, both included."""

    symbols: tuple[str, ...]
    first: pd.Timestamp
    last: pd.Timestamp
    resumed: bool = False  # continues an ingest that was cut short


@dataclass(frozen=True)
class Plan:
    """The calls to make; `due` are the symbols for which anything was missing, done or not."""

    bars: tuple[Span, ...]
    actions: tuple[Span, ...]

    @property
    def due(self) -> tuple[str, ...]:
        return tuple(sorted(symbol for span in self.actions for symbol in span.symbols))


def plan(
    symbols: list[str],
    sessions: pd.DatetimeIndex,
    ingests: pd.DataFrame,
    newest: pd.Series,
    overlap: int,
    action_overlap: int,
) -> Plan:
    """The fewest calls that make the store whole over `sessions`.

    Parameters
    ----------
    sessions : DatetimeIndex
        Every session that the run needs, the run's own last.
    ingests : DataFrame
        The store's log: first, last, symbols, complete.
    newest : Series
        Newest stored session of each symbol, none after the run's.
    overlap, action_overlap : int
        Sessions before the missing ones that are asked again, for revisions and late notices.

    A symbol's missing sessions are those that no complete ingest covers. One whose first call was
    begun but never completed goes on from its newest bar, since bars arrive in order of time.
    """
    names = pd.Index(sorted(symbols))
    missing = ~_covered(names, sessions, ingests[ingests["complete"]])
    due = missing.any(axis=1)
    low = missing.argmax(axis=1)
    high = len(sessions) - 1 - missing[:, ::-1].argmax(axis=1)
    first = np.maximum(low - overlap, 0)
    begun = _begun(names, sessions[first], ingests[~ingests["complete"]])
    reached = sessions.get_indexer(newest.reindex(names))
    resumed = due & begun & (reached >= low) & (reached <= high)
    fresh = due & ~resumed
    partial = resumed & (reached < high)
    calls = _grouped(names[fresh], first[fresh], high[fresh], sessions)
    if partial.any():
        start, end = reached[partial].min(), high[partial].max()
        calls += (Span(tuple(names[partial]), sessions[start], sessions[end], resumed=True),)
    act_first = np.where(low == 0, 0, np.maximum(low - action_overlap, 0))
    return Plan(calls, _grouped(names[due], act_first[due], high[due], sessions))


def _covered(names: pd.Index, sessions: pd.DatetimeIndex, log: pd.DataFrame) -> np.ndarray:
    """Whether a complete ingest brought each symbol and session, (n_symbols, n_sessions)."""
    covered = np.zeros((len(names), len(sessions)), dtype=bool)
    for row in log.itertuples():
        a, b = sessions.searchsorted(row.first), sessions.searchsorted(row.last, "right")
        covered[np.flatnonzero(names.isin(row.symbols)), a:b] = True
    return covered


def _begun(names: pd.Index, first: pd.DatetimeIndex, log: pd.DataFrame) -> np.ndarray:
    """Whether a call for each symbol from that very session was ever begun."""
    calls = {(symbol, row.first) for row in log.itertuples() for symbol in row.symbols}
    return np.array([pair in calls for pair in zip(names, first, strict=True)], dtype=bool)


def _grouped(
    names: pd.Index, first: np.ndarray, last: np.ndarray, sessions: pd.DatetimeIndex
) -> tuple[Span, ...]:
    """One call for all symbols with the same missing sessions."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, a, b in zip(names, first, last, strict=True):
        groups.setdefault((int(a), int(b)), []).append(name)
    return tuple(Span(tuple(g), sessions[a], sessions[b]) for (a, b), g in groups.items())
