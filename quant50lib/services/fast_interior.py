"""A primal-dual interior-point method for the programme of `fast_arrays`, a hundred names or so.

Each name moves up or down from its base: x, (2, n), between nothing and its room. Eliminating the
moves leaves one positive definite system in the weights, (n, n), and the turnover cap as one more
row. S. J. Wright, "Primal-Dual Interior-Point Methods" (1997), chapter 10, for the predictor and
corrector of S. Mehrotra (1992); rows and the variance have slacks, so that any start will do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant50lib.services.fast_arrays import TINY, Arrays
from quant50lib.services.fast_bound import Prices
from quant50lib.services.fast_kernels import (
    add_rows,
    add_squares,
    compiled,
    dot,
    factorise,
    largest,
    solved,
    times,
)

ITERATIONS = 60
#: after so many, predictor and corrector chase each other: plain steps towards the centre follow,
#: with this share of complementarity left, and of the longest step
BOLD, CAUTION, CAUTIOUS = 20, 0.2, 0.9
#: complementarity at the start, bps
START = 3e-2
#: of the way to the boundary that a step may go
SHORT_OF_BOUNDARY = 0.995
#: what rows may be over at the end, in units of their limit
CLOSE = 3e-9
#: prices beyond this, bps per unit, are those of limits that contradict each other
ABSURD = 1e7
#: less room than this is none
STUCK = 1e-10
#: how much a name gives way that cannot move
HARDLY = 1e-30


class Fixed(NamedTuple):
    """What does not change from step to step; n names, r rows with variance and turnover."""

    gain: np.ndarray  # (n,)
    squared_error: np.ndarray  # (n,)
    doubt: float
    aversion: float
    cost: float
    covariance: np.ndarray  # (n, n)
    rows: np.ndarray  # (r - 2, n)
    caps: np.ndarray  # (r,) of the variance: 1; of the turnover: what is left at the base
    variance: float
    base: np.ndarray  # (n,)
    spent: float  # turnover used to come between the bounds
    room: np.ndarray  # (2, n), up and down; 1 where there is none
    live: np.ndarray  # (2, n) 1 where there is room, else 0
    moves: float  # of all sides of all names, those that exist
    products: float  # of prices and what they are of


class Point(NamedTuple):
    """Where the method stands, or a step. Moves up are in row 0, moves down in row 1."""

    x: np.ndarray  # (2, n) moves
    low: np.ndarray  # (2, n) prices of x >= 0
    high: np.ndarray  # (2, n) prices of x <= room
    t: np.ndarray  # (r,) slacks: rows, variance in units of its limit, turnover
    z: np.ndarray  # (r,) prices of them


class Here(NamedTuple):
    """The programme at a point."""

    weights: np.ndarray  # (n,)
    errors: float  # their norm
    normal: np.ndarray  # (r - 1, n): rows, and the slope of the variance in units of its limit
    dual: np.ndarray  # (2, n) what is left of the slope of the Lagrangian
    primal: np.ndarray  # (r,) what is left of the rows
    loss: float


class System(NamedTuple):
    """Newton's system at a point, factored; one solution for every right-hand side to share."""

    factor: np.ndarray  # (n, n)
    give: np.ndarray  # (2, n) one over the curvature of the barrier; 0 where there is no move
    ease: np.ndarray  # (n,) of the weights
    net: np.ndarray  # (n,) +1 or -1 where a name moves one way only
    by_turnover: np.ndarray  # (n,) what a price of turnover does to the weights
    pivot: float


def fixed(a: Arrays) -> Fixed:
    """The parts of the programme that are computed once."""
    covariance = a.factors.T @ a.factors
    covariance.flat[:: len(a.gain) + 1] += a.diagonal
    base = a.base
    room = np.stack([a.upper - base, base - a.lower])
    live = room > STUCK
    spent = float(np.abs(base - a.held).sum())
    return Fixed(
        gain=a.gain,
        squared_error=a.squared_error,
        doubt=float(a.doubt),
        aversion=float(a.aversion),
        cost=float(a.cost),
        covariance=covariance,
        rows=np.ascontiguousarray(a.rows),
        caps=np.concatenate([a.caps, [1.0, a.turnover - spent]]),
        variance=float(a.variance),
        base=base,
        spent=spent,
        room=np.where(live, room, 1.0),
        live=live.astype(float),
        moves=float(live.sum()),
        products=float(2 * live.sum() + len(a.caps) + 2),
    )


