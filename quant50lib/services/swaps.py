"""Better names than the largest of the relaxation: one in, one out, while that pays.

The prices of the fitted book say what any other choice can be worth at most (`bound.separable`): a
swap whose bound is no better is proven useless and not tried. The rest is tried in the order of
what it promises, a fixed number of times, so that the answer is the same on every machine.
"""

from __future__ import annotations

import numpy as np

from quant50lib.services import bound
from quant50lib.services.day import BPS, Answer
from quant50lib.services.support import Problem, Support, affordable, fit

#: an improvement by less, in bps over the horizon, is none
ENOUGH_BPS = 1e-3
#: names on either side from which swaps are made
CANDIDATES = 8


def improve(
    problem: Problem, chosen: Support, answer: Answer, highest: float
) -> tuple[Support, Answer]:
    """Swap, add or drop names while it pays, within `swap_solves` solves.

    Parameters
    ----------
    highest : float
        What no choice of names can exceed, bps: reached within `ENOUGH_BPS`, the search ends.
    """
    left = 0 if problem.slack.given else problem.settings.swap_solves
    tried = {_key(chosen)}
    while left > 0 and highest - problem.value(answer) > ENOUGH_BPS:
        move = next((m for m in moves(problem, chosen, answer) if _key(m) not in tried), None)
        if move is None:
            break
        tried.add(_key(move))
        left -= 1
        better = fit(problem, move)
        if better is not None and problem.value(better) > problem.value(answer) + ENOUGH_BPS:
            chosen, answer = move, better
    return chosen, answer


def moves(problem: Problem, chosen: Support, answer: Answer) -> list[Support]:
    """Neighbours that may be worth more, the most promising first."""
    add, drop = _promises(problem, chosen, answer)
    inside, outside = chosen.at, np.flatnonzero(~(chosen.keep | chosen.remain))
    ins = [None, *_best(outside, add[0] + add[1])]
    outs = [None, *_best(inside, drop[0] + drop[1])]
    ranked = []
    for i, j in ((i, j) for i in ins for j in outs if not (i is None and j is None)):
        most = sum(side[0][k] for side, k in ((add, i), (drop, j)) if k is not None)
        likely = sum(side[:, k].sum() for side, k in ((add, i), (drop, j)) if k is not None)
        if most > ENOUGH_BPS:
            ranked.append((-round(likely, 9), -1 if i is None else i, -1 if j is None else j))
    made = [_moved(chosen, i, j) for _, i, j in sorted(ranked)]
    return [m for m in made if _allowed(problem, m)]


def _promises(problem: Problem, chosen: Support, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """By adding and by dropping each name, (2, n) each: the most that may be won, and what the
    tangent overlooks of it (the name's own variance). Minus infinity where it cannot be."""
    day, limits = problem.day, problem.limits
    found = bound.separable(day, limits, problem.settings, problem.slack, answer)
    most = bound.ceiling(day, limits, problem.slack, day.upper)
    least = np.minimum(limits.min_weight, most)
    lower = np.where(chosen.keep, least, 0.0)
    upper = np.where(chosen.remain, np.minimum(day.held, most), most)
    nothing = found.at(np.zeros(len(most)))
    own = BPS * problem.settings.risk_aversion
    own = own * (day.diagonal + np.einsum("ij,ij->j", day.factors, day.factors))
    able = most >= limits.min_weight
    add = np.where(able, found.best(least, most) - nothing, -np.inf)
    drop = nothing - found.best(lower, upper)
    return (
        np.array([add, -own * np.maximum(least, DUSTY) ** 2]),
        np.array([drop, -own * answer.weights**2]),
    )


#: weight at which the variance of a name is weighed where there is no minimum size
DUSTY = 1e-3


def _best(at: np.ndarray, promise: np.ndarray) -> list[int]:
    ranked = at[np.lexsort((at, -np.round(promise[at], 9)))]
    return [int(i) for i in ranked[:CANDIDATES] if np.isfinite(promise[i])]


def _moved(chosen: Support, into: int, out: int) -> Support:
    keep, remain = chosen.keep.copy(), chosen.remain.copy()
    if out >= 0:
        keep[out] = remain[out] = False
    if into >= 0:
        keep[into] = True
    return Support(keep, remain)


def _allowed(problem: Problem, chosen: Support) -> bool:
    return len(chosen.at) <= problem.places and affordable(chosen, problem.day, problem.wide)


def _key(chosen: Support) -> bytes:
    return chosen.keep.tobytes() + chosen.remain.tobytes()
