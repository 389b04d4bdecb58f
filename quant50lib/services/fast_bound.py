"""What weights and prices prove: a bound on every other book, or that there is none.

For prices z >= 0 of the rules, weak duality says that no book within the rules has a loss below

    min over lower <= w <= upper of  loss(w) + cost |w - w0| + z' (use of the rules - limits).

`loss` and the variance are convex: replaced by their tangents at the weights found, the minimum
falls apart by names and is exact arithmetic, whatever the method that found weights and prices.
S. Boyd and L. Vandenberghe, "Convex Optimization", sections 5.2 and 5.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant50lib.services.fast_arrays import TINY, Arrays


@dataclass(frozen=True)
class Prices:
    """bps per unit of each limit; all non-negative."""

    rows: np.ndarray  # (m + 1,)
    turnover: float
    variance: float  # per unit of variance over the horizon


@dataclass(frozen=True)
class Proof:
    """A book, what it is worth and what no other book can exceed; losses in bps."""

    loss: float
    bound: float
    violation: float  # the worst of the limits, in its own unit; volatility: relative variance
    slope: np.ndarray  # (n,) of the loss and the priced rules, without trades
    per_trade: float  # cost and price of turnover
    reduced_cost: np.ndarray  # (n,) bps per unit by which moving a name would pay; 0 for none

    @property
    def gap(self) -> float:
        """How much better another book could be, bps."""
        return self.loss - self.bound


def proof(a: Arrays, weights: np.ndarray, prices: Prices) -> Proof:
    """What a book and prices prove about the programme of all its names."""
    spread, moved = a.spread(weights), np.abs(weights - a.held)
    variance, errors = weights @ spread, np.sqrt(a.squared_error @ weights**2)
    smooth = a.doubt * errors + a.aversion * variance - a.gain @ weights
    slope = (
        a.doubt * a.squared_error * weights / max(errors, TINY)
        + 2 * (a.aversion + prices.variance) * spread
        - a.gain
        + prices.rows @ a.rows
    )
    over = a.rows @ weights - a.caps
    excess = float(moved.sum()) - a.turnover
    per_trade = a.cost + prices.turnover
    priced = (
        smooth
        + prices.rows @ over
        + prices.variance * (variance - a.variance)
        - prices.turnover * a.turnover
    )
    least = _least(a, slope, per_trade)
    short = slope * weights + per_trade * moved - least
    return Proof(
        loss=float(smooth + a.cost * moved.sum()),
        bound=float(priced - slope @ weights + least.sum()),
        violation=float(max(over.max(), excess, variance / a.variance - 1, _outside(a, weights))),
        slope=slope,
        per_trade=per_trade,
        reduced_cost=short / np.maximum(a.upper - a.lower, TINY),
    )


def contradiction(a: Arrays, weights: np.ndarray, prices: Prices) -> float:
    """By how much, at these prices, every book within the bounds breaks the limits; 0 or less
    proves nothing. The units are those of prices times limits."""
    spread = a.spread(weights)
    slope = 2 * prices.variance * spread + prices.rows @ a.rows
    tangent = -prices.variance * (weights @ spread + a.variance) - prices.rows @ a.caps
    least = _least(a, slope, prices.turnover).sum()
    return float(tangent - prices.turnover * a.turnover + least)


def _least(a: Arrays, slope: np.ndarray, per_trade: float) -> np.ndarray:
    """The minimum over its bounds of slope * w + per_trade * |w - w0|, by name."""

    def at(w: np.ndarray) -> np.ndarray:
        return slope * w + per_trade * np.abs(w - a.held)

    return np.minimum(np.minimum(at(a.lower), at(a.upper)), at(a.base))


def _outside(a: Arrays, weights: np.ndarray) -> float:
    return float(np.maximum(a.lower - weights, weights - a.upper).max())
