"""What collides, what would do, and when it is over: each promise is kept by solving again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from quant50lib.errors import OptimizationError
from quant50lib.services import book, conflicts, optimize
from quant50lib.services.optimize import Solution
from tests.days import SESSION, Case, diagonal, market, names, random_case, settings_of

#: the setting behind each rule; a repair is put there
SETTING = {
    "turnover": "max_turnover",
    "volatility": "max_volatility_annual",
    "sector": "max_sector",
    "max_weight": "max_weight",
    "names": "max_names",
}


def with_limit(case: Case, rule: str, value: float) -> Case:
    """The same day with one limit changed; the settings are before the brake."""
    name = SETTING[rule.partition(":")[0]]
    number: Any = int(value) if name == "max_names" else float(value)
    if name == "max_volatility_annual":
        number /= case.budget
    return replace(case, settings=case.settings.model_copy(update={name: number}))


def three_rules() -> Case:
    """Sector, volatility and turnover: any two could hold."""
    calm, wild = names(8), names(12)[8:]
    return diagonal(
        [0.0] * 12,
        [0.02] * 8 + [1.4] * 4,
        held=dict.fromkeys(calm, 0.045) | dict.fromkeys(wild, 0.05),
        sectors=dict.fromkeys(calm, "Calm") | dict.fromkeys(wild, "Wild"),
    )


def test_three_rules_that_collide_only_together() -> None:
    """Calm names must lose 11 % and wild ones 5.7 %: more than 15 % together, less apart."""
    solution = three_rules().solve()
    assert solution.conflict is not None
    assert solution.conflict.rules == ("volatility", "sector:Calm", "turnover")
    assert solution.conflict.sentence.startswith(
        "volatility 10 % + sector Calm 25 % + turnover 15 % cannot hold together today; "
    )
    needed = {r.rule: r.needed for r in solution.conflict.repairs}
    # equal wild names, independent: sqrt(4) * 1.4 * w = 10 % but for what the calm ones add
    wild = 0.10 / 2 / 1.4
    assert needed["turnover"] == pytest.approx(0.11 + 4 * (0.05 - wild), abs=2e-4)


@pytest.mark.parametrize("rule", ["volatility", "sector:Calm", "turnover"])
def test_each_repair_alone_cures_the_day_and_less_does_not(rule: str) -> None:
    case = three_rules()
    conflict = case.solve().conflict
    needed = next(r.needed for r in conflict.repairs if r.rule == rule)
    assert not with_limit(case, rule, needed + 2e-6).solve().breaches
    assert with_limit(case, rule, needed - 2e-4).solve().breaches


def test_the_sentence_stands_beside_the_breach_and_in_the_headline() -> None:
    solution = three_rules().solve()
    sentence = solution.conflict.sentence
    details = optimize.to_limits(solution, SESSION).set_index("rule")["detail"]
    broken = [b.rule for b in solution.breaches]
    assert broken and all(details[rule].endswith(sentence) for rule in broken)
    assert book.headline(solution)["conflict"] == sentence
    assert "turnover of" in sentence and sentence.endswith("would do")


def test_a_day_that_keeps_its_limits_has_no_conflict() -> None:
    assert market(20, 1).solve().conflict is None


def test_names_that_turnover_cannot_sell() -> None:
    """Eight held, five allowed: the three smallest are 6.5 %, and 4 % may be traded."""
    weights = [0.05, 0.045, 0.05, 0.04, 0.045, 0.03, 0.02, 0.015]
    case = diagonal(
        [0.002] * 8,
        0.05,
        held=dict(zip(names(8), weights, strict=True)),
        settings=settings_of(max_names=5, max_turnover=0.04, max_sector=1.0),
    )
    conflict = case.solve().conflict
    assert conflict.rules == ("names", "turnover")
    needed = {r.rule: r.needed for r in conflict.repairs}
    assert needed["names"] == 6
    assert needed["turnover"] == pytest.approx(0.065, abs=1e-5)


def test_names_and_volatility_that_collide_only_together() -> None:
    """Two of five names have to go, which two of the calm ones could at 5 % each; and the wild two
    have to halve, 10 % in all. Both at once: a wild and a calm one go, and the other wild one shrinks
    to what the volatility allows a single name.
    """
    calm, wild = names(3), names(5)[3:]
    case = diagonal(
        [0.0] * 5,
        [0.001] * 3 + [math.sqrt(2)] * 2,
        held=dict.fromkeys(calm, 0.05) | dict.fromkeys(wild, 0.1),
    )
    case.settings = settings_of(
        max_names=3, max_turnover=0.11, max_weight=0.2, max_sector=1.0, solver="fast"
    )
    conflict = case.solve().conflict
    assert conflict is not None
    assert set(conflict.rules) == {"names", "volatility", "turnover"}
    needed = {repair.rule: repair.needed for repair in conflict.repairs}
    assert needed["turnover"] == pytest.approx(0.15 + 0.1 - 0.1 / math.sqrt(2), abs=1e-5)
    assert needed["names"] == 5


def test_orphans_that_turnover_cannot_sell() -> None:
    case = diagonal([0.0], 0.05, held={"ZX": 0.2, "ZY": 0.1}, sectors={"ZX": "A", "ZY": "B"})
    conflict = case.solve().conflict
    assert conflict.rules == ("no_forecast", "turnover")
    assert conflict.repairs[1].needed == pytest.approx(0.3, abs=1e-5)


def test_the_day_that_has_to_stop_says_what_collides() -> None:
    held = {s: 0.05 for s in names(10)}
    case = diagonal([0.01] * 10, 0.05, held=held, sectors={s: "Energy" for s in names(10)})
    case.settings = settings_of(elastic_order=("volatility",))
    with pytest.raises(OptimizationError, match="sector Energy 25 % . turnover 15 % cannot"):
        case.solve()


@given(seed=st.integers(0, 100_000))
@settings(max_examples=10, deadline=None)
def test_a_conflict_is_irreducible_and_its_repairs_hold(seed: int) -> None:
    """Against another formulation: buys and sells as variables, a linear programme by scipy.

    Only days whose conflict is of linear rules; others are in the tests above.
    """
    case = random_case(seed)
    solution = case.solve()
    conflict = solution.conflict
    assert (conflict is None) == (not solution.breaches)
    if conflict is None:
        return
    kinds = {rule.partition(":")[0] for rule in conflict.rules}
    assert "turnover" in kinds
    if not kinds <= {"turnover", "gross", "max_weight", "sector"}:
        return
    rules = [rule for rule in conflict.rules if rule != "turnover"]
    cap = solution.limits.turnover
    assert least_turnover(case, solution, rules) > cap - 2e-6
    for rule in rules:
        assert least_turnover(case, solution, [r for r in rules if r != rule]) <= cap + 2e-6
    need = next(r.needed for r in conflict.repairs if r.rule == "turnover")
    if need is not None:
        assert need >= least_turnover(case, solution, rules) - 1e-6


def least_turnover(case: Case, solution: Solution, rules: list[str]) -> float:
    """The least turnover of books that keep some linear rules, by scipy."""
    day = solution.day
    n, limits = len(day.symbols), solution.limits
    idle = np.broadcast_to(day.idle_sector, (len(day.sectors),))
    orphans = idle * (1 + day.sold / day.idle) if day.idle else 0 * idle
    # variables: sold (n), sold orphans (m)
    above, at_most = [], []
    for rule in rules:
        kind, _, sector = rule.partition(":")
        if kind == "gross":
            above.append(-np.ones(n + len(idle)))
            at_most.append(limits.gross - day.held.sum() - orphans.sum())
        elif kind == "sector":
            k = list(day.sectors).index(sector)
            above.append(-np.concatenate([day.member[k], np.arange(len(idle)) == k]))
            at_most.append(limits.sector - day.member[k] @ day.held - orphans[k])
    most = np.minimum(day.upper, limits.max_weight) if "max_weight" in rules else day.upper
    least = np.maximum(day.held - most, 0)
    found = linprog(
        np.ones(n + len(idle)),
        A_ub=np.array(above) if above else None,
        b_ub=np.array(at_most) if above else None,
        bounds=[*zip(least, day.held, strict=True), *((0, o) for o in orphans)],
    )
    return found.fun + (0.0 if day.idle else day.sold)


def test_only_a_whole_repair_is_named() -> None:
    """Rounded up to a tenth of a percent: the number in the sentence is enough."""
    repair = conflicts.Repair("turnover", 0.15, 0.17201)
    both = conflicts.Conflict((conflicts.Repair("sector:Energy", 0.25, None), repair))
    assert both.sentence == (
        "sector Energy 25 % + turnover 15 % cannot hold together today; turnover of 17.3 % would do"
    )


# ---- the sessions until it is cured --------------------------------------------------------------


def sessions_until(case: Case, rule: str, most: int = 40) -> int:
    """Sessions after the first until the rule holds, at unchanged prices, day by day."""
    solution = case.solve()
    for session in range(most):
        if rule not in {b.rule for b in solution.breaches}:
            return session
        left = solution.weights[solution.weights > 0]
        solution = replace(case, held=left.to_dict(), forced={}).solve()
    raise AssertionError(f"{rule} is not cured in {most} sessions")


@pytest.mark.parametrize(
    ("budget", "n", "turnover"), [(0.4, 18, 0.15), (0.0, 10, 0.15), (0.25, 12, 0.07)]
)
def test_a_brake_is_followed_in_as_many_sessions_as_promised(
    budget: float, n: int, turnover: float
) -> None:
    case = diagonal([0.01] * n, 0.05, held={s: 0.05 for s in names(n)}, budget=budget)
    case.settings = settings_of(max_sector=1.0, max_turnover=turnover, solver="fast")
    promised = next(b for b in case.solve().breaches if b.rule == "gross").sessions_to_cure
    assert sessions_until(case, "gross") == promised


def test_a_sector_is_cured_in_as_many_sessions_as_promised() -> None:
    case = diagonal([0.01] * 18, 0.05, held={s: 0.05 for s in names(18)})
    case.settings = settings_of(solver="fast")
    promised = next(b for b in case.solve().breaches if b.rule.startswith("sector"))
    assert promised.sessions_to_cure == math.ceil((0.75 - 0.25) / 0.15)
    assert sessions_until(case, promised.rule) == promised.sessions_to_cure


@given(seed=st.integers(0, 100_000))
@settings(max_examples=4, deadline=None)
def test_no_breach_lasts_longer_than_promised(seed: int) -> None:
    case = random_case(seed)
    case.forced = {}
    case.settings = settings_of(swap_solves=0, solver="fast")
    for breach in case.solve().breaches:
        if breach.sessions_to_cure is not None:
            assert sessions_until(case, breach.rule) <= breach.sessions_to_cure
