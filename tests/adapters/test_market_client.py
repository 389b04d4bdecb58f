"""The client over real HTTP: pages, repeats, refusals, and rows that are none."""

from __future__ import annotations

import json
import socket
import time

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import market_client, market_rows
from quant50lib.adapters.market import connect
from quant50lib.errors import BrokerError, SettingsError, Unreachable
from quant50lib.settings import DataSettings
from quant50lib.utils import dates
from tests.adapters.stub_market import Stub, asset, bar, running

DAYS = [str(d.date()) for d in dates.sessions_between("2024-03-04", "2024-03-15")]  # ten, over DST
FIRST, LAST = pd.Timestamp(DAYS[0]), pd.Timestamp(DAYS[-1])


@pytest.fixture
def stub():
    with running(Stub()) as found:
        found.bars = {s: {d: 10.0 + k for k, d in enumerate(DAYS)} for s in ("AAPL", "BRK.B")}
        yield found


def fetched(market, symbols=("AAPL", "BRK.B"), first=FIRST, last=LAST) -> pd.DataFrame:
    return pd.concat([page.bars for page in market.bars(symbols, first, last)], ignore_index=True)


def test_all_pages_arrive_with_new_york_dates_across_summer_time(stub):
    frame = fetched(stub.connect())
    assert len(stub.asked("/v2/stocks/bars")) == 3
    assert frame["session"].dt.strftime("%Y-%m-%d").tolist() == DAYS * 2
    assert frame["symbol"].tolist() == ["AAPL"] * 10 + ["BRK.B"] * 10
    assert frame["close"].tolist() == [10.0 + k for k in range(10)] * 2
    assert frame.dtypes.astype(str).to_dict() == {
        "symbol": "str",
        "session": "datetime64[us]",
        **dict.fromkeys(("open", "high", "low", "close", "volume"), "float64"),
        **dict.fromkeys(("trade_count", "vwap"), "float64"),
    }


def test_the_question_names_feed_adjustment_and_both_ends(stub):
    fetched(stub.connect(feed="iex"), first=pd.Timestamp(DAYS[2]), last=pd.Timestamp(DAYS[8]))
    query = stub.asked("/v2/stocks/bars")[0]
    assert query["feed"] == "iex" and query["adjustment"] == "raw" and query["limit"] == "10000"
    assert query["start"] == f"{DAYS[2]}T05:00:00Z" and query["end"] == f"{DAYS[8]}T04:00:00Z"


def test_an_answer_without_bars_is_no_data(stub):
    stub.answer = lambda path, query: {"bars": {}}
    assert fetched(stub.connect()).empty


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"bars": None}, "page 1 answered"),
        ({}, "page 1 answered"),
        ([1], "page 1 answered"),
        ({"bars": {"AAPL": None, "BRK.B": []}}, "page 1 answered null for AAPL"),
    ],
)
def test_an_answer_that_tells_nothing_is_no_end(stub, answer, said):
    stub.answer = lambda path, query: answer
    with pytest.raises(Unreachable, match=f"/stocks/bars.*5 attempts.*{said}"):
        fetched(stub.connect())


def test_a_short_or_empty_page_is_not_the_last(stub):
    pages = {
        None: {"bars": {}, "next_page_token": "b"},
        "b": {"bars": {"AAPL": [bar(DAYS[0], 1.0)]}, "next_page_token": "c"},
        "c": {"bars": {"AAPL": [bar(DAYS[1], 2.0)]}, "next_page_token": ""},
    }
    stub.answer = lambda path, query: pages[query.get("page_token")]
    assert fetched(stub.connect())["close"].tolist() == [1.0, 2.0]


def test_a_token_that_comes_back_ends_in_an_error_not_in_a_loop(stub):
    stub.answer = lambda path, query: {"bars": {}, "next_page_token": "again"}
    with pytest.raises(Unreachable, match="'again' twice"):
        fetched(stub.connect())
    assert len(stub.requests) == 2


def test_an_endless_answer_is_cut_off(stub, monkeypatch):
    monkeypatch.setattr(market_client, "MAX_PAGES", 5)
    stub.answer = lambda path, query: {"bars": {}, "next_page_token": str(len(stub.requests))}
    with pytest.raises(Unreachable, match="did not end after 5 pages"):
        fetched(stub.connect())


