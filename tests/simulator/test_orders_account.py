"""Margins, short positions, configuration, lists and the history of equity."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from quant50lib.simulator.account import (
    Figures,
    account_reply,
    configuration_reply,
    figures,
    maintenance_margin,
    order_reply,
)
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.history import equity_history
from quant50lib.simulator.holdings import position_reply
from quant50lib.simulator.listing import list_activities, list_orders
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.timetable import parse_instant
from tests.simulator.orders import (
    QUIET,
    TUESDAY,
    TUESDAY_CLOSE,
    go,
    make,
    refusal,
    send,
    set_asset,
    set_quote,
)

MARGIN = Rules(p_partial=0, half_spread_bps=0, multiplier="2", no_shorting=False)


# ---- margins


def test_the_published_example_of_a_margin_account() -> None:
    """Initial margin is not rounded for the buying power, and cut to cents where it is shown."""
    exchange = make(rules=MARGIN, now=TUESDAY)
    send(exchange)
    # 1,259.61 dollars of marginable shares: half of it, 629.805, is the initial margin
    set_quote(exchange, "AA", "125.961", "125.961", "125.961")
    exchange.account.cash = D("123346.11") - D("1259.61")
    shown = account_reply(exchange)
    assert (shown["initial_margin"], shown["maintenance_margin"]) == ("629.8", "377.88")
    assert D(shown["equity"]) == D("123346.11")
    assert D(shown["buying_power"]) == D(shown["regt_buying_power"]) == D("245432.61")


def test_the_published_example_of_a_four_times_account() -> None:
    found = Figures(
        D(0), D("103820.56"), D("63480.38"), D(0), D("103529.24"), D("38000.832"), 4, D(0)
    )
    assert found.buying_power == D("262113.632")
    assert found.regt_buying_power == (D("103820.56") - D("63480.38")) * 2
    assert found.cash_buying_power == 0


@pytest.mark.parametrize(
    ("qty", "price", "margin"),
    [
        ("10", "100", "300"),  # 30 % of a long position
        ("10", "2.5", "7.5"),
        ("10", "2.49", "24.9"),  # all of a cheap one
        ("-10", "100", "300"),  # 30 % of a short one
        ("-10", "10", "50"),  # 5 dollars a share are more
        ("-10", "4.99", "49.9"),  # below 5 dollars all of it
        ("-10", "2", "25"),  # or 2.50 a share
    ],
)
def test_maintenance_margin(qty: str, price: str, margin: str) -> None:
    assert maintenance_margin(D(qty), D(price)) == D(margin)


def test_assets_that_are_not_marginable_need_all_of_their_value() -> None:
    exchange = make(rules=MARGIN, now=TUESDAY)
    send(exchange)
    send(exchange, symbol="BB", qty="100")
    half = figures(exchange).initial_margin
    assert half == figures(exchange).long_market_value / 2
    set_asset(exchange, "BB", marginable=False)
    price = exchange.prices.last("BB", exchange.now)
    assert price and figures(exchange).initial_margin == half + 50 * price
    assert position_reply(exchange, exchange.positions["BB"])["asset_marginable"] is False


@pytest.mark.parametrize(("multiplier", "power"), [("1", 98983.5), ("2", 198983.5), ("4", 400_000)])
def test_buying_power_by_multiplier(multiplier: str, power: float) -> None:
    """Ten AA at 101.65 held; the four times account looks at the last close alone."""
    rules = Rules(p_partial=0, half_spread_bps=0, multiplier=multiplier)
    exchange = make(rules=rules, now=TUESDAY)
    send(exchange)
    assert D(account_reply(exchange)["buying_power"]) == D(str(power))
    send(exchange, symbol="BB", qty="100", type="limit", limit_price="10")
    assert D(account_reply(exchange)["buying_power"]) == D(str(power)) - 1000


# ---- short positions


def test_a_short_sale_from_end_to_end() -> None:
    exchange = make(rules=MARGIN, now=TUESDAY)
    order = send(exchange, side="sell", qty="10")
    assert order.position_intent == "sell_to_open" and order.filled_value == D("1016.5")
    position = exchange.positions["AA"]
    assert (position.qty, position.cost, position.average) == (-10, D("-1016.5"), D("101.65"))
    set_quote(exchange, "AA", "99", "99", "99")
    shown = position_reply(exchange, position)
    expected = {
        "side": "short", "qty": "-10", "qty_available": "-10", "market_value": "-990",
        "cost_basis": "-1016.5", "avg_entry_price": "101.65", "unrealized_pl": "26.5",
        "unrealized_intraday_pl": "26.5",
    }  # fmt: skip
    assert {k: shown[k] for k in expected} == expected
    assert D(shown["unrealized_plpc"]) == pytest.approx(D("26.5") / D("1016.5"))
    account = account_reply(exchange)
    assert D(account["cash"]) == D("101016.5") and D(account["equity"]) == D("100026.5")
    assert (account["short_market_value"], account["long_market_value"]) == ("-990", "0")
    assert account["initial_margin"] == "495" and account["maintenance_margin"] == "297"
    assert D(account["buying_power"]) == (D("100026.5") - 495) * 2 and account["shorting_enabled"]
    cover = send(exchange, qty="4")
    assert cover.position_intent == "buy_to_close" and position.qty == -6
    assert exchange.positions["AA"].average == D("101.65")
    with pytest.raises(Refusal) as caught:
        send(exchange, qty="7")  # never from short to long at once
    assert caught.value.body["available"] == "6" and caught.value.body["existing_qty"] == "-6"
    send(exchange, qty="6")
    assert not exchange.positions and exchange.account.cash == D("101016.5") - 990


def test_never_from_long_to_short_at_once() -> None:
    exchange = make(rules=MARGIN, now=TUESDAY)
    send(exchange)
    assert refusal(exchange, side="sell", qty="11")[:2] == (403, 40310000)
    assert "mismatch" in refusal(exchange, side="sell", position_intent="sell_to_open")[2]
    send(exchange, side="sell", position_intent="sell_to_close")


def test_what_cannot_be_sold_short() -> None:
    exchange = make(rules=MARGIN, now=TUESDAY)
    fraction = refusal(exchange, side="sell", qty="1.5")
    assert fraction == (422, 42210000, "fractional orders cannot be sold short")
    set_asset(exchange, "BB", shortable=False)
    words = 'asset "BB" cannot be sold short'
    assert refusal(exchange, symbol="BB", side="sell") == (422, 42210000, words)
    assert refusal(exchange, side="sell", qty="5000")[2] == "insufficient buying power"
    exchange.configure({"no_shorting": True})
    assert refusal(exchange, side="sell")[2] == "account is not allowed to short"
    small = make(rules=Rules(cash="1999", multiplier="2", no_shorting=False), now=TUESDAY)
    assert refusal(small, side="sell", qty="1")[2] == "account is not allowed to short"
    assert account_reply(small)["multiplier"] == "1"


# ---- configuration


def test_day_trading_fields_are_there_on_request_only() -> None:
    names = {"pattern_day_trader", "daytrade_count", "daytrading_buying_power"}
    plain = make(now=TUESDAY)
    assert not names & set(account_reply(plain))
    assert "pdt_check" not in configuration_reply(plain)
    rules = Rules(p_partial=0, multiplier="4", legacy_pdt_fields=True)
    exchange = make(rules=rules, now=TUESDAY)
    for symbol in ("AA", "BB"):
        send(exchange, symbol=symbol)
        send(exchange, symbol=symbol, side="sell", qty="3")
    shown = account_reply(exchange)
    assert (shown["daytrade_count"], shown["pattern_day_trader"]) == (2, False)
    assert shown["daytrading_buying_power"] == shown["buying_power"]
    assert {configuration_reply(exchange)[k] for k in ("dtbp_check", "pdt_check")} == {"entry"}


# ---- lists


def test_lists_of_orders_roll_legs_up() -> None:
    exchange = make(now=TUESDAY)
    entry = send(
        exchange, order_class="bracket", time_in_force="gtc", take_profit={"limit_price": "120"},
        stop_loss={"stop_price": "90"},
    )  # fmt: skip
    plain = send(exchange, symbol="BB", type="limit", limit_price="5")
    legs = exchange.legs_of(entry)

    def found(**query: str) -> list[Any]:
        return [order.id for order in list_orders(exchange, query)]

    assert found(direction="asc") == [*entry.legs, plain.id]  # the entry is filled
    assert found(direction="asc", status="all", nested="True") == [entry.id, plain.id]
    assert found(direction="asc", status="all") == [entry.id, *entry.legs, plain.id]
    assert found(nested="true", direction="asc") == [*entry.legs, plain.id]
    assert found(side="sell", direction="asc") == entry.legs
    assert found(asset_class="crypto") == [] and len(found(asset_class="us_equity")) == 3
    assert [leg["legs"] for leg in order_reply(entry, legs)["legs"]] == [None, None]
    both = {"after_order_id": entry.id, "after": "2024-06-04"}
    for query in (both, {"nested": "perhaps"}, {"side": "both"}, {"limit": "0"}, {"limit": "٣"}):
        with pytest.raises(Refusal) as caught:
            list_orders(exchange, query)
        assert caught.value.status == 422


def test_orders_of_one_instant_are_told_apart_by_id() -> None:
    exchange = make()
    sent = [send(exchange, type="limit", limit_price="5") for _ in range(5)]
    for order in sent:
        order.submitted_at = sent[0].submitted_at  # as after 04:00, to the second
    walked: list[str] = []
    while True:
        edge = {"after_order_id": walked[-1]} if walked else {}
        page = list_orders(exchange, {"direction": "asc", "limit": "2", **edge})
        if not page:
            break
        walked += [order.id for order in page]
    assert walked == [order.id for order in sent]


@pytest.mark.parametrize(
    "query",
    [
        {"activity_types": "FILL", "category": "trade_activity"},
        {"date": "2024-06-04", "after": "2024-06-01"},
        {"date": "soon"},
        {"category": "odd"},
        {"page_size": "101"},
        {"direction": "up"},
        {"after": "9999-99-99"},
    ],
)
def test_activities_refuse_what_contradicts_itself(query: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        list_activities(make(), query, None)
    assert caught.value.status == 422


# ---- history


def history(exchange: Exchange, **query: str) -> dict[str, Any]:
    return equity_history(exchange, query)


def test_equity_within_the_session() -> None:
    exchange = make(now="2024-06-04T13:30:00Z")
    send(exchange, qty="100")  # at 102
    go(exchange, TUESDAY)
    found = history(exchange, period="1D", timeframe="15Min")
    start = parse_instant("2024-06-04T13:30:00Z") // 1_000_000
    assert found["timestamp"] == [start + 900 * i for i in range(7)]
    assert found["base_value"] == 100_000 and found["timeframe"] == "15Min"
    # AA falls from 102 by 50 cents in 7800 seconds: after a quarter of an hour 5.77 cents
    assert found["equity"][0] == pytest.approx(100_000 - 100 * 0.06)
    now = float(figures(exchange).equity)
    assert found["equity"][-1] == now == 100_000 + (101.65 - 102) * 100
    assert found["profit_loss"][-1] == pytest.approx(now - 100_000)
    assert found["profit_loss_pct"][-1] == pytest.approx((now - 100_000) / 100_000)


def test_gains_start_anew_each_day_or_not() -> None:
    exchange = make(now=TUESDAY)
    send(exchange, qty="100")  # at 101.65, and 102 at the close
    go(exchange, "2024-06-05T14:30:00Z")
    query = {"start": "2024-06-04", "timeframe": "1H"}
    daily, total = history(exchange, **query), history(exchange, **query, pnl_reset="no_reset")
    assert len(daily["timestamp"]) == 7 + 2 and daily["equity"] == total["equity"]
    assert daily["equity"][0] == 0 or daily["equity"][0] == 100_000
    assert daily["equity"][6] == pytest.approx(100_035, abs=1)
    assert total["profit_loss"][-1] - daily["profit_loss"][-1] == pytest.approx(35)
    wide = history(exchange, **query, intraday_reporting="extended_hours")
    assert len(wide["timestamp"]) == 16 + 7  # 04:00 to 20:00, and until 10:30
    # the day that began at midnight of Tuesday, and Wednesday until 10:30
    whole = history(exchange, **query, intraday_reporting="continuous")
    assert len(whole["timestamp"]) == 24 + 11


@pytest.mark.parametrize(
    ("query", "timeframe"),
    [
        ({"period": "1D"}, "1Min"),
        ({"period": "1W"}, "15Min"),
        ({}, "1D"),
        ({"period": "1A"}, "1D"),
        ({"start": "2024-06-04", "end": "2024-06-05"}, "1Min"),
    ],
)
def test_the_usual_timeframe(query: dict[str, str], timeframe: str) -> None:
    exchange = make(now=TUESDAY)
    assert history(exchange, **query)["timeframe"] == timeframe


def test_histories_that_are_refused() -> None:
    exchange = make(now=TUESDAY)
    for query in (
        {"timeframe": "2D"},
        {"period": "2M", "timeframe": "1H"},
        {"start": "2024-06-01", "end": "2024-06-03", "period": "1D"},
        {"period": "0D"},
        {"period": "9999A"},
        {"end": "99999-01-01"},
        {"timeframe": "1H", "period": "1D", "pnl_reset": "never"},
        {"timeframe": "1H", "period": "1D", "intraday_reporting": "lunch"},
    ):
        with pytest.raises(Refusal) as caught:
            history(exchange, **query)
        assert caught.value.status == 422, query


def test_cash_that_came_and_went() -> None:
    exchange = make(now=TUESDAY, rules=QUIET)
    send(exchange)
    exchange.record("DIV", exchange.stamp(), {"symbol": "AA", "qty": "0", "net_amount": "12.5"})
    go(exchange, TUESDAY_CLOSE)
    query = {"start": "2024-06-03", "timeframe": "1D"}
    assert history(exchange, **query)["cashflow"] == {}
    assert history(exchange, **query, cashflow_types="ALL")["cashflow"] == {"DIV": [0.0, 12.5]}
    assert history(exchange, **query, cashflow_types="FEE")["cashflow"] == {}
