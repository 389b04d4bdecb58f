"""Days for the optimiser, what it may not break, and a second optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from quant50lib.services import optimize
from quant50lib.services.covariance import Risk
from quant50lib.services.optimize import Solution
from quant50lib.settings import OptimizeSettings

SESSION = pd.Timestamp("2024-06-28").as_unit("us")
HORIZON = 5
#: the caps out of the way, for tests of one rule at a time
LOOSE: dict[str, Any] = {
    "max_turnover": 1.0,
    "max_volatility_annual": 10.0,
    "max_sector": 1.0,
    "max_weight": 1.0,
    "min_weight": 0.0,
    "cash_buffer": 0.0,
}


def names(n: int) -> pd.Index:
    return pd.Index([f"{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(n)], dtype="str")


@dataclass
class Case:
    """Everything that `target_weights` takes; plain defaults."""

    expected_return: pd.Series
    risk: Risk
    error: pd.Series = None  # type: ignore[assignment]
    held: dict[str, float] = field(default_factory=dict)
    sectors: dict[str, str] = field(default_factory=dict)
    untradable: tuple[str, ...] = ()
    forced: dict[str, float] = field(default_factory=dict)
    budget: float = 1.0
    settings: OptimizeSettings = field(default_factory=OptimizeSettings)

    def solve(self) -> Solution:
        return optimize.target_weights(**self.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `optimize.target_weights`."""
        known = self.expected_return.index
        held = pd.Series(self.held, dtype=float)
        held.index = held.index.astype("str")
        sectors = pd.Series("One", index=known.union(held.index), dtype="str")
        sectors.update(pd.Series(self.sectors, dtype="str"))
        return {
            "expected_return": self.expected_return,
            "error": 0 * self.expected_return if self.error is None else self.error,
            "risk": self.risk,
            "held": held,
            "sectors": sectors,
            "tradable": pd.Series(~known.isin(self.untradable), index=known),
            "forced": self.forced,
            "budget": self.budget,
            "settings": self.settings,
            "horizon": HORIZON,
        }


def diagonal(expected: list[float], volatility: list[float] | float, **more: Any) -> Case:
    """Independent names; `volatility` annual, expected returns over the horizon."""
    index = names(len(expected))
    variance = np.broadcast_to(np.square(volatility), len(expected)) * HORIZON / 252
    risk = Risk(index, np.zeros((1, len(index))), np.array(variance, dtype=float), HORIZON)
    return Case(pd.Series(expected, index=index, dtype=float), risk, **more)


def market(n: int, seed: int, **more: Any) -> Case:
    """A factor and noise; a drifted book is up to the caller."""
    rng = np.random.default_rng(seed)
    index = names(n)
    factors = 0.02 * rng.uniform(0.4, 1.6, (1, n))
    risk = Risk(index, factors, np.square(rng.uniform(0.01, 0.05, n)), HORIZON)
    expected = pd.Series(0.001 + 0.002 * rng.normal(size=n), index=index)
    error = pd.Series(rng.uniform(0, 0.002, n), index=index)
    sectors = dict(zip(index, rng.choice(list("VWXYZ"), n), strict=True))
    return Case(expected, risk, error, sectors=sectors, **more)


def settings_of(**changes: Any) -> OptimizeSettings:
    return OptimizeSettings(**changes)


def by_slsqp(case: Case, support: np.ndarray | None = None, starts: int = 3) -> float:
    """The best objective in bps by another method: buys and sells as variables, SLSQP.

    With a support, its names are at least `min_weight` and all others zero.
    """
    s, n = case.settings, len(case.expected_return)
    mu, error = case.expected_return.to_numpy(), case.error.to_numpy()
    sigma = case.risk.matrix().to_numpy()
    w0 = pd.Series(case.held, dtype=float).reindex(case.expected_return.index).fillna(0).to_numpy()
    groups = pd.Series(case.sectors)[case.expected_return.index].to_numpy()
    limit = case.budget * s.max_volatility_annual

    def weights(x: np.ndarray) -> np.ndarray:
        return w0 + x[:n] - x[n:]

    def loss(x: np.ndarray) -> float:
        w = weights(x)
        doubt = s.uncertainty_aversion * np.sqrt(np.sum((error * w) ** 2) + 1e-18)
        return -1e4 * (mu @ w - doubt - s.risk_aversion * w @ sigma @ w) + s.cost_bps * x.sum()

    def inside(x: np.ndarray) -> np.ndarray:
        w = weights(x)
        caps = [s.max_sector - w[groups == g].sum() for g in np.unique(groups)]
        variance = limit**2 * HORIZON / 252 - w @ sigma @ w
        gross = case.budget * (1 - s.cash_buffer) - w.sum()
        least = np.zeros(n) if support is None else np.where(support, s.min_weight, 0.0)
        most = np.full(n, s.max_weight) if support is None else np.where(support, s.max_weight, 0)
        return np.array(
            [gross, 1e2 * variance, s.max_turnover - x.sum(), *caps, *(w - least), *(most - w)]
        )

    found = [-np.inf]
    for start in (1e-3, 1e-4, 5e-3)[:starts]:
        best = minimize(
            loss,
            np.full(2 * n, start),
            bounds=[(0, 1)] * (2 * n),
            constraints={"type": "ineq", "fun": inside},
            options={"ftol": 1e-12, "maxiter": 500},
        )
        if inside(best.x).min() > -1e-6:
            found.append(-best.fun)
    return max(found)


def random_case(seed: int) -> Case:
    """Any state a desk can wake up in: drifted, braked, stopped out, delisted, illiquid."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 45))
    case = market(n, seed, budget=float(rng.choice([1, 1, 0.9, 0.6, 0.25, 0])))
    owned = rng.permutation(names(n))[: rng.integers(0, n + 1)]
    if len(owned):
        weights = rng.dirichlet(np.full(len(owned), rng.choice([0.5, 5]))) * rng.uniform(0, 1)
        case.held = dict(zip(owned, weights, strict=True))
    if rng.random() < 0.3:
        case.held = {s: 0.9 * w for s, w in case.held.items()} | {"ZZ": 0.05}
    case.untradable = tuple(names(n)[rng.random(n) < 0.1])
    case.forced = {s: 0.0 for s in case.held if rng.random() < 0.05}
    case.settings = settings_of(max_names=int(rng.choice([8, 50])))
    return case


def excess(case: Case, w: pd.Series) -> dict[str, float]:
    """By how much each rule is broken, from weights alone."""
    s = case.settings
    before = pd.Series(case.held, dtype=float).reindex(w.index).fillna(0.0)
    free = ~w.index.isin(list(case.forced))
    sectors = pd.Series(case.sectors).reindex(w.index).fillna("One")
    small = w[(w > 0) & (w < s.min_weight)]
    return {
        "gross": w.sum() - case.budget * (1 - s.cash_buffer),
        "volatility": case.risk.volatility_annual(w.drop("ZZ", errors="ignore"))
        - case.budget * s.max_volatility_annual,
        "turnover": (w - before)[free].abs().sum() - s.max_turnover,
        "max_weight": w.max() - s.max_weight if len(w) else 0.0,
        "names": (w > 0).sum() - s.max_names,
        "min_weight": s.min_weight - small.min() if len(small) else 0.0,
    } | {f"sector:{g}": v - s.max_sector for g, v in w.groupby(sectors).sum().items()}
