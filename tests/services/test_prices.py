"""Prices of rules with every solver, plain Markowitz without doubt, and what the error stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant50lib.services import forecast
from quant50lib.settings import ForecastSettings
from tests.days import LOOSE, SESSION, by_slsqp, market, names, settings_of

TIGHT: dict[str, dict[str, Any]] = {
    "turnover": {"max_turnover": 0.3},
    "volatility": {"max_volatility_annual": 0.1, "risk_aversion": 0.0},
    "max_weight": {"max_weight": 0.06},
    "sector": {"max_sector": 0.2},
}
SETTING = {
    "turnover": "max_turnover",
    "volatility": "max_volatility_annual",
    "max_weight": "max_weight",
    "sector": "max_sector",
}


@pytest.mark.parametrize("solver", ["fast", "SCS"])
@pytest.mark.parametrize("rule", list(TIGHT))
def test_every_solver_prices_a_rule_by_the_slope_of_the_objective(rule: str, solver: str) -> None:
    """Central differences in the limit; Clarabel's prices are in test_optimize."""
    base: dict[str, Any] = LOOSE | {"cost_bps": 1.0, "solver": solver, **TIGHT[rule]}
    case, setting = market(12, 11), SETTING[rule]
    case.sectors = {s: "One" if i < 8 else "Two" for i, s in enumerate(names(12))}
    step, values = 2e-3 * base[setting], []
    for change in (step, -step):
        case.settings = settings_of(**(base | {setting: base[setting] + change}))
        values.append(case.solve().objective)
    case.settings = settings_of(**base)
    price = sum(v for k, v in case.solve().duals.items() if k.partition(":")[0] == rule)
    slope = (values[0] - values[1]) / (2 * step)
    assert price > 1e-3
    assert price == pytest.approx(slope / 100, rel=2e-2)


def test_without_doubt_it_is_plain_markowitz() -> None:
    """kappa = 0: the errors do not matter at all, and the value is another optimiser's."""
    free = {"min_weight": 0.0, "max_weight": 0.2, "uncertainty_aversion": 0.0}
    case = market(7, 2, settings=settings_of(**free))
    plain = case.solve()
    assert plain.objective == pytest.approx(by_slsqp(case), abs=2e-4)
    case.error = case.error * 50
    pd.testing.assert_series_equal(case.solve().weights, plain.weights, rtol=0, atol=1e-6)


def test_unconstrained_markowitz_in_closed_form() -> None:
    """kappa = cost = 0 and no cap in force: w = Sigma^-1 mu / (2 lambda), all positive."""
    asked = settings_of(**LOOSE, uncertainty_aversion=0.0, cost_bps=0.0, risk_aversion=3.0)
    case = market(6, 4, settings=asked)
    sigma = case.risk.matrix().to_numpy()
    wanted = np.array([0.05, 0.1, 0.15, 0.08, 0.12, 0.2])
    case.expected_return = pd.Series(2 * 3.0 * sigma @ wanted, index=names(6))
    np.testing.assert_allclose(case.solve().weights, wanted, atol=2e-5)


@pytest.mark.parametrize("solver", ["CLARABEL", "fast"])
@pytest.mark.parametrize("seed", range(2))
def test_order_of_symbols_changes_nothing(seed: int, solver: str) -> None:
    """Frames in any order, some names held, the limit on names in force, names swapped."""
    rng = np.random.default_rng(seed)
    held = dict(zip(names(30)[3:9], rng.uniform(0.005, 0.05, 6), strict=True))
    asked = settings_of(max_names=7, min_weight=0.01, solver=solver)
    case = market(30, seed, held=held, settings=asked)
    solution = case.solve()
    mixed = rng.permutation(30)
    case.expected_return = case.expected_return.iloc[mixed]
    case.error = case.error.sample(frac=1, random_state=seed)
    case.risk = case.risk.only(case.risk.symbols[mixed[::-1]])
    case.held = dict(reversed(held.items()))
    again = case.solve()
    pd.testing.assert_series_equal(again.weights, solution.weights, rtol=0, atol=1e-9)
    assert again.objective == pytest.approx(solution.objective, abs=1e-9)
    assert again.upper_bound == pytest.approx(solution.upper_bound, abs=1e-7)
    assert again.duals.keys() == solution.duals.keys()


def test_the_error_of_a_forecast_is_what_nature_draws() -> None:
    """A true IC from the prior, a measured one with its error, and for each name what no score can
    tell: over the worlds in which that very IC was measured, truth less forecast has the error."""
    rng = np.random.default_rng(0)
    prior, noise, measured = 0.02, 0.015, 0.03
    true_ic = rng.normal(0, prior, 2_000_000)
    alike = true_ic[np.abs(true_ic + rng.normal(0, noise, true_ic.size) - measured) < 5e-4]
    volatility = pd.Series([0.02, 0.03, 0.05], ["A", "B", "C"])
    asked = ForecastSettings(premium_annual=0.05, shrink_prior_ic=prior)
    score = pd.Series([-1.0, 0.0, 1.0], volatility.index)
    made = forecast.forecast(SESSION, volatility, score, measured, noise, asked, 5)
    z = made["score"].to_numpy()
    unknown = rng.normal(0, prior, (alike.size, 3))
    truth = volatility.to_numpy() * (alike[:, None] * z + unknown)
    np.testing.assert_allclose(truth.mean(axis=0), made["alpha"], atol=3e-5)
    np.testing.assert_allclose((truth - truth.mean(axis=0)).std(axis=0), made["error"], rtol=0.02)
