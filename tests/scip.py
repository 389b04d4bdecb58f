"""The choice of names with binary variables, by SCIP through cvxpy (pip install pyscipopt)."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np

#: seconds that SCIP may take
SCIP_SECONDS = 120.0


def by_scip(given: dict[str, Any]) -> tuple[float, bool]:
    """The best value in bps, and whether SCIP stopped because of its gap, 1e-6, and not of time.

    `given` are the arguments of `optimize.target_weights`; every name may be bought, none is forced.
    Norms are of bps and per cent: in fractions SCIP takes them for nought within its tolerances.
    """
    s, index = given["settings"], given["expected_return"].index
    held = given["held"].reindex(index, fill_value=0.0).to_numpy()
    groups = given["sectors"].reindex(index).to_numpy()
    w, z, sigma = cp.Variable(len(index)), cp.Variable(len(index), boolean=True), cp.Variable()
    percent = 100 * np.linalg.cholesky(given["risk"].matrix().to_numpy() * 252 / given["horizon"]).T
    doubt = cp.norm(cp.multiply(1e4 * given["error"].to_numpy(), w))
    trades = cp.norm1(w - held)
    rules = [
        w >= s.min_weight * z,
        w <= s.max_weight * z,
        cp.sum(z) <= s.max_names,
        cp.sum(w) <= 1 - s.cash_buffer,
        trades <= s.max_turnover,
        cp.norm(percent @ w) <= sigma,
        sigma <= 100 * s.max_volatility_annual,
        *(cp.sum(w[groups == group]) <= s.max_sector for group in np.unique(groups)),
    ]
    gain = 1e4 * given["expected_return"].to_numpy() @ w - s.uncertainty_aversion * doubt
    variance = s.risk_aversion * given["horizon"] / 252 * cp.square(sigma)  # percent^2 is 1e-4
    problem = cp.Problem(cp.Maximize(gain - variance - s.cost_bps * trades), rules)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the gap that was asked
        problem.solve(solver="SCIP", scip_params={"limits/gap": 1e-6, "limits/time": SCIP_SECONDS})
    return float(problem.value), problem.solver_stats.solve_time < SCIP_SECONDS
