"""The data service over HTTP: every endpoint, read back by alpaca-py's models, and its bad days."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from alpaca.data.models import BarSet, QuoteSet, Snapshot, TradeSet
from alpaca.data.models.corporate_actions import CorporateActionsSet
from alpaca.trading.models import CorporateActionAnnouncement
from fastapi.testclient import TestClient

from quant50lib.simulator import control_market as control
from quant50lib.simulator.announcements import FIELDS
from quant50lib.simulator.app import Twin
from quant50lib.simulator.data_faults import DATA_FAULTS
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.fault_shapes import FaultShape
from quant50lib.simulator.faults import fault_of
from quant50lib.simulator.market import Action
from quant50lib.simulator.market_shapes import ActionShape, AssetShape, MarketShape
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.shapes import read
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import parse_instant
from tests.simulator.markets import WEEK, TableMarket, flat

KEYS = {"APCA-API-KEY-ID": "PK123456789012345678", "APCA-API-SECRET-KEY": "secret"}
NOW = parse_instant("2024-06-05T14:00:00Z")
EVENING = parse_instant("2024-06-10T22:00:00Z")
OVER = Action("cash_merger", "GONE", dt.date(2024, 6, 5), cash=D(31))


class Wire:
    """A twin and a client that speaks to it in process."""

    def __init__(self, path: Path) -> None:
        bars = {"AA": flat(100), "BB": flat(20), "GONE": flat(30, WEEK[:2])}
        exchange = Exchange(TableMarket(bars, [OVER]), StateFile(path), Rules(), NOW)
        self.twin = Twin(exchange)
        self._client = TestClient(self.twin.app, headers=KEYS)

    def ask(self, path: str, **query: Any) -> Any:
        return self._client.get(path, params=query)

    def post(self, path: str, body: Any) -> Any:
        reply = self._client.post(path, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        reply = self.ask(path, **query)
        assert reply.status_code == status, reply.text
        return reply.json()

    def reset(self, now: int, **rules: Any) -> None:
        self.twin.exchange.reset(Rules(**{"p_partial": 0} | rules), now)
        self.twin.clear_faults()

    def fault(self, fault: str, /, times: int = 1, nth: int = 1, **arguments: Any) -> None:
        body = {"match": {"nth": nth}, "times": times, "action": {fault: arguments}}
        shape = read(FaultShape, body)
        self.twin.faults.rules.append(fault_of(shape))


@pytest.fixture(scope="module")
def module_wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    return Wire(tmp_path_factory.mktemp("twin") / "state")


@pytest.fixture
def wire(module_wire: Wire) -> Iterator[Wire]:
    module_wire.reset(NOW)
    yield module_wire


WHOLE = {"start": "2024-06-03", "end": "2024-06-10"}
BARS = WHOLE | {"timeframe": "1Day", "symbols": "AA,BB"}


# ---- shapes


def test_several_symbols_and_a_single_one(wire: Wire) -> None:
    for name in ("bars", "quotes", "trades", "auctions"):
        query = WHOLE | ({"timeframe": "1Day"} if name == "bars" else {})
        many = wire.get(f"/v2/stocks/{name}", symbols="AA,ZZ", **query)
        one = wire.get(f"/v2/stocks/AA/{name}", currency="USD", **query)
        assert list(many) == [name, "next_page_token"] and list(many[name]) == ["AA"]
        assert one == {
            name: many[name]["AA"], "symbol": "AA", "next_page_token": None, "currency": "USD",
        }  # fmt: skip
        assert wire.get(f"/v2/stocks/{name}", symbols="ZZ", **query)[name] == {}
        assert wire.get(f"/v2/stocks/ZZ/{name}", **query)[name] is None
    for name in ("bars", "quotes", "trades"):
        newest = wire.get(f"/v2/stocks/{name}/latest", symbols="AA,ZZ")
        assert list(newest[name]) == ["AA"]
        single = wire.get(f"/v2/stocks/AA/{name}/latest")
        assert single == {name[:-1]: newest[name]["AA"], "symbol": "AA"}


def test_quotes_and_trades(wire: Wire) -> None:
    shape = read(MarketShape, {"symbol": "AA", "bid": 90, "ask": 92, "last": 91.5})
    control.set_market(wire.twin, shape)
    trades = wire.get("/v2/stocks/trades", symbols="AA", **WHOLE)["trades"]["AA"]
    assert [(row["t"], row["p"]) for row in trades] == [
        ("2024-06-03T13:30:00Z", 101), ("2024-06-03T20:00:00Z", 101),
        ("2024-06-04T13:30:00Z", 102), ("2024-06-04T20:00:00Z", 102),
        ("2024-06-05T13:30:00Z", 103), ("2024-06-05T14:00:00Z", 91.5),
    ]  # fmt: skip
    quotes = wire.get("/v2/stocks/quotes", symbols="AA", **WHOLE)["quotes"]["AA"]
    assert [row["t"] for row in quotes] == [row["t"] for row in trades]
    assert (quotes[0]["bp"], quotes[0]["ap"]) == (100.9899, 101.0101)  # 1 bp on both sides
    assert (quotes[-1]["bp"], quotes[-1]["ap"]) == (90, 92)
    assert QuoteSet({"AA": quotes}).data["AA"][0].ask_exchange == quotes[0]["ax"]
    assert TradeSet({"AA": trades}).data["AA"][-1].price == 91.5
    pages, token = [], None
    while token is not None or not pages:
        more = {"page_token": token} if token else {}
        page = wire.get("/v2/stocks/trades", symbols="AA", limit=4, sort="desc", **WHOLE, **more)
        pages.append(page["trades"]["AA"])
        token = page["next_page_token"]
    assert sum(pages, []) == trades[::-1] and list(map(len, pages)) == [4, 2]


def test_snapshots(wire: Wire) -> None:
    found = wire.get("/v2/stocks/snapshots", symbols="AA,GONE,ZZ")
    assert list(found) == ["AA", "GONE"]
    snapshot = Snapshot("AA", found["AA"])
    assert snapshot.latest_trade.price == snapshot.daily_bar.close == 102.88
    assert (snapshot.daily_bar.open, snapshot.daily_bar.high) == (103, 103)
    assert 0 < snapshot.daily_bar.volume < 100_000  # a thirteenth of the session is over
    assert snapshot.previous_daily_bar.close == 102
    assert snapshot.minute_bar.timestamp == snapshot.latest_trade.timestamp
    assert wire.get("/v2/stocks/AA/snapshot") == {"symbol": "AA"} | found["AA"]
    assert wire.get("/v2/stocks/ZZ/snapshot")["dailyBar"] is None
    delayed = wire.get("/v2/stocks/snapshots", symbols="AA", feed="delayed_sip")["AA"]
    assert delayed["latestTrade"]["t"] == "2024-06-05T13:45:00Z"
    wire.reset(EVENING)
    closed = wire.get("/v2/stocks/snapshots", symbols="AA")["AA"]
    bars = wire.get("/v2/stocks/bars", **BARS)["bars"]["AA"]
    assert [closed["prevDailyBar"], closed["dailyBar"]] == bars[-2:]
    assert closed["latestTrade"]["t"] == "2024-06-10T20:00:00Z"
    assert closed["minuteBar"]["t"] == "2024-06-10T19:59:00Z"


def test_auctions(wire: Wire) -> None:
    rows = wire.get("/v2/stocks/auctions", symbols="AA", limit=3, **WHOLE)["auctions"]["AA"]
    assert [(r["d"], [p["p"] for p in r["o"]], [p["p"] for p in r["c"]]) for r in rows] == [
        ("2024-06-03", [101], [101]), ("2024-06-04", [102], [102]), ("2024-06-05", [103], []),
    ]  # fmt: skip


def test_codes(wire: Wire) -> None:
    venues = wire.get("/v2/stocks/meta/exchanges")
    [quote] = wire.get("/v2/stocks/quotes", symbols="AA", limit=1, **WHOLE)["quotes"]["AA"]
    assert quote["ax"] in venues
    assert set(quote["c"]) <= set(wire.get("/v2/stocks/meta/conditions/quote", tape=quote["z"]))
    assert "ticktype" in wire.get("/v2/stocks/meta/conditions/bar", 400)["message"]


def test_plans_and_parameters(wire: Wire) -> None:
    for path in ("bars/latest", "quotes/latest", "snapshots"):
        assert "unexpected" in wire.get(f"/v2/stocks/{path}", 400, symbols="AA", x=1)["message"]
    wire.reset(NOW, data_plan="free")
    assert list(wire.get("/v2/stocks/trades/latest", 403, symbols="AA", feed="sip")) == ["message"]
    assert wire.get("/v2/stocks/trades/latest", symbols="AA")["trades"]
    assert wire.get("/v2/stocks/bars", 403, feed="sip", **BARS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "²"),
        ("limit", "9" * 5000),
        ("start", "9999-12-32"),
        ("end", "9999-12-31"),
        ("page_token", "é"),
        ("page_token", "QUF8RHw5OTk5LTEyLTMxVDIzOjU5OjU5KzAwOjAw"),
        ("asof", "0001-01-01"),
        ("asof", "2024-02-30"),
        ("start", "now"),
    ],
)
def test_odd_values_are_refused_or_harmless(wire: Wire, name: str, value: str) -> None:
    for path in ("bars", "trades", "auctions"):
        query = {"symbols": "AA", name: value} | ({"timeframe": "1D"} if path == "bars" else {})
        reply = wire.ask(f"/v2/stocks/{path}", **query)
        assert reply.status_code in (200, 400), reply.text
    query = {k: v for k, v in {name: value}.items() if k != "asof"}
    assert wire.ask("/v1/corporate-actions", **query).status_code in (200, 400)
    assert wire.ask("/v2/calendar", start=value).status_code in (200, 422)
    assert wire.ask("/v3/clock", time=value).status_code == 422
    assert wire.ask("/v3/calendar/NYSE", start=value).status_code in (200, 422)


# ---- orders meet what is set


def test_a_quote_and_the_end_of_a_halt_have_orders_looked_at(wire: Wire) -> None:
    def market(**body: Any) -> None:
        control.set_market(wire.twin, read(MarketShape, body))

    def submit(**body: Any) -> str:
        order = {"symbol": "AA", "qty": "1", "side": "buy", "time_in_force": "day"} | body
        return str(wire.post("/v2/orders", order)["id"])

    def state(order_id: str) -> tuple[str, str | None]:
        order = wire.get(f"/v2/orders/{order_id}")
        return order["status"], order["filled_avg_price"]

    limit = submit(type="limit", limit_price="95")
    assert state(limit) == ("new", None)
    market(symbol="AA", bid=94, ask=94.5)
    assert state(limit) == ("filled", "94.5")
    market(halt="AA", on=True)
    waiting = submit(type="market")
    assert state(waiting) == ("new", None)
    market(halt="AA", on=False)
    assert state(waiting) == ("filled", "94.5")


# ---- assets


def test_a_delisted_name_leaves_the_list_and_keeps_its_bars(wire: Wire) -> None:
    assert [row["symbol"] for row in wire.get("/v2/assets")] == ["AA", "BB"]
    assert wire.get("/v2/assets/GONE")["status"] == "inactive"
    assert len(wire.get("/v2/stocks/bars", **BARS | {"symbols": "GONE"})["bars"]["GONE"]) == 2
    assets = [
        {"symbol": "BB", "tradable": False, "attributes": ["ipo", "has_options"]},
        {"symbol": "NEW", "exchange": "AMEX", "status": "inactive", "name": "New Inc."},
    ]
    control.set_assets(wire.twin, [read(AssetShape, asset) for asset in assets])
    rows = {row["symbol"]: row for row in wire.get("/v2/assets")}
    assert set(rows) == {"AA", "BB", "NEW"} and not rows["BB"]["tradable"]
    assert (rows["NEW"]["exchange"], rows["NEW"]["tradable"]) == ("AMEX", False)
    assert [r["symbol"] for r in wire.get("/v2/assets", attributes="ipo,has_options")] == ["BB"]


# ---- corporate actions

TERMS = {
    "symbol": "AA", "old_symbol": "AA", "source_symbol": "AA", "acquiree_symbol": "AA",
    "new_symbol": "NN", "acquirer_symbol": "NN", "alternate_symbol": "WW",
    "rate": 0.5, "old_rate": 1, "new_rate": 2, "source_rate": 4, "acquirer_rate": 3,
    "acquiree_rate": 5, "alternate_rate": 1, "cash_rate": 1.25, "price": 25.5,
    "ex_date": "2024-06-20", "effective_date": "2024-06-20", "process_date": "2024-06-20",
}  # fmt: skip


def test_every_group_is_read_back(wire: Wire) -> None:
    wanted = {
        kind: {"type": kind} | {k: v for k, v in TERMS.items() if k in names}
        for kind, names in FIELDS.items()
    }
    ids = control.set_actions(wire.twin, [read(ActionShape, body) for body in wanted.values()])
    query = {"start": "2024-06-20", "end": "2024-06-20"}
    found = wire.get("/v1/corporate-actions", **query)["corporate_actions"]
    assert {name: len(rows) for name, rows in found.items()} == {f"{k}s": 1 for k in FIELDS}
    for kind, body in wanted.items():
        [row] = found[f"{kind}s"]
        assert set(row) == {"id", *FIELDS[kind]}
        assert {k: row[k] for k in body if k != "type"} == {k: body[k] for k in body if k != "type"}
    parsed = CorporateActionsSet(found).data
    assert len(parsed) == 13  # it knows no partial calls and no reorganizations
    assert {str(rows[0].id) for rows in parsed.values()} <= set(ids)
    by_cusip = wire.get("/v1/corporate-actions", cusips=found["redemptions"][0]["cusip"], **query)
    assert "name_changes" in by_cusip["corporate_actions"]
    some = wire.get("/v1/corporate-actions", types="spin_off,name_changes", **query)
    assert set(some["corporate_actions"]) == {"spin_offs", "name_changes"}
    assert wire.get("/v1/corporate-actions", ids=ids[3])["corporate_actions"] == {
        f"{list(FIELDS)[3]}s": found[f"{list(FIELDS)[3]}s"]
    }
    assert "ids" in wire.get("/v1/corporate-actions", 400, ids=ids[3], symbols="AA")["message"]
    assert wire.get("/v1/corporate-actions", 400, limit=1001)


def test_the_deprecated_announcements(wire: Wire) -> None:
    bodies = [
        {"type": "forward_split", "symbol": "AA", "new_rate": 3, "old_rate": 2},
        {"type": "cash_dividend", "symbol": "BB", "rate": 0.25},
        {"type": "spin_off", "source_symbol": "BB", "new_symbol": "SS", "new_rate": 1,
         "source_rate": 4},
    ]  # fmt: skip
    shapes = [read(ActionShape, body | {"ex_date": "2024-06-20"}) for body in bodies]
    ids = control.set_actions(wire.twin, shapes)
    path, span = "/v2/corporate_actions/announcements", {"since": WEEK[0], "until": "2024-06-30"}
    rows = wire.get(path, ca_types="split,dividend,spinoff,merger", **span)
    parsed = [CorporateActionAnnouncement(**row) for row in rows]
    assert sorted(row.ca_sub_type.value for row in parsed) == [
        "cash", "merger_completion", "spinoff", "stock_split",
    ]  # fmt: skip
    [split] = wire.get(path, ca_types="Split", symbol="AA", **span)
    assert (split["id"], split["new_rate"], split["old_rate"]) == (ids[0], "3", "2")
    assert wire.get(f"{path}/{ids[1]}")["cash"] == "0.25"
    assert wire.get(f"{path}/{ids[1]}x", 404)["code"] == 40410000
    for wrong in ({"ca_types": "gift"}, {"until": "2024-09-30"}, {"since": "soon"}):
        assert wire.get(path, 422, **{"ca_types": "split", **span, **wrong})["code"] == 40010001


# ---- sessions


def test_the_rule_of_the_calendar_is_obeyed_everywhere(wire: Wire) -> None:
    changed = {"2024-06-05": "12:00", "2024-06-06": None}
    wire.reset(NOW, calendar=changed)
    span = {"start": "2024-06-05", "end": "2024-06-07"}
    rows = wire.get("/v2/calendar", **span)
    assert [(row["date"], row["close"]) for row in rows] == [
        ("2024-06-05", "12:00"), ("2024-06-07", "16:00"),
    ]  # fmt: skip
    assert wire.get("/v2/clock")["next_close"] == "2024-06-05T12:00:00-04:00"
    wire.twin.exchange.advance(parse_instant("2024-06-05T16:00:00Z"))
    clock = wire.get("/v2/clock")
    assert not clock["is_open"] and clock["next_open"] == "2024-06-07T09:30:00-04:00"
    wire.twin.exchange.advance(parse_instant("2024-06-07T20:00:00Z"))
    days = [row["t"][:10] for row in page(wire)["bars"]["AA"]]
    assert days == ["2024-06-03", "2024-06-04", "2024-06-05", "2024-06-07"]
    again = Exchange(wire.twin.exchange.market.base, wire.twin.exchange._file, Rules(), None)
    assert again.times.days.tolist() == wire.twin.exchange.times.days.tolist()
    wire.reset(NOW)
    assert len(wire.get("/v2/calendar", **span)) == 3
    with pytest.raises(Refusal):
        wire.reset(NOW, calendar={"2024-06-05": "noon"})
    assert len(wire.get("/v2/calendar", **span)) == 3


@pytest.mark.parametrize(
    ("time", "phase", "until"),
    [
        ("2024-07-03T07:00:00Z", "closed", "2024-07-03T04:00:00-04:00"),
        ("2024-07-03T08:00:00Z", "pre", "2024-07-03T09:30:00-04:00"),
        ("2024-07-03T13:30:00Z", "core", "2024-07-03T13:00:00-04:00"),
        ("2024-07-03T17:00:00Z", "post", "2024-07-03T17:00:00-04:00"),
        ("2024-07-03T21:00:00Z", "closed", "2024-07-05T04:00:00-04:00"),
        ("2024-07-04T15:00:00Z", "closed", "2024-07-05T04:00:00-04:00"),
    ],
)
def test_the_newer_clock(wire: Wire, time: str, phase: str, until: str) -> None:
    [clock] = wire.get("/v3/clock", markets="XNYS", time=time)["clocks"]
    assert (clock["phase"], clock["phase_until"]) == (phase, until)
    assert clock["is_market_day"] is not time.startswith("2024-07-04")


def test_the_newer_calendar(wire: Wire) -> None:
    found = wire.get("/v3/calendar/NYSE", start="2024-07-03", end="2024-07-05", timezone="UTC")
    first, second = found["calendar"]
    assert (first["date"], second["date"]) == ("2024-07-03", "2024-07-05")
    assert [first[f"{x}_end"][11:16] for x in ("pre", "core", "post")] == [
        "13:30",
        "17:00",
        "21:00",
    ]
    assert first["settlement_date"] == "2024-07-05" and found["market"]["mic"] == "XNYS"
    wire.get("/v3/calendar/LSE", 404)
    wire.get("/v3/calendar/NYSE", 422, timezone="Mars/Olympus")


# ---- bad days


def test_all_faults_of_the_data_are_known_to_the_control_plane(wire: Wire) -> None:
    for name in DATA_FAULTS:
        wire.fault(name)
    wire.twin.clear_faults()
    assert len(DATA_FAULTS) == 11


def page(wire: Wire, **more: Any) -> Any:
    return wire.get("/v2/stocks/bars", **BARS | more)


def test_what_a_fault_does_to_a_page(wire: Wire) -> None:
    wire.reset(EVENING)
    whole = page(wire)
    rows = whole["bars"]["AA"]

    def bad(fault: str, **arguments: Any) -> Any:
        wire.fault(fault, **arguments)
        return page(wire)

    assert bad("duplicate_rows")["bars"]["AA"] == rows + rows[-1:]
    assert bad("null_bars") == {"bars": None, "next_page_token": None}
    assert bad("null_symbol")["bars"] == {"AA": None, "BB": whole["bars"]["BB"]}
    assert bad("token_empty_string") == whole | {"next_page_token": ""}
    assert bad("drop_rows", rows=2)["bars"]["AA"] == rows[:2] + rows[4:]
    assert bad("drop_rows", rows=99)["bars"] == {}
    assert {row["h"] for row in bad("null_field", name="h")["bars"]["BB"]} == {None}
    assert bad("stale", days=2)["bars"]["AA"] == rows[:-2]
    mixed = bad("shuffle_pages")["bars"]["AA"]
    assert mixed != rows and sorted(mixed, key=lambda row: row["t"]) == rows
    volumes = [row["v"] for row in bad("nan_volume")["bars"]["AA"]]
    assert math.isnan(volumes[-1]) and volumes[:-1] == [1_000_000] * 5
    assert math.isnan(BarSet({"AA": [rows[0] | {"v": volumes[-1]}]}).data["AA"][0].volume)
    assert page(wire) == whole  # every fault hit once
    wire.fault("null_bars")
    assert wire.get("/v2/stocks/AA/bars", **WHOLE, timeframe="1D")["bars"] is None


@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_short_and_empty_pages_lose_nothing(wire: Wire, sort: str) -> None:
    wire.reset(EVENING)
    whole = page(wire, sort=sort)["bars"]
    wire.fault("empty_page_with_token", times=2)
    wire.fault("short_page", times=2, nth=3, rows=2)
    wire.fault("empty_page_with_token", nth=5)
    found: dict[str, list[Any]] = {}
    sizes, tokens, token = [], [], None
    while token is not None or not sizes:
        reply = page(wire, sort=sort, **({"page_token": token} if token else {}))
        sizes.append(sum(map(len, reply["bars"].values())))
        for symbol, rows in reply["bars"].items():
            found.setdefault(symbol, []).extend(rows)
        token = reply["next_page_token"]
        tokens.append(token)
    assert found == whole and sizes == [0, 0, 2, 2, 0, 8]
    assert len(set(tokens)) == len(tokens)  # a client may stop at a token that comes again
