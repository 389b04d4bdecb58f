"""The exchange on a market known to the cent: life of an order, money, splits, memory."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.errors import SettingsError
from quant50lib.simulator.account import Figures, account_reply, figures, order_reply
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.history import equity_history
from quant50lib.simulator.holdings import position_reply
from quant50lib.simulator.listing import list_activities, list_orders
from quant50lib.simulator.market import Action
from quant50lib.simulator.order_form import parse_order, read_body
from quant50lib.simulator.prices import path_price
from quant50lib.simulator.records import OPEN_STATUSES, Order
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import parse_instant, utc_text
from tests.simulator.markets import WEEK, TableMarket, flat

MONDAY_NIGHT = "2024-06-03T22:00:00Z"
QUIET = Rules(p_partial=0.0, half_spread_bps=0.0)


def make(
    path: Path | None, rules: Rules = QUIET, now: str = MONDAY_NIGHT, actions: list[Action] | None = None,
    **bars: Any,
) -> Exchange:  # fmt: skip
    market = TableMarket({"AA": flat(100), "BB": flat(20), **bars}, actions)
    file = StateFile(path / "state.sqlite" if path else Path(":memory:"))
    return Exchange(market, file, rules, parse_instant(now))


def send(exchange: Exchange, **changes: Any) -> Order:
    body = {"symbol": "AA", "side": "buy", "type": "market", "time_in_force": "day", "qty": "10"}
    body |= changes
    body = {k: v for k, v in body.items() if v is not None}
    return exchange.submit(parse_order(body, exchange.prices))


def refusal(exchange: Exchange, **changes: Any) -> tuple[int, int, str]:
    with pytest.raises(Refusal) as caught:
        send(exchange, **changes)
    return caught.value.status, caught.value.body["code"], caught.value.body["message"]


def go(exchange: Exchange, to: str) -> None:
    exchange.advance(parse_instant(to))


# ---- life of an order


def test_an_order_of_the_evening_fills_at_the_next_open(tmp_path: Path) -> None:
    exchange = make(tmp_path, Rules(p_partial=0, half_spread_bps=10))
    order = send(exchange, client_order_id="mine")
    assert (order.status, utc_text(order.expires_at)) == ("accepted", "2024-06-04T20:00:00Z")
    go(exchange, "2024-06-04T07:59:59.999999Z")
    assert order_reply(exchange.orders[order.id])["submitted_at"] == MONDAY_NIGHT
    go(exchange, "2024-06-04T08:00:00Z")  # 04:00 in New York
    shown = order_reply(exchange.orders[order.id])
    assert (shown["status"], shown["submitted_at"]) == ("new", "2024-06-04T08:00:00Z")
    assert shown["created_at"] == MONDAY_NIGHT
    go(exchange, "2024-06-04T13:29:59Z")
    assert order.status == "new" and not exchange.positions
    go(exchange, "2024-06-04T13:30:00Z")
    shown = order_reply(order)
    assert shown["status"] == "filled" and shown["filled_at"] == "2024-06-04T13:30:00Z"
    assert shown["filled_avg_price"] == "102.102"  # the open of 102 and ten basis points
    assert exchange.account.cash == D(100_000) - 10 * D("102.102")
    assert [s for _, s in order.history] == ["accepted", "new", "filled"]
    moments = [t for t, _ in order.history]
    assert moments == sorted(set(moments))


def test_an_order_before_the_open_is_of_the_same_day(tmp_path: Path) -> None:
    exchange = make(tmp_path, now="2024-06-04T12:00:00Z")
    order = send(exchange)
    assert order.status == "accepted"
    go(exchange, "2024-06-04T13:30:00Z")
    assert order.status == "filled" and order.filled_value == 10 * D(102)


def test_an_order_in_the_session_fills_at_once(tmp_path: Path) -> None:
    rows = [("2024-06-04", 100.0, 106.0, 97.0, 103.0)]
    exchange = make(tmp_path, now="2024-06-04T15:40:00Z", CC=[("2024-06-03", 1, 1, 1, 1), *rows])
    order = send(exchange, symbol="CC")
    assert [s for _, s in order.history] == ["pending_new", "new", "filled"]
    assert order.filled_value == 10 * D("97")  # a third of a rising session: at the low


def test_the_path_of_a_session_stays_in_its_range() -> None:
    up = TableMarket({"CC": [("2024-06-04", 100.0, 106.0, 97.0, 103.0)]}).series("CC")
    down = TableMarket({"CC": [("2024-06-04", 100.0, 106.0, 97.0, 99.0)]}).series("CC")
    assert [path_price(up, 0, x / 3) for x in range(4)] == [100, 97, 106, 103]
    assert [path_price(down, 0, x / 3) for x in range(4)] == [100, 106, 97, 99]


def test_without_a_bar_a_day_order_expires(tmp_path: Path) -> None:
    halted = flat(50, (WEEK[0], WEEK[3]))
    exchange = make(tmp_path, CC=halted)
    order = send(exchange, symbol="CC")
    assert figures(exchange).reserved == 10 * D(51)
    go(exchange, "2024-06-04T19:59:59Z")
    assert order.status == "new"
    go(exchange, "2024-06-04T20:00:00Z")
    assert order.status == "expired" and order_reply(order)["expired_at"] == "2024-06-04T20:00:00Z"
    assert figures(exchange).reserved == 0 and exchange.account.cash == 100_000


def test_partial_fills_go_on_a_second_later(tmp_path: Path) -> None:
    exchange = make(tmp_path, Rules(p_partial=1, half_spread_bps=0))
    order = send(exchange, qty="40")
    go(exchange, "2024-06-04T13:30:00Z")
    assert order.status == "partially_filled" and 0 < order.filled_qty < 40
    first = order.filled_qty
    assert order.filled_at is None
    go(exchange, "2024-06-04T13:30:01Z")
    assert first < order.filled_qty and order.filled_qty == order.filled_qty.to_integral_value()
    go(exchange, "2024-06-04T20:00:00Z")
    assert order.status == "filled" and order.filled_qty == 40
    rows = list_activities(exchange, {"direction": "asc"}, "FILL")
    assert sum(D(row["qty"]) for row in rows) == 40
    assert [row["type"] for row in rows] == ["partial_fill"] * (len(rows) - 1) + ["fill"]
    cumulative = [D(row["cum_qty"]) for row in rows]
    assert cumulative == sorted(cumulative) and D(rows[-1]["leaves_qty"]) == 0


def test_cancelling(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    order = send(exchange)
    exchange.cancel(order.id)
    assert [s for _, s in order.history] == ["accepted", "pending_cancel", "canceled"]
    exchange.cancel(order.id)  # again is no error
    done = send(exchange, symbol="BB")
    go(exchange, "2024-06-04T13:30:00Z")
    assert exchange.orders[order.id].status == "canceled"
    for wanted, status in ((done.id, 422), ("nobody", 404)):
        with pytest.raises(Refusal) as caught:
            exchange.cancel(wanted)
        assert caught.value.status == status


def test_notional_orders_buy_what_the_price_allows(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    order = send(exchange, qty=None, notional="1000")
    assert figures(exchange).reserved == 1000
    go(exchange, "2024-06-04T13:30:00Z")
    shown = order_reply(order)
    assert shown["qty"] is None and shown["notional"] == "1000"
    assert D(shown["filled_qty"]) == D("9.803921568")  # 1000 / 102, cut at nine decimals
    assert exchange.account.cash == 100_000 - D("9.803921568") * 102


def test_the_clock_goes_forward_only(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    go(exchange, MONDAY_NIGHT)
    with pytest.raises(Refusal, match="2024-06-03T22:00:00Z and cannot go back to 2024-06-03T21"):
        go(exchange, "2024-06-03T21:00:00Z")
    with pytest.raises(Refusal, match="calendar ends"):
        go(exchange, "2046-01-01T00:00:00Z")


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "status", "code", "words"),
    [
        ({"symbol": None}, 422, 40010001, "symbol is required"),
        ({"side": "hold"}, 422, 40010001, "invalid side"),
        ({"type": "magic"}, 422, 40010001, "invalid order type"),
        ({"type": 7}, 422, 40010001, "invalid type"),
        ({"time_in_force": "never"}, 422, 40010001, "invalid time_in_force"),
        ({"qty": None}, 422, 40010001, "qty or notional is required"),
        ({"notional": "5"}, 422, 40010001, "only one of qty or notional"),
        ({"qty": "0"}, 422, 40010001, "qty must be > 0"),
        ({"qty": "0.0000000009"}, 422, 40010001, "qty must be > 0"),
        ({"qty": "-3"}, 422, 40010001, "qty must be > 0"),
        ({"qty": "many"}, 422, 40010001, "invalid qty"),
        ({"qty": True}, 422, 40010001, "invalid qty"),
        ({"qty": "NaN"}, 422, 40010001, "invalid qty"),
        ({"qty": None, "notional": "0.99"}, 422, 40010001, "notional must be >= 1.00"),
        ({"qty": None, "notional": "5.001"}, 422, 40010001, "2 decimal places"),
        ({"limit_price": "5"}, 422, 40010001, "no stop or limit price"),
        ({"extended_hours": True}, 422, 42210000, "extended hours"),
        ({"client_order_id": "x" * 129}, 422, 40010001, "no more than 128"),
        ({"symbol": "ZZ"}, 422, 42210000, 'asset "ZZ" not found'),
        ({"qty": "0.001"}, 403, 40310000, "minimal amount"),
        ({"qty": "991"}, 403, 40310000, "insufficient buying power"),
        ({"side": "sell"}, 403, 40310000, "not allowed to short"),
    ],
)
def test_refusals(tmp_path: Path, changes: Any, status: int, code: int, words: str) -> None:
    exchange = make(tmp_path)
    found = refusal(exchange, **changes)
    assert found[:2] == (status, code) and words in found[2]
    assert not exchange.orders


def test_refusals_that_need_a_past(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    first = send(exchange, client_order_id="once")
    assert refusal(exchange, client_order_id="once")[1:] == (
        40010001,
        "client_order_id must be unique",
    )
    go(exchange, "2024-06-04T22:00:00Z")
    assert refusal(exchange, client_order_id="once")[0] == 422  # for ever
    sold = send(exchange, side="sell", qty="6")
    with pytest.raises(Refusal) as caught:
        send(exchange, side="sell", qty="5")
    body = caught.value.body
    assert (body["existing_qty"], body["held_for_orders"], body["available"]) == ("10", "6", "4")
    assert "requested: 5, available: 4" in body["message"]
    with pytest.raises(Refusal, match="wash trade") as caught:
        send(exchange, qty="1")
    assert caught.value.body["existing_order_id"] == sold.id != first.id
    assert refusal(exchange, symbol="BB", side="sell")[2] == "account is not allowed to short"


def test_open_buys_hold_back_buying_power(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    order = send(exchange, qty="500")  # at the last close of 101
    assert figures(exchange).buying_power == 100_000 - 500 * D(101)
    status, _, words = refusal(exchange, symbol="BB", qty="2500")
    assert status == 403 and words == "insufficient buying power"
    exchange.cancel(order.id)
    send(exchange, symbol="BB", qty="2500")


def test_configurations_bind(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    exchange.configure({"suspend_trade": True})
    assert refusal(exchange)[:2] == (403, 40310000)
    exchange.configure({"suspend_trade": False, "fractional_trading": False})
    assert "fractional" in refusal(exchange, qty="1.5")[2]
    send(exchange, qty="1")


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b'{"qty": 1e999999999999999999999}'])
def test_bodies_that_are_none(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_body(raw)
    assert caught.value.status == 400


def test_numbers_are_read_as_written(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    body = read_body(
        b'{"symbol":"AA","side":"buy","type":"market","time_in_force":"day",'
        b'"qty":3.3000000000000003}'
    )
    assert parse_order(body, exchange.prices).qty == D("3.3")


# ---- the account


def test_margin_arithmetic_of_the_published_examples() -> None:
    twice = Figures(D("123346.11"), D(0), D("629.805"), D(0), D(0), D(0), 2, D(0))
    assert twice.buying_power == D("245432.61")
    four = Figures(
        D(0), D("103820.56"), D("63480.38"), D(0), D("103529.24"), D("38000.832"), 4, D(0)
    )
    assert four.buying_power == D("262113.632")
    assert four.regt_buying_power == (D("103820.56") - D("63480.38")) * 2


def test_the_account_adds_up(tmp_path: Path) -> None:
    exchange = make(tmp_path, Rules(p_partial=0, half_spread_bps=0, multiplier="2"))
    send(exchange, qty="100")
    go(exchange, "2024-06-05T22:00:00Z")
    shown = account_reply(exchange)
    assert D(shown["cash"]) == 100_000 - 100 * 102
    assert D(shown["long_market_value"]) == 100 * 103
    assert D(shown["equity"]) == 100_100
    assert D(shown["last_equity"]) == 100_000  # the close of the fourth: bought and closed at 102
    assert D(shown["initial_margin"]) == 5150 and D(shown["maintenance_margin"]) == 3090
    assert D(shown["last_maintenance_margin"]) == 3060
    assert D(shown["buying_power"]) == (100_100 - 5150) * 2
    exchange.configure({"max_margin_multiplier": "1"})
    assert D(account_reply(exchange)["buying_power"]) == 89_800


def test_a_small_account_has_no_margin(tmp_path: Path) -> None:
    exchange = make(tmp_path, Rules(multiplier="4", cash="1999.99"))
    shown = account_reply(exchange)
    assert (shown["multiplier"], shown["buying_power"]) == ("1", "1999.99")


def test_a_position_as_shown(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    send(exchange, qty="10")
    go(exchange, "2024-06-05T22:00:00Z")
    send(exchange, side="sell", qty="4")
    shown = position_reply(exchange, exchange.positions["AA"])
    expected = {
        "qty": "10",
        "qty_available": "6",
        "avg_entry_price": "102",
        "cost_basis": "1020",
        "current_price": "103",
        "market_value": "1030",
        "lastday_price": "102",
        "unrealized_pl": "10",
        "unrealized_plpc": "0.0098039215686275",
        "unrealized_intraday_pl": "10",
        "change_today": "0.0098039215686275",
        "side": "long",
    }
    assert {k: shown[k] for k in expected} == expected
    go(exchange, "2024-06-06T22:00:00Z")
    assert exchange.positions["AA"].qty == 6 and exchange.positions["AA"].average == 102


def test_shares_bought_today_gain_from_their_price(tmp_path: Path) -> None:
    rows = [("2024-06-03", 100.0, 100.0, 100.0, 100.0), ("2024-06-04", 104.0, 110.0, 103.0, 109.0)]
    exchange = make(tmp_path, CC=rows)
    send(exchange, symbol="CC", qty="10")
    go(exchange, "2024-06-04T22:00:00Z")
    shown = position_reply(exchange, exchange.positions["CC"])
    assert shown["unrealized_intraday_pl"] == "50" and shown["change_today"] == "0.09"


def test_equity_by_session(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    send(exchange, qty="10")
    go(exchange, "2024-06-07T15:00:00Z")
    found = equity_history(exchange, {"period": "5D", "timeframe": "1D"})
    # 11:00 is 0.2308 of the session: two thirds of the way from 105 down to the low of 104.50
    assert found["equity"] == [0, 100_000, 100_010, 100_020, 100_026.5]
    assert found["profit_loss"] == [0, 0, 10, 20, 26.5] and found["base_value"] == 100_000
    assert len(found["timestamp"]) == len(found["profit_loss_pct"]) == 5
    both = {"start": "2024-06-05", "end": "2024-06-06", "timeframe": "1D"}
    assert equity_history(exchange, both)["equity"] == [100_010, 100_020]
    week = {"start": "2024-06-04", "period": "1W", "timeframe": "1D"}
    assert equity_history(exchange, week)["equity"][0] == 100_000
    assert equity_history(exchange, {"period": "1M"})["equity"][-1] == 100_026.5
    for query in ({**both, "period": "1D"}, {"period": "1X"}, {"start": "soon"}):
        with pytest.raises(Refusal):
            equity_history(exchange, query)


# ---- corporate actions


def split(new: int, old: int, symbol: str = "AA") -> Action:
    kind = "forward_split" if new > old else "reverse_split"
    return Action(kind, symbol, dt.date(2024, 6, 5), new=D(new), old=D(old))


def test_a_split_changes_shares_and_no_money(tmp_path: Path) -> None:
    rows = [*flat(100, WEEK[:2]), ("2024-06-05", 34.5, 35.0, 34.0, 34.8)]
    exchange = make(tmp_path, actions=[split(3, 1)], AA=rows)
    send(exchange, qty="10.5")
    go(exchange, "2024-06-05T07:59:59Z")
    assert exchange.positions["AA"].qty == D("10.5")
    before = figures(exchange).equity
    go(exchange, "2024-06-05T08:00:00Z")
    position = exchange.positions["AA"]
    assert (position.qty, position.cost) == (D("31.5"), D("10.5") * 102)
    assert figures(exchange).equity == before  # the last close is divided as well
    [row] = list_activities(exchange, {"activity_types": "SPLIT,DIV"}, None)
    assert (row["activity_sub_type"], row["qty"], row["net_amount"]) == ("FSPLIT", "21", "0")
    go(exchange, "2024-06-05T22:00:00Z")
    assert figures(exchange).long_market_value == D("31.5") * D("34.8")


def test_a_queued_sale_keeps_its_number_of_shares(tmp_path: Path) -> None:
    rows = [*flat(10, WEEK[:2]), ("2024-06-05", 96.0, 97.0, 95.0, 96.0)]
    exchange = make(tmp_path, actions=[split(1, 8)], AA=rows)
    send(exchange, qty="80")
    go(exchange, "2024-06-04T22:00:00Z")
    order = send(exchange, side="sell", qty="80")
    go(exchange, "2024-06-05T22:00:00Z")
    assert order.status == "rejected" and order_reply(order)["failed_at"]
    assert exchange.positions["AA"].qty == 10


def test_splits_may_be_left_out(tmp_path: Path) -> None:
    rules = Rules(p_partial=0, splits_on_paper="ignore")
    exchange = make(tmp_path, rules, actions=[split(3, 1)])
    send(exchange)
    go(exchange, "2024-06-05T22:00:00Z")
    assert exchange.positions["AA"].qty == 10


def test_a_merger_pays_the_holder_off(tmp_path: Path) -> None:
    merger = Action("cash_merger", "AA", dt.date(2024, 6, 5), cash=D("103.25"))
    exchange = make(tmp_path, actions=[merger], AA=flat(100, WEEK[:2]))
    send(exchange, qty="10")
    go(exchange, "2024-06-05T08:00:00Z")
    assert not exchange.positions
    assert exchange.account.cash == 100_000 - 1020 + D("1032.5")
    [row] = list_activities(exchange, {"category": "non_trade_activity"}, None)
    assert (row["activity_type"], row["net_amount"], row["qty"]) == ("MA", "1032.5", "-10")
    assert "not active" in refusal(exchange)[2]


# ---- lists


def test_orders_are_found_by_their_filters(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    sent = [send(exchange, symbol=s, qty="1") for s in ("AA", "BB", "AA")]
    exchange.cancel(sent[0].id)
    ids = [order.id for order in sent]

    def found(**query: str) -> list[str]:
        return [order.id for order in list_orders(exchange, query)]

    assert found() == [ids[2], ids[1]]
    assert found(status="all", direction="asc") == ids
    assert found(status="closed") == ids[:1]
    assert found(status="all", limit="1") == ids[2:]
    assert found(status="all", symbols="BB,CC") == [ids[1]]
    assert found(status="all", side="sell") == []
    middle = utc_text(sent[1].submitted_at)
    assert found(status="all", after=middle) == [ids[2]]  # both bounds are exclusive
    assert found(status="all", until=middle) == [ids[0]]
    assert found(status="all", after_order_id=ids[0], direction="asc") == ids[1:]
    assert found(status="all", before_order_id=ids[2]) == ids[1::-1]
    for query in ({"limit": "501"}, {"status": "odd"}, {"after": "soon"}):
        with pytest.raises(Refusal):
            list_orders(exchange, query)


def test_activities_page_by_the_last_id(tmp_path: Path) -> None:
    exchange = make(tmp_path)
    for i in range(5):
        send(exchange, qty="1", client_order_id=str(i))
    go(exchange, "2024-06-04T22:00:00Z")
    pages, token = [], ""
    while rows := list_activities(exchange, {"page_size": "2", "page_token": token}, "FILL"):
        pages.append([row["id"] for row in rows])
        token = rows[-1]["id"]
    assert [len(page) for page in pages] == [2, 2, 1]
    flat_ids = [x for page in pages for x in page]
    assert flat_ids == [
        row["id"] for row in list_activities(exchange, {"date": "2024-06-04"}, None)
    ]
    assert list_activities(exchange, {"date": "2024-06-05"}, None) == []
    assert list_activities(exchange, {"after": "2024-06-05"}, None) == []
    assert len(list_activities(exchange, {"until": "2024-06-05T00:00:00Z"}, None)) == 5
    assert flat_ids[-1].startswith("20240604093000000::")  # the digits are of New York
    with pytest.raises(Refusal, match="page_token"):
        list_activities(exchange, {"page_token": "none"}, None)


# ---- memory


def state_of(exchange: Exchange) -> tuple[Any, ...]:
    return (
        exchange.account,
        exchange.rules,
        exchange.orders,
        exchange.positions,
        exchange.activities,
        exchange.ledger,
        exchange.closes,
        sorted(exchange.working),
    )


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    exchange = make(tmp_path, Rules(p_partial=1))
    send(exchange, client_order_id="mine", qty="30")
    go(exchange, "2024-06-04T13:30:00Z")
    send(exchange, symbol="BB", qty=None, notional="50")
    again = make(tmp_path, Rules(seed=1), "2030-01-01T00:00:00Z")
    assert state_of(again) == state_of(exchange)
    for each in (exchange, again):
        go(each, "2024-06-04T22:00:00Z")
        assert each.by_client_id["mine"].status == "filled"
    assert state_of(again) == state_of(exchange)


def test_another_market_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    other = TableMarket({"AA": flat(1)})
    other.identity = "other"
    with pytest.raises(SettingsError, match="belongs to the market 'table'"):
        Exchange(other, StateFile(tmp_path / "state.sqlite"), QUIET, 0)
    with pytest.raises(SettingsError, match="say what time"):
        Exchange(other, StateFile(tmp_path / "fresh.sqlite"), QUIET, None)
    (tmp_path / "text").write_text("no database at all, just words " * 50)
    with pytest.raises(SettingsError, match="cannot be used"):
        StateFile(tmp_path / "text")


def test_a_failed_save_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = make(tmp_path)
    send(exchange)
    before = len(exchange.orders), exchange.account.sequence

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(exchange._file, "save", full)
        send(exchange, client_order_id="lost")
    assert (len(exchange.orders), exchange.account.sequence) == before
    assert "lost" not in exchange.by_client_id
    send(exchange, client_order_id="lost")


# ---- money

ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["AA", "BB"]),
        st.sampled_from(["buy", "sell"]),
        st.decimals("0.1", "60", places=4),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=12,
)
MOMENTS = ("T12:00:00Z", "T15:00:00Z", "T19:59:58Z", "T22:00:00Z")


@settings(max_examples=25, deadline=None)
@given(plan=ORDERS, p_partial=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 9))
def test_money_and_shares_are_conserved(plan: Any, p_partial: float, seed: int) -> None:
    rules = Rules(seed=seed, p_partial=p_partial, half_spread_bps=3)
    exchange = make(None, rules, actions=[split(2, 1, "BB")])
    for day, (symbol, side, amount, by_value, at) in zip(sorted(WEEK[1:] * 3), plan):
        go(exchange, max(day + MOMENTS[at], utc_text(exchange.now) or ""))
        size = {"qty": None, "notional": f"{amount + 1:.2f}"} if by_value else {"qty": str(amount)}
        try:
            send(exchange, symbol=symbol, side=side, **size)
        except Refusal:
            pass  # a plan may ask for what cannot be; what was accepted must balance
    go(exchange, "2024-06-11T22:00:00Z")
    _check_books(exchange)


def _check_books(exchange: Exchange) -> None:
    fills = [a.body for a in exchange.activities if a.type == "FILL"]
    flows = [(D(f["qty"]) * D(f["price"])) * (-1 if f["side"] == "buy" else 1) for f in fills]
    assert exchange.account.cash == 100_000 + sum(flows, D(0))
    assert [entry.amount for entry in exchange.ledger[1:]] == flows
    assert exchange.ledger[-1].balance == exchange.account.cash
    for symbol in ("AA", "BB"):
        held = D(0)
        for activity in exchange.activities:
            body = activity.body
            if body["symbol"] == symbol and activity.type == "FILL":
                held += D(body["qty"]) * (1 if body["side"] == "buy" else -1)
            elif body["symbol"] == symbol:
                held += D(body["qty"])
        position = exchange.positions.get(symbol)
        assert held == (position.qty if position else 0) >= 0
    for order in exchange.orders.values():
        mine = [f for f in fills if f["order_id"] == order.id]
        assert sum((D(f["qty"]) for f in mine), D(0)) == order.filled_qty
        assert sum((D(f["qty"]) * D(f["price"]) for f in mine), D(0)) == order.filled_value
        assert order.status not in OPEN_STATUSES
        assert (order.status == "filled") == (order.filled_qty == order.wanted != 0)
