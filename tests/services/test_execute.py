"""Planning: sizes, sequence, cash and checks, against sums done by hand and against invariants."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Holding, Order, Target, Universe
from quant50lib.errors import ContractError
from quant50lib.services import checks, execute
from quant50lib.settings import ExecuteSettings
from quant50lib.utils.frames import typed

DAY = pd.Timestamp("2024-06-28").as_unit("us")
NAMES = ("AAA", "BBB", "CCC", "DDD")


def universe(**names: dict[str, Any]) -> pd.DataFrame:
    usual = {"close": 10.0, "tradable": True, "fractionable": True, "reason": ""}
    rows = [
        {
            "session": DAY,
            "symbol": s,
            "name": s,
            "sector": "Energy",
            "kind": "stock",
            **usual,
            **own,
        }
        for s, own in names.items()
    ]
    return typed(Universe, rows)


def target(weights: dict[str, float], **intents: str) -> pd.DataFrame:
    rows = [
        {
            "session": DAY,
            "symbol": symbol,
            "sector": "Energy",
            "held": 0.0,
            "weight": weight,
            "expected_return": 0.0,
            "risk_share": 0.0,
            "intent": intents.get(symbol, "rebalance"),
        }
        for symbol, weight in weights.items()
    ]
    return typed(Target, rows)


def holding(qty: dict[str, float], price: float = 10.0) -> pd.DataFrame:
    rows = [
        {
            "session": DAY,
            "symbol": symbol,
            "qty": shares,
            "entry_price": price,
            "entry_session": DAY,
            "price": price,
            "value": shares * price,
            "weight": 0.0,
        }
        for symbol, shares in qty.items()
    ]
    return typed(Holding, rows)


def plan(
    weights: dict[str, float] | None = None,
    held: dict[str, float] | None = None,
    names: dict[str, dict[str, Any]] | None = None,
    cash: str = "100000",
    volume: float = 1e6,
    open_symbols: tuple[str, ...] = (),
    reduce_only: bool = False,
    shadow: str = "",
    intents: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
    **knobs: Any,
) -> pd.DataFrame:
    """Orders of an account of 100,000 USD in which every share costs 10 USD."""
    orders = execute.plan_orders(
        target(weights or {}, **(intents or {})),
        holding(held or {}),
        universe(**(names or {name: {} for name in NAMES})),
        Decimal(100_000),
        Decimal(cash),
        pd.Series({name: volume for name in NAMES}),
        ExecuteSettings(**knobs),
        DAY,
        open_symbols,
        reduce_only,
        shadow,
        **(more or {}),
    )
    Order.check(orders)
    return orders.set_index("symbol")


def test_a_buy_is_the_missing_weight_in_shares() -> None:
    order = plan({"AAA": 0.05}, {"AAA": 100.0}).loc["AAA"]
    assert (order["side"], order["qty"], order["notional"]) == ("buy", 400.0, 4000.0)
    assert order["client_order_id"] == "q50-20240628-AAA-buy-rebalance-1"
    assert (order["state"], order["reason"], order["filled_qty"]) == ("planned", "", 0.0)


def test_fractions_are_cut_to_six_decimals_and_whole_share_assets_to_whole_shares() -> None:
    names = {"AAA": {"close": 30.0}, "BBB": {"close": 30.0, "fractionable": False}}
    orders = plan({"AAA": 0.05, "BBB": 0.05}, names=names)
    assert orders["qty"].to_dict() == {"AAA": 166.666666, "BBB": 166.0}


def test_a_full_exit_sells_exactly_what_is_held() -> None:
    order = plan({"AAA": 0.0}, {"AAA": 12.123456789}).loc["AAA"]
    assert (order["side"], order["qty"]) == ("sell", 12.123456789)


def test_an_exit_is_not_dust() -> None:
    assert plan({}, {"AAA": 0.5}).loc["AAA", "qty"] == 0.5
    assert plan({"AAA": 0.0002}).empty  # 20 USD is below 25
    assert len(plan({"AAA": 0.00026})) == 1


def test_a_holding_without_a_target_is_an_exit() -> None:
    assert plan({}, {"AAA": 10.0}).loc["AAA", "intent"] == "exit"


def test_a_name_on_hold_is_left_alone() -> None:
    assert plan({"AAA": 0.05}, {"AAA": 1.0}, intents={"AAA": "hold"}).empty


def test_the_intent_of_the_target_is_kept() -> None:
    order = plan({"AAA": 0.0}, {"AAA": 10.0}, intents={"AAA": "stop"}).loc["AAA"]
    assert order["client_order_id"] == "q50-20240628-AAA-sell-stop-1"


def test_sells_go_first_and_then_the_largest_buy() -> None:
    orders = plan({"AAA": 0.02, "BBB": 0.04, "CCC": 0.0}, {"CCC": 50.0, "DDD": 90.0})
    assert list(orders.index) == ["DDD", "CCC", "BBB", "AAA"]
    shuffled = orders.reset_index().sample(frac=1, random_state=1)
    assert list(execute.in_sequence(shuffled)["symbol"]) == ["DDD", "CCC", "BBB", "AAA"]


def test_equal_sizes_are_sent_in_alphabetical_order() -> None:
    assert list(plan({"CCC": 0.02, "AAA": 0.02, "BBB": 0.02}).index) == ["AAA", "BBB", "CCC"]


def test_buys_end_where_the_cash_ends() -> None:
    orders = plan({"AAA": 0.05, "BBB": 0.04, "CCC": 0.02}, cash="7280", price_collar=0.04)
    assert orders["state"].to_dict() == {"AAA": "planned", "BBB": "deferred", "CCC": "planned"}
    assert orders.loc["BBB", "reason"] == "buying power: needs 4,160.00, has 2,080.00"


def test_cash_of_queued_sells_is_not_spent() -> None:
    orders = plan({"AAA": 0.05}, {"BBB": 500.0}, cash="0")
    assert orders["state"].to_dict() == {"BBB": "planned", "AAA": "deferred"}


def test_nothing_is_bought_with_negative_cash() -> None:
    assert execute.buying_power(Decimal(-5), Decimal("0.04")) == 0
    assert plan({"AAA": 0.05}, cash="-100").loc["AAA", "state"] == "deferred"


def test_a_name_with_an_open_order_waits() -> None:
    orders = plan({"AAA": 0.05, "BBB": 0.05}, open_symbols=("AAA",))
    assert orders["state"].to_dict() == {"AAA": "deferred", "BBB": "planned"}
    assert orders.loc["AAA", "reason"].startswith("open order")


@pytest.mark.parametrize(
    ("check", "reason", "asked"),
    [
        ("max_order_notional", "1,000.00 over the limit 4,000.00", {"max_order_notional": 4000}),
        ("max_order_weight", "2,000.00 over the limit 3,000.00", {"max_order_weight": 0.03}),
        ("max_volume_share", "400.00 over the limit 100.00", {"volume": 1e4}),
        ("max_volume_share", "its daily volume is not known", {"volume": float("nan")}),
        ("reduce_only", "nothing may be bought now", {"reduce_only": True}),
        ("tradable", "halted", {"names": {"AAA": {"tradable": False, "reason": "halted"}}}),
        ("kill_switch", "the desk is halted: odd quotes", {"more": {"halted": "odd quotes"}}),
        ("corporate_action", "split on 2024", {"more": {"coming": {"AAA": "split on 2024"}}}),
    ],
)
def test_each_check_refuses_a_buy_and_says_by_how_much(
    check: str, reason: str, asked: dict[str, Any]
) -> None:
    assert plan({"AAA": 0.05}).loc["AAA", "state"] == "planned"
    order = plan({"AAA": 0.05}, **asked).loc["AAA"]
    assert order["state"] == "refused"
    assert check in order["reason"] and reason in order["reason"]


def test_a_close_far_from_the_price_of_the_holding_sizes_no_order() -> None:
    names = {"AAA": {"close": 15.0}, "BBB": {"close": 10.05}}
    held = {"AAA": 10.0, "BBB": 10.0}
    orders = plan({"AAA": 0.05, "BBB": 0.05}, held, names)
    assert orders["state"].to_dict() == {"AAA": "refused", "BBB": "planned"}
    assert orders.loc["AAA", "reason"] == (
        "last_close: 15.0 is 50.00% away from 10.0, over the limit 1.00%"
    )
    assert plan({}, held, names)["state"].to_dict() == {"AAA": "planned", "BBB": "planned"}


REFUSED_ELSEWHERE = {"price", "last_close", "fractionable"}


def test_every_check_has_a_test_that_fails_it() -> None:
    marks = test_each_check_refuses_a_buy_and_says_by_how_much.pytestmark  # type: ignore[attr-defined]
    tried = {case[0] for case in marks[0].args[1]}
    assert tried | REFUSED_ELSEWHERE == set(checks.CHECKS)


def test_no_brake_keeps_a_sell_in_but_a_coming_split_does() -> None:
    held = {"AAA": 10.0}
    assert plan({}, held, more={"halted": "x"}, reduce_only=True)["state"].tolist() == ["planned"]
    order = plan({}, held, more={"coming": {"AAA": "forward_split on 2024-07-01"}}).loc["AAA"]
    assert (order["state"], order["reason"]) == (
        "refused",
        "corporate_action: forward_split on 2024-07-01",
    )


def test_a_frozen_name_waits_and_says_for_what() -> None:
    orders = plan({"AAA": 0.05, "BBB": 0.05}, more={"frozen": {"AAA": "an order is stuck"}})
    assert orders["state"].to_dict() == {"AAA": "deferred", "BBB": "planned"}
    assert orders.loc["AAA", "reason"] == "frozen: an order is stuck"


def test_shares_that_another_order_holds_are_not_sold() -> None:
    held, free = {"AAA": 10.0, "BBB": 4.0}, {"AAA": Decimal("7.5"), "BBB": Decimal(4)}
    orders = plan({}, held, more={"available": free})
    assert orders["state"].to_dict() == {"AAA": "deferred", "BBB": "planned"}
    assert orders.loc["AAA", "reason"] == (
        "held_for_orders: 10.0 wanted, 2.5 over the 7.5 available"
    )


def test_open_buys_keep_their_rest_of_the_cash() -> None:
    working = plan({"AAA": 0.05, "BBB": 0.02}, {"CCC": 5.0}).reset_index()
    working.loc[working["symbol"] == "AAA", "filled_qty"] = 100.0
    kept = execute.reserved(working, ExecuteSettings(price_collar=0.04))
    assert kept == Decimal("1.04") * (4000 + 2000)


def test_what_changes_shares_before_an_order_fills() -> None:
    days = [DAY, DAY + pd.Timedelta(days=3), DAY + pd.Timedelta(days=3), DAY + pd.Timedelta(days=4)]
    kinds = ["forward_split", "cash_dividend", "name_change", "reverse_split"]
    actions = pd.DataFrame({"symbol": list(NAMES), "type": kinds, "ex_date": days})
    coming = execute.coming_actions(actions, DAY, DAY + pd.Timedelta(days=3))
    assert coming == {"CCC": "name_change on 2024-07-01"}


def test_a_deferred_buy_is_planned_anew_from_what_is_missing_then() -> None:
    """Nothing is carried but the books: the part that fitted is owned, the rest is drift."""
    first = plan({"AAA": 0.05, "BBB": 0.05}, cash="5300")
    assert first["state"].to_dict() == {"AAA": "planned", "BBB": "deferred"}
    held = {"AAA": first.loc["AAA", "qty"]}
    second = plan({"AAA": 0.05, "BBB": 0.05}, held, cash="5300")
    assert second["state"].to_dict() == {"BBB": "planned"}
    assert second.loc["BBB", "qty"] == first.loc["BBB", "qty"]


def test_all_that_speaks_against_an_order_is_said_at_once() -> None:
    names = {"AAA": {"tradable": False, "reason": "halted"}}
    reason = plan({"AAA": 0.05}, names=names, volume=1e4).loc["AAA", "reason"]
    assert "tradable" in reason and "max_volume_share" in reason


def test_a_refused_buy_leaves_its_cash_to_the_others() -> None:
    names = {"AAA": {"tradable": False, "reason": "halted"}, "BBB": {}}
    orders = plan({"AAA": 0.05, "BBB": 0.04}, names=names, cash="4200")
    assert orders["state"].to_dict() == {"AAA": "refused", "BBB": "planned"}


def test_without_a_close_of_the_session_nothing_is_resized_but_all_may_be_sold() -> None:
    names = {"AAA": {"close": None}, "BBB": {"close": None}}
    orders = plan({"AAA": 0.03, "BBB": 0.0}, {"AAA": 500.0, "BBB": 10.0}, names)
    assert orders["state"].to_dict() == {"AAA": "refused", "BBB": "planned"}
    assert "price: no close of the session" in orders.loc["AAA", "reason"]


def test_what_left_the_universe_can_be_sold() -> None:
    order = plan({}, {"AAA": 10.0}, names={"BBB": {}}, volume=float("nan")).loc["AAA"]
    assert (order["state"], order["qty"]) == ("planned", 10.0)


def test_no_limit_on_size_keeps_a_stop_in() -> None:
    knobs = {"max_order_notional": 10.0, "max_order_weight": 0.0001, "volume": 1.0}
    held = {"AAA": 500.0}
    assert plan({"AAA": 0}, held, intents={"AAA": "stop"}, **knobs).loc["AAA", "state"] == "planned"
    assert plan({"AAA": 0.01}, held, **knobs).loc["AAA", "state"] == "refused"


def test_a_part_of_a_share_of_a_whole_share_asset() -> None:
    names = {"AAA": {"fractionable": False}, "BBB": {"fractionable": False}}
    orders = plan({}, {"AAA": 7.5, "BBB": 0.5}, names)
    assert (orders.loc["AAA", "qty"], orders.loc["AAA", "state"]) == (7.0, "planned")
    assert (orders.loc["BBB", "qty"], orders.loc["BBB", "state"]) == (0.5, "refused")
    assert "fractionable: 0.5 of a share" in orders.loc["BBB", "reason"]


def test_beyond_the_count_the_smallest_are_refused() -> None:
    weights = {"AAA": 0.02, "BBB": 0.04, "CCC": 0.03}
    orders = plan(weights, {"DDD": 5.0}, max_orders=2)
    assert list(orders["state"]) == ["planned", "planned", "refused", "refused"]
    assert list(orders.index) == ["DDD", "BBB", "CCC", "AAA"]
    assert orders.loc["AAA", "reason"] == "max_orders: 4 is 2 over the limit 2"


def test_a_shadow_plan_says_why_and_keeps_refusals() -> None:
    orders = plan({"AAA": 0.05, "BBB": 0.05}, open_symbols=("BBB",), shadow="opened by hand")
    assert orders["state"].to_dict() == {"AAA": "shadow", "BBB": "deferred"}
    assert orders.loc["AAA", "reason"] == "opened by hand"
    late = execute.shadow(plan({"AAA": 0.05}), "too late")
    assert (late.loc["AAA", "state"], late.loc["AAA", "reason"]) == ("shadow", "too late")


def test_a_target_that_cannot_be_priced_is_a_broken_table() -> None:
    with pytest.raises(ContractError, match="no close is known for the targets AAA"):
        plan({"AAA": 0.05}, names={"AAA": {"close": None}})


def test_a_universe_of_another_day_is_a_broken_table() -> None:
    table = universe(AAA={}).assign(session=DAY - pd.Timedelta(days=1))
    empty = (target({}), holding({}), table, Decimal(1), Decimal(1), pd.Series(dtype=float))
    with pytest.raises(ContractError, match="2024-06-27"):
        execute.plan_orders(*empty, ExecuteSettings(), DAY, (), False)


weights = st.floats(0, 0.2, allow_subnormal=False)
shares = st.decimals("0.000001", "900", places=6).map(float)
prices = st.decimals("0.5", "900", places=2).map(float)


@st.composite
def days(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Decimal]:
    """Targets, holdings and names of a day, and the cash."""
    price = {name: draw(prices) for name in NAMES}
    wanted = draw(st.dictionaries(st.sampled_from(NAMES), weights))
    held = draw(st.dictionaries(st.sampled_from(NAMES), shares))
    whole = draw(st.sets(st.sampled_from(NAMES)))
    names = {n: {"close": price[n], "fractionable": n not in whole} for n in NAMES}
    cash = draw(st.decimals("0", "50000", places=2))
    book = holding(held)
    return target(wanted), book.assign(price=book["symbol"].map(price)), universe(**names), cash


def plan_of(day: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Decimal]) -> pd.DataFrame:
    wanted, held, names, cash = day
    volume = pd.Series({name: 1e9 for name in NAMES})
    roomy = ExecuteSettings(max_order_weight=1.0)
    return execute.plan_orders(
        wanted, held, names, Decimal(100_000), cash, volume, roomy, DAY, (), False
    )


@settings(max_examples=60, deadline=None)
@given(days())
def test_no_more_cash_is_committed_than_there_is(
    day: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Decimal],
) -> None:
    orders = plan_of(day)
    buys = orders[(orders["side"] == "buy") & (orders["state"] == "planned")]
    assert 1.04 * buys["notional"].sum() <= float(day[3]) + 1e-6


@settings(max_examples=60, deadline=None)
@given(days())
def test_no_trade_goes_past_its_target_nor_sells_what_is_not_owned(
    day: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Decimal],
) -> None:
    wanted, held, names, _ = day
    price = names.set_index("symbol")["close"]
    owned = held.set_index("symbol")["qty"].reindex(NAMES, fill_value=0.0)
    aim = wanted.set_index("symbol")["weight"].reindex(NAMES, fill_value=0.0) * 100_000
    drift = (aim - owned * price).abs()
    orders = plan_of(day)
    assert orders["symbol"].is_unique
    traded = orders.set_index("symbol")["notional"]
    assert (traded <= drift[traded.index] + 1e-6).all()
    sells = orders[orders["side"] == "sell"].set_index("symbol")["qty"]
    assert (sells <= owned[sells.index]).all()


@settings(max_examples=40, deadline=None)
@given(days(), st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(
    day: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Decimal], seed: int
) -> None:
    shuffled = [table.sample(frac=1, random_state=seed) for table in day[:3]]
    pd.testing.assert_frame_equal(plan_of(day), plan_of((*shuffled, day[3])))
