"""The programme of a day as conic data, for solvers that are called without a modelling layer.

    minimise c'x + x'Px / 2   subject to   b - A x in K,   x = (w, trades, doubt, sigma[, f])

Written for their speed: the variance is one square of sigma, the covariance whichever form each
solver is quickest with (a dense root, or the factors with f = F w), the cones of errors scaled to
entries of order one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from quant50lib.services.day import BPS, MARGIN, Day
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Conic:
    """Equalities first, then inequalities, then second-order cones."""

    P: sp.csc_matrix
    c: np.ndarray
    A: sp.csc_matrix
    b: np.ndarray
    equal: int
    positive: int
    cones: list[int]
    n: int


def conic(day: Day, limits: Limits, settings: OptimizeSettings, factored: bool) -> Conic:
    """The programme with lower bounds of zero."""
    n, years = len(day.held), day.horizon / 252
    k = len(day.factors) if factored else 0
    x = 2 * n + 2 + k
    one, none = sp.identity(n, format="csc"), sp.csc_matrix

    def columns(**parts: sp.csc_matrix) -> sp.csc_matrix:
        """A block row of x from its parts."""
        rows = next(iter(parts.values())).shape[0]
        sizes = {"w": n, "trades": n, "doubt": 1, "sigma": 1, "f": k}
        return sp.hstack([parts.get(name, none((rows, m))) for name, m in sizes.items()])

    row, unit = none(np.ones((1, n))), none([[1.0]])
    inequalities = [
        (columns(w=-one), np.zeros(n)),
        (columns(w=one), np.full(n, limits.max_weight - MARGIN)),
        (columns(w=row), [limits.gross - MARGIN]),
        (columns(w=none(day.member)), np.full(len(day.member), limits.sector - MARGIN)),
        (columns(w=one, trades=-one), day.held),
        (columns(w=-one, trades=-one), -day.held),
        (columns(trades=row), [limits.turnover - MARGIN]),
        (columns(sigma=unit), [limits.volatility - MARGIN]),
    ]
    root = 10 / np.sqrt(years)  # sigma is about 0.1
    if factored:
        equalities = [(columns(w=none(day.factors), f=-sp.identity(k)), np.zeros(k))]
        risk = [
            columns(f=-root * sp.identity(k)),
            columns(w=sp.diags(-root * np.sqrt(day.diagonal))),
        ]
    else:
        equalities = []
        risk = [columns(w=none(-root * np.linalg.cholesky(day.covariance()).T))]
    size = 1 + sum(part.shape[0] for part in risk)
    cones = [
        (sp.vstack([columns(sigma=-10 * unit), *risk]), np.zeros(size)),
        (sp.vstack([columns(doubt=-unit), columns(w=sp.diags(-1e3 * day.error))]), np.zeros(n + 1)),
    ]
    parts = [*equalities, *inequalities, *cones]
    P = sp.lil_matrix((x, x))
    P[2 * n + 1, 2 * n + 1] = 2 * BPS * settings.risk_aversion * years
    c = np.zeros(x)
    c[:n], c[n : 2 * n] = -BPS * day.expected_return, settings.cost_bps
    c[2 * n] = BPS * settings.uncertainty_aversion / 1e3
    return Conic(
        P=P.tocsc(),
        c=c,
        A=sp.vstack([a for a, _ in parts], format="csc"),
        b=np.concatenate([np.asarray(b, dtype=float) for _, b in parts]),
        equal=k,
        positive=sum(len(b) for _, b in inequalities),
        cones=[size, n + 1],
        n=n,
    )


def clarabel(day: Day, limits: Limits, settings: OptimizeSettings) -> np.ndarray:
    """Clarabel on the dense root."""
    import clarabel as solver

    q = conic(day, limits, settings, factored=False)
    cones = [solver.NonnegativeConeT(q.positive), *map(solver.SecondOrderConeT, q.cones)]
    options = solver.DefaultSettings()
    options.verbose = False
    found = solver.DefaultSolver(sp.triu(q.P, format="csc"), q.c, q.A, q.b, cones, options).solve()
    return np.asarray(found.x)[: q.n]


def scs(day: Day, limits: Limits, settings: OptimizeSettings) -> np.ndarray:
    """SCS on the factors, to 1e-5; it is quickest with an objective of order 0.1."""
    import scs as solver

    q = conic(day, limits, settings, factored=True)
    data = {"P": sp.triu(q.P, format="csc") / 100, "A": q.A, "b": q.b, "c": q.c / 100}
    cones = {"z": q.equal, "l": q.positive, "q": q.cones}
    options = {"verbose": False, "eps_abs": 1e-5, "eps_rel": 1e-5, "max_iters": 20_000}
    return solver.SCS(data, cones, **options).solve()["x"][: q.n]


def ecos(day: Day, limits: Limits, settings: OptimizeSettings) -> np.ndarray:
    """ECOS on the dense root; it knows no squares, so v >= sigma^2 is one more cone."""
    import ecos as solver

    q = conic(day, limits, settings, factored=False)
    x = len(q.c)
    square = sp.lil_matrix((3, x + 1))
    square[0, x], square[1, x - 1], square[2, x] = -1.0, -2.0, 1.0  # |(2 sigma, 1 - v)| <= 1 + v
    A = sp.vstack([sp.hstack([q.A, sp.csc_matrix((q.A.shape[0], 1))]), square], format="csc")
    c = np.append(q.c, q.P[x - 1, x - 1] / 2)
    cones = {"l": q.positive, "q": [*q.cones, 3]}
    found = solver.solve(c, A, np.append(q.b, [1.0, 0.0, 1.0]), cones, verbose=False)
    return found["x"][: q.n]


def excess(day: Day, limits: Limits, w: np.ndarray) -> float:
    """By how much weights are over the worst of the limits."""
    volatility = np.sqrt(day.variance(w) * 252 / day.horizon)
    over = (
        -w.min(),
        w.max() - limits.max_weight,
        w.sum() - limits.gross,
        (day.member @ w).max() - limits.sector,
        np.abs(w - day.held).sum() - limits.turnover,
        volatility - limits.volatility,
    )
    return float(max(over))
