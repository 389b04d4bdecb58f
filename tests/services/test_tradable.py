"""What the orders leave of the limits: shares in whole numbers or millionths, dust, refusals."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Holding, Universe
from quant50lib.services import execute, optimize, tradable
from quant50lib.services.optimize import Solution
from quant50lib.settings import ExecuteSettings
from quant50lib.utils.frames import typed
from tests.days import SESSION, Case, diagonal, excess, names, random_case, settings_of

EQUITY = 100_000.0


def planned(
    case: Case, solution: Solution, price: pd.Series, whole: set[str], **knobs: float
) -> tuple[pd.DataFrame, pd.Series]:
    """The orders of a day, and the weights that its shares make afterwards, counted one by one."""
    held = pd.Series(case.held, dtype=float)
    shares = (held * EQUITY / price.reindex(held.index)).round(9)
    holding = typed(
        Holding,
        (
            {
                "session": SESSION,
                "symbol": symbol,
                "qty": qty,
                "entry_price": price[symbol],
                "entry_session": SESSION,
                "price": price[symbol],
                "value": qty * price[symbol],
                "weight": held[symbol],
            }
            for symbol, qty in shares[shares > 0].items()
        ),
    )
    universe = typed(
        Universe,
        (
            {
                "session": SESSION,
                "symbol": symbol,
                "name": symbol,
                "sector": "One",
                "kind": "stock",
                "close": close,
                "tradable": symbol not in case.untradable,
                "fractionable": symbol not in whole,
                "reason": "",
            }
            for symbol, close in price.items()
        ),
    )
    target = optimize.to_target(solution, SESSION)
    orders = execute.plan_orders(
        target,
        holding,
        universe,
        Decimal(str(EQUITY)),
        Decimal(str(round(max(EQUITY * (1 - held.sum()), 0), 2))),
        pd.Series(1e9, index=price.index),
        ExecuteSettings(**({"max_order_weight": 1.0} | knobs)),
        SESSION,
        (),
        False,
    )
    after = shares.reindex(solution.weights.index, fill_value=0.0)
    for order in orders[orders["state"] == "planned"].itertuples():
        after[order.symbol] += order.qty if order.side == "buy" else -order.qty
    weights = after * price.reindex(after.index) / EQUITY
    return orders, weights.where(weights > 1e-8, 0.0)


@given(seed=st.integers(0, 100_000), share=st.sampled_from([0.0, 0.2]))
@settings(max_examples=12, deadline=None)
def test_every_limit_holds_after_rounding_or_is_named(seed: int, share: float) -> None:
    case = random_case(seed)
    case.settings = case.settings.model_copy(update={"swap_solves": 0, "solver": "fast"})
    rng = np.random.default_rng(seed)
    known = case.expected_return.index.union(pd.Index(list(case.held)))
    price = pd.Series(rng.uniform(5, 900, len(known)).round(2), index=known)
    whole = set(known[rng.random(len(known)) < share])
    solution = case.solve()
    orders, after = planned(case, solution, price, whole)
    target = optimize.to_target(solution, SESSION)
    risk = tradable.risk_of(solution.day)
    named = tradable.breaches(target, orders, EQUITY, solution.limits, risk)
    broken = {
        rule
        for rule, by in excess(case, after).items()
        if by > 2e-8  # of which 1e-8 is the ninth decimal of the shares held
    }
    assert broken <= {breach.rule for breach in named}
    pd.testing.assert_series_equal(
        tradable.weights_after(target, orders, EQUITY).reindex(after.index),
        after,
        atol=1e-8,
        rtol=0,
        check_names=False,
    )


def test_millionths_of_a_share_break_nothing_and_whole_shares_what_they_must() -> None:
    """A name at 5.8 %: the sale down to 5 % is 8 shares and some of 100 USD, or 8."""
    case = diagonal([0.01] * 6, 0.05, held={"AA": 0.0585, "AB": 0.05})
    case.settings = settings_of(swap_solves=0, solver="fast")
    solution, price = case.solve(), pd.Series(100.0, index=names(6))
    target, risk = optimize.to_target(solution, SESSION), tradable.risk_of(solution.day)
    for whole, expected in ((set(), set()), ({"AA"}, {"max_weight"})):
        orders, _ = planned(case, solution, price, whole)
        found = tradable.breaches(target, orders, EQUITY, solution.limits, risk)
        assert {b.rule for b in found} == expected
    assert found[0].value == 0.0505


def test_a_trade_too_small_to_send_is_seen() -> None:
    """0.02 % over the cap is 20 USD, and orders below 25 USD are not sent."""
    case = diagonal([0.01] * 2, 0.05, held={"AA": 0.0502})
    solution, price = case.solve(), pd.Series(50.0, index=names(2))
    target = optimize.to_target(solution, SESSION)
    orders, _ = planned(case, solution, price, set())
    assert not solution.breaches
    found = tradable.breaches(target, orders, EQUITY, solution.limits)
    assert [(b.rule, b.value) for b in found] == [("max_weight", 0.0502)]
    told = tradable.headline(target, orders, EQUITY, 1.0, case.settings)
    assert told["weight_not_traded"] == pytest.approx(0.0002, abs=2e-6)
    assert told["broken_after"] == ["max_weight 0.0502 (limit 0.05)"]
    orders, _ = planned(case, solution, price, set(), min_notional=1.0)
    assert not tradable.breaches(target, orders, EQUITY, solution.limits)
