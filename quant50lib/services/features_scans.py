"""Compiled operations that look at each of the last n sessions: spread, trend, correlation, order.

All of them measure from the newest value, so that little is lost to rounding, and go backwards from it;
a missing value anywhere in the window makes the result missing.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def"
from __future__ import annotations

import numba as nb
import numpy as np

from quant50lib.services.features_formula import (
    CORRELATION,
    OLDEST_HIGHEST,
    OLDEST_LOWEST,
    QUANTILE,
    RANK,
    RESIDUAL,
    RSQUARE,
    SPREAD,
    TREND,
)

#: a window whose standard deviation is a smaller share of the value than this does not vary
FLAT = 2e-7
_compiled = nb.njit(error_model="numpy", nogil=True)


@_compiled
def _row(ring, clock, lag, width):
    return (ring[0] + (clock - lag) % ring[1]) * width


@_compiled
def _moments(d, op, memory, ring, clock, lag, width, n):
    """Spread, slope, share explained or last residual of a straight line through n sessions.

    With y the value less the newest, at k = 0 … n-1 sessions ago, the slope on time is
    ((n-1)/2 · Σy - Σk·y) / (n(n²-1)/12).
    """
    size = d.size
    one, two, by = np.zeros(size), np.zeros(size), np.zeros(size)
    start = _row(ring, clock, lag, width)
    now = memory[start : start + size]
    for k in range(n):
        start, far = _row(ring, clock, lag + k, width), float(k)
        x = memory[start : start + size]
        for j in range(size):
            y = x[j] - now[j]
            one[j] += y
            two[j] += y * y
            by[j] += far * y
    half, base = 0.5 * (n - 1), n * (n * n - 1) / 12.0
    for j in range(size):
        square = two[j] - one[j] * one[j] / n
        square = 0.0 if square < 0.0 else square
        slope = (half * one[j] - by[j]) / base
        if op == SPREAD:
            d[j] = np.sqrt(square / (n - 1))
        elif op == TREND:
            d[j] = slope
        elif op == RESIDUAL:
            d[j] = 0.0 - one[j] / n - slope * half
        else:
            least = FLAT * now[j]
            varies = square > least * least * (n - 1)
            d[j] = slope * slope * base / square if varies else np.nan


@_compiled
def _correlation(d, memory, ring, lag, other, also, clock, width, n):
    """Correlation of two results over n sessions; missing where one of them does not vary."""
    size = d.size
    x1, x2, y1, y2, xy = (
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
    )
    a, b = _row(ring, clock, lag, width), _row(other, clock, also, width)
    first, second = memory[a : a + size], memory[b : b + size]
    for k in range(n):
        a, b = _row(ring, clock, lag + k, width), _row(other, clock, also + k, width)
        left, right = memory[a : a + size], memory[b : b + size]
        for j in range(size):
            x, y = left[j] - first[j], right[j] - second[j]
            x1[j] += x
            x2[j] += x * x
            y1[j] += y
            y2[j] += y * y
            xy[j] += x * y
    for j in range(size):
        xx, yy = x2[j] - x1[j] * x1[j] / n, y2[j] - y1[j] * y1[j] / n
        least, small = FLAT * first[j], FLAT * second[j]
        varies = (xx > least * least * (n - 1)) & (yy > small * small * (n - 1))
        found = (xy[j] - x1[j] * y1[j] / n) / (np.sqrt(xx) * np.sqrt(yy))
        d[j] = found if varies else np.nan


@_compiled
def _rank(d, memory, ring, clock, lag, width, n):
    """Rank of the newest among n, ties in the middle, over n."""
    size = d.size
    start = _row(ring, clock, lag, width)
    now = memory[start : start + size]
    below, same = np.zeros(size), np.zeros(size)
    for k in range(n):
        start = _row(ring, clock, lag + k, width)
        x = memory[start : start + size]
        for j in range(size):
            below[j] += (1.0 if x[j] < now[j] else 0.0) + (x[j] - x[j])
            same[j] += 1.0 if x[j] == now[j] else 0.0
    for j in range(size):
        d[j] = (below[j] + 0.5 * (same[j] + 1.0)) / n


@_compiled
def _oldest(d, memory, ring, clock, lag, width, n, sign):
    """Place (1 … n, n the newest) of the extreme of n sessions, the oldest of equals."""
    size = d.size
    best, unknown = np.full(size, -np.inf), np.zeros(size)
    for k in range(n):
        start, place = _row(ring, clock, lag + k, width), float(n - k)
        x = memory[start : start + size]
        for j in range(size):
            value = sign * x[j]
            unknown[j] += x[j] - x[j]
            further = value >= best[j]
            best[j] = value if further else best[j]
            d[j] = place if further else d[j]
    for j in range(size):
        d[j] += unknown[j]


@_compiled
def _insert(ordered, count, x):
    k = count
    while k > 0 and ordered[k - 1] > x:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k] = x


@_compiled
def _remove(ordered, count, x):
    k = np.searchsorted(ordered[:count], x)
    for m in range(k, count - 1):
        ordered[m] = ordered[m + 1]


@_compiled
def _quantile(d, memory, ring, clock, lag, width, n, share):
    """Quantile of n sessions, linear between two of them."""
    place = share * (n - 1)
    low = int(np.floor(place))
    over = place - low
    high = min(low + 1, n - 1)
    ordered, count = np.empty(n + 1), 0
    for j in range(d.size):
        slides = width == 1 and j > 0  # neighbours are sessions of one name: one comes, one goes
        if not slides:
            count = 0
        if slides:
            gone = memory[_row(ring, clock, lag + n, width) + j]
            if gone == gone:
                _remove(ordered, count, gone)
                count -= 1
        for k in range(1 if slides else n):
            x = memory[_row(ring, clock, lag + k, width) + j]
            if x == x:
                _insert(ordered, count, x)
                count += 1
        full = count == n
        d[j] = ordered[low] + over * (ordered[high] - ordered[low]) if full else np.nan


@_compiled
def scan(d, op, memory, ring, lag, other, also, clock, width, numbers):
    """One operation on a result (its ring and lag), or on two; `numbers`: sessions, share."""
    n = int(numbers[0])
    if op == SPREAD or op == TREND or op == RSQUARE or op == RESIDUAL:
        _moments(d, op, memory, ring, clock, lag, width, n)
    elif op == CORRELATION:
        _correlation(d, memory, ring, lag, other, also, clock, width, n)
    elif op == RANK:
        _rank(d, memory, ring, clock, lag, width, n)
    elif op == OLDEST_HIGHEST:
        _oldest(d, memory, ring, clock, lag, width, n, 1.0)
    elif op == OLDEST_LOWEST:
        _oldest(d, memory, ring, clock, lag, width, n, -1.0)
    elif op == QUANTILE:
        _quantile(d, memory, ring, clock, lag, width, n, numbers[1])
