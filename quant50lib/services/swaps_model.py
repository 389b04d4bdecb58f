"""What a swap of names may be expected to bring, from the curvature of the book it is made in.

Near the fitted book the loss is quadratic, and the limits that bind are planes. A name that moves
takes the free names with it: with M the matrix of the optimality conditions of these (J. Nocedal and
S. J. Wright, "Numerical Optimization", section 16.1), moving name i by x costs

    -r_i x + s_i x^2 / 2,   s_i = H_ii - b_i' M^-1 b_i,   b_i = (H_Fi, A_i),

and forcing the free name j from w_j to nothing costs w_j^2 / 2 (M^-1)_jj. Both at once interact through
(M^-1 b_i)_j. Bounds that other names run into on the way are overlooked: it ranks, it proves nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant50lib.services import bound
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import BPS, DUST, Answer
from quant50lib.services.support import Problem, Support

#: a price below this, bps per unit, is that of a limit that does not bind
CHEAP = 1e-4
#: what a binding limit gives way to, so that planes that say the same twice do no harm
SOFT = 1e-9


class Model(NamedTuple):
    """The book around its optimum; f free names, a binding limits, c names looked at."""

    free: np.ndarray  # (f,) int, of the names looked at
    inverse: np.ndarray  # (f + a, f + a) of the optimality conditions
    pulled: np.ndarray  # (f + a, c) the inverse times b of each name
    curvature: np.ndarray  # (c, c) of the loss when the free names give way
    slope: np.ndarray  # (c,) bps won per unit, trades left out
    per_trade: float


def expectations(
    problem: Problem, chosen: Support, answer: Answer, ins: np.ndarray, outs: np.ndarray
) -> np.ndarray:
    """Expected improvements in bps, (1 + n_ins, 1 + n_outs): of adding the name of the row and
    dropping that of the column; the first of either is none."""
    day, least = problem.day, problem.limits.min_weight
    looked = np.concatenate([outs, ins])
    m = _model(problem, chosen, answer, looked, len(outs))
    w, held = answer.weights[outs], day.held
    into = np.arange(len(outs), len(looked))
    bought = held[ins] <= 0  # what is sold today and kept instead saves a trade
    rate = m.slope[into] - np.where(bought, m.per_trade, -m.per_trade)
    bend = np.diag(m.curvature)[into]
    most = bound.ceiling(day, problem.limits, problem.slack, day.upper)[ins]

    # dropping: what it costs, and how that changes with the weight of the name that comes
    back = np.where(w > held[outs], np.minimum(held[outs], w), 0.0)
    cost = (m.slope[: len(outs)] + m.per_trade) * w + np.diag(m.curvature)[: len(outs)] * w**2 / 2
    pull = m.curvature[np.ix_(into, np.arange(len(outs)))] * w
    stiff = np.zeros((len(ins), len(outs)))
    at = m.free
    own = np.diag(m.inverse)[: len(at)]
    cost[at] = w[at] ** 2 / (2 * own)
    pull[:, at] = m.pulled[: len(at), into].T * (w[at] / own)
    stiff[:, at] = m.pulled[: len(at), into].T ** 2 / own
    cost = cost + 2 * m.per_trade * back

    expected = np.full((1 + len(ins), 1 + len(outs)), -np.inf)
    expected[0, 1:] = -cost
    for k, (gain, bent, dropped) in enumerate(
        (
            (rate[:, None], bend[:, None], np.zeros(1)),
            (rate[:, None] + pull, bend[:, None] + stiff, cost),
        )
    ):
        x = np.clip(gain / np.maximum(bent, SOFT), least, np.maximum(most, least)[:, None])
        expected[1:, k : k + 1 if k == 0 else None] = gain * x - bent * x**2 / 2 - dropped
    return expected


def _model(
    problem: Problem, chosen: Support, answer: Answer, looked: np.ndarray, n_inside: int
) -> Model:
    day, settings = problem.day, problem.settings
    w, years = answer.weights, day.horizon / SESSIONS_PER_YEAR
    found = bound.separable(day, problem.limits, settings, problem.slack, answer)
    prices = {rule: np.maximum(price, 0.0) for rule, price in answer.duals.items()}
    sigma = np.sqrt(day.variance(w) / years)
    volatility = float(prices.get("volatility", np.zeros(())))
    steep = BPS * settings.risk_aversion + volatility / max(2 * years * sigma, DUST)
    factors, error = day.factors[:, looked], day.error[looked] ** 2
    hessian = 2 * steep * (factors.T @ factors + np.diag(day.diagonal[looked]))
    doubt = max(float(np.linalg.norm(day.error * w)), DUST)
    bent = error * w[looked] / doubt
    scale = BPS * settings.uncertainty_aversion / doubt
    hessian += scale * (np.diag(error) - np.outer(bent, bent))

    rows = _binding(problem, answer, looked, prices)
    at = looked[:n_inside]
    most = bound.ceiling(day, problem.limits, problem.slack, day.upper)[at]
    floor = np.where(chosen.keep[at], problem.limits.min_weight, 0.0)
    free = (w[at] > floor + DUST) & (w[at] < most - DUST) & (np.abs(w[at] - day.held[at]) > DUST)
    free = np.flatnonzero(free)
    f, a = len(free), len(rows)
    system = np.zeros((f + a, f + a))
    system[:f, :f] = hessian[np.ix_(free, free)]
    system[f:, :f], system[:f, f:] = rows[:, free], rows[:, free].T
    system[f:, f:] = -SOFT * np.eye(a)
    inverse = np.linalg.pinv(system, hermitian=True) if f + a else system
    b = np.vstack([hessian[free], rows])
    pulled = inverse @ b
    curvature = hessian - b.T @ pulled
    return Model(free, inverse, pulled, curvature, found.slope[looked], found.cost)


def _binding(
    problem: Problem, answer: Answer, looked: np.ndarray, prices: dict[str, np.ndarray]
) -> np.ndarray:
    """The slopes of the limits that bind, (a, c)."""
    day, w = problem.day, answer.weights
    trades = np.where(w > day.held + DUST, 1.0, -1.0)
    trades = np.where((w <= 0) & (day.held <= 0), 1.0, trades)
    spread = day.factors.T @ (day.factors @ w) + day.diagonal * w
    each = {
        "gross": np.ones(len(w)),
        "turnover": trades,
        "volatility": spread / max(float(spread.max()), DUST),
    }
    rows = [row for rule, row in each.items() if float(prices.get(rule, np.zeros(()))) > CHEAP]
    sectors = prices.get("sector", np.zeros(len(day.sectors)))
    rows += [row for row, price in zip(day.member, sectors, strict=True) if price > CHEAP]
    return np.array(rows).reshape(len(rows), len(w))[:, looked]
