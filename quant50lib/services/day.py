"""The numbers of one day as the optimiser sees them, by how much rules give way, and its answer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings

BPS = 1e4
#: every limit is tightened by this inside the programme, so that what a solver leaves over (1e-8)
#: and what is tidied up afterwards stay on the right side of the true one
MARGIN = 1e-6
#: a rule that was widened by the least that is needed gets this much more: solvers need an inside
ROOM = 1e-5
#: a smaller weight is what a solver leaves for nothing
DUST = 1e-6


@dataclass(frozen=True)
class Day:
    """The numbers of one day, in alphabetical order of symbols. Shapes: n symbols, m sectors."""

    symbols: np.ndarray  # (n,) of str
    expected_return: np.ndarray  # (n,) over the horizon
    error: np.ndarray  # (n,) standard error of it
    factors: np.ndarray  # (k, n) covariance over the horizon: factors' factors + diag(diagonal)
    diagonal: np.ndarray  # (n,)
    held: np.ndarray  # (n,) weights before
    upper: np.ndarray  # (n,) the most that may be held after
    sectors: np.ndarray  # (m,) of str
    member: np.ndarray  # (m, n) 1 where the symbol belongs to the sector
    horizon: int
    sold: float = 0.0  # turnover used up by sales that are not in the programme
    idle: float = 0.0  # weight that is held but not in the programme
    idle_sector: np.ndarray = field(default_factory=lambda: np.zeros(()))  # (m,) of it

    def covariance(self) -> np.ndarray:
        """The dense covariance over the horizon, (n, n)."""
        return self.factors.T @ self.factors + np.diag(self.diagonal)

    def variance(self, weights: np.ndarray) -> float:
        """Variance of a book, (n,), over the horizon."""
        return float(np.sum((self.factors @ weights) ** 2) + self.diagonal @ weights**2)

    def only(self, at: np.ndarray) -> Day:
        """The day for some of its symbols; all others are sold, within the same turnover."""
        rest = np.ones(len(self.symbols), dtype=bool)
        rest[at] = False
        return replace(
            self,
            symbols=self.symbols[at],
            expected_return=self.expected_return[at],
            error=self.error[at],
            factors=self.factors[:, at],
            diagonal=self.diagonal[at],
            held=self.held[at],
            upper=self.upper[at],
            member=self.member[:, at],
            sold=self.sold + float(self.held[rest].sum()),
        )


@dataclass(frozen=True)
class Slack:
    """By how much rules are widened when they cannot all hold; in the units of `Limits`."""

    gross: float = 0.0
    volatility: float = 0.0
    turnover: float = 0.0
    max_weight: np.ndarray | float = 0.0  # (n,)
    sector: np.ndarray | float = 0.0  # (m,)

    @property
    def given(self) -> bool:
        """Whether any rule is widened."""
        return any(np.any(getattr(self, f.name)) for f in fields(self))

    def only(self, at: np.ndarray) -> Slack:
        """The slack for some of the symbols."""
        wide = self.max_weight
        return replace(self, max_weight=wide[at] if isinstance(wide, np.ndarray) else wide)


def allowed(
    day: Day, limits: Limits, slack: Slack, margin: float = MARGIN
) -> dict[str, np.ndarray]:
    """What each rule leaves for the names of the programme, as its use must not exceed; every
    solver and every proof reads the limits here.

    Returns
    -------
    dict of array
        gross, volatility (annual), turnover: (); max_weight: () or (n,); sector: () or (m,).
    """
    used = {"gross": day.idle, "turnover": day.sold, "sector": day.idle_sector}
    rules = ("gross", "volatility", "turnover", "max_weight", "sector")
    return {
        rule: np.maximum(getattr(limits, rule) - margin - used.get(rule, 0.0), 0.0)
        + getattr(slack, rule)
        for rule in rules
    }


@dataclass(frozen=True)
class Certificate:
    """What proves an answer of the fast method, by arithmetic on the answer alone."""

    gap_bps: float  # no book within the rules is better by more
    violation: float  # the worst of the limits as tightened, in its unit; variance: relative
    reduced_cost_bps: float  # the most that a name left out would add, per unit of weight
    names: int  # considered one by one; all others by their reduced cost
    iterations: int


@dataclass(frozen=True)
class Answer:
    """What a solver said."""

    weights: np.ndarray  # (n,)
    objective: float  # bps over the horizon
    duals: dict[str, np.ndarray]  # bps per unit of limit, by rule
    floor_price: np.ndarray  # (n,) bps per unit of the lower bound
    status: str
    seconds: float  # 0 where the solver keeps no time
    certificate: Certificate | None = None


def value_bps(day: Day, weights: np.ndarray, settings: OptimizeSettings) -> float:
    """The objective of given weights, in bps over the horizon."""
    w = weights
    gain = day.expected_return @ w
    doubt = settings.uncertainty_aversion * np.linalg.norm(day.error * w)
    variance = settings.risk_aversion * day.variance(w)
    cost = settings.cost_bps * np.abs(w - day.held).sum()
    return float(BPS * (gain - doubt - variance) - cost)
