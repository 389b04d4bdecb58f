"""The choice of names, from the relaxation to the certificate.

1. relax: no limit on names, no minimum size (`_relax`); where the rules cannot all hold, they are
   widened by the least that helps, in the order of the settings
2. keep the largest, with what turnover cannot clear (`support.choose`), and solve again; where a
   limit would have to give way to minimum sizes, with fewer of them (`_lighter_fit`)
3. make whole what is left below the minimum (`_whole`), and leave out what is held only
   because of its minimum (`_without_unwanted`)
4. swap names while that pays (`swaps.improve`)
5. bound every other choice from above (`bound.proven`); where that is not close enough, by a few
   nodes of branch and bound, or by as many as it takes (`exact.prove`)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant50lib.errors import OptimizationError
from quant50lib.services import bound, conflicts, exact, swaps
from quant50lib.services.day import DUST, MARGIN, Answer, Day, Slack, value_bps
from quant50lib.services.exact import Proof
from quant50lib.services.limits import Breach, Limits
from quant50lib.services.programme import least_slack, solve
from quant50lib.services.support import Problem, Support, choose, fit, lighter, one_remainder
from quant50lib.settings import OptimizeSettings

#: attempts to find names for which the limits hold, and then to find better ones
ROUNDS = 12


@dataclass(frozen=True)
class Found:
    """The best weights found, for all symbols of the day; values in bps over the horizon.

    On a day when rules had to be widened, the bound is of all books within the widened ones.
    """

    weights: np.ndarray  # (n,)
    objective: float
    upper_bound: float  # no choice of names is worth more
    duals: dict[str, np.ndarray]  # bps per unit of limit
    status: str
    seconds: float
    proof: Proof | None = None  # of branch and bound, where it was asked for


def search(day: Day, limits: Limits, settings: OptimizeSettings, places: int) -> Found:
    """Relax, keep the largest, solve again; keep more of what is held where the limits collide.

    Raises
    ------
    OptimizationError
        The limits contradict each other although all that may give way did.
    """
    within = np.flatnonzero(day.upper > 0)
    if not len(within):
        return _as_it_is(day, np.zeros(len(day.symbols)), settings, "nothing may be held")
    if day.sold + MARGIN >= limits.turnover and "turnover" not in settings.elastic_order:
        return _as_it_is(day, day.held, settings, "nothing may be traded")
    problem = Problem(day.only(within), limits, settings, places)
    relaxed, problem = _relax(problem)
    chosen, answer = _first_fit(problem, relaxed.weights)
    if answer is None:
        chosen, answer, problem = _elastic_fit(problem, chosen)
        relaxed = _open(problem) or relaxed
    chosen, answer = _whole(problem, chosen, answer)
    chosen, answer = _without_unwanted(problem, chosen, answer)
    highest = _bound(problem, relaxed)
    chosen, answer = swaps.improve(problem, chosen, answer, highest)
    proof = None
    if settings.exact and not problem.slack.given:
        answer, proof = exact.prove(problem, answer, highest, settings.exact_nodes)
    elif _open_certificate(problem, answer, highest):
        nodes, close = settings.certificate_nodes, swaps.enough(problem, highest)
        answer, looked = exact.prove(problem, answer, highest, nodes, close)
        highest = looked.upper_bound
    return _found(day, within, settings, answer, relaxed, proof, highest)


def _open_certificate(problem: Problem, answer: Answer, highest: float) -> bool:
    """Whether a few nodes of branch and bound may bring bound and book closer to each other."""
    far = highest - problem.value(answer) > swaps.enough(problem, highest)
    return not problem.slack.given and (far or not exact.is_choice(problem, answer))


def _found(
    day: Day,
    within: np.ndarray,
    settings: OptimizeSettings,
    answer: Answer,
    relaxed: Answer,
    proof: Proof | None,
    highest: float,
) -> Found:
    weights = np.zeros(len(day.symbols))
    weights[within] = answer.weights
    sold = settings.cost_bps * (day.held.sum() - day.held[within].sum())  # not in the part
    return Found(
        weights=weights,
        objective=value_bps(day, weights, settings),
        upper_bound=(proof.upper_bound if proof else highest) - sold,
        duals=answer.duals,
        status=answer.status,
        seconds=relaxed.seconds + answer.seconds,
        proof=proof,
    )


def _as_it_is(day: Day, weights: np.ndarray, settings: OptimizeSettings, status: str) -> Found:
    """Where there is nothing to decide."""
    value = value_bps(day, weights, settings)
    return Found(weights, value, value, {}, status, 0.0)


def _open(problem: Problem) -> Answer | None:
    """The best weights with every name free."""
    p, nothing = problem, np.zeros(len(problem.day.symbols))
    return solve(p.day, p.limits, p.settings, nothing, p.day.upper, p.slack)


def _bound(problem: Problem, relaxed: Answer) -> float:
    p, nothing = problem, np.zeros(len(problem.day.symbols))
    return bound.proven(p.day, p.limits, p.settings, nothing, p.day.upper, p.slack, relaxed)


def _relax(problem: Problem) -> tuple[Answer, Problem]:
    """The programme without limit on names and minimum size, its rules widened if they must be."""
    answer = _open(problem)
    if answer is not None:
        return answer, problem
    day, nothing = problem.day, np.zeros(len(problem.day.symbols))
    slack = least_slack(day, problem.limits, problem.settings, nothing, day.upper)
    wider = problem if slack is None else replace(problem, slack=slack)
    answer = None if slack is None else _open(wider)
    if answer is None:
        raise OptimizationError(
            "no weights keep the limits, although those in optimize.elastic_order gave way; "
            f"exposure budget {problem.limits.budget:.1%}, "
            f"turnover cap {problem.limits.turnover:.1%}{_why(problem)}"
        )
    return answer, wider


def _why(problem: Problem) -> str:
    """What collides, for the message of a day that has to stop."""
    unknown = (Breach("rules", 0.0, 0.0),)
    p = problem
    found = conflicts.explain(p.day, p.limits, unknown, p.places, 0, p.settings.solver)
    known = found is not None and "rules" not in found.rules
    return f": {found.sentence}" if found and known else ""


def _first_fit(problem: Problem, liked: np.ndarray) -> tuple[Support, Answer | None]:
    """The names to hold, and their weights if the limits allow any.

    Minimum sizes give way before any limit does: with fewer of them, the rest is cash.
    """
    tried = [choose(problem.day, liked, problem.wide, problem.places)]
    for _ in range(ROUNDS):
        answer = fit(problem, tried[-1])
        if answer is not None:
            return tried[-1], answer
        # widened limits are tight: to keep more of what is held would not keep them
        following = (
            None
            if problem.slack.given
            else one_remainder(tried[-1], problem.day, liked, problem.places)
        )
        if following is None:
            break
        tried.append(following)
    found = (_lighter_fit(problem, chosen, liked) for chosen in tried)
    return next((each for each in found if each is not None), (tried[0], None))


def _lighter_fit(
    problem: Problem, chosen: Support, liked: np.ndarray
) -> tuple[Support, Answer] | None:
    """With as few minimum sizes less as the limits need, by bisection; None where none would do."""
    steps = [chosen]
    while steps[-1].keep.any():
        steps.append(lighter(steps[-1], problem.day, liked))
    answer = fit(problem, steps[-1]) if len(steps) > 1 else None
    if answer is None:
        return None
    heavy, light = 0, len(steps) - 1  # of the steps: one that does not fit, and one that does
    while light - heavy > 1:
        between = (heavy + light) // 2
        better = fit(problem, steps[between])
        if better is None:
            heavy = between
        else:
            light, answer = between, better
    return steps[light], answer


def _whole(problem: Problem, chosen: Support, answer: Answer) -> tuple[Support, Answer]:
    """Sell in full what is left below the minimum, or raise it to that, the smallest first, where
    the limits allow: whichever is worth more."""
    weights, least = answer.weights, problem.limits.min_weight
    small = np.flatnonzero(chosen.remain & (weights > 0) & (weights < least))
    for at in small[np.argsort(weights[small], kind="stable")][:ROUNDS]:
        able = problem.day.upper[at] >= least
        ways = [chosen.without(at), *([chosen.kept(at)] if able else [])]
        fits = [(way, found) for way in ways if (found := fit(problem, way)) is not None]
        if fits:
            chosen, answer = max(fits, key=lambda each: problem.value(each[1]))
    return chosen, answer


def _elastic_fit(problem: Problem, chosen: Support) -> tuple[Support, Answer, Problem]:
    """Weights of the names chosen within limits widened for them; else of nothing but holdings."""
    day = problem.day
    for names in (chosen, Support(np.zeros_like(chosen.keep), day.held > 0)):
        lower, upper = np.zeros(len(day.symbols)), np.zeros(len(day.symbols))
        lower[names.at], upper[names.at] = names.bounds(day, problem.limits.min_weight)
        slack = least_slack(day, problem.limits, problem.settings, lower, upper)
        wider = problem if slack is None else replace(problem, slack=slack)
        answer = None if slack is None else fit(wider, names)
        if answer is not None:
            return names, answer, wider
    raise OptimizationError(
        f"no choice of at most {problem.limits.names} names keeps the limits, although those in "
        "optimize.elastic_order gave way"
    )


def _without_unwanted(problem: Problem, chosen: Support, answer: Answer) -> tuple[Support, Answer]:
    """Leave out names that are held only at the minimum and would rather be smaller, if it pays."""
    for _ in range(ROUNDS):
        unwanted = chosen.keep & (answer.weights <= problem.limits.min_weight + DUST)
        cost = np.where(unwanted, answer.floor_price, 0.0)
        if cost.max(initial=0.0) <= DUST:
            break
        fewer = chosen.without(int(np.argmax(cost)))
        better = fit(problem, fewer)
        if better is None or problem.value(better) <= problem.value(answer):
            break
        chosen, answer = fewer, better
    return chosen, answer
