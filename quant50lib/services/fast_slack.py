"""`programme.least_slack` without a solver for sums, and by the fast method for the volatility.

Names lie within sectors, sectors within the book: under caps nested like that the least that must be
sold is, from the names up, the larger of what a cap asks for and what those within it ask for.
Buying never helps. Where the turnover does not reach, the caps give way in proportion to what they
ask for. The least volatility that is left is a programme of its own: a loss that is the variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import MARGIN, ROOM, Day, Slack, allowed
from quant50lib.services.fast import calmest
from quant50lib.services.fast_arrays import arrays
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings

#: the order of `elastic_order` that is solved here, and no other
ORDER = ("volatility", "sector")


@dataclass(frozen=True)
class Attempt:
    """The slack, or, if settled without one, that no rule could help by giving way."""

    settled: bool
    slack: Slack | None = None


def least(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Attempt:
    """The least widening of each rule given those served before it; not settled where that cannot
    be proven, or `elastic_order` is not `ORDER`."""
    if settings.elastic_order != ORDER or (lower > upper).any():
        return Attempt(settled=False)
    slack = _sums(day, limits, lower, upper)
    if slack is None:
        return Attempt(settled=True)
    by = _volatility(day, limits, settings, lower, upper, slack)
    return Attempt(by is not None, None if by is None else replace(slack, volatility=by))


def _sums(day: Day, limits: Limits, lower: np.ndarray, upper: np.ndarray) -> Slack | None:
    """For exposure, names and sectors; None where the turnover does not even reach the bounds."""
    cap = allowed(day, limits, Slack())
    base = np.clip(day.held, lower, upper)
    left = float(cap["turnover"] - np.abs(base - day.held).sum())
    if left < 0:
        return None
    gross = _roomy(max(base.sum() - left, lower.sum()) - cap["gross"])
    names, sold = _shared(base - cap["max_weight"], base - lower, left)
    kept, left = np.minimum(base, cap["max_weight"] + names), left - sold
    over = day.member @ kept - cap["sector"]
    sectors, _ = _shared(over, day.member @ np.maximum(kept - lower, 0.0), left)
    before = day.member @ day.held + day.idle_sector
    if _beyond(names, day.held - limits.max_weight) or _beyond(sectors, before - limits.sector):
        return None  # bought into a breach
    return Slack(float(gross), 0.0, 0.0, _roomy(names), _roomy(sectors))


def _shared(over: np.ndarray, sellable: np.ndarray, left: float) -> tuple[np.ndarray, float]:
    """By how much caps must give way that a turnover is left for, and what is sold for them."""
    over = np.maximum(over, 0.0)
    wanted = np.minimum(over, sellable)
    sold = min(float(wanted.sum()), left)
    share = sold / wanted.sum() if wanted.sum() > 0 else 0.0
    return over - share * wanted, sold


def _beyond(give: np.ndarray, over: np.ndarray) -> bool:
    """Whether something has to give way by more than it is over its limit before the trade."""
    return bool((give > np.maximum(over, 0.0) + 2 * MARGIN).any())


def _roomy(give: np.ndarray) -> np.ndarray:
    return np.where(give > MARGIN / 10, give + ROOM, 0.0)


def _volatility(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
) -> float | None:
    """By how much the least volatility within all other rules is over its limit; None where that
    is not proven."""
    a = arrays(day, limits, settings, lower, upper, slack)
    years = day.horizon / SESSIONS_PER_YEAR
    limit = float(allowed(day, limits, Slack())["volatility"])
    found, _ = calmest(replace(a, variance=max(limit, 1e-2) ** 2 * years))
    if not (found.proven and found.shown.violation <= MARGIN / 10):
        return None
    return float(_roomy(np.sqrt(day.variance(found.weights) / years) - limit))
