"""Random days for the fast solver and for what it is compared with: books, bounds, tight limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.services.day import Day, Slack
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Question:
    """What `programme.solve` takes."""

    day: Day
    limits: Limits
    settings: OptimizeSettings
    lower: np.ndarray
    upper: np.ndarray
    slack: Slack

    @property
    def arguments(self) -> tuple:
        """In the order of `programme.solve`."""
        return self.day, self.limits, self.settings, self.lower, self.upper, self.slack


def question(seed: int, n: int, held: int, tight: float = 0.5, fit: bool = False) -> Question:
    """A day of n names of which some are held; `tight` 0 to 1 is how much the limits bind.

    `fit` asks as the second solve of a day does: a minimum weight for most names, some that may
    only shrink, some that may not move.
    """
    rng = np.random.default_rng(seed)
    settings = OptimizeSettings(
        cost_bps=rng.choice([0.0, 2.0, 10.0]),
        uncertainty_aversion=rng.choice([0.0, 0.5, 2.0]),
        risk_aversion=rng.choice([0.0, 2.0, 20.0]),
        max_turnover=rng.uniform(0.03, 1.0) if rng.random() > tight else rng.uniform(0.03, 0.2),
        max_sector=rng.uniform(0.15, 1.0) if rng.random() > tight else rng.uniform(0.12, 0.3),
        max_volatility_annual=rng.uniform(0.05, 0.4) if rng.random() > tight else 0.1,
    )
    day = _day(rng, n, held, settings)
    lower, upper = np.zeros(n), np.where(rng.random(n) < 0.1, day.held, 1.0)
    if fit:
        lower = np.where(rng.random(n) < 0.7, np.minimum(0.0025, upper), 0.0)
        upper = np.where(lower > 0, upper, day.held)
    slack = (
        Slack(turnover=0.01, sector=np.full(len(day.sectors), 0.02)) if seed % 5 == 0 else Slack()
    )
    return Question(day, Limits.of(rng.choice([1.0, 0.6]), settings), settings, lower, upper, slack)


def _day(rng: np.random.Generator, n: int, held: int, settings: OptimizeSettings) -> Day:
    k, sectors = int(rng.integers(5, 120)), int(rng.integers(1, 12))
    own = 0.02 * rng.lognormal(0, 0.4, n)
    factors = 0.022 * rng.uniform(0.3, 1.7, n) * rng.normal(size=(k, 1)) / np.sqrt(k)
    factors = factors + own * rng.normal(size=(k, n)) / np.sqrt(k)
    member = np.zeros((sectors, n))
    member[rng.integers(0, sectors, n), np.arange(n)] = 1.0
    book = np.zeros(n)
    if held:
        at = rng.choice(n, held, replace=False)
        book[at] = rng.dirichlet(np.full(held, 4.0)) * rng.uniform(0.2, 0.99)
        book = np.minimum(book, 1.1 * settings.max_weight)
    alpha = rng.choice([0.0, 0.02, 0.1]) * own * rng.normal(size=n)
    return Day(
        symbols=np.array([f"S{i:04d}" for i in range(n)], dtype=object),
        expected_return=rng.choice([0.0, 0.001]) + alpha,
        error=own * rng.uniform(0, 0.3, n),
        factors=factors,
        diagonal=0.2 * own**2,
        held=book,
        upper=np.ones(n),
        sectors=np.array([f"G{i}" for i in range(sectors)], dtype=object),
        member=member,
        horizon=5,
        sold=rng.choice([0.0, 0.01]),
        idle=rng.choice([0.0, 0.02]),
        idle_sector=np.zeros(sectors),
    )
