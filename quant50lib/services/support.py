"""Which names: at most so many, and none smaller than the minimum position.

The relaxation says how much of each name the programme would like; the largest are kept. A held
name that the turnover cap cannot clear has to stay, and takes a place. The weights are then solved
again for the names chosen, so that no limit is broken by tidying up (`fit`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from quant50lib.services.day import DUST, MARGIN, Answer, Day, Slack, value_bps
from quant50lib.services.limits import TOLERANCE, Limits
from quant50lib.services.programme import solve
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Problem:
    """What a choice of names is judged by: the day, its rules, how far they are widened."""

    day: Day
    limits: Limits
    settings: OptimizeSettings
    places: int  # names that may be held
    slack: Slack = Slack()

    @property
    def wide(self) -> Limits:
        """The limits that sums of weights are held against before anything is solved."""
        return replace(
            self.limits,
            gross=self.limits.gross + self.slack.gross - 2 * MARGIN,
            turnover=self.limits.turnover + self.slack.turnover - 2 * MARGIN,
        )

    def value(self, answer: Answer) -> float:
        """The objective of an answer's weights, bps over the horizon."""
        return value_bps(self.day, answer.weights, self.settings)


@dataclass(frozen=True)
class Support:
    """The names of a book: those kept have a minimum size, remainders may only shrink."""

    keep: np.ndarray  # (n,) bool: held after the trade, at least the minimum position
    remain: np.ndarray  # (n,) bool: held before, any weight from nothing to what is held

    @property
    def at(self) -> np.ndarray:
        """Positions of all names in it."""
        return np.flatnonzero(self.keep | self.remain)

    def bounds(self, day: Day, min_weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper weight of the names in it, (n_names,) each."""
        floor = np.minimum(min_weight, day.upper)
        lower = np.where(self.keep, floor, 0.0)
        upper = np.where(self.keep, day.upper, np.minimum(day.held, day.upper))
        return lower[self.at], upper[self.at]

    def without(self, at: int | np.ndarray) -> Support:
        """The support with some names out: sold, or not bought."""
        keep, remain = self.keep.copy(), self.remain.copy()
        keep[at] = remain[at] = False
        return Support(keep, remain)

    def remaining(self, at: int | np.ndarray) -> Support:
        """The support with some held names as remainders."""
        keep, remain = self.keep.copy(), self.remain.copy()
        keep[at], remain[at] = False, True
        return replace(self, keep=keep, remain=remain)

    def kept(self, at: int | np.ndarray) -> Support:
        """The support with some names at their minimum or above."""
        keep, remain = self.keep.copy(), self.remain.copy()
        keep[at], remain[at] = True, False
        return Support(keep, remain)


def fit(problem: Problem, chosen: Support) -> Answer | None:
    """The best weights of the names chosen, (n,) with zeros elsewhere; None if there are none."""
    day, limits, slack, settings = problem.day, problem.limits, problem.slack, problem.settings
    at = chosen.at
    if not len(at):
        return _nothing(day, limits, settings, slack)
    part = day.only(at)
    if part.sold > limits.turnover + slack.turnover + TOLERANCE:
        return None
    lower, upper = chosen.bounds(day, limits.min_weight)
    answer = solve(part, limits, settings, lower, upper, slack.only(at))
    if answer is None:
        return None
    weights, floor_price = np.zeros(len(day.symbols)), np.zeros(len(day.symbols))
    weights[at] = _tidy(answer.weights, day.held[at], lower, upper)
    floor_price[at] = answer.floor_price
    return replace(answer, weights=weights, floor_price=floor_price)


def _nothing(day: Day, limits: Limits, settings: OptimizeSettings, slack: Slack) -> Answer | None:
    """The empty book, if all can be sold."""
    if day.sold + day.held.sum() > limits.turnover + slack.turnover:
        return None
    empty = np.zeros(len(day.symbols))
    return Answer(empty, value_bps(day, empty, settings), {}, empty, cp.OPTIMAL, 0.0)


def _tidy(
    weights: np.ndarray, held: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """Within the bounds to the last digit; no dust, and no trade too small to be one."""
    exact = np.clip(weights, lower, upper)
    exact = np.where(np.abs(exact - held) < TOLERANCE, held, exact)
    return np.where(exact < DUST, 0.0, exact)


def choose(day: Day, liked: np.ndarray, limits: Limits, places: int) -> Support:
    """Keep the largest of what the relaxation liked, as far as the limits can carry the minimum.

    Parameters
    ----------
    liked : array, (n_symbols,)
        Weights of the relaxation.
    places : int
        Names that may be held.
    """
    ranked = np.lexsort((np.arange(len(liked)), -np.round(liked, 9)))
    # an untradable name below the minimum cannot grow to it
    able = (liked >= limits.min_weight / 2) & (day.upper >= limits.min_weight)
    keep = np.zeros(len(liked), dtype=bool)
    keep[[i for i in ranked if able[i]][:places]] = True
    support = Support(keep, np.zeros_like(keep))
    support = _keep_unsellable(support, day, liked, limits, places)
    return _drop_unaffordable(support, day, liked, limits)


def one_remainder(support: Support, day: Day, liked: np.ndarray, places: int) -> Support | None:
    """Keep what can be kept of the largest name to be sold, in place of the least liked buy.

    With no buy to give up, the smallest holding goes in its place, if that is smaller. None where
    there is nothing to be sold, or no place.
    """
    sold = _sold(support, day)
    if not sold.any():
        return None
    largest = int(np.argmax(sold))
    larger = support.remaining(largest)
    if len(larger.at) <= places:
        return larger
    fresh = _fresh(support, day)
    if len(fresh):
        return larger.without(_least_liked(fresh, liked))
    kept = np.flatnonzero(support.keep)
    smallest = int(kept[np.argmin(day.held[kept])]) if len(kept) else largest
    return larger.without(smallest) if day.held[smallest] < sold[largest] else None


def _keep_unsellable(
    support: Support, day: Day, liked: np.ndarray, limits: Limits, places: int
) -> Support:
    """Names whose sale does not fit into the turnover stay, the largest first: fewest remain."""
    while (sold := _sold(support, day)).sum() + day.sold > limits.turnover and sold.any():
        following = one_remainder(support, day, liked, places)
        # more names than there are places: what cannot be sold is held all the same
        support = following or support.remaining(int(np.argmax(sold)))
    return support


def _drop_unaffordable(support: Support, day: Day, liked: np.ndarray, limits: Limits) -> Support:
    """Lighter while all at their minimum would need more turnover or exposure than there is."""
    while support.keep.any() and not affordable(support, day, limits):
        support = lighter(support, day, liked)
    return support


def lighter(support: Support, day: Day, liked: np.ndarray) -> Support:
    """One minimum size less: the least liked buy goes, and after the last of them the least liked
    holding loses its minimum."""
    fresh = _fresh(support, day)
    if len(fresh):
        return support.without(_least_liked(fresh, liked))
    return support.remaining(_least_liked(np.flatnonzero(support.keep), liked))


def affordable(support: Support, day: Day, limits: Limits) -> bool:
    smallest = np.where(support.keep, np.minimum(limits.min_weight, day.upper), 0.0)
    bought = np.maximum(smallest - day.held, 0.0).sum()
    turnover = day.sold + float(_sold(support, day).sum() + bought)
    return turnover <= limits.turnover and smallest.sum() + day.idle <= limits.gross


def _sold(support: Support, day: Day) -> np.ndarray:
    """Weight of each holding that is not in the support."""
    return np.where(support.keep | support.remain, 0.0, day.held)


def _fresh(support: Support, day: Day) -> np.ndarray:
    return np.flatnonzero(support.keep & (day.held <= 0))


def _least_liked(at: np.ndarray, liked: np.ndarray) -> int:
    """The last of the alphabet among equals, as `choose` ranks."""
    return int(at[np.lexsort((-at, np.round(liked[at], 9)))[0]])