@compiled
def nothing(n: int, rows: int) -> Point:
    """A step of no length."""
    x, low, high = np.zeros((2, n)), np.zeros((2, n)), np.zeros((2, n))
    return Point(x, low, high, np.zeros(rows), np.zeros(rows))


@compiled
def start(f: Fixed) -> Point:
    """A point inside the bounds, with equal complementarities and a price of turnover that few
    moves are worth."""
    n, rows = len(f.base), len(f.caps)
    p = nothing(n, rows)
    each = 3 * max(f.caps[-1], 1e-3) / max(f.moves, 1.0)
    for side in range(2):
        for i in range(n):
            live, room = f.live[side, i], f.room[side, i]
            x = min(each, room / 2)
            p.x[side, i] = x
            p.low[side, i] = START / x * live
            p.high[side, i] = START / (room - x) * live
    over = here(f, p).primal
    for k in range(rows):
        p.t[k] = max(-over[k], 0.1 * max(f.caps[k], 1e-3))
        p.z[k] = START / p.t[k]
    p.z[-1] = max(largest(f.gain), p.z[-1])
    return p


@compiled
def here(f: Fixed, p: Point) -> Here:
    """Loss, slopes and residuals at a point."""
    n, rows = len(f.base), len(f.caps)
    weights, primal, moved = np.empty(n), np.empty(rows), 0.0
    for i in range(n):
        up, down = p.x[0, i] * f.live[0, i], p.x[1, i] * f.live[1, i]
        weights[i] = f.base[i] + up - down
        moved += up + down

    normal = np.empty((rows - 1, n))
    for k in range(rows - 2):
        for i in range(n):
            normal[k, i] = f.rows[k, i]
    spread = normal[rows - 2]
    times(f.covariance, weights, spread)
    variance = dot(weights, spread, n)
    times(f.rows, weights, primal)
    primal[-2], primal[-1] = variance / f.variance, moved

    squares = gain = 0.0
    for i in range(n):
        squares += f.squared_error[i] * weights[i] * weights[i]
        gain += f.gain[i] * weights[i]
    errors = max(np.sqrt(squares), TINY)
    slope = np.empty(n)
    for i in range(n):
        slope[i] = f.doubt / errors * f.squared_error[i] * weights[i] - f.gain[i]
        slope[i] += 2 * f.aversion * spread[i]
        spread[i] *= 2 / f.variance
    add_rows(normal, p.z, slope)

    dual = np.empty((2, n))
    for i in range(n):
        up = f.cost + p.z[-1] + slope[i] - p.low[0, i] + p.high[0, i]
        down = f.cost + p.z[-1] - slope[i] - p.low[1, i] + p.high[1, i]
        dual[0, i], dual[1, i] = up * f.live[0, i], down * f.live[1, i]
    for k in range(rows):
        primal[k] += p.t[k] - f.caps[k]
    loss = f.doubt * errors + f.aversion * variance - gain + f.cost * (moved + f.spent)
    return Here(weights, errors, normal, dual, primal, loss)


@compiled
def system(f: Fixed, p: Point, h: Here) -> tuple[System, bool]:
    """Newton's system at a point, and whether it could be factored."""
    n = len(f.base)
    give, ease, net = np.empty((2, n)), np.empty(n), np.empty(n)
    for side in range(2):
        for i in range(n):
            away = f.room[side, i] - p.x[side, i]
            bend = p.low[side, i] / p.x[side, i] + p.high[side, i] / away
            give[side, i] = f.live[side, i] / (bend + 1 - f.live[side, i])
    both = 0.0
    for i in range(n):
        ease[i] = max(give[0, i] + give[1, i], HARDLY)
        net[i] = (give[0, i] - give[1, i]) / ease[i]
        both += 4 * give[0, i] * give[1, i] / ease[i]
    factor = curvature(f, p, h, ease)
    sound = factorise(factor)
    by_turnover = solved(factor, net)
    pivot = both + dot(net, by_turnover, n) + p.t[-1] / p.z[-1]
    return System(factor, give, ease, net, by_turnover, pivot), sound


