"""The programme of `services.programme` as the arrays that the fast method works on.

Every name starts from `base`, its weight before the trade brought between its bounds, and moves up
or down from there. Then |w - w0| is a sum of non-negative moves, and the turnover cap one row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import BPS, Day, Slack, allowed
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings

#: the norm of errors is rounded off below this, so that it has a slope at the empty book;
#: the objective changes by less than BPS times this
TINY = 1e-11


@dataclass(frozen=True)
class Arrays:
    """Minimise loss(w) + cost * moved, all in bps over the horizon, n names and m + 1 rows."""

    gain: np.ndarray  # (n,) bps per unit of weight
    squared_error: np.ndarray  # (n,)
    doubt: float  # bps per unit of the norm of errors
    aversion: float  # bps per unit of variance
    cost: float  # bps per unit of trades
    factors: np.ndarray  # (k, n)
    diagonal: np.ndarray  # (n,)
    held: np.ndarray  # (n,)
    lower: np.ndarray  # (n,)
    upper: np.ndarray  # (n,) bound and cap per name together
    capped: np.ndarray  # (n,) bool: where the cap per name is the tighter one
    rows: np.ndarray  # (m + 1, n): everything, then each sector
    caps: np.ndarray  # (m + 1,)
    turnover: float
    variance: float  # the most, over the horizon

    @property
    def base(self) -> np.ndarray:
        """Where each name starts, (n,)."""
        return np.clip(self.held, self.lower, self.upper)

    def spread(self, weights: np.ndarray) -> np.ndarray:
        """Covariance times weights, (n,)."""
        return self.factors.T @ (self.factors @ weights) + self.diagonal * weights

    def only(self, at: np.ndarray) -> Arrays:
        """The programme of some names, in which all others keep nothing and cost nothing."""
        return replace(
            self,
            gain=self.gain[at],
            squared_error=self.squared_error[at],
            factors=self.factors[:, at],
            diagonal=self.diagonal[at],
            held=self.held[at],
            lower=self.lower[at],
            upper=self.upper[at],
            capped=self.capped[at],
            rows=self.rows[:, at],
        )


def arrays(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
) -> Arrays:
    """The numbers of `programme.statement`, the same margins and slacks included."""
    years = day.horizon / SESSIONS_PER_YEAR
    left = allowed(day, limits, slack)
    each = np.broadcast_to(left["max_weight"], upper.shape)
    sectors = np.broadcast_to(left["sector"], len(day.member))
    return Arrays(
        gain=BPS * day.expected_return,
        squared_error=day.error**2,
        doubt=BPS * settings.uncertainty_aversion,
        aversion=BPS * settings.risk_aversion,
        cost=settings.cost_bps,
        factors=day.factors,
        diagonal=day.diagonal,
        held=day.held,
        lower=lower,
        upper=np.minimum(upper, each),
        capped=each < upper,
        rows=np.vstack([np.ones(len(day.held)), day.member]),
        caps=np.append(left["gross"], sectors),
        turnover=float(left["turnover"]),
        variance=float(left["volatility"]) ** 2 * years,
    )
