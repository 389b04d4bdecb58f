"""What is put on top of a market: its effect on prices, names and data, and how long it lasts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.simulator import control_market as control
from quant50lib.simulator.announcements import FIELDS
from quant50lib.simulator.app import Twin
from quant50lib.simulator.bars import read_bar_query
from quant50lib.simulator.control import control_api
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.market import Action, Market, NoMarket
from quant50lib.simulator.market_shapes import (
    ActionShape,
    AssetShape,
    BarsShape,
    MarketShape,
)
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.shapes import read
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import SECOND, parse_instant, timetable
from tests.simulator.markets import WEEK, TableMarket, flat

HOUR = 3600 * SECOND


def at(text: str) -> int:
    return parse_instant(text)


NOW = at("2024-06-05T14:00:00Z")  # Wednesday, half an hour into the session


def twin(path: Path, market: Market | None = None, now: int | None = NOW, **rules: Any) -> Twin:
    usual = TableMarket({"AA": flat(100), "BB": flat(20)})
    return Twin(Exchange(market or usual, StateFile(path / "state"), Rules(**rules), now))


def quote(made: Twin, **body: Any) -> None:
    control.set_market(made, read(MarketShape, body))


def bars(made: Twin, symbol: str, rows: list[dict[str, Any]], timeframe: str = "1Day") -> None:
    body = {"symbol": symbol, "timeframe": timeframe, "rows": rows}
    control.set_bars(made, read(BarsShape, body))


def act(made: Twin, kind: str, **body: Any) -> str:
    [found] = control.set_actions(made, [read(ActionShape, {"type": kind} | body)])
    return found


def days(made: Twin, symbol: str, now: int, **query: Any) -> list[str]:
    asked = {"symbols": symbol, "timeframe": "1Day", "start": "2024-06-01"} | query
    rows = made.bars.page(read_bar_query(asked, now), now)["bars"].get(symbol, [])
    return [row["t"][:10] for row in rows]


# ---- quotes and halts


def test_a_set_quote_stands_until_the_next_session_with_a_bar(tmp_path: Path) -> None:
    made = twin(tmp_path)
    prices = made.exchange.prices
    before = prices.quote("AA", NOW, 10)
    assert before.last == D("102.88") and before.ask == D("102.9829")  # on the path; 10 bp
    quote(made, symbol="AA", bid=90.5, ask="91", last="90.75")
    for now in (NOW, at("2024-06-05T19:59:59Z")):
        found = prices.quote("AA", now, 10)
        assert (found.bid, found.ask, found.last, found.t) == (D("90.5"), D(91), D("90.75"), NOW)
    assert prices.quote("AA", at("2024-06-05T20:00:00Z"), 10) is None  # closed
    assert prices.last("AA", at("2024-06-05T22:00:00Z")) == D("90.75")
    assert prices.last("AA", at("2024-06-06T13:29:59Z")) == D("90.75")
    assert prices.quote("AA", at("2024-06-06T13:30:00Z"), 10).last == D(104)  # Thursday's open
    assert prices.quote("BB", NOW, 10).last != D("90.75")


def test_sides_that_are_not_said(tmp_path: Path) -> None:
    made = twin(tmp_path, NoMarket())
    quote(made, symbol="X", last=50)
    assert made.exchange.prices.quote("X", NOW, 20).ask == D("50.1")
    quote(made, symbol="X", bid=10, ask=11, t="2024-06-05T15:00:00Z")
    assert made.exchange.prices.last("X", NOW) == 50  # the second is not yet known
    assert made.exchange.prices.last("X", NOW + HOUR) == D("10.5")


def test_a_quote_follows_a_split(tmp_path: Path) -> None:
    made = twin(tmp_path, NoMarket())
    quote(made, symbol="X", bid=99, ask=101, last=100)
    act(made, "forward_split", symbol="X", ex_date="2024-06-06", new_rate=4, old_rate=1)
    after = made.exchange.prices.quote("X", at("2024-06-06T14:00:00Z"), 1)
    assert (after.bid, after.ask, after.last) == (D("24.75"), D("25.25"), D(25))
    assert made.exchange.prices.last("X", at("2024-06-06T07:59:59Z")) == 100
    assert made.exchange.prices.last("X", at("2024-06-06T08:00:00Z")) == 25


def test_a_halt_keeps_its_price(tmp_path: Path) -> None:
    made = twin(tmp_path)
    prices, later = made.exchange.prices, at("2024-06-05T18:00:00Z")
    shown, usual = prices.last("AA", NOW), prices.last("AA", later)
    quote(made, halt="AA", on=True)
    assert prices.halted("AA", later) and not prices.halted("BB", later)
    assert prices.quote("AA", later, 1) is None and prices.last("AA", later) == shown != usual
    assert prices.touch("AA", NOW, later, D(1), above=True) is None
    quote(made, halt="AA", on=False)
    assert not prices.halted("AA", later) and prices.last("AA", later) == usual


# ---- when a price is reached

SESSION = (at("2024-06-05T13:30:00Z"), at("2024-06-05T20:00:00Z"))


@settings(max_examples=40, deadline=None)
@given(
    bar=st.lists(st.integers(900, 1100), min_size=4, max_size=4),
    target=st.integers(880, 1120),
    above=st.booleans(),
    start=st.integers(0, 22_000),
    side=st.sampled_from(["last", "bid", "ask"]),
)
def test_touch_is_the_first_moment(
    bar: list[int], target: int, above: bool, start: int, side: str
) -> None:
    o, c, x, y = (value / 10 for value in bar)
    row = ("2024-06-05", o, max(o, c, x, y), min(o, c, x, y), c)
    prices = Prices(TableMarket({"AA": [row]}), timetable())
    now, price = SESSION[0] + start * SECOND, D(target) / 10
    found = prices.touch("AA", now, SESSION[1], price, above, of=side, half_spread_bps=3)

    def reached(t: int) -> bool:
        shown = getattr(prices.quote("AA", t, 3), side)
        return shown >= price if above else shown <= price

    end = SESSION[1] if found is None else found
    seen = [*range(now + 1, end, HOUR // 40), *range(max(end - 5, now + 1), end)]
    assert not any(map(reached, seen))
    assert found is None or (now < found < SESSION[1] and reached(found))


def test_touch_goes_on_in_later_sessions_and_meets_quotes_set_ahead(tmp_path: Path) -> None:
    made = twin(tmp_path)
    prices, friday = made.exchange.prices, at("2024-06-07T20:00:00Z")
    assert prices.touch("AA", NOW, friday, D(105), above=True) == at("2024-06-07T13:30:00Z")
    assert prices.touch("AA", NOW, at("2024-06-07T13:29:59Z"), D(105), above=True) is None
    quote(made, symbol="AA", last=80, t="2024-06-06T15:00:00.000001Z")
    assert prices.touch("AA", NOW, friday, D(85), above=False) == at("2024-06-06T15:00:00.000001Z")
    quote(made, symbol="QQ", last=7, t="2024-06-08T15:00:00Z")  # a Saturday: seen on Monday
    monday = at("2024-06-10T13:30:00Z")
    assert prices.touch("QQ", NOW, monday, D(7), above=False) == monday


# ---- names


def renamed(path: Path, **rules: Any) -> Twin:
    """AA is called NN from Thursday on; what the market knows of AA goes on under NN."""
    made = twin(path, **rules)
    act(made, "name_change", old_symbol="AA", new_symbol="NN", process_date="2024-06-06")
    return made


EVENINGS = {day: at(f"{day}T22:00:00Z") for day in WEEK}


def test_bars_follow_a_name(tmp_path: Path) -> None:
    made, week = renamed(tmp_path), list(WEEK)
    wednesday, thursday, friday = (EVENINGS[day] for day in WEEK[2:5])
    assert days(made, "NN", wednesday) == [] and days(made, "AA", wednesday) == week[:3]
    assert days(made, "NN", thursday) == week[3:4]  # the old history comes a day later
    assert days(made, "NN", friday) == week[:5]
    assert days(made, "NN", friday, asof="-") == week[3:5]
    assert days(made, "NN", friday, asof="2024-06-06") == week[3:5]
    assert days(made, "AA", friday) == week[:3]
    assert days(made, "AA", friday, asof="2024-06-05") == week[:5]  # who was called so then
    assert days(made, "AA", friday, asof="-") == week[:3]


@pytest.mark.parametrize(("rule", "same"), [("same_id", True), ("new_id", False)])
def test_an_asset_follows_a_name(tmp_path: Path, rule: str, same: bool) -> None:
    made = renamed(tmp_path, renamed_asset=rule)
    prices, early = made.exchange.prices, at("2024-06-06T08:00:00Z")
    assert prices.is_active("AA", early - 1) and not prices.is_known("NN", early - 1)
    assert prices.is_active("NN", early) and not prices.is_known("AA", early)
    assert (prices.asset_id("NN") == prices.asset_id("AA")) is same
    assert prices.listing(prices.asset_id("AA"), early - 1).symbol == "AA"
    assert prices.listing(prices.asset_id("NN"), early).symbol == "NN"
    assert prices.last("NN", early) == prices.last("AA", early - 1) == 103
    assert prices.quote("AA", early + 6 * HOUR, 1) is None
    assert prices.quote("NN", early + 6 * HOUR, 1).last == D("103.88")  # on the way down from 104


def test_three_names_one_company(tmp_path: Path) -> None:
    made = renamed(tmp_path)
    act(made, "name_change", old_symbol="NN", new_symbol="AA", process_date="2024-06-07")
    monday, friday = EVENINGS[WEEK[5]], EVENINGS[WEEK[4]]
    assert days(made, "AA", monday) == list(WEEK)  # and back
    assert days(made, "NN", monday) == [WEEK[3]]
    assert days(made, "AA", friday, asof="-") == [*WEEK[:3], WEEK[4]]
    act(made, "forward_split", symbol="AA", ex_date=WEEK[1], new_rate=2, old_rate=1)
    query = {"symbols": "AA", "timeframe": "1Day", "start": WEEK[0], "adjustment": "split"}
    rows = made.bars.page(read_bar_query(query, monday), monday)["bars"]["AA"]
    assert [row["c"] for row in rows] == [50.5, 102, 103, 104, 105, 106]


# ---- what lasts


def everything(made: Twin) -> list[Any]:
    market = made.exchange.market
    return [
        market.assets, market.quotes, market.halts, market.actions(), sorted(market.listings()),
        *(days(made, symbol, EVENINGS[WEEK[5]]) for symbol in ("AA", "BB", "CC", "NN")),
    ]  # fmt: skip


def test_it_survives_a_restart_and_not_a_reset(tmp_path: Path) -> None:
    made, fresh = renamed(tmp_path), everything(twin(tmp_path / "other"))
    control.set_assets(made, [read(AssetShape, {"symbol": "CC", "fractionable": False})])
    control.set_assets(made, [read(AssetShape, {"symbol": "CC", "name": "Sea"})])
    quote(made, symbol="CC", bid=1, ask=2)
    quote(made, halt="BB", on=True)
    bars(made, "CC", [{"t": "2024-06-04", "c": 3}, {"t": "2024-06-04T13:30:00Z", "c": 4}])
    act(made, "cash_dividend", symbol="CC", rate=0.01, ex_date="2024-06-10")
    found = everything(made)
    assert found[0] == {"CC": {"symbol": "CC", "fractionable": False, "name": "Sea"}}
    assert found != fresh and found[-2] == ["2024-06-04"]
    again = twin(tmp_path, now=None)
    assert everything(again) == found
    again.exchange.reset(again.exchange.rules, NOW)
    assert everything(again) == fresh == everything(twin(tmp_path, now=None))


def test_a_failed_change_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = twin(tmp_path)
    monkeypatch.setattr(StateFile, "save", lambda *args, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quote(made, symbol="AA", last=1)
    assert made.exchange.prices.last("AA", NOW) == D("102.88")


# ---- the calls


@pytest.fixture
def calls(tmp_path: Path) -> TestClient:
    return TestClient(control_api(twin(tmp_path, NoMarket())))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("assets", [{"symbol": "A", "colour": "red"}], "unknown key colour; known: symbol, id"),
        ("assets", [{"symbol": "A", "id": "7"}], "id: "),
        ("assets", [{"symbol": "A$"}], "symbol: "),
        ("market", {"symbol": "A", "last": 1, "price": 2}, "unknown key price; known: symbol"),
        ("market", {"symbol": "A", "bid": 1}, "last, or bid and ask"),
        ("market", {"symbol": "A", "bid": 2, "ask": 1}, "above the ask"),
        ("market", {"symbol": "A", "last": "nan"}, "no price"),
        ("market", {"symbol": "A", "last": 1, "halt": "B"}, "either symbol"),
        ("market", {"symbol": "A", "last": 1, "t": "soon"}, "RFC 3339"),
        ("bars", {"symbol": "A", "rows": [{"t": "2024-06-08", "c": 1}]}, "2024-06-08 is no sess"),
        ("bars", {"symbol": "A", "rows": [{"t": "soon", "c": 1}]}, "'soon' is neither"),
        ("bars", {"symbol": "A", "raw": False, "rows": []}, "raw: "),
        ("bars", {"symbol": "A", "timeframe": "9Day", "rows": []}, "invalid timeframe: 9Day"),
        ("bars", {"symbol": "A", "timeframe": "5Min",
                  "rows": [{"t": "2024-06-04T13:31:00Z", "c": 1}]}, "no bar of 5Min starts"),
        ("market", {"symbol": "A", "last": 1, "t": "9999-12-31T00:00:00Z"}, "RFC 3339"),
        ("bars", {"symbol": "A", "rows": [{"t": "0001-01-01", "c": 1}]}, "'0001-01-01' is nei"),
        ("corporate_actions", [{"type": "worthless_removal", "symbol": "A",
                                "process_date": "2024-02-30"}], "day is out of range"),
        ("corporate_actions", [{"type": "worthless_removal", "symbol": "A",
                                "process_date": "2046-01-02"}], "outside the calendar"),
        ("corporate_actions", [{"type": "gift"}], "forward_split"),
        ("corporate_actions", [{"type": "name_change", "old_symbol": "A"}], "needs new_symbol"),
        ("corporate_actions", [{"type": "cash_dividend", "symbol": "A", "rate": 1}], "ex_date or"),
        ("corporate_actions", [{"type": "name_change", "rate": 1}], "no rate; known: type, id"),
    ],
)  # fmt: skip
def test_a_call_that_is_refused_says_what_is_known(
    calls: TestClient, path: str, body: Any, words: str
) -> None:
    reply = calls.post(f"/sim/{path}", json=body)
    assert reply.status_code == 422 and words in reply.json()["message"]


def test_calls_of_the_market(calls: TestClient) -> None:
    def post(path: str, body: Any) -> dict[str, Any]:
        reply = calls.post(f"/sim/{path}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    assert post("assets", [{"symbol": "A", "class": "us_equity"}, {"symbol": "B"}]) == {
        "symbols": ["A", "B"]
    }
    assert post("market", {"symbol": "A", "last": 5}) == {
        "symbol": "A",
        "t": "2024-06-05T14:00:00Z",
    }
    assert post("market", {"halt": "A", "on": True})["symbol"] == "A"
    rows = [{"t": "2024-06-04", "c": 5, "v": 240}]
    assert post("bars", {"symbol": "A", "timeframe": "1D", "rows": rows})["timeframe"] == "1Day"
    given = {"type": "cash_dividend", "symbol": "A", "rate": 0.1, "ex_date": "2024-06-05"}
    ids = post("corporate_actions", [given, given | {"special": True}])["ids"]
    assert len(set(ids)) == 2  # one day, two dividends
    assert post("corporate_actions", [given])["ids"] == ids[:1]  # the same again replaces it
    documented = calls.get("/openapi.json").json()["paths"]
    assert {f"/sim/{name}" for name in ("assets", "market", "bars", "corporate_actions")} <= set(
        documented
    )


def test_every_type_of_action_can_be_set() -> None:
    kinds = ActionShape.model_json_schema()["properties"]["type"]["enum"]
    assert set(kinds) == set(FIELDS) and len(kinds) == 15


def test_actions_of_the_market_and_those_set_are_in_order(tmp_path: Path) -> None:
    own = Action("cash_dividend", "AA", dt.date(2024, 6, 20), cash=D(1))
    made = twin(tmp_path, TableMarket({"AA": flat(100)}, [own]))
    act(made, "stock_dividend", symbol="AA", rate=0.05, ex_date="2024-06-07")
    found = act(made, "redemption", symbol="AA", rate=9, process_date="2025-01-02")
    market, prices = made.exchange.market, made.exchange.prices
    assert [a.ex_date.month for a in market.actions()] == [6, 6, 1]
    assert [a.kind for a in prices.announced(NOW)] == ["stock_dividend", "redemption"]  # not `own`
    assert market.actions()[0].new == D("1.05") and market.actions()[0].is_split
    assert market.actions()[2].shown["id"] == found and market.actions()[2].is_ending
    assert not prices.is_active("AA", at("2025-01-02T09:00:00Z"))
