"""Reduce-only, the volatility target and the limits before an order: what each says, its edge, its
place among the others, a restart in the middle, and real days of a crash."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import RiskEvent, RiskState
from quant50lib.jobs import backtest as job
from quant50lib.services import backtest, book, checks, limits, optimize, rulebook, stops
from quant50lib.services.backtest_market import Market
from quant50lib.services.checks import Asset, Conditions, Draft
from quant50lib.services.covariance import Risk
from quant50lib.services.limits import Limits
from quant50lib.settings import ExecuteSettings, OptimizeSettings, Settings
from quant50lib.utils.frames import typed
from tests.real_bars import real_bars, real_table

HAIR = Decimal("0.000001")
KNOBS = ExecuteSettings(max_order_notional=5000, max_order_weight=0.10, max_volume_share=0.01)
NAME = Asset(Decimal(10), True, True, True, "", Decimal(30_000))
DAY = Conditions({"AA": NAME}, Decimal(40_000), False, KNOBS, held_at={"AA": Decimal(10)})


def draft(qty: Decimal, side: str = "buy", intent: str = "rebalance") -> Draft:
    return Draft("AA", side, intent, qty, Decimal(10), whole=False)


# ---- before an order -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "at_limit", "changed"),
    [
        ("max_order_notional", Decimal(500), {"equity": Decimal(10**6)}),
        ("max_order_weight", Decimal(400), {}),
        ("max_volume_share", Decimal(300), {}),
    ],
)
def test_an_order_exactly_at_a_limit_passes_and_a_hair_more_does_not(
    check: str, at_limit: Decimal, changed: dict
) -> None:
    """5,000 dollars at 10 each; a tenth of 40,000; a hundredth of 30,000 shares."""
    roomy = replace(NAME, median_volume=Decimal(10**9))
    day = replace(DAY, **changed)
    day = day if check == "max_volume_share" else replace(day, assets={"AA": roomy})
    assert checks.checked(draft(at_limit), day).state == "planned"
    refused = checks.checked(draft(at_limit + HAIR), day)
    assert refused.state == "refused" and refused.reason.startswith(f"{check}: ")
    for intent in checks.LEAVING:
        assert checks.checked(draft(10 * at_limit, "sell", intent), day).state == "planned"


def test_a_close_exactly_at_the_allowed_gap_passes() -> None:
    """1 % above the price at which the holding stands."""
    day = replace(DAY, held_at={"AA": Decimal(100)})
    near = replace(draft(Decimal(1)), price=Decimal(101))
    assert checks.checked(near, day).state == "planned"
    far = checks.checked(replace(near, price=Decimal(101) + HAIR), day)
    assert far.reason.startswith("last_close: ")


@given(
    side=st.sampled_from(["buy", "sell"]),
    intent=st.sampled_from(["rebalance", *checks.LEAVING]),
    qty=st.integers(1, 2000),
    switch=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_reduce_only_refuses_every_buy_and_no_sale(
    side: str, intent: str, qty: int, switch: bool
) -> None:
    """Whatever else is asked, the answer to a sale is the same with and without the rule."""
    day = replace(DAY, halted="by hand" if switch else "")
    asked = draft(Decimal(qty), side, intent)
    free, reducing = checks.checked(asked, day), checks.checked(
        asked, replace(day, reduce_only=True)
    )
    if side == "sell":
        assert reducing == free
    else:
        assert (
            reducing.state == "refused"
            and "reduce_only: nothing may be bought now" in reducing.reason
        )


def test_all_checks_are_asked_in_the_order_of_the_table() -> None:
    """A buy against which everything speaks: what stops the desk is named before what sizes it."""
    bad = replace(NAME, fresh=False, tradable=False, fractionable=False, why="halted")
    day = replace(
        DAY,
        assets={"AA": replace(bad, median_volume=Decimal(1))},
        reduce_only=True,
        halted="by hand",
        coming={"AA": "split"},
        held_at={"AA": Decimal(20)},
    )
    said = checks.checked(draft(Decimal("9999.5")), day).reason
    places = [said.index(f"{name}: ") for name in checks.CHECKS]
    assert places == sorted(places)
    assert list(checks.CHECKS)[:2] == ["kill_switch", "reduce_only"]


# ---- the volatility target -------------------------------------------------------------------------


def twins(volatility: float, n: int = 4) -> Risk:
    """Names of one annual volatility, uncorrelated, over a horizon of 5 sessions."""
    symbols = pd.Index([f"A{chr(65 + i)}" for i in range(n)])
    return Risk(symbols, np.zeros((1, n)), np.full(n, volatility**2 * 5 / 252), 5)


@pytest.mark.parametrize("budget", [1.0, 0.6, 0.25])
def test_the_target_is_the_budgets_share_of_ten_percent_and_holds_at_it(budget: float) -> None:
    """The edge by hand: one name of 40 % at a weight of a quarter of the budget is at the limit."""
    found = Limits.of(budget, OptimizeSettings())
    assert found.volatility == pytest.approx(0.10 * budget)
    at = pd.Series({"AA": 0.25 * budget})
    sectors = pd.Series({"AA": "one"})
    for weights, broken in ((at, False), (at * (1 + 1e-9), False), (at * (1 + 1e-6), True)):
        values = limits.standing(weights, sectors, twins(0.40), 0.0)
        rules = [breach.rule for breach in limits.breaches(values, found, weights)]
        assert ("volatility" in rules) == broken


@given(volatility=st.floats(0.05, 1.5), budget=st.floats(0.2, 1.0), held=st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_the_book_is_within_the_target_or_says_by_how_much_not(
    volatility: float, budget: float, held: float
) -> None:
    """From a book of equal names: a volatility that jumps is cut as fast as turnover allows.

    Of independent equals the calmest book after so much turnover is the one shrunk in proportion:
    the target gives way where that is above it, and never for the sake of a minimum size.
    """
    model = twins(volatility, 30)
    symbols = model.symbols
    before = pd.Series(held / 30, index=symbols)
    free = pd.Series(True, index=symbols)
    asked = OptimizeSettings(solver="fast", max_sector=1.0)
    solution = optimize.target_weights(
        pd.Series(0.001, index=symbols),
        pd.Series(0.0, index=symbols),
        model,
        before,
        pd.Series("one", index=symbols),
        free,
        {},
        budget,
        asked,
        5,
    )
    exact = np.sqrt(solution.weights @ solution.weights) * volatility
    assert solution.standing["volatility"] == pytest.approx(exact, abs=1e-12)
    told = {breach.rule: breach for breach in solution.breaches}
    assert ("volatility" in told) == (exact > budget * 0.10 + limits.TOLERANCE)
    calmest = max(held - 0.15, 0.0) * volatility / np.sqrt(30)
    if abs(calmest - budget * 0.10) > 1e-5:  # the margin inside the limits
        assert ("volatility" in told) == (calmest > budget * 0.10)
    assert solution.turnover <= 0.15 + 1e-8


def twins_of(budget: float, held: float, **changes: float) -> optimize.Solution:
    """Thirty names of 150 %, each at its minimum of 0.25 % already 2.05 % together."""
    model = twins(1.5, 30)
    each = {"expected_return": 0.001, "error": 0.0, "held": held}
    return optimize.target_weights(
        **{name: pd.Series(value, index=model.symbols) for name, value in each.items()},
        risk=model,
        sectors=pd.Series("one", index=model.symbols),
        tradable=pd.Series(True, index=model.symbols),
        forced={},
        budget=budget,
        settings=OptimizeSettings(solver="fast", max_sector=1.0).model_copy(update=changes),
        horizon=5,
    )


@pytest.mark.parametrize("held", [0.0, 0.0065])
def test_fewer_names_are_held_before_the_target_gives_way(held: float) -> None:
    """By hand: sqrt(28) * 0.25 % * 150 % is 1.98 %, with one name more 2.02 %."""
    solution = twins_of(0.2, held)
    assert not solution.breaches and solution.names == 28


def test_a_minimum_size_gives_way_before_the_target_where_nothing_can_be_sold_in_full() -> None:
    """From 2.05 % to 2 % take 0.2 % of turnover, less than a whole name of 0.25 %."""
    solution = twins_of(0.2, 0.0025, max_turnover=0.0022)
    assert [breach.rule for breach in solution.breaches] == ["min_weight"]
    assert solution.standing["volatility"] <= 0.02 + limits.TOLERANCE


# ---- among the others ------------------------------------------------------------------------------


def test_the_documented_order_is_that_in_which_rules_act() -> None:
    names = [rule.name for rule in rulebook.RULES]
    assert names == [
        "kill switch",
        "halt",
        "stop-loss",
        "bar",
        "brake",
        "feedback",
        "fast scale",
        "limits of the book",
        "checks before an order",
        "alarm",
    ]


def state(halted: bool, budget: float) -> pd.DataFrame:
    row = {"session": pd.Timestamp("2024-06-28"), "mark": 1e5, "drawdown": 0.095, "budget": budget}
    return typed(RiskState, [row | {"halted": halted, "halted_sessions": 0, "feedback": 1.0}])


def test_a_halt_goes_before_a_stop_and_a_stop_before_the_turnover_cap() -> None:
    held = pd.Series({"AA": 0.04, "AB": 0.03, "AC": 0.02})
    row = {"session": pd.Timestamp("2024-06-28"), "rule": "stop_loss", "symbol": "AB"}
    events = typed(RiskEvent, [row | {"value": 0.1, "limit": 0.05, "detail": ""}])
    assert stops.forced_exits(state(True, 0.0), events, held).equals(held)
    assert book.forced_intent(state(True, 0.0)) == "halt"
    stopped = stops.forced_exits(state(False, 1.0), events, held)
    assert list(stopped.index) == ["AB"] and book.forced_intent(state(False, 1.0)) == "stop"
    model = twins(0.2)
    solution = optimize.target_weights(
        pd.Series(0.001, index=model.symbols),
        pd.Series(0.0, index=model.symbols),
        model,
        held,
        pd.Series("one", index=model.symbols),
        pd.Series({"AA": True, "AB": False, "AC": True, "AD": True}),
        stopped,
        1.0,
        OptimizeSettings(max_turnover=0.01, solver="fast"),
        5,
    )
    assert solution.weights.get("AB", 0.0) == 0.0 and solution.forced_turnover == pytest.approx(
        0.03
    )
    assert solution.turnover <= 0.01 + 1e-8


# ---- a crash of real bars --------------------------------------------------------------------------

RULES = {
    "drawdown_soft": 0.004,
    "drawdown_halt": 0.008,
    "drawdown_hard": 0.010,
    "rearm_sessions": 6,
}


@pytest.fixture(scope="module")
def crash() -> backtest.Result:
    """August 2015, twenty-four large names: a brake so tight that the fall of the 24th halts."""
    bars = real_bars()
    bars = bars[(bars["session"] >= "2014-06-02") & (bars["session"] <= "2015-09-18")]
    listed = real_table("sectors").rename(columns={"gics_sector": "sector", "type": "kind"})
    value = (bars["close"] * bars["volume"]).groupby(bars["symbol"]).median()
    stocks = listed.loc[listed["kind"] == "stock", "symbol"]
    chosen = {*value[value.index.isin(stocks)].nlargest(24).index, "SPY"}
    names = listed[listed["symbol"].isin(chosen)].fillna({"sector": "Broad ETF", "name": "fund"})
    own = Settings.model_validate(
        {"optimize": {"solver": "fast"}, "risk": RULES, "data": {"history_years": 2}}
    )
    small = bars[bars["symbol"].isin(chosen)]
    market = Market.of(
        small, job.actions_frame([]), names[["symbol", "name", "sector", "kind"]], ""
    )
    first, last = pd.Timestamp("2015-07-27"), pd.Timestamp("2015-09-18")
    return backtest.run(market, "zero", own, first, last)


def test_in_a_crash_the_halt_sells_everything_and_nothing_is_bought_until_it_ends(
    crash: backtest.Result,
) -> None:
    daily = crash.daily
    halted = daily.index[daily["halted"]]
    assert len(halted) and halted[0] <= pd.Timestamp("2015-08-25")
    orders = crash.orders[crash.orders["session"].isin(halted)]
    assert len(orders) and set(orders["side"]) == {"sell"} and set(orders["intent"]) == {"halt"}
    after = daily.index[daily["halted"] & daily["halted"].shift(1, fill_value=False)]
    assert len(after) and not crash.holdings["session"].isin(after).any()
    assert not crash.fills.loc[crash.fills["session"].isin(after), "side"].eq("buy").any()
    ends = crash.events[crash.events["rule"].isin(["halt", "rearm"])]
    waits = np.diff(daily.index.get_indexer(ends["session"]))
    assert list(ends["rule"].iloc[:2]) == ["halt", "rearm"] and waits[0] == 6
    again = crash.orders[crash.orders["session"] >= ends["session"].iloc[1]]
    assert "buy" in set(again["side"])


def test_in_a_crash_the_volatility_wanted_is_within_the_target_or_named(
    crash: backtest.Result,
) -> None:
    daily = crash.daily[crash.daily["ex_ante"].notna()]
    over = daily.index[daily["ex_ante"] > 0.10 * daily["budget"] + limits.TOLERANCE]
    named = crash.breaches.loc[crash.breaches["rule"] == "volatility", "session"]
    assert set(over) == set(named)


def test_in_a_crash_every_order_is_within_its_limits_or_leaves_by_a_rule(
    crash: backtest.Result,
) -> None:
    orders = crash.orders.join(crash.daily["equity"], on="session")
    usual = orders[~orders["intent"].isin(checks.LEAVING) & (orders["state"] != "refused")]
    assert (usual["notional"] <= 0.10 * usual["equity"]).all()
    forced = orders[orders["intent"].isin(checks.LEAVING)]
    assert len(forced) and (forced["side"] == "sell").all() and (forced["state"] != "refused").all()
