"""A bound that needs no trust in a solver: no book within the limits is worth more.

For any prices y >= 0 of the rules and any book v, every book w within the limits has

    f(w)  <=  f(w) + sum_i y_i (limit_i - use_i(w))  <=  constant + sum_j g_j(w_j)

The first step is weak duality. In the second each curved term (doubt, variance, volatility) is
replaced by its tangent at v, which lies above a concave function everywhere; what is left falls
apart by name and is maximised by looking at three points a name. With y and v from a solver the
bound is tight, with wrong ones merely loose: it is evaluated, not believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import BPS, Answer, Day, Slack, allowed
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Separable:
    """The upper bound ``constant + sum_j g_j(w_j)``, g_j(w) = slope_j w - cost |w - held_j|."""

    constant: float  # bps over the horizon
    slope: np.ndarray  # (n,) bps per unit of weight
    cost: float  # bps per unit traded, the price of turnover included
    held: np.ndarray  # (n,)

    def at(self, weights: np.ndarray) -> np.ndarray:
        """g of each name at given weights, (n,)."""
        return self.slope * weights - self.cost * np.abs(weights - self.held)

    def best(self, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """The largest g of each name between its bounds, (n,)."""
        corners = (lower, upper, np.clip(self.held, lower, upper))
        return np.maximum.reduce([self.at(corner) for corner in corners])

    def value(self, lower: np.ndarray, upper: np.ndarray) -> float:
        """No book between the bounds is worth more."""
        return self.constant + float(self.best(lower, upper).sum())


def separable(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    slack: Slack,
    answer: Answer,
) -> Separable:
    """The bound at the weights and prices of an answer, for the true (widened) limits.

    Parameters
    ----------
    answer : Answer
        Of the programme of `day`; its `duals` may lack rules, which then cost nothing.
    """
    w, prices = answer.weights, {k: np.maximum(v, 0.0) for k, v in answer.duals.items()}
    gross, volatility, turnover = (
        float(prices.get(rule, np.zeros(()))) for rule in ("gross", "volatility", "turnover")
    )
    sector = prices.get("sector", np.zeros(len(day.sectors)))
    years = day.horizon / SESSIONS_PER_YEAR
    marginal = day.factors.T @ (day.factors @ w) + day.diagonal * w
    variance = float(w @ marginal)
    sigma = np.sqrt(variance / years)
    doubt = np.linalg.norm(day.error * w)

    slope = BPS * (day.expected_return - 2 * settings.risk_aversion * marginal)
    if doubt > 0:
        slope = slope - BPS * settings.uncertainty_aversion * day.error**2 * w / doubt
    if sigma > 0:
        slope = slope - volatility * marginal / (years * sigma)
    slope = slope - gross - day.member.T @ sector

    left = allowed(day, limits, slack, margin=0.0)
    constant = (
        BPS * settings.risk_aversion * variance
        + gross * left["gross"]
        + volatility * left["volatility"]
        + turnover * left["turnover"]
        + float(sector @ left["sector"])
    )
    return Separable(float(constant), slope, settings.cost_bps + turnover, day.held)


def ceiling(day: Day, limits: Limits, slack: Slack, upper: np.ndarray) -> np.ndarray:
    """The most of each name: its own upper bound and the cap on all, (n,)."""
    return np.maximum(np.minimum(upper, allowed(day, limits, slack, margin=0.0)["max_weight"]), 0.0)


def proven(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
    answer: Answer,
) -> float:
    """What no weights within the (widened) limits and bounds can exceed, bps over the horizon.

    The limits are the true ones, not those that the programme was tightened to by `day.MARGIN`.
    """
    most = ceiling(day, limits, slack, upper)
    found = separable(day, limits, settings, slack, answer)
    return found.value(np.minimum(lower, most), most)
