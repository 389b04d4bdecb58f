"""Pages of bars against a brute-force list; adjustment against a second way of computing it."""

from __future__ import annotations

import base64
import datetime as dt
from decimal import Decimal as D
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.simulator.adjustment import factors
from quant50lib.simulator.announcements import action_reply
from quant50lib.simulator.bars import Bars, read_bar_query
from quant50lib.simulator.market import Action
from quant50lib.simulator.overlay import Overlay
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.records import Addition
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.timetable import SECOND, parse_instant, timetable
from quant50lib.utils import dates
from tests.simulator.markets import WEEK, TableMarket, flat

NOW = parse_instant("2024-06-10T22:00:00Z")
ACTIONS = [
    Action("cash_dividend", "BB", dt.date(2024, 6, 5), cash=D("0.5")),
    Action("forward_split", "BB", dt.date(2024, 6, 6), new=D(2)),
    Action("forward_split", "CC", dt.date(2024, 6, 7), new=D(3), old=D(2)),
    Action("reverse_split", "AA", dt.date(2024, 6, 20), old=D(4)),
    Action("cash_dividend", "AA", dt.date(2024, 7, 20), cash=D(1)),
]
MARKET = TableMarket(
    {"AA": flat(100), "BB": flat(20, WEEK[1:]), "CC": flat(7, (WEEK[0], WEEK[4]))}, ACTIONS
)
BARS = Bars(Prices(MARKET, timetable()))


def ask(now: int = NOW, **query: Any) -> dict[str, Any]:
    base = {"symbols": "AA,BB,CC,ZZ", "timeframe": "1Day", "start": "2024-06-03"}
    asked = {k: str(v) for k, v in (base | query).items() if v is not None}
    return BARS.page(read_bar_query(asked, now), now)


def pairs(page: dict[str, Any]) -> list[tuple[str, str]]:
    return [(symbol, row["t"]) for symbol, rows in page["bars"].items() for row in rows]


EVERY = [
    (symbol, f"{day}T04:00:00Z")
    for symbol in ("AA", "BB", "CC")
    for day in MARKET.series(symbol).day.astype(str)
]


def test_all_at_once() -> None:
    page = ask()
    assert pairs(page) == EVERY and page["next_page_token"] is None
    assert page["bars"]["AA"][0] == {
        "t": "2024-06-03T04:00:00Z", "o": 101.0, "h": 101.5, "l": 100.5, "c": 101.0,
        "v": 1_000_000, "n": 10_000, "vw": 101.0,
    }  # fmt: skip
    assert type(page["bars"]["AA"][0]["v"]) is int


def test_winter_days_start_at_five() -> None:
    market = TableMarket({"AA": flat(10, ("2024-01-02", "2024-07-01"))})
    bars = Bars(Prices(market, timetable()))
    query = {"symbols": "AA", "timeframe": "1D", "start": "2024-01-01"}
    rows = bars.page(read_bar_query(query, NOW + 10**13), NOW + 10**13)["bars"]["AA"]
    assert [row["t"][10:] for row in rows] == ["T05:00:00Z", "T04:00:00Z"]


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(1, 14), descending=st.booleans(), first=st.integers(0, 5))
def test_pages_make_up_the_whole(limit: int, descending: bool, first: int) -> None:
    wanted = [(s, t) for s, t in EVERY if t[:10] >= WEEK[first]]
    if descending:
        wanted = [p for s in ("AA", "BB", "CC") for p in wanted[::-1] if p[0] == s]
    found, token = [], None
    while True:
        page = ask(limit=limit, sort="desc" if descending else "asc", page_token=token,
                   start=WEEK[first])  # fmt: skip
        assert len(pairs(page)) <= limit  # over all symbols
        found += pairs(page)
        token = page["next_page_token"]
        if token is None:
            break
        assert base64.b64decode(token).decode() == "|D|".join(found[-1])
    assert found == wanted


