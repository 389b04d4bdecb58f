"""The best choice of names, proven: branch and bound over what to keep and what to drop.

A node fixes some names as held (at least the minimum) and some as not held; its relaxation leaves
the others free. Three bounds cut the tree, all from the prices of that relaxation: its own value;
the same with at most `places` names (the separable bound is maximised over names exactly, by
sorting); and, name by name, what it would cost to decide otherwise, which fixes most names at once.
The node with the highest bound is opened first, ties by age: what is proven is the same everywhere.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np

from quant50lib.services import bound
from quant50lib.services.day import DUST, Answer
from quant50lib.services.limits import TOLERANCE
from quant50lib.services.programme import solve
from quant50lib.services.support import Problem, Support, choose, fit

#: two books whose values differ by less, in bps over the horizon, are equally good: what the
#: margin inside every limit is worth has to be less than that
PROVEN_BPS = 1e-3


@dataclass(frozen=True)
class Proof:
    """What branch and bound found out."""

    upper_bound: float  # no choice of names is worth more, bps over the horizon
    nodes: int  # relaxations solved
    complete: bool  # nothing is left open: the book is the best within `PROVEN_BPS`
    seconds: float  # the solver's own


@dataclass(frozen=True)
class Node:
    """A part of all choices. `inside` and `outside` are (n,) bool, and no name is both."""

    bound: float
    inside: np.ndarray
    outside: np.ndarray


@dataclass(frozen=True)
class Look:
    """A node after its relaxation: a tighter bound, more names decided, and what it would hold."""

    node: Node
    weights: np.ndarray  # (n,)


def prove(
    problem: Problem, answer: Answer, highest: float, most: int, close: float = PROVEN_BPS
) -> tuple[Answer, Proof]:
    """The best book, or the best after `most` nodes or `exact_time_limit_seconds` of solver time.

    A name is either not held, or held with at least its minimum: remainders of sales below that
    are no choice here, and neither is a name that may not grow to it.

    Parameters
    ----------
    answer : Answer
        The book to beat.
    highest : float
        Bound of the relaxation, bps.
    close : float
        From its bound, in bps, at which a book is good enough.
    """
    least = problem.limits.min_weight
    above = bound.ceiling(problem.day, problem.limits, problem.slack, problem.day.upper)
    outside = (above < least) | (above <= 0)
    queue: list[tuple[float, int, Node]] = []
    heapq.heappush(queue, (-highest, 0, Node(highest, np.zeros_like(outside), outside)))
    seconds, nodes, born = 0.0, 0, 0
    value = problem.value(answer) if is_choice(problem, answer) else -np.inf
    while queue and -queue[0][0] > value + close:
        if nodes >= most or seconds > problem.settings.exact_time_limit_seconds:
            break
        node = heapq.heappop(queue)[2]
        nodes += 1
        look, spent = _look(problem, node, value)
        seconds += spent
        if look is None:
            continue
        better = fit(problem, _book(problem, look))
        if better is not None:
            seconds += better.seconds
            if problem.value(better) > value and is_choice(problem, better):
                answer, value = better, problem.value(better)
        for child in _children(problem, look):
            born += 1
            heapq.heappush(queue, (-child.bound, born, child))
    still = -queue[0][0] if queue else value
    complete = still <= value + PROVEN_BPS
    bounded = max(still, value + PROVEN_BPS if nodes else value)
    bounded = min(bounded, highest) if np.isfinite(value) else highest
    return answer, Proof(bounded, nodes, complete, seconds)


def is_choice(problem: Problem, answer: Answer) -> bool:
    """Whether a book keeps the limit on names and the minimum: where the turnover cap leaves too
    many names half sold, it does not, and any that does is better."""
    held = answer.weights[answer.weights > 0]
    least = problem.limits.min_weight - TOLERANCE
    return len(held) <= problem.places and bool((held >= least).all())


def _look(problem: Problem, node: Node, value: float) -> tuple[Look | None, float]:
    """Solve the relaxation of a node, and in what time; None where it holds nothing better."""
    sold = problem.day.sold + problem.day.held[node.outside].sum()
    if node.inside.sum() > problem.places or sold > problem.wide.turnover:
        return None, 0.0
    relaxed = _relaxed(problem, node)
    if relaxed is None:
        return None, 0.0
    tighter = _decided(problem, node, relaxed, value)
    return (None if tighter is None else Look(tighter, relaxed.weights)), relaxed.seconds


def _relaxed(problem: Problem, node: Node) -> Answer | None:
    """The best weights, (n,), of the names that a node leaves."""
    p, day, at = problem, problem.day, np.flatnonzero(~node.outside)
    if not len(at):  # the empty book
        return fit(p, Support(node.inside, node.inside))
    lower = np.where(node.inside, p.limits.min_weight, 0.0)
    relaxed = solve(day.only(at), p.limits, p.settings, lower[at], day.upper[at], p.slack.only(at))
    if relaxed is None:
        return None
    weights = np.zeros(len(day.symbols))
    weights[at] = np.clip(relaxed.weights, 0.0, None)
    return replace(relaxed, weights=weights)


def _decided(problem: Problem, node: Node, relaxed: Answer, value: float) -> Node | None:
    """The node with the bound that its relaxation proves, and all names decided that it decides."""
    day, limits = problem.day, problem.limits
    found = bound.separable(day, limits, problem.settings, problem.slack, relaxed)
    most = bound.ceiling(day, limits, problem.slack, day.upper)
    least = np.minimum(limits.min_weight, most)
    nothing = found.at(np.zeros(len(most)))
    gain = found.best(least, most) - nothing  # of holding a name, at these prices
    free = ~(node.inside | node.outside)
    places = problem.places - int(node.inside.sum())
    wanted = np.sort(np.where(free, np.maximum(gain, 0.0), 0.0))[::-1]
    proven = found.constant + nothing.sum() + gain[node.inside].sum() + wanted[:places].sum()
    highest = min(node.bound, float(proven))
    if highest <= value + PROVEN_BPS:
        return None
    last = wanted[places - 1] if 0 < places <= len(wanted) else 0.0
    following = wanted[places] if places < len(wanted) else 0.0
    room = value + PROVEN_BPS - proven  # below: cannot be better
    taken = free & (gain > last) if places > 0 else np.zeros_like(free)
    drop = free & ~taken & (gain - last <= room) if places > 0 else free
    keep = taken & (following - gain <= room)
    return Node(highest, node.inside | keep, node.outside | drop)


def _book(problem: Problem, look: Look) -> Support:
    """The names that a node's relaxation likes, within what the node has decided."""
    if _settled(problem, look) and _doubt(problem, look).max() <= 0:  # a choice already
        held = look.weights > DUST
        return Support(held, np.zeros_like(held))
    liked = np.where(look.node.outside, 0.0, look.weights) + look.node.inside
    return choose(problem.day, liked, problem.wide, problem.places)


