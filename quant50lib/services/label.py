"""What would have been worth knowing at the close, and when it became known.

Decided at the close of session t, entered at the open of t + 1, left at the open of t + 1 + horizon:
that is the return a label holds, over the benchmark's, and at that last open it becomes known.

A model learns from `KnownLabels` alone, and those cannot be made of a row that was not known.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from quant50lib.contracts import Label
from quant50lib.errors import ContractError, DataQualityError, SettingsError
from quant50lib.services.panel import Panel
from quant50lib.settings import ASKED, LabelSettings
from quant50lib.utils import dates

#: what a learner is asked: whether the excess return is positive, its place among the names of the
#: session, or the excess return itself
LabelKind = Literal["class", "rank", "excess"]


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


class KnownLabels:
    """Labels that were known at the close of `run_date`: the only ones that may be learnt from.

    `training_set` takes nothing else, so that a label of the future cannot reach a model by a
    forgotten filter. The table is copied on the way in and out: nobody can change it afterwards.

    Parameters
    ----------
    table
        Table `Label`.
    run_date
        The session whose close is the last thing known.
    horizon
        Sessions, as the labels were made.

    Raises
    ------
    ContractError
        A row becomes known after `run_date`, or says another `known_at` than the open 1 + `horizon`
        sessions after its own.
    """

    def __init__(self, table: pd.DataFrame, run_date: pd.Timestamp, horizon: int) -> None:
        self._table = Label.check(table)
        self.run_date = dates.as_session(run_date)
        self.horizon = horizon
        late = self._table[self._table["known_at"] > self.run_date]
        if len(late):
            raise ContractError(f"{_row(late)} is not known on {self.run_date.date()}: {LEARN}")
        if self._table.empty:
            return
        sessions = pd.DatetimeIndex(self._table["session"].unique())
        true = self._table["session"].map(pd.Series(known_at(sessions, horizon), sessions))
        forged = self._table[self._table["known_at"] != true]
        if len(forged):
            raise ContractError(f"{_row(forged)} is not the open {horizon} sessions on: {LEARN}")

    @property
    def table(self) -> pd.DataFrame:
        """A copy, sorted by session and symbol."""
        return self._table.copy()

    def __len__(self) -> int:
        return len(self._table)


LEARN = "learn from `label.to_table` of the run's own session"


def _row(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"the label of {first.symbol} of {first.session:%Y-%m-%d}, known_at {first.known_at:%Y-%m-%d},"


def kind_of(settings: LabelSettings, learner: str) -> LabelKind:
    """What the learner is asked: `label.kind`, or what it is made for.

    Raises
    ------
    SettingsError
        It cannot learn that.
    """
    kind = settings.kind or ASKED[learner][0]
    if kind not in ASKED[learner]:
        raise SettingsError(
            f'label.kind = "{kind}" cannot be learnt by "{learner}": choose one of {ASKED[learner]}'
        )
    return kind  # type: ignore[return-value]


def as_target(session: pd.Series, excess_return: pd.Series, kind: LabelKind) -> pd.Series:
    """What a learner is given for each row, as floats.

    ``class`` is 1 where the excess return is positive, else 0. ``rank`` is the place among the rows
    of the same session, (rank - 1/2) / count - 1/2, within ±1/2, ties sharing their mean: the same
    form as a ranked feature, and as deaf to one wild return. ``excess`` is the return itself.
    """
    if kind == "class":
        return (excess_return > 0).astype(float)
    if kind == "excess":
        return excess_return.astype(float)
    within = excess_return.groupby(session)
    return (within.rank() - 0.5) / within.transform("count") - 0.5