def test_rows_that_are_no_bars_are_left_out_and_named(stub):
    good = bar(DAYS[0], 1.0)
    rows = [
        good,
        {**bar(DAYS[1], 2.0), "c": None},
        {**bar(DAYS[2], 2.0), "v": float("nan")},
        {key: value for key, value in bar(DAYS[3], 2.0).items() if key != "o"},
        {**bar(DAYS[4], 2.0), "h": "high"},
        bar("2024-03-09", 2.0),  # a Saturday
        bar("2024-03-18", 2.0),  # after the end
        {**good, "t": "yesterday"},
        "nonsense",
        {**bar(DAYS[5], 3.0), "n": None, "vw": None},  # still a bar
    ]
    stub.answer = lambda path, query: {"bars": {"AAPL": rows, "ZZZ": [good]}}
    (page,) = stub.connect().bars(["AAPL"], FIRST, LAST)
    assert page.bars["close"].tolist() == [1.0, 3.0] and np.isnan(page.bars["vwap"].iloc[1])
    said = "\n".join(page.dropped)
    assert len(page.dropped) == 8
    for part in (
        f"AAPL {DAYS[1]}: a price or the volume is missing",
        f"AAPL {DAYS[4]}: a price",
        "AAPL 2024-03-09: not a session that was asked for",
        "AAPL 2024-03-18: not a session",
        "AAPL NaT: not a session",
        f"ZZZ {DAYS[0]}: not a symbol that was asked for",
    ):
        assert part in said


def close_silently(handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler) -> None:
    time.sleep(0.8)
    handler.close_connection = True


def cut_short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"timestamp": "20')
    handler.close_connection = True


HTML = b"<html><body>Bad gateway</body></html>"


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b'{"code":50010000,"message":"internal server error occurred"}'),
        (502, {}, HTML),
        (503, {}, b""),
        (504, {}, HTML),
        (429, {}, b'{"code":42910000,"message":"rate limit exceeded"}'),
        (200, {}, b'{"timestamp": "2024-'),
        (200, {}, HTML),
        close_silently,
        hang,
        cut_short,
    ],
)
def test_a_read_is_repeated_until_an_answer_comes(stub, fault):
    market = stub.connect(request_timeout_seconds=0.5)
    stub.faults = [fault, fault]
    assert market.clock() == pd.Timestamp("2024-06-29T02:00:00.123456789Z")
    assert len(stub.requests) == 3
    busy = isinstance(fault, tuple) and fault[0] == 429
    assert stub.slept == ([15.0, 15.0] if busy else [0.5, 1.0])


def test_repeats_are_bounded_and_the_error_says_what_came(stub):
    market = stub.connect()
    stub.faults = [(503, {"X-Request-ID": "abc123"}, HTML)] * 9
    with pytest.raises(Unreachable, match="5 attempts.*HTTP 503.*Bad gateway.*abc123"):
        market.clock()
    assert len(stub.requests) == 5 and stub.slept == [0.5, 1.0, 2.0, 4.0]


def test_a_busy_service_that_says_when_is_believed(stub):
    market = stub.connect()
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1)}
    stub.faults = [(429, reset, b"{}")]
    started = time.monotonic()
    market.clock()
    assert stub.slept == [0.5] and time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "keys or our subscription"), (403, "keys or our subscription")]
    + [(400, "refused the question.*invalid limit"), (404, "refused the question")],
)
def test_a_refusal_is_not_repeated(stub, status, said):
    market = stub.connect()
    stub.faults = [(status, {}, b'{"message":"invalid limit"}')]
    with pytest.raises(BrokerError, match=said) as caught:
        market.clock()
    assert len(stub.requests) == 1 and not isinstance(caught.value, Unreachable)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, [], {"timestamp": "noon"}, {"timestamp": None}, {}])
def test_a_clock_that_tells_no_time_is_no_answer(stub, answer):
    stub.answer = lambda path, query: answer
    with pytest.raises(Unreachable, match="clock"):
        stub.connect().clock()


@pytest.mark.parametrize("answer", [None, {"message": "x"}])
def test_a_list_that_is_none_is_no_answer(stub, answer):
    stub.answer = lambda path, query: answer
    with pytest.raises(Unreachable, match="assets"):
        stub.connect().assets(["A"])