def _settled(problem: Problem, look: Look) -> bool:
    """Whether the relaxation agrees with all that was decided after it."""
    node, w = look.node, look.weights
    short = w[node.inside] < problem.limits.min_weight - DUST
    return not ((w[node.outside] > DUST).any() or short.any())


def _doubt(problem: Problem, look: Look) -> np.ndarray:
    """How undecided the relaxation is about each name, (n,); nowhere: it is a choice of names."""
    w, least = look.weights, problem.limits.min_weight
    free = (w > DUST) & ~look.node.inside & ~look.node.outside
    between = free & (w < least - DUST)
    if between.any():
        return np.where(between, np.minimum(w, least - w), 0.0)
    if (w > DUST).sum() > problem.places:
        return np.where(free, 1.0 / w.clip(DUST), 0.0)  # the smallest of too many
    return np.zeros(len(w))


def _children(problem: Problem, look: Look) -> list[Node]:
    """The name of which the relaxation is least sure: not held, or held; the node itself, solved
    again, where more was decided than its relaxation knew."""
    if not _settled(problem, look):
        return [look.node]
    doubt, node = _doubt(problem, look), look.node
    if doubt.max() <= 0:
        return []
    mark = np.arange(len(doubt)) == int(np.argmax(np.round(doubt, 9)))
    return [
        Node(node.bound, node.inside, node.outside | mark),
        Node(node.bound, node.inside | mark, node.outside),
    ]
