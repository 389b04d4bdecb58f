"""The programme of the day, stated in cvxpy, and what to do when its rules contradict each other.

    maximise    mu'w - kappa ||diag(error) w|| - lambda w'Sigma w - cost |w - w0|
    subject to  sum w <= gross,  sqrt(w'Sigma w) <= volatility,  |w - w0| <= turnover,
                each w <= max_weight,  each sector <= sector,  lower <= w <= upper

`optimize.target_weights` decides on the names; here they are given by `lower` and `upper`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np

from quant50lib.errors import OptimizationError
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import BPS, MARGIN, ROOM, Answer, Day, Slack, allowed
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings

OPTIONS: dict[str, dict] = {
    "CLARABEL": {},
    "HIGHS": {},
    "SCS": {"eps_abs": 1e-8, "eps_rel": 1e-8, "max_iters": 100_000},
}
TIME_LIMIT = {"CLARABEL": "time_limit", "HIGHS": "time_limit", "SCS": "time_limit_secs"}
#: what solves the statement where our own method does not
FALL_BACK = {"fast": "CLARABEL"}
#: these always give way in the end, because drift alone can break them
LAST_TO_GIVE_WAY = ("gross", "max_weight")


@dataclass(frozen=True)
class Statement:
    """The programme as cvxpy objects: `rules` by name, all <=; `bounds` hold always."""

    weights: cp.Variable
    objective: cp.Expression
    rules: dict[str, cp.Constraint]
    bounds: list[cp.Constraint]


def statement(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack = Slack(),
    give: dict[str, cp.Expression] | None = None,
) -> Statement:
    """The programme beside its formula; `give` adds variables to the limits of some rules."""
    years = day.horizon / SESSIONS_PER_YEAR
    w = cp.Variable(len(day.symbols))
    sigma = cp.Variable()  # at least sqrt(w'Sigma w), annual
    root = _root(day) / np.sqrt(years)
    trades = cp.norm1(w - day.held)

    gain = BPS * day.expected_return @ w
    doubt = BPS * settings.uncertainty_aversion * cp.norm(cp.multiply(day.error, w))
    variance = BPS * settings.risk_aversion * years * cp.square(sigma)
    cost = settings.cost_bps * trades

    left = allowed(day, limits, slack)
    limit = {rule: most + (give or {}).get(rule, 0.0) for rule, most in left.items()}
    rules = {
        "gross": cp.sum(w) <= limit["gross"],
        "volatility": sigma <= limit["volatility"],
        "turnover": trades <= limit["turnover"],
        "max_weight": w <= limit["max_weight"],
        "sector": day.member @ w <= limit["sector"],
    }
    bounds = [cp.norm(root @ w) <= sigma, w >= lower, w <= upper]
    return Statement(w, gain - doubt - variance - cost, rules, bounds)


def solve(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack = Slack(),
) -> Answer | None:
    """The best weights within the (widened) limits, or None where they contradict each other.

    Raises
    ------
    OptimizationError
        The solver ran out of time.
    """
    if settings.solver != "fast":
        return _by_cvxpy(day, limits, settings, lower, upper, slack)
    from quant50lib.services import fast  # compiles what only those need who ask for it

    attempt = fast.solve(day, limits, settings, lower, upper, slack)
    if attempt.settled:
        return attempt.answer
    answer = _by_cvxpy(day, limits, settings, lower, upper, slack)
    return answer and replace(answer, status=f"{answer.status} (fell back)")


def _by_cvxpy(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
) -> Answer | None:
    s = statement(day, limits, settings, lower, upper, slack)
    problem = cp.Problem(cp.Maximize(s.objective), [*s.rules.values(), *s.bounds])
    if not _run(problem, settings):
        return None
    return Answer(
        weights=np.asarray(s.weights.value),
        objective=float(problem.value),
        duals={rule: np.asarray(c.dual_value) for rule, c in s.rules.items()},
        floor_price=np.asarray(s.bounds[1].dual_value),
        status=problem.status,
        seconds=float(problem.solver_stats.solve_time or 0.0),
    )


def _root(day: Day) -> np.ndarray:
    """R, (r, n), with R'R the covariance: the dense form until it is many times the factors."""
    k, n = day.factors.shape
    if n > 4 * k:
        return np.vstack([day.factors, np.diag(np.sqrt(day.diagonal))])
    return np.linalg.cholesky(day.covariance()).T