def test_nobody_there_is_unreachable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    market = connect(url, url, "PK", "s", DataSettings())
    market._sleep = lambda seconds: None
    with pytest.raises(Unreachable, match="nothing was changed"):
        market.clock()


def test_the_walls_stand_before_the_clients():
    loopback = "http://127.0.0.1:1"
    for data, trading, key in (
        ("https://api.alpaca.markets", loopback, "PK"),
        (loopback, "https://api.alpaca.markets", "PK"),
        (loopback, loopback, "AKLIVE"),
    ):
        with pytest.raises(SettingsError):
            connect(data, trading, key, "s", DataSettings())


def test_corporate_actions_become_rows_of_one_shape(stub):
    day, ident = DAYS[3], "00000000-0000-0000-0000-00000000000"
    stub.groups = {
        "cash_dividends": [
            {"id": ident + "1", "symbol": "AAPL", "ex_date": day, "rate": 0.25, "special": False}
        ],
        "forward_splits": [
            {"id": ident + "2", "symbol": "AAPL", "ex_date": day, "new_rate": 4, "old_rate": 1}
        ],
        "stock_dividends": [{"id": ident + "3", "symbol": "BRK.B", "ex_date": day, "rate": 0.05}],
        "spin_offs": [
            {"id": ident + "4", "source_symbol": "AAPL", "new_symbol": "NEW", "ex_date": day}
            | {"source_rate": 5, "new_rate": 1}
        ],
        "cash_mergers": [
            {"id": ident + "5", "acquiree_symbol": "BRK.B", "effective_date": day, "rate": 99.5}
        ],
        "name_changes": [
            {"id": ident + "6", "old_symbol": "AAPL", "new_symbol": "APPL", "process_date": day}
        ],
        "stock_mergers": [
            {"id": ident + "7", "acquiree_symbol": "AAPL", "acquirer_symbol": "MSFT"}
            | {"effective_date": day, "acquirer_rate": 2, "acquiree_rate": 3}
        ],
        "forward_splits_of_others": [{"id": ident + "8", "symbol": "ZZZ", "ex_date": day}],
        "redemptions": [{"id": ident + "9", "symbol": "AAPL"}],
    }
    frame = stub.connect().actions(["AAPL", "BRK.B"], FIRST, LAST)
    assert set(frame["ex_date"]) == {pd.Timestamp(day)} and len(frame) == 7
    rows = frame.drop(columns=["id", "ex_date"]).fillna(-1).itertuples(index=False, name=None)
    assert list(rows) == [
        ("AAPL", "cash_dividend", -1, -1, 0.25, -1),
        ("AAPL", "forward_split", 4.0, 1.0, -1, -1),
        ("BRK.B", "stock_dividend", 1.05, 1.0, -1, -1),
        ("AAPL", "spin_off", 1.0, 5.0, -1, "NEW"),
        ("BRK.B", "cash_merger", -1, -1, 99.5, -1),
        ("AAPL", "name_change", -1, -1, -1, "APPL"),
        ("AAPL", "stock_merger", 2.0, 3.0, -1, "MSFT"),
    ]


def test_no_actions_is_an_empty_frame_of_the_same_shape():
    for groups in ([], [None], [{}], [{"cash_dividends": None}]):
        frame = market_rows.actions(groups, ["A"])
        assert frame.empty and frame["ex_date"].dtype == "datetime64[us]"


def test_assets_prefer_the_active_one_and_say_what_is_missing(stub):
    stub.assets = [
        asset("AAPL"),
        asset("AAPL", status="inactive", tradable=False),
        asset("BRK.B", status="inactive", tradable=False),
        asset("BRK.B", fractionable=False),
        asset("OLD", status="inactive", tradable=False),
        asset("OTHER"),
    ]
    frame = stub.connect().assets(["OLD", "AAPL", "BRK.B", "GONE"]).set_index("symbol")
    assert frame["status"].to_dict() == {
        "AAPL": "active",
        "BRK.B": "active",
        "GONE": "unlisted",
        "OLD": "inactive",
    }
    assert frame["tradable"].to_dict() == {
        "AAPL": True,
        "BRK.B": True,
        "GONE": False,
        "OLD": False,
    }
    assert not frame.loc["BRK.B", "fractionable"] and frame.loc["GONE", "name"] == ""
    assert json.dumps(stub.asked("/v2/assets")) == '[{"asset_class": "us_equity"}]'
