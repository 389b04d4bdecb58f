"""The choice of names against enumeration, another solver of the whole, and its own certificate."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant50lib.services import bound, optimize, search
from quant50lib.services.day import BPS, Answer, Day, Slack, value_bps
from quant50lib.services.limits import Limits
from quant50lib.services.programme import solve
from quant50lib.settings import OptimizeSettings
from tests.days import SESSION, Case, by_slsqp, market, names, settings_of
from tests.scip import by_scip

FEW: dict[str, Any] = {"max_names": 3, "max_weight": 0.05, "min_weight": 0.01, "solver": "fast"}


def few(seed: int, n: int = 8, **changes: Any) -> Case:
    """Names of which four are held, and three may be."""
    rng = np.random.default_rng(seed)
    held = dict(zip(names(n)[:4], rng.uniform(0.005, 0.04, 4), strict=True))
    return market(n, seed, settings=settings_of(**(FEW | changes)), held=held)


def enumerated(case: Case) -> float:
    """The best of every choice of at most so many names, each by another optimiser."""
    n, most = len(case.expected_return), case.settings.max_names
    choices = (c for k in range(most + 1) for c in itertools.combinations(range(n), k))
    return max(by_slsqp(case, np.isin(np.arange(n), c), starts=1) for c in choices)


@pytest.mark.parametrize("seed", [14, 18])
def test_branch_and_bound_finds_the_best_of_all_choices(seed: int) -> None:
    """Of six names two may be held: 22 choices, and the first guess is not the best."""
    case = few(seed, n=6, max_names=2, exact=True)
    solution, best = case.solve(), enumerated(case)
    assert not solution.breaches
    assert solution.proof.complete and solution.proof.nodes > 1
    assert solution.objective == pytest.approx(best, abs=2e-4)
    assert best <= solution.upper_bound <= solution.objective + 1.1e-3


@pytest.mark.parametrize("seed", [0, 2])
def test_swaps_find_what_the_largest_of_the_relaxation_misses(seed: int) -> None:
    alone = {"certificate_nodes": 0}
    first, better = few(seed, swap_solves=0, **alone).solve(), few(seed, **alone).solve()
    assert better.objective > first.objective + 0.1
    assert better.names <= 3 and not better.breaches
    assert better.upper_bound == first.upper_bound


def test_a_proof_without_time_stays_open_and_says_so() -> None:
    knobs = {"exact": True, "swap_solves": 0, "solver": "CLARABEL"}
    solution = few(0, **knobs, exact_time_limit_seconds=1e-9).solve()
    assert not solution.proof.complete
    assert solution.upper_bound > solution.objective + 0.1
    detail = optimize.to_limits(solution, SESSION).set_index("rule").loc["names", "detail"]
    assert detail.endswith("proof left open after 1 node")


def test_where_too_many_are_held_no_choice_of_names_is_claimed() -> None:
    """Four equal holdings, three places, and turnover for none of them."""
    case = few(0, exact=True, max_turnover=0.01)
    case.held = dict.fromkeys(names(8)[:4], 0.03)
    solution = case.solve()
    assert {b.rule for b in solution.breaches} == {"names"}
    assert solution.gap_bps >= 0


@given(seed=st.integers(0, 10_000), minimum=st.sampled_from([0.01, 0.03, 0.05]))
@example(seed=4, minimum=0.05)  # branch and bound comes to a node of no names
@settings(max_examples=40, deadline=None)
def test_from_cash_no_limit_gives_way(seed: int, minimum: float) -> None:
    """However tight: the empty book keeps every one of them."""
    rng = np.random.default_rng(seed)
    case = market(6, seed, budget=float(rng.choice([1, 0.5, 0.25])))
    tight = {"max_sector": rng.uniform(0.02, 0.25), "max_turnover": rng.uniform(0.02, 0.5)}
    tight["max_volatility_annual"] = rng.uniform(0.01, 0.1)
    case.settings = settings_of(solver="fast", min_weight=minimum, **tight)
    assert not case.solve().breaches


def test_scip_agrees() -> None:
    """The whole problem with binary variables, through cvxpy."""
    pytest.importorskip("pyscipopt", reason="SCIP is not installed: pip install pyscipopt")
    for seed in range(3):
        case = few(seed, exact=True)
        value, proven = by_scip(case.arguments)
        assert proven and case.solve().objective == pytest.approx(value, abs=2e-3)


# ---- the bound ---------------------------------------------------------------------------------


def day_of(case: Case) -> Day:
    index = case.expected_return.index
    groups = pd.Series(case.sectors)[index].to_numpy()
    kinds = np.unique(groups)
    return Day(
        symbols=index.to_numpy(dtype=object),
        expected_return=case.expected_return.to_numpy(),
        error=case.error.to_numpy(),
        factors=case.risk.factors,
        diagonal=case.risk.diagonal,
        held=pd.Series(case.held, dtype=float).reindex(index).fillna(0.0).to_numpy(),
        upper=np.ones(len(index)),
        sectors=np.array(kinds, dtype=object),
        member=(kinds[:, None] == groups[None, :]).astype(float),
        horizon=5,
        idle_sector=np.zeros(len(kinds)),
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_no_book_within_the_limits_beats_the_bound_whatever_the_prices(seed: int) -> None:
    """Prices and weights drawn at random: the bound is loose then, and still holds."""
    rng = np.random.default_rng(seed)
    case, asked = market(12, seed), OptimizeSettings()
    case.held = dict(zip(names(12)[:5], rng.uniform(0, 0.05, 5), strict=True))
    day, limits = day_of(case), Limits.of(1.0, asked)
    duals = {r: rng.exponential(20, ()) for r in ("gross", "volatility", "turnover")}
    duals["sector"] = rng.exponential(20, len(day.sectors))
    anything = Answer(rng.uniform(0, 0.1, 12), 0.0, duals, np.zeros(12), "", 0.0)
    zero, slack = np.zeros(12), Slack()
    highest = bound.proven(day, limits, asked, zero, day.upper, slack, anything)
    for _ in range(50):
        w = np.where(rng.random(12) < 0.5, day.held, rng.uniform(0, 0.05, 12))
        step = min(1.0, limits.turnover / max(np.abs(w - day.held).sum(), 1e-12))
        w = day.held + step * (w - day.held)
        keeps = (day.member @ w <= limits.sector).all() and day.variance(w) <= 0.01 * 5 / 252
        assert not keeps or value_bps(day, w, asked) <= highest + 1e-9


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_the_bound_is_tight_at_a_solution(solver: str) -> None:
    case, asked = market(40, 3), settings_of(solver=solver)
    case.held = dict.fromkeys(names(40)[:9], 0.02)
    day, limits, zero = day_of(case), Limits.of(1.0, asked), np.zeros(40)
    answer = solve(day, limits, asked, zero, day.upper)
    highest = bound.proven(day, limits, asked, zero, day.upper, Slack(), answer)
    assert 0 <= highest - answer.objective < 1e-3


def test_the_bound_counts_the_cost_of_what_may_not_be_held() -> None:
    """A name that must go is sold at its cost: the gap is not widened by it."""
    case = market(10, 1, held={"AA": 0.05})
    day = replace(day_of(case), upper=np.where(np.arange(10) == 0, 0.0, 1.0))
    found = search.search(day, Limits.of(1.0, case.settings), case.settings, 50)
    assert found.weights[0] == 0
    assert 0 <= found.upper_bound - found.objective < 1e-3
    assert BPS > found.upper_bound