def least_slack(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Slack | None:
    """The least widening under which the limits can hold together, rule by rule.

    The rules that give way last are served first: each is widened by as little as the ones before
    it allow, whatever that costs those behind it. A name or sector is widened only if it is over
    its limit already, so that nothing is bought into a breach.

    None where only a rule that is not in `elastic_order` could help by giving way.
    """
    if settings.solver == "fast":
        from quant50lib.services import fast_slack

        attempt = fast_slack.least(day, limits, settings, lower, upper)
        if attempt.settled:
            return attempt.slack
    return _least_slack(day, limits, settings, lower, upper)


def _least_slack(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Slack | None:
    """The same by cvxpy, one programme for each rule."""
    order = [*LAST_TO_GIVE_WAY, *reversed(settings.elastic_order)]
    rigid = [r for r in ("turnover", "sector", "volatility") if r not in settings.elastic_order]
    slack, in_force = Slack(), list(rigid)
    for rule in order:
        in_force.append(rule)
        least = _least(day, limits, settings, lower, upper, slack, in_force)
        if least is None:
            return None
        widened: dict[str, Any] = {rule: least}
        slack = replace(slack, **widened)
    return slack


def _least(
    day: Day,
    limits: Limits,
    settings: OptimizeSettings,
    lower: np.ndarray,
    upper: np.ndarray,
    slack: Slack,
    in_force: list[str],
) -> np.ndarray | float | None:
    """The smallest sum by which the newest rule in force must be widened, given the others."""
    rule = in_force[-1]
    ceiling = _most(rule, day, limits)
    give = cp.Variable(np.shape(ceiling), nonneg=True)
    s = statement(day, limits, settings, lower, upper, slack, {rule: give})
    rules = [c for name, c in s.rules.items() if name in in_force]
    bounds = s.bounds if "volatility" in in_force else s.bounds[1:]
    problem = cp.Problem(cp.Minimize(cp.sum(give)), [*rules, *bounds, give <= ceiling])
    if not _run(problem, settings):
        return None
    found = np.asarray(give.value)
    widened = np.where(found > MARGIN / 10, found + ROOM, 0.0)
    return widened if np.ndim(widened) else float(widened)


def _most(rule: str, day: Day, limits: Limits) -> np.ndarray | float:
    """The most a rule may be widened: to where the book stands before the trade."""
    if rule == "max_weight":
        return np.maximum(day.held - limits.max_weight, 0.0) + 2 * MARGIN
    if rule == "sector":
        return np.maximum(day.member @ day.held + day.idle_sector - limits.sector, 0.0) + 2 * MARGIN
    return 10.0


def _run(problem: cp.Problem, settings: OptimizeSettings) -> bool:
    """Whether a solution was found that keeps the constraints; linear programmes go to HiGHS.

    An interior-point method can neither prove nor deny what is feasible by a hair: whatever is not
    clearly a solution counts as none, and the limits are then widened by the least that helps.
    """
    solver = "HIGHS" if problem.is_lp() else FALL_BACK.get(settings.solver, settings.solver)
    options = OPTIONS[solver] | {TIME_LIMIT[solver]: settings.time_limit_seconds}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # judged below
            problem.solve(solver=solver, **options)
    except cp.SolverError:
        return False
    if problem.status == cp.USER_LIMIT:
        raise OptimizationError(
            f"{solver} did not finish in {settings.time_limit_seconds} s: "
            "see optimize.time_limit_seconds"
        )
    if problem.status == cp.OPTIMAL:
        return True
    return problem.status == cp.OPTIMAL_INACCURATE and _kept(problem.constraints)


def _kept(constraints: list[cp.Constraint]) -> bool:
    return all(float(np.max(c.violation(), initial=0.0)) <= MARGIN / 2 for c in constraints)