def test_bounds_include_both_ends() -> None:
    days = lambda page: sorted({t[:10] for _, t in pairs(page)})  # noqa: E731
    assert days(ask(start="2024-06-04", end="2024-06-05")) == ["2024-06-04", "2024-06-05"]
    assert days(ask(start="2024-06-04T04:00:00Z", end="2024-06-05T04:00:00Z")) == [
        "2024-06-04",
        "2024-06-05",
    ]
    assert days(ask(start="2024-06-04T04:00:01Z", end="2024-06-05T03:59:59Z")) == []
    assert ask(start="2025-01-01") == {"bars": {}, "next_page_token": None}
    assert days(ask(start=None)) == ["2024-06-10"]  # the current day


def test_the_running_session_is_hidden() -> None:
    during, after = parse_instant("2024-06-05T19:59:59Z"), parse_instant("2024-06-05T20:00:00Z")
    assert max(t for _, t in pairs(ask(during)))[:10] == "2024-06-04"
    assert max(t for _, t in pairs(ask(after)))[:10] == "2024-06-05"
    stale = BARS.page(read_bar_query({"symbols": "AA", "timeframe": "1Day", "start": "2024-06-03"},
                                     NOW), NOW, stale_days=2)  # fmt: skip
    assert pairs(stale)[-1][1][:10] == "2024-06-06"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": 10_001}, "larger than the allowed maximum of 10000"),
        ({"limit": 0}, "invalid limit: 0"),
        ({"adjustment": "magic"}, "invalid adjustment: magic"),
        ({"symbols": "A$"}, "invalid symbol: A$"),
        ({"symbols": None}, "symbols is required"),
        ({"start": "2024-06-05", "end": "2024-06-04"}, "end should not be before start"),
        ({"start": "soon"}, "invalid start: soon"),
        ({"timeframe": "daily"}, "invalid timeframe: daily"),
        ({"timeframe": "60Min"}, "invalid timeframe: 60Min"),
        ({"timeframe": "24Hour"}, "invalid timeframe: 24Hour"),
        ({"timeframe": "2Day"}, "invalid timeframe: 2Day"),
        ({"timeframe": "5Month"}, "invalid timeframe: 5Month"),
        ({"feed": "free"}, "invalid feed: free"),
        ({"currency": "EUR"}, "invalid currency: EUR"),
        ({"sort": "up"}, "invalid sort: up"),
        ({"asof": "today"}, "invalid asof: today"),
        ({"page_token": "?"}, "invalid page token"),
        ({"page_token": base64.b64encode(b"QQ|D|2024-06-03T04:00:00Z").decode()}, "page token"),
        ({"pages": 3}, "unexpected query parameter(s): pages"),
    ],
)
def test_bad_queries(query: Any, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        ask(**query)
    assert caught.value.status == 400 and list(caught.value.body) == ["message"]
    assert words in caught.value.body["message"]


def test_adjusted_returns_are_what_a_holder_earned() -> None:
    """One share held through dividend and split, the dividend reinvested at its ex-date's basis."""
    raw, series = ask()["bars"]["BB"], MARKET.series("BB")
    adjusted = ask(adjustment="all")["bars"]["BB"]
    close = [row["c"] for row in adjusted]
    earned = [
        (series.close[1] + 0) / (series.close[0] - 0.5),  # ex-date: the base is less the amount
        2 * series.close[2] / series.close[1],  # two shares for one
        series.close[3] / series.close[2],
    ]
    assert [b / a for a, b in zip(close[:3], close[1:4])] == pytest.approx(earned, rel=1e-5)
    assert adjusted[-1] == raw[-1]
    only_split = ask(adjustment="split")["bars"]["BB"]
    assert [r["c"] for r in only_split] == [r["c"] / (2 if i < 2 else 1) for i, r in enumerate(raw)]
    assert [r["v"] for r in only_split] == [2_000_000] * 2 + [1_000_000] * 3
    both = ask(adjustment="split,dividend")["bars"]["BB"]
    assert both == adjusted
    dividend = ask(adjustment="dividend")["bars"]["BB"]
    assert dividend[0]["c"] == round(raw[0]["c"] * (1 - 0.5 / raw[0]["c"]), 4)
    assert dividend[0]["v"] == raw[0]["v"]


def test_actions_of_the_future_adjust_nothing() -> None:
    early = parse_instant("2024-06-06T07:59:00Z")  # before 04:00 of the split's day
    assert ask(early, adjustment="split")["bars"]["BB"] == ask(early)["bars"]["BB"]
    assert ask(adjustment="all")["bars"]["AA"] == ask()["bars"]["AA"]
    later = parse_instant("2024-06-20T22:00:00Z")
    assert ask(later, adjustment="all")["bars"]["AA"][0]["c"] == 404.0


def test_a_dividend_and_a_split_on_one_day() -> None:
    day = dt.date(2024, 6, 5)
    both = [
        Action("forward_split", "AA", day, new=D(4)),
        Action("cash_dividend", "AA", day, cash=D("0.5")),
    ]
    series = TableMarket({"AA": flat(100)}).series("AA")
    price, share = factors(series, both, frozenset({"all"}))
    np.testing.assert_allclose(price[:2], 0.25 * (1 - 0.5 / (102 / 4)))
    assert (share[:2] == 0.25).all() and (price[2:] == 1).all()


def test_latest_bars() -> None:
    latest = BARS.latest(["AA", "CC", "ZZ"], NOW)
    assert {s: (b["t"], b["c"]) for s, b in latest.items()} == {
        "AA": ("2024-06-10T19:59:00Z", 106.0),
        "CC": ("2024-06-07T19:59:00Z", 9.0),
    }
    running = parse_instant("2024-06-05T13:30:40Z")
    assert BARS.latest(["AA"], running)["AA"]["t"] == "2024-06-05T13:30:00Z"


# ---- weeks, months and parts of a day

LONG = TableMarket(
    {"AA": [
        (day.strftime("%Y-%m-%d"), *prices)
        for day, prices in zip(
            dates.sessions_between("2023-10-02", "2024-06-10"),
            np.random.default_rng(3).uniform(50, 60, (200, 4)).round(2) @ np.diag([1, 2, 0.5, 1]),
        )
    ]},
    [Action("forward_split", "AA", dt.date(2024, 2, 14), new=D(2))],
)  # fmt: skip


@pytest.mark.parametrize(
    ("timeframe", "count"), [("1Week", None), ("1M", 1), ("2Month", 2), ("6Month", 6), ("12M", 12)]
)
def test_long_bars_are_made_of_whole_sessions(timeframe: str, count: int | None) -> None:
    bars = Bars(Prices(LONG, timetable()))
    base = {"symbols": "AA", "start": "2023-01-01", "adjustment": "split"}
    rows = lambda x: bars.page(read_bar_query(base | {"timeframe": x}, NOW), NOW)["bars"][
        "AA"
    ]  # noqa: E731
    daily = pd.DataFrame(rows("1Day"))
    daily.index = pd.to_datetime(daily["t"].str[:10])
    how = {"o": "first", "h": "max", "l": "min", "c": "last", "v": "sum", "n": "sum"}
    wanted = daily.groupby(
        daily.index.to_period("W-SUN").start_time if count is None else _months(daily.index, count)
    ).agg(how)
    found = pd.DataFrame(rows(timeframe))
    assert found["t"].str[:10].tolist() == [str(day.date()) for day in wanted.index]
    np.testing.assert_allclose(found[list(how)], wanted.to_numpy(float), rtol=1e-12)
    assert found["vw"].between(found["l"], found["h"]).all()


def _months(index: pd.DatetimeIndex, count: int) -> list[pd.Timestamp]:
    return [pd.Timestamp(d.year, (d.month - 1) // count * count + 1, 1) for d in index]


def test_a_running_week_grows() -> None:
    tuesday = parse_instant("2024-06-04T20:00:00Z")
    [row] = ask(tuesday, symbols="AA", timeframe="1Week")["bars"]["AA"]
    assert (row["t"], row["o"], row["c"]) == ("2024-06-03T04:00:00Z", 101, 102)
    assert row["v"] == 2_000_000


MINUTES = [
    [parse_instant(f"2024-06-04T{hour}:{minute:02d}:00Z"), p, p + 1, p - 1, p + 0.5, 10, 2, p]
    for p, (hour, minute) in enumerate([(13, 58), (13, 59), (14, 0), (14, 7), (19, 59)], start=10)
]


def test_parts_of_a_day_are_made_of_minutes_that_were_set() -> None:
    overlay = Overlay(MARKET)
    overlay.put(Addition("bars", "AA|1Min", {"rows": MINUTES}))
    bars = Bars(Prices(overlay, timetable()))

    def rows(timeframe: str, now: int = NOW, **more: str) -> list[dict[str, Any]]:
        query = {"symbols": "AA", "timeframe": timeframe, "start": "2024-06-04", **more}
        return bars.page(read_bar_query(query, now), now)["bars"].get("AA", [])

    assert [row["t"][11:16] for row in rows("Min")] == ["13:58", "13:59", "14:00", "14:07", "19:59"]
    five = rows("5T")
    assert [row["t"][11:16] for row in five] == ["13:55", "14:00", "14:05", "19:55"]
    assert five[0] == {
        "t": "2024-06-04T13:55:00Z", "o": 10.0, "h": 12.0, "l": 9.0, "c": 11.5, "v": 20, "n": 4,
        "vw": 10.5,
    }  # fmt: skip
    assert [row["t"][11:16] for row in rows("1Hour")] == ["13:00", "14:00", "19:00"]
    assert [row["t"][11:16] for row in rows("4H")] == ["12:00", "16:00"]  # from midnight, New York
    cut = {"end": "2024-06-04T13:59:00Z"}
    assert len(rows("1Min", **cut)) == 2
    early = parse_instant("2024-06-04T14:00:30Z")
    assert [row["c"] for row in rows("1Min", early)] == [10.5, 11.5]  # the third is not over
    assert bars.latest(["AA"], early)["AA"]["c"] != 11.5  # the price of the running minute is newer
    assert rows("1Min", symbols="BB") == []
    split = Action("forward_split", "AA", dt.date(2024, 6, 5), new=D(2))
    after = Bars(Prices(Overlay(TableMarket({"AA": flat(100)}, [split])), timetable()))
    after._prices.market.put(Addition("bars", "AA|1Min", {"rows": MINUTES}))
    query = read_bar_query(
        {"symbols": "AA", "timeframe": "1Min", "start": "2024-06-04", "adjustment": "split"}, NOW
    )
    [first, *_] = after.page(query, NOW)["bars"]["AA"]
    assert (first["o"], first["v"]) == (5.0, 20)


def test_a_spin_off_takes_what_the_new_shares_were_worth() -> None:
    spun = Action("spin_off", "AA", dt.date(2024, 6, 6), new=D(1), old=D(4), other_symbol="SS")
    market = TableMarket({"AA": flat(100), "SS": flat(15, WEEK[3:])}, [spun])
    bars = Bars(Prices(market, timetable()))

    def closes(adjustment: str, now: int = NOW) -> list[float]:
        query = {"symbols": "AA", "timeframe": "1Day", "start": WEEK[0], "adjustment": adjustment}
        return [r["c"] for r in bars.page(read_bar_query(query, now), now)["bars"]["AA"]]

    raw, factor = closes("raw"), 1 - 16 / 4 / 103  # 16: the first price of the new company
    assert closes("spin-off") == [round(c * factor, 4) for c in raw[:3]] + raw[3:]
    assert closes("all") == closes("spin-off") and closes("split,dividend") == raw
    before_the_open = parse_instant("2024-06-06T13:00:00Z")
    assert closes("all", before_the_open) == raw[:3]  # nobody knows yet what they are worth


# ---- feeds and plans


def test_the_free_plan_has_no_recent_sip_data() -> None:
    base = {"symbols": "AA", "timeframe": "1Day", "start": "2024-06-03"}
    close = parse_instant("2024-06-10T20:00:00Z")

    def last(now: int, plan: str, **more: str) -> Any:
        rows = BARS.page(read_bar_query(base | more, now, plan), now)["bars"]["AA"]
        return rows[-1]["t"][:10], rows[-1]["v"]

    now = close + 14 * 60 * SECOND
    assert last(now, "paid", feed="sip") == ("2024-06-10", 1_000_000)
    assert last(now, "free") == ("2024-06-10", 25_000)  # IEX, the best of the plan
    with pytest.raises(Refusal, match="recent SIP data") as caught:
        last(now, "free", feed="sip", end="2024-06-10")
    assert caught.value.status == 403
    assert last(now, "free", feed="sip", end="2024-06-10T19:59:00Z") == ("2024-06-10", 1_000_000)
    assert read_bar_query(base | {"feed": "sip"}, now, "free").end == close - 60 * SECOND
    assert read_bar_query(base | {"feed": "iex"}, now, "free").end == now


def test_feeds() -> None:
    assert ask(feed="boats")["bars"] == ask(feed="otc")["bars"] == {}
    overlay = Overlay(MARKET)
    overlay.put(Addition("asset", "AA", {"symbol": "AA", "exchange": "OTC"}))
    bars = Bars(Prices(overlay, timetable()))
    for feed, wanted in (("otc", ["AA"]), ("sip", ["BB", "CC"])):
        query = {"symbols": "AA,BB,CC", "timeframe": "D", "start": "2024-06-03", "feed": feed}
        assert list(bars.page(read_bar_query(query, NOW), NOW)["bars"]) == wanted


# ---- corporate actions


def actions(now: int = NOW, **query: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = action_reply(query, BARS._prices, now)[
        "corporate_actions"
    ]
    return found


def test_actions_in_groups() -> None:
    found = actions(start="2024-06-01", end="2024-12-31")
    assert {k: [r["symbol"] for r in rows] for k, rows in found.items()} == {
        "cash_dividends": ["BB"],
        "forward_splits": ["BB", "CC"],
        "reverse_splits": ["AA"],  # announced; the dividend of July is not yet
    }
    [dividend] = found["cash_dividends"]
    assert (dividend["rate"], dividend["ex_date"]) == (0.5, "2024-06-05")
    assert found["forward_splits"][1]["new_rate"] == 3 and len(dividend["cusip"]) == 9
    assert actions() == {}  # start and end are today
    chosen = actions(start="2024-06-01", symbols="BB,ZZ", types="forward_split")
    assert list(chosen) == ["forward_splits"]
    [by_id] = actions(ids=dividend["id"]).values()
    assert by_id == [dividend]


def test_actions_in_pages() -> None:
    query, seen = {"start": "2024-06-01", "end": "2024-06-30", "limit": "1", "sort": "desc"}, []
    while True:
        reply = action_reply(query, BARS._prices, NOW)
        seen += [row["ex_date"] for rows in reply["corporate_actions"].values() for row in rows]
        if reply["next_page_token"] is None:
            break
        query["page_token"] = reply["next_page_token"]
    assert seen == ["2024-06-20", "2024-06-07", "2024-06-06", "2024-06-05"]
    for bad in (
        {"types": "gift"},
        {"page_token": "?"},
        {"start": "2024-07-01", "end": "2024-06-01"},
    ):
        with pytest.raises(Refusal):
            action_reply(bad, BARS._prices, NOW)
