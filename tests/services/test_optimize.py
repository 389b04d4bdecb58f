"""The programme against a second optimiser, closed forms, enumeration, and its own promises."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib import contracts
from quant50lib.errors import OptimizationError
from quant50lib.services import covariance
from quant50lib.services import limits as rules
from quant50lib.services import optimize
from quant50lib.services.covariance import Risk
from quant50lib.services.day import MARGIN
from quant50lib.services.optimize import Solution
from quant50lib.settings import OptimizeSettings
from quant50lib.utils import dates
from tests.days import (
    HORIZON,
    LOOSE,
    SESSION,
    Case,
    by_slsqp,
    diagonal,
    excess,
    market,
    names,
    random_case,
    settings_of,
)
from tests.real_bars import real_panel

# ---- the best weights ------------------------------------------------------------------------


def test_one_name_is_held_until_its_variance_costs_its_return() -> None:
    """mu = 2 lambda sigma^2 w + cost, in closed form."""
    case = diagonal([0.004], 0.5, settings=settings_of(**LOOSE, risk_aversion=4.0, cost_bps=2.0))
    variance = 0.25 * 5 / 252
    expected = (0.004 - 0.0002) / (2 * 4 * variance)
    assert case.solve().weights["AA"] == pytest.approx(expected, abs=1e-6)


def test_doubt_is_an_ellipsoid_around_the_forecast() -> None:
    """Equal names, only doubt: kappa ||error w|| is least when spread in proportion 1/error^2."""
    case = diagonal(
        [0.003, 0.003],
        1e-3,
        settings=settings_of(**LOOSE, risk_aversion=0.0, cost_bps=0.0, uncertainty_aversion=1.0),
    )
    case.error = pd.Series([0.001, 0.002], index=names(2))
    w = case.solve().weights
    assert w.sum() == pytest.approx(1, abs=1e-5)
    assert w["AA"] / w["AB"] == pytest.approx(4, rel=1e-3)


def test_nothing_is_traded_for_less_than_it_costs() -> None:
    """Inside the band of costs the book stays as it is, to the last digit."""
    held = {"AA": 0.04, "AB": 0.03}
    case = diagonal([0.0001, -0.0001], 0.01, held=held, settings=settings_of(cost_bps=5.0))
    assert case.solve().weights.to_dict() == held


@pytest.mark.parametrize("seed", range(4))
def test_relaxation_is_that_of_another_optimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = market(7, seed, settings=settings_of(min_weight=0.0, max_weight=0.2, max_sector=0.4))
    case.held = dict(zip(names(7)[:4], rng.uniform(0.01, 0.15, 4), strict=True))
    solution = case.solve()
    assert solution.objective == pytest.approx(by_slsqp(case), abs=2e-4)
    # the bound is of the true limits, the programme keeps a margin from each of them
    margin = MARGIN * 100 * sum(solution.duals.values())
    assert -1e-9 <= solution.gap_bps <= margin + 1e-5


@pytest.mark.parametrize("seed", range(2))
def test_names_chosen_are_near_the_best_of_all_choices(seed: int) -> None:
    """Every support of at most 3 of 6 names, each solved by another optimiser."""
    case = market(6, seed, settings=settings_of(max_names=3, max_weight=0.05, min_weight=0.01))
    solution = case.solve()
    supports = (
        np.isin(np.arange(6), chosen)
        for size in range(4)
        for chosen in itertools.combinations(range(6), size)
    )
    best = max(by_slsqp(case, support, starts=1) for support in supports)
    assert solution.names <= 3
    assert solution.objective <= best + 2e-4
    assert best <= solution.upper_bound + 2e-4  # the certificate
    assert solution.gap_bps >= -1e-6
    assert solution.objective >= best - 0.05 * abs(best)


def test_objective_is_that_of_the_weights() -> None:
    case = market(20, 3)
    solution = case.solve()
    w = solution.weights.reindex(case.expected_return.index, fill_value=0.0)
    sigma, s = case.risk.matrix(), case.settings
    doubt = s.uncertainty_aversion * np.linalg.norm(case.error * w)
    value = 1e4 * (case.expected_return @ w - doubt - s.risk_aversion * (w @ sigma @ w))
    assert solution.objective == pytest.approx(value - s.cost_bps * w.sum(), abs=1e-9)


def test_order_of_symbols_changes_nothing() -> None:
    case = market(40, 5, held={"AC": 0.05, "AB": 0.02})
    solution = case.solve()
    shuffled = np.random.default_rng(0).permutation(40)
    case.expected_return = case.expected_return.iloc[shuffled]
    case.risk = case.risk.only(case.risk.symbols[shuffled[::-1]])
    case.held = dict(reversed(case.held.items()))
    again = case.solve()
    pd.testing.assert_series_equal(again.weights, solution.weights, rtol=0, atol=1e-9)
    assert again.objective == pytest.approx(solution.objective, abs=1e-9)


def test_the_same_twice() -> None:
    first, second = market(30, 1).solve(), market(30, 1).solve()
    pd.testing.assert_series_equal(first.weights, second.weights, check_exact=True)


# ---- every limit holds, or is named ------------------------------------------------------------


@given(seed=st.integers(0, 100_000))
@settings(max_examples=25, deadline=None)
def test_every_limit_holds_to_1e_8_or_is_named(seed: int) -> None:
    case = random_case(seed)
    solution = case.solve()
    w = solution.weights
    before = pd.Series(case.held, dtype=float).reindex(w.index).fillna(0.0)
    broken = {rule for rule, by in excess(case, solution.weights).items() if by > 1e-8}
    named = {breach.rule for breach in solution.breaches}
    assert broken <= named
    assert named - broken <= {"no_forecast"}
    assert "turnover" not in named  # it never gives way by default
    assert (w >= 0).all()
    assert not w.reindex(list(case.forced)).fillna(0).any()
    bought = w.index[w > before + 1e-9]
    assert not set(bought) & {*case.untradable, "ZZ"}
    assert solution.gap_bps > -1e-4
    frames_keep_their_contracts(case, solution)


def frames_keep_their_contracts(case: Case, solution: Solution) -> None:
    target, limits = optimize.to_target(solution, SESSION), optimize.to_limits(solution, SESSION)
    contracts.Target.check(target)
    contracts.Limit.check(limits)
    assert set(target["symbol"]) >= set(case.held)
    assert set(limits.loc[limits["breached"], "rule"]) == {
        rule
        for breach in solution.breaches
        for rule in ((breach.rule, "cash") if breach.rule == "gross" else (breach.rule,))
        if rule != "no_forecast"
    }
    assert ((limits["headroom"] < -rules.TOLERANCE) == limits["breached"]).all()


# ---- rules, one at a time ----------------------------------------------------------------------


def test_from_cash_the_first_day_uses_the_turnover() -> None:
    solution = market(60, 2).solve()
    assert solution.turnover == pytest.approx(0.15, abs=1e-5)
    assert solution.weights.sum() == pytest.approx(0.15, abs=1e-5)
    assert not solution.breaches
    assert solution.weights.min() >= 0.0025 - 1e-9


def test_drift_above_the_cap_is_cured_first() -> None:
    case = diagonal([0.01] * 6, 0.05, held={"AA": 0.058, "AB": 0.05})
    solution = case.solve()
    assert solution.weights["AA"] == pytest.approx(0.05, abs=1e-5)
    assert not solution.breaches


def test_at_most_so_many_names() -> None:
    case = market(30, 8, settings=settings_of(max_names=3))
    assert case.solve().names == 3
    case.settings = settings_of()
    assert case.solve().names > 3


def test_without_anything_worth_its_cost_the_book_stays_in_cash() -> None:
    case = diagonal([0.0001, -0.01, 0.0], 0.2, held={"AB": 0.03})
    solution = case.solve()
    assert not solution.weights.any()
    assert solution.turnover == pytest.approx(0.03)
    assert not solution.breaches


def test_names_above_the_limit_are_sold_the_smallest_first_as_far_as_turnover_allows() -> None:
    """Eight held, five allowed; the cap of 4 % clears the two smallest, and part of a third."""
    weights = [0.05, 0.045, 0.05, 0.04, 0.045, 0.03, 0.02, 0.015]
    case = diagonal(
        [0.002] * 8,
        0.05,
        held=dict(zip(names(8), weights, strict=True)),
        settings=settings_of(max_names=5, max_turnover=0.04, max_sector=1.0),
    )
    solution = case.solve()
    assert solution.names == 6
    assert solution.weights[["AG", "AH"]].eq(0).all()
    breach = next(b for b in solution.breaches if b.rule == "names")
    assert (breach.value, breach.limit) == (6, 5)
    assert solution.turnover <= 0.04 + 1e-8


def test_a_name_below_the_minimum_is_bought_up_or_sold_out() -> None:
    case = diagonal([0.005, -0.001], 0.05, held={"AA": 0.001, "AB": 0.001})
    solution = case.solve()
    assert solution.weights["AA"] == pytest.approx(0.05, abs=1e-5)
    assert solution.weights["AB"] == 0


def test_a_remainder_that_turnover_cannot_clear_is_kept_and_named() -> None:
    """Two orphans of 0.4 % use up a cap of 0.3 %: what is left of them is below the minimum."""
    case = diagonal(
        [0.0],
        0.05,
        held={"ZX": 0.004, "ZY": 0.002},
        settings=settings_of(max_turnover=0.003),
    )
    solution = case.solve()
    assert solution.weights[["ZX", "ZY"]].to_list() == pytest.approx([0.002, 0.001])
    by_rule = {b.rule: b for b in solution.breaches}
    assert by_rule["min_weight"].detail == "ZX, ZY"
    assert by_rule["no_forecast"].value == pytest.approx(0.003)
    assert by_rule["no_forecast"].sessions_to_cure == 1


def test_untradable_names_are_not_bought_but_may_be_sold() -> None:
    case = diagonal(
        [0.01, 0.01, -0.01], 0.05, held={"AB": 0.02, "AC": 0.02}, untradable=("AA", "AB", "AC")
    )
    w = case.solve().weights
    assert "AA" not in w.index or w["AA"] == 0
    assert w["AB"] == pytest.approx(0.02, abs=1e-6)
    assert w["AC"] == 0


def test_a_name_without_forecast_is_sold_within_the_turnover() -> None:
    case = diagonal([0.01] * 6, 0.05, held={"ZZ": 0.04})
    solution = case.solve()
    assert solution.weights["ZZ"] == 0
    assert solution.turnover == pytest.approx(0.15, abs=1e-5)
    target = optimize.to_target(solution, SESSION).set_index("symbol")
    assert target.loc["ZZ", "intent"] == "exit"
    assert target.loc["ZZ", "expected_return"] == 0


def test_forced_exits_lie_outside_the_turnover_cap() -> None:
    held = {s: 0.05 for s in names(8)}
    case = diagonal([0.01] * 20, 0.05, held=held, forced={s: 0.0 for s in names(4)})
    case.settings = settings_of(max_sector=1.0)
    solution = case.solve()
    assert solution.weights[names(4)].eq(0).all()
    assert solution.forced_turnover == pytest.approx(0.2)
    assert solution.turnover == pytest.approx(0.15, abs=1e-5)
    intents = optimize.to_target(solution, SESSION).set_index("symbol")["intent"]
    assert (intents[names(4)] == "stop").all()
    halted = optimize.to_target(solution, SESSION, forced_intent="halt").set_index("symbol")
    assert (halted.loc[names(4), "intent"] == "halt").all()


def test_a_halt_sells_everything() -> None:
    held = {s: 0.05 for s in names(18)}
    case = diagonal([0.01] * 20, 0.05, held=held, forced=held, budget=0.0)
    solution = case.solve()
    assert not solution.weights.any()
    assert solution.forced_turnover == pytest.approx(0.9)
    assert not solution.breaches
    assert solution.turnover == 0


# ---- when the limits contradict each other -----------------------------------------------------


def breach_of(solution: Solution, rule: str) -> rules.Breach:
    return next(b for b in solution.breaches if b.rule == rule)


def test_a_brake_that_turnover_cannot_follow_is_named_with_its_cure() -> None:
    """90 % held, 39.6 % allowed, 15 % a day: 75 % is left, and three more sessions are needed."""
    held = {s: 0.05 for s in names(18)}
    case = diagonal([0.01] * 18, 0.05, held=held, budget=0.4)
    case.settings = settings_of(max_sector=1.0)
    solution = case.solve()
    breach = breach_of(solution, "gross")
    assert breach.value == pytest.approx(0.75, abs=2e-5)
    assert breach.limit == pytest.approx(0.396)
    assert breach.sessions_to_cure == 3
    assert solution.turnover == pytest.approx(0.15, abs=2e-5)
    text = optimize.to_limits(solution, SESSION).set_index("rule").loc["gross", "detail"]
    assert text.startswith("cured in 3 session(s); exposure 39.6 % + turnover 15 % cannot hold")


def test_a_brake_with_holdings_that_nobody_can_judge() -> None:
    """Orphans use up the turnover; what is left of them counts against a limit of nothing."""
    held = {s: 0.05 for s in names(10)} | {"ZZ": 0.2}
    case = diagonal([0.01] * 10, 0.05, held=held, budget=0.0)
    case.settings = settings_of(max_sector=1.0)
    solution = case.solve()
    assert breach_of(solution, "no_forecast").value == pytest.approx(0.05)
    assert breach_of(solution, "gross").value == pytest.approx(0.55)

    case.held["ZZ"] = 0.1  # sold in full, and a twentieth of the rest
    solution = case.solve()
    assert solution.weights["ZZ"] == 0
    assert breach_of(solution, "gross").value == pytest.approx(0.45, abs=2e-5)
    assert solution.turnover <= 0.15 + 1e-8


def test_a_sector_above_its_cap_is_brought_as_near_as_turnover_allows() -> None:
    held = {s: 0.05 for s in names(10)}
    case = diagonal([0.01] * 10, 0.05, held=held, sectors={s: "Energy" for s in names(9)})
    solution = case.solve()
    breach = breach_of(solution, "sector:Energy")
    assert breach.value == pytest.approx(0.30, abs=2e-5)
    assert breach.sessions_to_cure == 1
    assert {b.rule for b in solution.breaches} == {"sector:Energy"}


def test_volatility_gives_way_before_the_sector() -> None:
    """Both are out of reach: all turnover goes to the sector; the other order, to volatility."""
    calm = {s: 0.05 for s in names(8)}
    wild = {s: 0.05 for s in names(12)[8:]}
    sectors = {s: "Calm" for s in calm} | {s: "Wild" for s in wild}
    case = diagonal([0.0] * 12, [0.05] * 8 + [2.0] * 4, held=calm | wild, sectors=sectors)
    solution = case.solve()
    assert breach_of(solution, "sector:Calm").value == pytest.approx(0.25, abs=1e-4)
    assert solution.weights[list(wild)].sum() == pytest.approx(0.2, abs=1e-4)

    case.settings = settings_of(elastic_order=("sector", "volatility"))
    other = case.solve()
    volatility = case.risk.volatility_annual
    assert volatility(other.weights) < volatility(solution.weights)
    assert other.standing["sector:Calm"] > solution.standing["sector:Calm"]


def test_least_breach_of_volatility_is_the_least_there_is() -> None:
    """Equal independent names at 50 %: the minimum after selling 15 % is to sell all alike."""
    held = {s: 0.05 for s in names(10)}
    case = diagonal([0.01] * 10, 1.2, held=held)
    case.settings = settings_of(max_sector=1.0, cost_bps=0.0)
    breach = breach_of(case.solve(), "volatility")
    assert breach.value == pytest.approx(1.2 * 0.035 * np.sqrt(10), abs=1e-4)
    assert breach.sessions_to_cure == 1


def test_turnover_gives_way_only_if_told_to() -> None:
    held = {s: 0.05 for s in names(10)}
    sectors = {s: "Energy" for s in names(10)}
    case = diagonal([0.01] * 10, 0.05, held=held, sectors=sectors)
    case.settings = settings_of(elastic_order=("turnover", "volatility"))
    solution = case.solve()
    assert {b.rule for b in solution.breaches} == {"turnover"}
    assert breach_of(solution, "turnover").value == pytest.approx(0.25, abs=5e-5)
    assert breach_of(solution, "turnover").sessions_to_cure == 1


def test_limits_that_may_not_give_way_stop_the_day() -> None:
    held = {s: 0.05 for s in names(10)}
    case = diagonal([0.01] * 10, 0.05, held=held, sectors={s: "Energy" for s in names(10)})
    case.settings = settings_of(elastic_order=("volatility",))
    with pytest.raises(OptimizationError, match="elastic_order"):
        case.solve()


def test_without_turnover_nothing_is_traded_and_no_cure_is_promised() -> None:
    held = {s: 0.05 for s in names(10)}
    case = diagonal([0.01] * 10, 0.05, held=held, budget=0.4)
    case.settings = settings_of(max_turnover=0.0, max_sector=1.0)
    solution = case.solve()
    assert solution.weights.to_dict() == held
    assert breach_of(solution, "gross").sessions_to_cure is None


# ---- the price of every rule -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        ("turnover", "max_turnover"),
        ("volatility", "max_volatility_annual"),
        ("max_weight", "max_weight"),
        ("sector", "max_sector"),
        ("gross", "cash_buffer"),
    ],
)
def test_price_of_a_rule_is_the_slope_of_the_objective(rule: str, setting: str) -> None:
    """Central differences in the limit against the dual, where the rule binds."""
    base: dict[str, Any] = LOOSE | {"cost_bps": 1.0} | TIGHT[rule]
    case = market(12, 11)
    case.sectors = {s: "One" if i < 8 else "Two" for i, s in enumerate(names(12))}

    def solved(change: float) -> Solution:
        case.settings = settings_of(**(base | {setting: base[setting] + change}))
        return case.solve()

    step = 2e-3 * max(base[setting], 0.05)
    slope = (solved(step).objective - solved(-step).objective) / (2 * step)
    sign = -1 if setting == "cash_buffer" else 1
    # one setting caps every sector: its price is the sum of theirs
    price = sum(v for k, v in solved(0.0).duals.items() if k.partition(":")[0] == rule)
    assert price > 1e-3
    assert price == pytest.approx(sign * slope / 100, rel=2e-2)


TIGHT: dict[str, dict[str, Any]] = {
    "turnover": {"max_turnover": 0.3},
    "volatility": {"max_volatility_annual": 0.1, "risk_aversion": 0.0},
    "max_weight": {"max_weight": 0.06},
    "sector": {"max_sector": 0.2},
    "gross": {"cash_buffer": 0.4},
}


# ---- what no solver should see -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 1.5}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"held": {"AA": -0.1}}, "negative"),
        ({"held": {"AA": float("nan")}}, "held is not a number for AA"),
        ({"expected_return": pd.Series([np.nan, 0.1], index=names(2))}, "expected_return.*AA"),
        ({"error": pd.Series([0.1], index=names(1))}, "error is not a number for AB"),
        ({"error": pd.Series([0.1, -0.1], index=names(2))}, "negative"),
        ({"expected_return": pd.Series([0.1, 0.1], index=["AA", "AA"])}, "repeated"),
        ({"expected_return": pd.Series([0.1], index=["QQ"])}, "no name has both"),
    ],
)
def test_unusable_numbers_are_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
    case = diagonal([0.01, 0.01], 0.2)
    for name, value in change.items():
        setattr(case, name, value)
    with pytest.raises(OptimizationError, match=message):
        case.solve()


@pytest.mark.parametrize("broken", [np.nan, -1.0])
def test_a_covariance_that_is_none_is_refused(broken: float) -> None:
    case = diagonal([0.01, 0.01], 0.2)
    case.risk = Risk(names(2), np.zeros((1, 2)), np.array([0.001, broken]), HORIZON)
    with pytest.raises(OptimizationError, match="covariance"):
        case.solve()


def test_a_name_without_sector_is_refused() -> None:
    case = diagonal([0.01], 0.2)
    with pytest.raises(OptimizationError, match="no sector for AA"):
        optimize.target_weights(
            case.expected_return,
            case.expected_return,
            case.risk,
            pd.Series(dtype=float),
            pd.Series({"AB": "Energy"}),
            pd.Series({"AA": True}),
            {},
            1.0,
            case.settings,
            HORIZON,
        )


def test_a_risk_over_another_horizon_is_refused() -> None:
    case = diagonal([0.01, 0.01], 0.2)
    case.risk = Risk(names(2), np.zeros((1, 2)), np.ones(2), 21)
    with pytest.raises(OptimizationError, match="21 sessions"):
        case.solve()


def test_a_solver_out_of_time_says_so() -> None:
    case = market(40, 1, settings=settings_of(time_limit_seconds=1e-9))
    with pytest.raises(OptimizationError, match="time_limit_seconds"):
        case.solve()


def test_another_solver_agrees() -> None:
    ours = market(15, 4).solve()
    theirs = market(15, 4, settings=settings_of(solver="SCS")).solve()
    assert theirs.objective == pytest.approx(ours.objective, abs=1e-3)
    assert not theirs.breaches


# ---- real bars ---------------------------------------------------------------------------------


def lived(first: str, last: str, held: pd.Series | None = None) -> list[tuple[Case, Solution]]:
    """A desk without alpha on real bars, one decision a session, each filled at the same close."""
    panel, sectors = real_panel(last, 120)
    book, days = pd.Series(dtype=float) if held is None else held, []
    moves = panel.close.ffill().pct_change()
    for session in dates.sessions_between(first, last):
        known = panel.until(session)
        names_ = covariance.eligible(known, OptimizeSettings())
        risk = covariance.risk_model(known, names_, OptimizeSettings(), HORIZON)
        grown = book * (1 + moves.loc[session].reindex(book.index).fillna(0.0))
        book = grown / (1 - book.sum() + grown.sum())
        premium = pd.Series(0.05 * HORIZON / 252, index=names_)
        case = Case(premium, risk, held=book.to_dict(), sectors=sectors.to_dict())
        days.append((case, case.solve()))
        book = days[-1][1].weights[lambda w: w > 0]
    return days


@pytest.mark.real
def test_on_real_bars_the_book_gets_invested_and_keeps_every_limit() -> None:
    days = lived("2014-06-02", "2014-06-11")
    for case, solution in days:
        assert not solution.breaches
        assert max(excess(case, solution.weights).values()) <= 1e-8
        assert solution.gap_bps < 0.5
    invested = [solution.weights.sum() for _, solution in days]
    assert invested[0] == pytest.approx(0.15, abs=1e-4)
    assert invested[-1] == pytest.approx(0.99, abs=1e-4)
    assert [solution.names for _, solution in days][-1] >= 20


@pytest.mark.real
def test_on_real_bars_a_crash_is_named_and_cured() -> None:
    """The day after 24 August 2015, with a book of 40 equal names: volatility is over its limit,
    and every session all turnover goes to bring it back."""
    panel, _ = real_panel("2015-08-24", 120)
    liked = covariance.eligible(panel, OptimizeSettings())[::3][:40]
    days = lived("2015-08-25", "2015-09-04", pd.Series(0.024, index=liked))
    for case, solution in days:
        broken = {rule for rule, by in excess(case, solution.weights).items() if by > 1e-8}
        assert broken == {breach.rule for breach in solution.breaches}
    volatile = [s for _, s in days if "volatility" in {b.rule for b in s.breaches}]
    assert volatile
    for solution in volatile:
        assert breach_of(solution, "volatility").sessions_to_cure >= 1
        assert solution.turnover == pytest.approx(0.15, abs=1e-4)
    assert not days[-1][1].breaches
