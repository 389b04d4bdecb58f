"""Total-return prices as of one session after another, at the cost of what changes between them.

Prices adjusted as of a session differ from those as of the session before in the columns alone that
have an action on that day: these are computed anew, by the arithmetic of `adjust`, to the same bits.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services.adjust import PRICES, Raw, framed, product_of_later, steps
from quant50lib.services.panel import Panel


class Rolling:
    """Adjusted bars of a market that moves forward in time.

    A panel shares memory with it, and is right until the next one of a later session is asked for.
    """

    def __init__(self, raw: Raw, actions: pd.DataFrame) -> None:
        self._raw = raw
        self._step, self._split = steps(raw, actions)
        self._dollars = raw.fields["close"] * raw.fields["volume"]
        self._as_of = len(raw.sessions)  # before any
        self._fields: dict[str, np.ndarray] = {}

    def panel(self, begin: int, row: int) -> Panel:
        """What `adjust.panel_of` makes of the rows `begin` to `row`, with what was known at `row`."""
        self._move(row)
        rows = slice(begin, row + 1)
        return framed(
            self._raw.sessions[rows],
            self._raw.symbols,
            {name: values[rows] for name, values in self._fields.items()},
            self._raw.fields["close"][rows],
            self._dollars[rows],
        )

    def _move(self, row: int) -> None:
        if row < self._as_of:  # the first, or back in time
            self._fields = {name: self._raw.fields[name].copy() for name in (*PRICES, "volume")}
            self._rescale(row, self._step, PRICES, slice(None))
            self._rescale(row, self._split, ("volume",), slice(None))
        for at in range(self._as_of + 1, row + 1):
            for column in np.flatnonzero(self._step[at] != 1).tolist():
                self._rescale(at, self._step, PRICES, column)
            for column in np.flatnonzero(self._split[at] != 1).tolist():
                self._rescale(at, self._split, ("volume",), column)
        self._as_of = row

    def _rescale(
        self, row: int, step: np.ndarray, names: tuple[str, ...], column: int | slice
    ) -> None:
        """Bring fields of one column, or of all, to the terms of a row."""
        until = slice(row + 1)
        factor = product_of_later(step[until, column])
        if step is self._split:
            factor = 1 / factor
        for name in names:
            np.multiply(
                self._raw.fields[name][until, column], factor, self._fields[name][until, column]
            )
