"""Prices of a moment: quotes, told or made, and the path of the price through a session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from quant50lib.simulator.market import Series
from quant50lib.simulator.records import EXACT, TICK

LEGS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True)
class Quote:
    """US dollars a share, and the moment (microseconds) from which the quote stands."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    t: int


@dataclass(frozen=True)
class Told:
    """A quote as the control plane sets it: a last price, or both sides; None: not said."""

    t: int
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None

    @property
    def price(self) -> Decimal:
        """The last price, else the middle."""
        if self.last is not None:
            return self.last
        assert self.bid is not None and self.ask is not None
        return ((self.bid + self.ask) / 2).quantize(TICK)

    def split(self, new: Decimal, old: Decimal) -> Told:
        """The same on the share basis after a split."""
        sides = (self.bid, self.ask, self.last)
        return Told(self.t, *(p if p is None else (p * old / new).quantize(TICK) for p in sides))

    def whole(self, half_spread_bps: float) -> Quote:
        """Missing sides lie half a spread around the price."""
        made = around(self.price, self.t, half_spread_bps)
        return replace(
            made,
            bid=made.bid if self.bid is None else self.bid.quantize(TICK),
            ask=made.ask if self.ask is None else self.ask.quantize(TICK),
        )


def around(price: Decimal, t: int, half_spread_bps: float) -> Quote:
    """A quote half a spread on both sides of a price."""
    half = Decimal(str(half_spread_bps)) / 10_000
    bid, ask = (EXACT.multiply(price, edge).quantize(TICK) for edge in (1 - half, 1 + half))
    return Quote(bid, ask, price, t)


def cents(price: float) -> Decimal:
    """A price of the market, exactly as printed."""
    return Decimal(repr(float(price)))


def path(series: Series, row: int) -> list[float]:
    """The prices between which a session runs: open, its extremes, close."""
    extremes = (series.low[row], series.high[row])
    rising = series.close[row] >= series.open[row]
    return [series.open[row], *(extremes if rising else extremes[::-1]), series.close[row]]


def path_price(series: Series, row: int, share: float) -> float:
    """A price within the session, `share` of it elapsed.

    Straight lines from open over both extremes to close, the nearer extreme to a loss first, so
    that it starts at the open, ends at the close and stays in the day's range.
    """
    return round(float(np.interp(share, LEGS, path(series, row))), 2)


def so_far(series: Series, row: int, share: float) -> dict[str, float | int]:
    """A daily bar when `share` of its session has elapsed; the whole bar when all of it has."""
    if share >= 1:
        high, low, close = series.high[row], series.low[row], series.close[row]
        volume, trades, vwap = series.volume[row], series.trades[row], series.vwap[row]
    else:
        close = path_price(series, row, share)
        seen = [p for p, leg in zip(path(series, row), LEGS) if leg <= share] + [close]
        high, low, vwap = max(seen), min(seen), round(float(np.mean(seen)), 4)
        volume, trades = int(series.volume[row] * share), int(series.trades[row] * share)
    prices = {"o": float(series.open[row]), "h": float(high), "l": float(low), "c": float(close)}
    return prices | {"v": int(volume), "n": int(trades), "vw": float(vwap)}
