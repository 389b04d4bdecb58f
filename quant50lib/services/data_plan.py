"""What has to be fetched: the bars that a run needs, less those that earlier ingests brought.

The work is cut into units of some names each, which are finished one after the other: a kill costs
at most what the unit in hand had not yet stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: of one unit: some hundred pages of bars, and names that still fit into an address
BARS_PER_UNIT, NAMES_PER_UNIT = 1_000_000, 600


@dataclass(frozen=True)
class Span:
    """Sessions from one to another, both included."""

    first: pd.Timestamp
    last: pd.Timestamp


@dataclass(frozen=True)
class Unit:
    """Some names, the bars and the corporate actions to ask for; no `bars`: all are there."""

    symbols: tuple[str, ...]
    bars: Span | None
    actions: Span
    resumed: bool = False  # continues an ingest that was cut short


def plan(
    symbols: list[str],
    sessions: pd.DatetimeIndex,
    ingests: pd.DataFrame,
    newest: pd.Series,
    overlap: int,
    action_overlap: int,
) -> tuple[Unit, ...]:
    """What makes the store whole over `sessions`; nothing, where it is.

    Parameters
    ----------
    sessions : DatetimeIndex
        Every session that is wanted, in order.
    ingests : DataFrame
        The store's log: first, last, symbols, complete.
    newest : Series
        Newest stored session of each symbol, none after the last of `sessions`.
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
    whole = missing.sum(axis=1) == high - low + 1  # else holes are filled, not a call continued
    resumed = due & begun & whole & (reached >= low) & (reached <= high)
    owed = pd.DataFrame(
        {
            "name": names,
            "asked": np.where(resumed, reached, first),
            "high": high,
            "act": np.where(low == 0, 0, np.maximum(low - action_overlap, 0)),
            "resumed": resumed,
        }
    )[due]
    # names that were cut off at different sessions go on together, from the earliest
    together = owed["asked"].where(~owed["resumed"], -1 - (owed["asked"] == owed["high"]))
    groups = owed.groupby([together, "high", "act"], sort=False)
    return tuple(unit for _, group in groups for unit in _units(group, sessions))


def _units(group: pd.DataFrame, sessions: pd.DatetimeIndex) -> list[Unit]:
    """The names of a group, so many at a time that a unit stays small."""
    head = group.iloc[0]
    asked = int(group["asked"].min())
    actions = Span(sessions[head["act"]], sessions[head["high"]])
    here = bool(head["resumed"] and asked == head["high"])
    bars = None if here else Span(sessions[asked], sessions[head["high"]])
    size = max(1, min(NAMES_PER_UNIT, BARS_PER_UNIT // (int(head["high"]) - asked + 1)))
    names = group["name"].tolist()
    return [
        Unit(tuple(names[k : k + size]), bars, actions, bool(head["resumed"]))
        for k in range(0, len(names), size)
    ]


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
