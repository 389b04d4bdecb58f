"""How far a bar stands from the ones before it: overnight moves in units of what is usual.

A move overnight is the logarithm of the open over a close before it, on adjusted prices. Taken out
is what the whole market, or the name's sector, moved; what remains is divided by what the name's
remainders usually are. Each value uses bars up to its own session, and nothing later.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant50lib.services.adjust import last_known
from quant50lib.services.rolling import shift, windowed

#: sessions over which it is learned what is usual, and the least that must be there
USUAL_SESSIONS, LEAST_SESSIONS = 63, 20
#: sessions of which the volume is averaged
VOLUME_SESSIONS = 21
#: (mean of |z|^½)² of a standard normal z: 2^½ Γ(¾)² / π
HALF_POWER = 0.6760
#: fewer names than this are no sector
SECTOR_NAMES = 5


class Moves(NamedTuple):
    """Matrices (n_sessions, n_symbols); NaN where there is nothing to measure."""

    gap: np.ndarray  # log of open over the last close, less the market's
    rest: np.ndarray  # the same, less what market or sector explain
    scales: np.ndarray  # the same in units of its usual size, signed
    back: np.ndarray  # log of open over the close before the last, less the market's
    further: np.ndarray  # log of open over the close before that, less the market's
    change: np.ndarray  # close over the last close, less 1
    change_2: np.ndarray  # close over the close before the last, less 1
    volume: np.ndarray  # shares over what is usual; the larger of as it is and beside the market
    dollars: np.ndarray  # value traded over what is usual


def measured(prices: dict[str, np.ndarray], volume: np.ndarray, groups: np.ndarray) -> Moves:
    """All of it from adjusted prices and shares; `groups` numbers the sector of each column."""
    with np.errstate(divide="ignore", invalid="ignore"):
        opening, close = np.log(_positive(prices["open"])), np.log(_positive(prices["close"]))
        known = last_known(close)
        gap, step = opening - shift(known, 1), close - shift(known, 1)
        market, drift = middle(gap), middle(step)
        rest, scales = remainder(gap, gap - market, groups)
        back = gap - market + shift(known, 1) - shift(known, 2) - shift(drift, 1)
        further = back + shift(known, 2) - shift(known, 3) - shift(drift, 2)
        turnover = against_usual(np.log(_positive(volume)))
        return Moves(
            gap=gap - market,
            rest=rest,
            scales=scales,
            back=back,
            further=further,
            change=np.expm1(step),
            change_2=np.expm1(close - shift(known, 2)),
            volume=np.exp(np.fmax(turnover, turnover - middle(turnover))),
            dollars=np.exp(against_usual(np.log(_positive(volume)) + close)),
        )


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def middle(values: np.ndarray) -> np.ndarray:
    """Median across the names that have a value, (n_sessions, 1)."""
    ranked = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(ranked)).sum(axis=1)[:, None]
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, values.shape[1] - 1)
    at = np.take_along_axis
    return np.where(count > 0, (at(ranked, low, 1) + at(ranked, high, 1)) / 2, np.nan)


def remainder(
    moves: np.ndarray, market: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What neither the market nor the sector explains, and the same in units of the usual.

    `market` are the moves less the market's. Of the two remainders the smaller counts, or nothing
    where their signs disagree; of what is usual the larger. A median is the common move, so that it
    stays right where half of the names are wrong.
    """
    sector = market.copy()
    for group in np.unique(groups):
        cols = np.flatnonzero(groups == group)
        if len(cols) >= SECTOR_NAMES:
            sector[:, cols] = moves[:, cols] - middle(moves[:, cols])
    smaller = np.where(np.abs(market) < np.abs(sector), market, sector)
    rest = np.where(market * sector < 0, 0.0, smaller)
    return rest, rest / np.maximum(usual(market), usual(sector))


def usual(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the sessions before, from the mean of square roots.

    The square of the mean root, scaled to be right for a normal distribution, hardly feels the
    outliers it is there to measure, and needs no sorting.
    """
    known = ~np.isnan(values)
    count = shift(windowed(known.astype(float), USUAL_SESSIONS), 1)
    roots = shift(windowed(np.where(known, np.sqrt(np.abs(values)), 0.0), USUAL_SESSIONS), 1)
    found = (roots / count) ** 2 / HALF_POWER
    return np.where((count >= LEAST_SESSIONS) & (found > 0), found, np.nan)


def against_usual(logs: np.ndarray) -> np.ndarray:
    """Logarithms less their mean over the sessions before."""
    known = ~np.isnan(logs)
    count = shift(windowed(known.astype(float), VOLUME_SESSIONS), 1)
    return logs - shift(windowed(np.where(known, logs, 0.0), VOLUME_SESSIONS), 1) / count
