"""Move the prices of days to come: a crash overnight, or the raw prices after a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from quant50lib.simulator.app import Twin
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.overlay import DAILY
from quant50lib.simulator.records import Addition
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.shapes import Shape, unsaid


def tick(price: float) -> float:
    """To the cent, below a dollar to its hundredth part, as prices are quoted."""
    return round(price, 2 if price >= 1 else 4)


class RepriceShape(Shape):
    """Daily bars of the sessions that have not opened yet, at `factor` times their prices."""

    factor: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    symbols: list[str] = unsaid()
    """All of the market, unless said."""
    sessions: Annotated[int, Field(ge=1, le=1000)] = 250
    volume: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    """Times the volume; after a split the inverse of `factor`."""


class Repriced(Shape):
    """How many symbols have new prices."""

    symbols: int


def reprice(twin: Twin, shape: RepriceShape) -> int:
    """Set the bars anew; how many symbols that befell.

    Raises
    ------
    Refusal
        422: there are no bars of such a symbol.
    """
    exchange, times = twin.exchange, twin.exchange.times
    first = int(np.searchsorted(times.opens, exchange.now, "right"))
    days = times.days[first : first + shape.sessions]
    exchange.market.extend(days[-1].astype(object))
    chosen = shape.symbols or sorted(exchange.market.listings())
    unknown = [name for name in chosen if exchange.market.series(name) is None]
    if shape.symbols and unknown:
        raise Refusal(422, None, f"symbols: there are no bars of {', '.join(unknown)}")
    additions = [_bars(exchange, name, days, shape) for name in chosen if name not in unknown]
    exchange.overlay(additions)
    return len(additions)


def _bars(exchange: Exchange, symbol: str, days: np.ndarray, shape: RepriceShape) -> Addition:
    rows = exchange.market.bars_set(symbol, DAILY) | dict(_rows(exchange, symbol, days, shape))
    body = {"rows": [[t, *rest] for t, rest in sorted(rows.items())]}
    return Addition("bars", f"{symbol}|{DAILY}", body)


def _rows(
    exchange: Exchange, symbol: str, days: np.ndarray, shape: RepriceShape
) -> Iterator[tuple[int, list[Any]]]:
    series, times = exchange.market.series(symbol), exchange.times
    assert series is not None
    for i in np.flatnonzero(np.isin(series.day, days)):
        prices = (series.open[i], series.high[i], series.low[i], series.close[i], series.vwap[i])
        o, h, low, c, vw = (tick(float(price) * shape.factor) for price in prices)
        start = int(times.midnights[np.searchsorted(times.days, series.day[i])])
        volume = round(float(series.volume[i]) * shape.volume)
        yield start, [o, h, low, c, volume, int(series.trades[i]), vw]
