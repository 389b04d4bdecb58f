"""Wide matrices, sessions x symbols: the form in which all arithmetic on bars happens."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd


@dataclass(frozen=True)
class Panel:
    """Daily bars of many names up to one session, as matrices (n_sessions, n_symbols).

    The index holds every session of the exchange in the range, in order; the columns are symbols in
    alphabetical order; a missing bar is NaN, never filled. `open` to `close` are total-return
    prices: adjusted for splits and dividends with factors known at the last session, where they
    equal prices as traded.
    """

    open: pd.DataFrame
    high: pd.DataFrame
    low: pd.DataFrame
    close: pd.DataFrame
    volume: pd.DataFrame  # shares, adjusted for splits
    traded_close: pd.DataFrame  # US dollars as printed on the day
    dollar_volume: pd.DataFrame  # US dollars of the day

    @property
    def sessions(self) -> pd.DatetimeIndex:
        return self.close.index

    @property
    def symbols(self) -> pd.Index:
        return self.close.columns

    def until(self, session: pd.Timestamp) -> Panel:
        """The same panel without anything after `session`; factors are not recomputed."""
        return Panel(**{f.name: getattr(self, f.name).loc[:session] for f in fields(self)})

    def only(self, symbols: pd.Index | list[str]) -> Panel:
        """The same panel for some of its symbols."""
        return Panel(**{f.name: getattr(self, f.name)[list(symbols)] for f in fields(self)})