@compiled
def curvature(f: Fixed, p: Point, h: Here, ease: np.ndarray) -> np.ndarray:
    """The matrix of Newton's system in the weights, its lower half."""
    n, rows = len(ease), len(p.z)
    matrix, steep = np.empty((n, n)), np.empty(rows - 1)
    bent, errors = np.empty(n), f.doubt / h.errors
    scale = 2 * (f.aversion + p.z[-2] / f.variance)
    for i in range(n):
        bent[i] = f.squared_error[i] * h.weights[i] / h.errors
    for k in range(rows - 1):
        steep[k] = p.z[k] / p.t[k]
    for i in range(n):
        factor = errors * bent[i]
        for j in range(i + 1):
            matrix[i, j] = scale * f.covariance[i, j] - factor * bent[j]
        matrix[i, i] += 1 / ease[i] + errors * f.squared_error[i]
    add_squares(matrix, h.normal, steep)
    return matrix


@compiled
def direction(f: Fixed, p: Point, h: Here, s: System, aim: Point, by: Point) -> None:
    """The step `by` after which the products of prices and what they are of would be those of
    `aim` (its low, high and z) if everything were linear."""
    n, rows = len(f.base), len(p.z)
    right, pull, use = by.x, np.zeros(n), by.t
    for k in range(rows):
        use[k] = (aim.z[k] + p.z[k] * h.primal[k]) / p.t[k] - p.z[k]
    add_rows(h.normal, use, pull)
    for side in range(2):
        for i in range(n):
            live, away = f.live[side, i], f.room[side, i] - p.x[side, i]
            by.low[side, i] = (aim.low[side, i] / p.x[side, i] - p.low[side, i]) * live
            by.high[side, i] = (aim.high[side, i] / away - p.high[side, i]) * live
            right[side, i] = by.low[side, i] - by.high[side, i] - h.dual[side, i]
            right[side, i] += (2 * side - 1) * pull[i] * live

    net, both = np.empty(n), 0.0
    for i in range(n):
        up, down = s.give[0, i], s.give[1, i]
        net[i] = (up * right[0, i] - down * right[1, i]) / s.ease[i]
        both += 2 * up * down / s.ease[i] * (right[0, i] + right[1, i])
    weights = solved(s.factor, net)
    both += dot(s.net, weights, n)
    price = (both + aim.z[-1] / p.z[-1] - p.t[-1] + h.primal[-1]) / s.pivot

    moved = 0.0
    for i in range(n):
        weights[i] -= price * s.by_turnover[i]
        # both moves from their difference, which is known to the last digit, and their sum
        up, down = s.give[0, i], s.give[1, i]
        common = up * down * (right[0, i] + right[1, i] - 2 * price)
        by.x[0, i] = (common + up * weights[i]) / s.ease[i]
        by.x[1, i] = (common - down * weights[i]) / s.ease[i]
        moved += by.x[0, i] + by.x[1, i]
    for side in range(2):
        for i in range(n):
            x, away = by.x[side, i], f.room[side, i] - p.x[side, i]
            by.low[side, i] -= p.low[side, i] / p.x[side, i] * x
            by.high[side, i] += p.high[side, i] / away * x
    times(h.normal, weights, use)
    use[-1] = moved
    for k in range(rows):
        by.t[k] = -h.primal[k] - use[k]
        by.z[k] = (aim.z[k] - p.z[k] * by.t[k]) / p.t[k] - p.z[k]
    by.z[-1] = price


