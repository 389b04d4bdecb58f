"""A hand-made market for tests: few bars, known to the cent."""

from __future__ import annotations

import datetime as dt

import numpy as np

from quant50lib.simulator.market import Action, Listing, Series

Bar = tuple[str, float, float, float, float]  # date, open, high, low, close


class TableMarket:
    """Bars written down one by one."""

    name = "table"
    identity = "table"
    simulated = True

    def __init__(self, bars: dict[str, list[Bar]], actions: list[Action] | None = None) -> None:
        self._series = {symbol: _series(rows) for symbol, rows in bars.items()}
        self._actions = sorted(actions or [], key=lambda action: action.ex_date)

    @property
    def first_day(self) -> dt.date:
        return min(series.day[0] for series in self._series.values()).astype(object)

    @property
    def last_day(self) -> dt.date:
        return max(series.day[-1] for series in self._series.values()).astype(object)

    def extend(self, day: dt.date) -> None:
        """All there is, is there."""

    def listings(self) -> dict[str, Listing]:
        return {s: Listing(s, f"{s} Inc.", "Energy", "stock") for s in self._series}

    def series(self, symbol: str) -> Series | None:
        return self._series.get(symbol)

    def actions(self) -> list[Action]:
        return self._actions


def _series(rows: list[Bar]) -> Series:
    day = np.array([row[0] for row in rows], "datetime64[D]")
    prices = np.array([row[1:] for row in rows], float).T
    volume = np.full(len(rows), 1_000_000)
    return Series(day, *prices, volume=volume, trades=volume // 100, vwap=prices.mean(axis=0))


#: Monday to Friday of a summer week, and the Monday after
WEEK = ("2024-06-03", "2024-06-04", "2024-06-05", "2024-06-06", "2024-06-07", "2024-06-10")


def flat(price: float, days: tuple[str, ...] = WEEK, step: float = 1.0) -> list[Bar]:
    """Opens `step` above the last close, closes where it opened, a dollar of range."""
    rows = []
    for day in days:
        price += step
        rows.append((day, price, price + 0.5, price - 0.5, price))
    return rows
