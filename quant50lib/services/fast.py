"""The programme of `services.programme`, solved by its structure, with a proof of the answer.

A book holds some fifty names. The held ones and the most promising others are given to the
interior-point method of `fast_interior`; then the reduced cost of every other name is looked at,
those that would pay join, and it is solved again. The answer is exact: `fast_bound` proves how far
any other book within the rules can be better. What cannot be proven is not settled here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import Answer, Certificate, Day, Slack
from quant50lib.services.fast_arrays import Arrays, arrays
from quant50lib.services.fast_bound import Proof, contradiction, proof
from quant50lib.services.fast_interior import Inside, minimise
from quant50lib.services.limits import TOLERANCE, Limits
from quant50lib.settings import OptimizeSettings

STATUS = "optimal (fast)"
#: the gap that is called none, of a loss of at most 1 bps; in proportion above
GAP = 1e-7
#: the sum of complementarities at which the method stops at first, likewise
ENOUGH = 1e-8
#: names that join those which must be there, to so many at least; how many others may, how often
EXTRA, FEW, MORE, ROUNDS = 20, 100, 120, 8
#: by which limits must miss each other, in proportion, to be called contradictory
CLEARLY = 1e-9
#: loss in bps of a book at its limit, where the variance is the loss; and what limits it no more
SCALE, ENDLESS = 10.0, 1e6
#: a smaller limit on the variance leaves nothing inside
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Attempt:
    """The answer, or, if settled without one, that the limits contradict each other."""

    settled: bool
    answer: Answer | None = None


def solve(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
) -> Attempt:
    """The answer of `programme.solve` with its certificate; not settled where none can be given."""
    a = arrays(day, limits, settings, lower, upper, slack)
    if (a.lower > a.upper + TOLERANCE).any():
        return Attempt(settled=True)
    if a.variance < LEAST_VARIANCE or (a.lower > a.upper).any():
        return Attempt(settled=False)
    best = proven_best(a)
    if not best.found.finished:
        none = _contradictory(a, best.weights, best.found) or too_volatile(a)
        return Attempt(settled=none)
    kept = best.proven and best.shown.violation <= TOLERANCE
    return Attempt(kept, _answer(a, day, best) if kept else None)


class Best(NamedTuple):
    """Where the rounds ended."""

    at: np.ndarray  # names considered one by one
    weights: np.ndarray  # (n,)
    found: Inside
    shown: Proof
    proven: bool  # no other book within the rules is better by more than `GAP`


def proven_best(a: Arrays) -> Best:
    """The best weights of the promising names, and of those that would pay, until no other does."""
    at, enough = _promising(a), ENOUGH
    for _ in range(ROUNDS):
        found = minimise(a.only(at), enough)
        weights = np.zeros(len(a.gain))
        weights[at] = found.weights
        shown = proof(a, weights, found.prices)
        proven = shown.gap <= GAP * max(1.0, abs(shown.loss))
        if proven or not found.finished:
            break
        joining = _joining(shown, at)
        enough *= 1.0 if len(joining) else 0.01
        at = np.union1d(at, joining)
    return Best(at, weights, found, shown, bool(proven and found.finished))


def _promising(a: Arrays) -> np.ndarray:
    """Names that have a weight or must have one; of the others those with most gain for their own
    risk, and those with most gain for the risk that they add to the book."""
    must = (a.held > 0) | (a.lower > 0)
    free = np.flatnonzero(~must & (a.upper > 0))
    extra = max(EXTRA, (FEW - int(must.sum())) // 2)
    if len(free) > 2 * extra:
        own = np.einsum("ij,ij->j", a.factors[:, free], a.factors[:, free]) + a.diagonal[free]
        appeals = a.gain[free] / np.sqrt(own), (a.gain - 2 * a.aversion * a.spread(a.base))[free]
        free = np.unique([free[np.argpartition(-each, extra)[:extra]] for each in appeals])
    return np.sort(np.append(np.flatnonzero(must), free))


def _joining(shown: Proof, at: np.ndarray) -> np.ndarray:
    """Of the names left out, those that would pay most."""
    paying = shown.reduced_cost.copy()
    paying[at] = 0.0
    most = np.argsort(-paying, kind="stable")[:MORE]
    return most[paying[most] > 0]


def _contradictory(a: Arrays, weights: np.ndarray, found: Inside) -> bool:
    """Whether the prices at which the method gave up prove that no book keeps the limits."""
    z = found.prices
    scale = float(z.rows @ a.caps) + z.turnover * a.turnover + z.variance * a.variance
    return contradiction(a, weights, z) > CLEARLY * scale


def calmest(a: Arrays) -> tuple[Best, float]:
    """The book of least variance within all other limits, and its loss, of which the limit on the
    variance would be `SCALE`."""
    loss = replace(
        a,
        gain=0 * a.gain,
        doubt=0.0,
        cost=0.0,
        aversion=SCALE / a.variance,
        variance=ENDLESS * a.variance,
    )
    best = proven_best(loss)
    return best, best.shown.bound if best.found.finished else 0.0


def too_volatile(a: Arrays) -> bool:
    """Whether every book within all other limits is proven to have more variance than may be:
    by a hair, the prices of a programme that has no answer do not show it."""
    return calmest(a)[1] > SCALE * (1 + CLEARLY)


def _answer(a: Arrays, day: Day, best: Best) -> Answer:
    at, weights, found, shown, _ = best
    left_out = shown.reduced_cost.copy()
    left_out[at] = 0.0
    floor, ceiling = np.maximum(shown.slope + shown.per_trade, 0.0), np.zeros(len(weights))
    floor[at], ceiling[at] = found.floor_price, found.ceiling_price
    years = day.horizon / SESSIONS_PER_YEAR
    return Answer(
        weights=weights,
        objective=-shown.loss,
        duals={
            "gross": found.prices.rows[0],
            "volatility": 2 * np.sqrt(a.variance * years) * np.asarray(found.prices.variance),
            "turnover": np.asarray(found.prices.turnover),
            "max_weight": np.where(a.capped, ceiling, 0.0),
            "sector": found.prices.rows[1:],
        },
        floor_price=floor,
        status=STATUS,
        seconds=0.0,
        certificate=Certificate(
            gap_bps=shown.gap,
            violation=shown.violation,
            reduced_cost_bps=float(left_out.max()),
            names=len(at),
            iterations=found.iterations,
        ),
    )