@compiled
def longest(f: Fixed, p: Point, by: Point) -> float:
    """The longest step up to 1 that stays inside."""
    share = TINY
    for side in range(2):
        for i in range(len(f.base)):
            if f.live[side, i] > 0:
                x, change = p.x[side, i], by.x[side, i]
                share = max(share, -change / x, change / (f.room[side, i] - x))
                share = max(share, -by.low[side, i] / p.low[side, i])
                share = max(share, -by.high[side, i] / p.high[side, i])
    for k in range(len(p.t)):
        share = max(share, -by.t[k] / p.t[k], -by.z[k] / p.z[k])
    return min(1.0, SHORT_OF_BOUNDARY / share)


@compiled
def gap(f: Fixed, p: Point, by: Point, step: float) -> float:
    """The sum of complementarities after a step, bps."""
    total = 0.0
    for side in range(2):
        for i in range(len(f.base)):
            x = p.x[side, i] + step * by.x[side, i]
            total += x * (p.low[side, i] + step * by.low[side, i])
            total += (f.room[side, i] - x) * (p.high[side, i] + step * by.high[side, i])
    for k in range(len(p.t)):
        total += (p.t[k] + step * by.t[k]) * (p.z[k] + step * by.z[k])
    return total


@compiled
def aim_at(f: Fixed, target: float, by: Point, aim: Point) -> None:
    """Products that a corrector should reach, given those that a predictor `by` misses."""
    for side in range(2):
        for i in range(len(f.base)):
            x = by.x[side, i]
            aim.low[side, i] = target - x * by.low[side, i]
            aim.high[side, i] = target + x * by.high[side, i]
    for k in range(len(by.t)):
        aim.z[k] = target - by.t[k] * by.z[k]


@compiled
def advance(p: Point, by: Point, step: float) -> None:
    """Take the step."""
    for side in range(2):
        for i in range(p.x.shape[1]):
            p.x[side, i] += step * by.x[side, i]
            p.low[side, i] += step * by.low[side, i]
            p.high[side, i] += step * by.high[side, i]
    for k in range(len(p.t)):
        p.t[k] += step * by.t[k]
        p.z[k] += step * by.z[k]


@compiled
def descend(f: Fixed, p: Point, enough: float) -> tuple[Here, bool, int]:
    """Move p to the optimum; whether it got there, and in how many steps."""
    n, rows = len(f.base), len(f.caps)
    for done in range(ITERATIONS + 1):
        h, by, aim = here(f, p), nothing(n, rows), nothing(n, rows)
        before = gap(f, p, by, 0.0)
        close = before <= enough * max(1.0, abs(h.loss)) and largest(h.primal) <= CLOSE
        if close or done == ITERATIONS or largest(p.z) > ABSURD:
            break
        s, sound = system(f, p, h)
        if not sound:
            break
        if done >= BOLD:
            aim_at(f, CAUTION * before / f.products, by, aim)
            direction(f, p, h, s, aim, by)
            advance(p, by, CAUTIOUS * longest(f, p, by))
            continue
        step = 0.0
        for corrector in range(2):
            if corrector:
                target = before / f.products * (gap(f, p, by, step) / before) ** 3
                aim_at(f, target, by, aim)
            direction(f, p, h, s, aim, by)
            step = longest(f, p, by)
        advance(p, by, step)
    return h, close, done


class Inside(NamedTuple):
    """Where the method stopped."""

    weights: np.ndarray  # (n,)
    prices: Prices
    floor_price: np.ndarray  # (n,) bps per unit of the lower bound
    ceiling_price: np.ndarray  # (n,)
    finished: bool
    iterations: int


def minimise(a: Arrays, enough: float) -> Inside:
    """The best weights of the names, and the prices that go with them.

    It stops when complementarities sum to `enough` bps, of a loss of at most 1 bps; in proportion
    above.
    """
    f = fixed(a)
    p = start(f)
    h, finished, iterations = descend(f, p, enough)
    return Inside(
        weights=np.clip(h.weights, a.lower, a.upper),
        prices=Prices(p.z[:-2], float(p.z[-1]), float(p.z[-2]) / a.variance),
        floor_price=np.where(f.live[1] > 0, p.high[1], p.low[0]),
        ceiling_price=np.where(f.live[0] > 0, p.high[0], p.low[1]),
        finished=finished,
        iterations=iterations,
    )
