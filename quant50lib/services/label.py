"""What would have been worth knowing at the close, and when it became known.

Decided at the close of session t, entered at the open of t + 1, left at the open of t + 1 + horizon:
that is the return a label holds, over the benchmark's, and at that last open it becomes known.
"""

from __future__ import annotations

import pandas as pd

from quant50lib.contracts import Label
from quant50lib.errors import ContractError, DataQualityError
from quant50lib.services.panel import Panel
from quant50lib.utils import dates


def holding_return(panel: Panel, horizon: int) -> pd.DataFrame:
    """Simple return from the next open to the open `horizon` sessions later, (n_sessions, n_symbols).

    A name that does not open at the end (halted, delisted) is left at its last close before it: a
    label is not lost because a company was. A name that does not open at the beginning was never
    bought and has no label. The last 1 + `horizon` rows are missing: not yet known.
    """
    entry = panel.open.shift(-1)
    leaving = panel.open.where(panel.open.notna(), panel.close.ffill().shift(1))
    return leaving.shift(-1 - horizon) / entry - 1.0


def excess_return(panel: Panel, benchmark: str, horizon: int) -> pd.DataFrame:
    """`holding_return` minus the benchmark's over the same opens, (n_sessions, n_symbols).

    Raises
    ------
    DataQualityError
        The panel lacks the benchmark.
    ContractError
        The panel skips sessions of the exchange: rows would not count sessions.
    """
    if benchmark not in panel.symbols:
        raise DataQualityError(f"no bars of the benchmark {benchmark}: fetch it, or name another")
    every = dates.sessions_between(panel.sessions[0], panel.sessions[-1])
    if not panel.sessions.equals(every):
        lacking = every.difference(panel.sessions)[:3].date.astype(str).tolist()
        raise ContractError(f"the panel skips sessions of the exchange ({lacking} …): reindex it")
    total = holding_return(panel, horizon)
    return total.sub(total[benchmark], axis=0)


def known_at(sessions: pd.DatetimeIndex, horizon: int) -> pd.DatetimeIndex:
    """The session at whose open the label of each session is known: 1 + `horizon` later."""
    every = dates.sessions_between(sessions.min(), dates.shift(sessions.max(), 1 + horizon))
    return every[every.get_indexer(sessions) + 1 + horizon]


def to_table(excess: pd.DataFrame, horizon: int, run_date: pd.Timestamp) -> pd.DataFrame:
    """A table `Label` of `excess` (n_sessions, n_symbols): only rows known by `run_date`.

    A row whose label is missing or still unknown at the close of `run_date` does not exist, whatever
    `excess` holds for it.
    """
    known = pd.Series(known_at(excess.index, horizon), index=excess.index)
    known = known[known <= run_date]
    long = excess.loc[known.index].rename_axis(index="session", columns="symbol").stack().dropna()
    if long.empty:
        return Label.empty()
    rows = long.rename("excess_return").reset_index().astype({"symbol": "str"})
    rows["session"] = rows["session"].astype("datetime64[us]")
    rows["known_at"] = rows["session"].map(known).astype("datetime64[us]")
    rows["positive"] = rows["excess_return"] > 0
    return Label.check(rows[Label.columns()])
