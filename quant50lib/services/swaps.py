"""Better names than the largest of the relaxation: one in, one out, while that pays.

The prices of the fitted book say what any other choice can be worth at most (`bound.separable`): a
swap whose bound is no better is proven useless and not tried. The rest is tried in the order of
what it promises, a fixed number of times, so that the answer is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quant50lib.services import bound
from quant50lib.services.day import Answer
from quant50lib.services.support import Problem, Support, affordable, fit
from quant50lib.services.swaps_model import expectations

#: an improvement by less, in bps over the horizon, is none
ENOUGH_BPS = 1e-3
#: names from which those to add are taken
CANDIDATES = 40
#: swaps of which less is expected than so many times the least improvement are not tried
HOPE = 1.0


def improve(
    problem: Problem, chosen: Support, answer: Answer, highest: float
) -> tuple[Support, Answer]:
    """Swap, add or drop names while it pays, within `swap_solves` solves.

    Parameters
    ----------
    highest : float
        What no choice of names can exceed, bps: the search ends when it is as close as
        `certificate_gap` asks for.
    """
    close = enough(problem, highest)
    left = 0 if problem.slack.given else problem.settings.swap_solves
    tried, value = {_key(chosen)}, problem.value(answer)
    promising = moves(problem, chosen, answer)
    while left > 0 and highest - value > close:
        move = next((m for m in promising if _key(m) not in tried), None)
        if move is None:
            break
        tried.add(_key(move))
        left -= 1
        better = fit(problem, move)
        if better is not None and problem.value(better) > value + ENOUGH_BPS:
            chosen, answer, value = move, better, problem.value(better)
            promising = moves(problem, chosen, answer)
    return chosen, answer


def enough(problem: Problem, highest: float) -> float:
    """How close to its bound a book has to come, bps; see `certificate_gap`."""
    return max(ENOUGH_BPS, problem.settings.certificate_gap * max(1.0, abs(highest)))


def moves(problem: Problem, chosen: Support, answer: Answer) -> Iterator[Support]:
    """Neighbours that may be worth more, the most promising first.

    Left out is what cannot be worth more at the prices of the book. What is left is ranked by what
    `swaps_model` expects of it: all other weights give way, and the limits that bind still do.
    """
    add, drop = _promises(problem, chosen, answer)
    inside, outside = chosen.at, np.flatnonzero(~(chosen.keep | chosen.remain))
    ranked = outside[np.lexsort((outside, -np.round(add[outside], 9)))][:CANDIDATES]
    ins = ranked[np.isfinite(add[ranked])]
    expected = expectations(problem, chosen, answer, ins, inside)
    # nothing in, or nothing out, is the first of either side
    most = np.append(0.0, add[ins])[:, None] + np.append(0.0, drop[inside])
    into, out = np.append(-1, ins), np.append(-1, inside)
    rows, columns = np.nonzero((most > ENOUGH_BPS) & (expected > HOPE * ENOUGH_BPS))
    order = np.lexsort((out[columns], into[rows], -np.round(expected[rows, columns], 9)))
    made = (_moved(chosen, into[rows[k]], out[columns[k]]) for k in order)
    return (move for move in made if _allowed(problem, move))


def _promises(problem: Problem, chosen: Support, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """The most that may be won by adding and by dropping each name, (n,) each, at the prices of the
    book; minus infinity where it cannot be added."""
    day, limits = problem.day, problem.limits
    found = bound.separable(day, limits, problem.settings, problem.slack, answer)
    most = bound.ceiling(day, limits, problem.slack, day.upper)
    least = np.minimum(limits.min_weight, most)
    lower = np.where(chosen.keep, least, 0.0)
    upper = np.where(chosen.remain, np.minimum(day.held, most), most)
    nothing = found.at(np.zeros(len(most)))
    able = most >= limits.min_weight
    add = np.where(able, found.best(least, most) - nothing, -np.inf)
    return add, nothing - found.best(lower, upper)


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
