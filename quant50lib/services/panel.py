"""Wide matrices, sessions x symbols: the form in which all arithmetic on bars happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import pandas as pd


@dataclass(frozen=True)
class Panel:
    """Daily bars of many names up to one session, as matrices (n_sessions, n_symbols).

    The index holds every session of the exchange in the range, in order; the columns are symbols in
    alphabetical order; a missing bar is NaN, never filled. `open` to `close` are total-return
    prices: adjusted for splits and dividends with factors known at the last session, where they
    equal prices as traded.

    `admitted` holds the sessions at which a name belonged to the universe (`universe.admit`); only
    there is it compared with others and learnt from. None: it always did.
    """

    open: pd.DataFrame
    high: pd.DataFrame
    low: pd.DataFrame
    close: pd.DataFrame
    volume: pd.DataFrame  # shares, adjusted for splits
    traded_close: pd.DataFrame  # US dollars as printed on the day
    dollar_volume: pd.DataFrame  # US dollars of the day
    admitted: pd.DataFrame | None = None  # booleans

    @property
    def sessions(self) -> pd.DatetimeIndex:
        return self.close.index

    @property
    def symbols(self) -> pd.Index:
        return self.close.columns

    def until(self, session: pd.Timestamp) -> Panel:
        """The same panel without anything after `session`; factors are not recomputed."""
        return self.each(lambda values: values.loc[:session])

    def only(self, symbols: pd.Index | list[str]) -> Panel:
        """The same panel for some of its symbols."""
        kept = pd.Index(symbols, dtype=self.symbols.dtype)
        at = self.symbols.get_indexer(kept)
        if (at < 0).any():
            raise KeyError(f"{list(kept[at < 0])} not in the panel")
        return self.each(lambda v: pd.DataFrame(v.to_numpy()[:, at], v.index, kept))

    def each(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Panel:
        """The same panel with every matrix changed."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return Panel(**{name: None if v is None else change(v) for name, v in held.items()})
