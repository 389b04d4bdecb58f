"""The twin as a process, over HTTP, through the unmodified alpaca-py clients."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import psutil
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import (
    CorporateActionsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
)

from quant50lib.errors import ContractError, SettingsError, Unreachable
from quant50lib.settings import SimulatorSettings
from quant50lib.simulator import process, server
from quant50lib.simulator.process import Twin, attach_or_start

pytestmark = pytest.mark.slow

KEYS = ("PKTESTTESTTESTTEST01", "secret")
HEADERS = {"APCA-API-KEY-ID": KEYS[0], "APCA-API-SECRET-KEY": KEYS[1]}
NOW = "2024-06-03T22:00:00Z"
UNIVERSE = """symbol,name,sector,kind
AAPL,Apple,Information Technology,stock
BRK.B,Berkshire Hathaway,Financials,stock
XOM,Exxon Mobil,Energy,stock
SPY,SPDR S&P 500,Broad Equity,etf
"""
SETTINGS = SimulatorSettings(first_session="2023-01-03", p_partial=0.0, half_spread_bps=2.0)
REAL = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(scope="module")
def universe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("universe") / "universe.csv"
    path.write_text(UNIVERSE)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twin") / "account.sqlite"


@pytest.fixture(scope="module")
def shared(state: Path, universe: Path) -> Iterator[Twin]:
    with attach_or_start(state, SETTINGS, universe, pd.Timestamp(NOW)) as twin:
        yield twin


@pytest.fixture
def twin(shared: Twin) -> Twin:
    reset = requests.post(
        shared.control_url + "/sim/reset", json={"now": NOW, "p_partial": 0, "rate_limit": None}
    )
    reset.raise_for_status()
    return shared


def trading(twin: Twin) -> TradingClient:
    return TradingClient(*KEYS, paper=True, url_override=twin.url)


def data(twin: Twin, **options: Any) -> StockHistoricalDataClient:
    return StockHistoricalDataClient(*KEYS, url_override=twin.url, **options)


def market_order(symbol: str, qty: float, side: str = "buy", **options: Any) -> MarketOrderRequest:
    return MarketOrderRequest(
        symbol=symbol, qty=qty, side=OrderSide(side), time_in_force=TimeInForce.DAY, **options
    )


def bars(twin: Twin, *symbols: str, **options: Any) -> dict[str, list[dict[str, Any]]]:
    request = StockBarsRequest(
        symbol_or_symbols=list(symbols),
        timeframe=TimeFrame.Day,
        start=dt.datetime(2023, 1, 1),
        feed=DataFeed.SIP,
        **options,
    )
    return data(twin, raw_data=True).get_stock_bars(request)


def fault(twin: Twin, action: dict[str, Any], times: int = 1, **match: Any) -> None:
    rule = {"match": match, "times": times, "action": action}
    requests.post(twin.control_url + "/sim/faults", json=[rule]).raise_for_status()


# ---- clock, calendar, assets, account


def test_clock_and_calendar(twin: Twin) -> None:
    clock = trading(twin).get_clock()
    assert clock.timestamp == pd.Timestamp(NOW) and not clock.is_open
    assert clock.next_open == pd.Timestamp("2024-06-04T13:30:00Z")
    assert clock.next_open.utcoffset() == dt.timedelta(hours=-4)
    asked = GetCalendarRequest(start=dt.date(2024, 7, 3), end=dt.date(2024, 7, 5))
    days = trading(twin).get_calendar(asked)
    assert [(d.date.day, d.close.hour) for d in days] == [(3, 13), (5, 16)]
    stamped = {"start": "2024-07-03T00:00:00.000Z", "end": "2024-07-03T00:00:00.000Z"}
    [row] = requests.get(twin.url + "/v2/calendar", stamped, headers=HEADERS).json()
    assert row == {
        "date": "2024-07-03",
        "open": "09:30",
        "close": "13:00",
        "session_open": "0400",
        "session_close": "1700",
        "settlement_date": "2024-07-05",
    }
    every = requests.get(twin.url + "/v2/calendar", headers=HEADERS).json()
    assert every[-1]["date"] == "2029-12-31"
    bad = requests.get(twin.url + "/v2/calendar?start=soon", headers=HEADERS)
    assert bad.status_code == 422


def test_assets(twin: Twin) -> None:
    client = trading(twin)
    found = client.get_all_assets(GetAssetsRequest(status="active"))
    assert {a.symbol for a in found} == {"AAPL", "BRK.B", "XOM", "SPY"}
    spy = client.get_asset("SPY")
    assert spy.tradable and spy.fractionable and spy.name == "SPDR S&P 500"
    assert client.get_asset(spy.id).symbol == "SPY"
    assert client.get_asset("BRK.B").asset_class.value == "us_equity"
    with pytest.raises(APIError, match="asset not found for QQQ"):
        client.get_asset("QQQ")
    other = requests.get(twin.url + "/v2/assets?asset_class=crypto", headers=HEADERS)
    assert other.json() == []


def test_account_and_configuration(twin: Twin) -> None:
    client = trading(twin)
    account = client.get_account()
    assert (account.cash, account.multiplier, account.account_number[:2]) == ("100000", "1", "PA")
    assert not account.shorting_enabled and account.pattern_day_trader is None
    configuration = client.get_account_configurations()
    assert configuration.no_shorting and configuration.max_margin_multiplier == "1"
    configuration.suspend_trade = True
    assert client.set_account_configurations(configuration).suspend_trade
    assert client.get_account().trade_suspended_by_user
    with pytest.raises(APIError) as caught:
        client.submit_order(market_order("XOM", 1))
    assert caught.value.status_code == 403
    for change in (
        {"suspend_trade": "yes"},
        {"no_shorting": "no"},
        {"max_margin_multiplier": "3"},
    ):
        answer = requests.patch(
            twin.url + "/v2/account/configurations", json=change, headers=HEADERS
        )
        assert answer.status_code == 422


# ---- bars and actions


def test_bars_through_the_client(twin: Twin) -> None:
    found = bars(twin, "SPY", "AAPL", "ZZZZ")
    assert list(found) == ["AAPL", "SPY"]
    assert {row["t"][:10] for row in found["SPY"]} >= {"2023-01-03", "2024-06-03"}
    assert max(row["t"] for row in found["SPY"]) == "2024-06-03T04:00:00Z"
    frame = data(twin).get_stock_bars(
        StockBarsRequest(
            symbol_or_symbols="SPY",
            timeframe=TimeFrame.Day,
            start=dt.datetime(2024, 5, 1),
            end=dt.datetime(2024, 5, 31, 12),
            adjustment=Adjustment.ALL,
        )
    )
    assert len(frame.df) == 22 and frame.df["close"].gt(0).all()


def test_short_pages_are_followed_to_the_end(twin: Twin) -> None:
    whole = bars(twin, "AAPL", "SPY", "XOM")
    query = {"symbols": "AAPL,SPY,XOM", "timeframe": "1Day", "start": "2023-01-01", "limit": "400"}
    found: dict[str, list[Any]] = {}
    token, pages = None, 0
    while True:
        asked = query | ({"page_token": token} if token else {})
        page = requests.get(twin.url + "/v2/stocks/bars", asked, headers=HEADERS).json()
        for symbol, rows in page["bars"].items():
            found.setdefault(symbol, []).extend(rows)
        pages, token = pages + 1, page["next_page_token"]
        if token is None:
            break
    assert found == whole and pages == -(-sum(map(len, whole.values())) // 400)


def test_one_symbol_and_latest(twin: Twin) -> None:
    query = {"timeframe": "1Day", "start": "2024-06-03"}
    one = requests.get(twin.url + "/v2/stocks/SPY/bars", query, headers=HEADERS).json()
    assert one["symbol"] == "SPY" and len(one["bars"]) == 1 and one["next_page_token"] is None
    none = requests.get(twin.url + "/v2/stocks/ZZZZ/bars", query, headers=HEADERS).json()
    assert none["bars"] is None
    latest = data(twin).get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=["SPY"]))
    assert latest["SPY"].close == one["bars"][0]["c"]
    wrong = requests.get(twin.url + "/v2/stocks/bars?symbols=SPY&tz=x", headers=HEADERS)
    assert wrong.status_code == 400
    assert wrong.json() == {"message": "unexpected query parameter(s): tz"}
    currency = query | {"symbols": "SPY", "currency": "USD"}
    assert requests.get(twin.url + "/v2/stocks/bars", currency, headers=HEADERS).json()[
        "currency"
    ] == "USD"  # fmt: skip


def test_corporate_actions_through_the_client(twin: Twin) -> None:
    client = CorporateActionsClient(*KEYS, url_override=twin.url)
    asked = CorporateActionsRequest(
        symbols=["SPY", "XOM"], start=dt.date(2023, 1, 1), end=dt.date(2024, 6, 3)
    )
    found = client.get_corporate_actions(asked).data
    dividends = [row for row in found["cash_dividends"] if row.symbol == "SPY"]
    assert 5 <= len(dividends) <= 6 and all(row.rate > 0 for row in dividends)


# ---- orders


def test_a_day_market_order_of_22_utc(twin: Twin) -> None:
    client = trading(twin)
    sent = client.submit_order(market_order("XOM", 12.5, client_order_id="q50-a/b c"))
    assert sent.status == OrderStatus.ACCEPTED
    assert sent.expires_at == pd.Timestamp("2024-06-04T20:00:00Z")
    assert client.get_order_by_client_id("q50-a/b c").id == sent.id
    assert [o.id for o in client.get_orders()] == [sent.id]
    with pytest.raises(APIError, match="cannot replace order in accepted status"):
        client.replace_order_by_id(sent.id, ReplaceOrderRequest(qty=2))
    with pytest.raises(APIError) as caught:
        client.submit_order(market_order("XOM", 12.5, client_order_id="q50-a/b c"))
    assert (caught.value.status_code, caught.value.code) == (422, 40010001)

    twin.set_clock(pd.Timestamp("2024-06-04T08:00:26Z"))
    routed = client.get_order_by_id(sent.id)
    assert routed.status == OrderStatus.NEW
    assert routed.submitted_at == pd.Timestamp("2024-06-04T08:00:00Z")
    assert routed.created_at == sent.created_at

    twin.set_clock(pd.Timestamp("2024-06-04T22:00:00Z"))
    filled = client.get_order_by_id(sent.id)
    [bar] = [b for b in bars(twin, "XOM")["XOM"] if b["t"].startswith("2024-06-04")]
    price = (D(str(bar["o"])) * D("1.0002")).quantize(D("0.0001"))
    assert filled.status == OrderStatus.FILLED and filled.filled_qty == "12.5"
    assert D(filled.filled_avg_price) == price
    account, position = client.get_account(), client.get_open_position("XOM")
    assert D(account.cash) == 100_000 - D("12.5") * price
    assert D(account.equity) == D(account.cash) + D("12.5") * D(str(bar["c"]))
    assert D(position.cost_basis) == D("12.5") * price and position.side.value == "long"
    assert client.get_all_positions() == [position]
    [fill] = client.get("/account/activities/FILL")
    assert (fill["order_id"], fill["type"], D(fill["price"])) == (str(sent.id), "fill", price)
    assert client.get("/account/activities", {"activity_types": "DIV"}) == []
    equity = client.get_portfolio_history(GetPortfolioHistoryRequest(period="1D", timeframe="1D"))
    assert equity.equity == [float(account.equity)]
    truth = twin.truth()
    assert [h["status"] for h in truth["orders"][0]["history"]] == ["accepted", "new", "filled"]
    assert truth["positions"] == [{"symbol": "XOM", "qty": "12.5"}]
    assert sum(D(row["amount"]) for row in truth["cash_ledger"]) == D(truth["cash"])
    assert truth["executions"] == [fill]


def test_orders_in_session_and_their_cancellation(twin: Twin) -> None:
    client = trading(twin)
    requests.post(twin.control_url + "/sim/clock", json={"to": "next_open"})
    requests.post(twin.control_url + "/sim/clock", json={"advance_s": 1800})
    assert client.get_clock().timestamp == pd.Timestamp("2024-06-04T14:00:00Z")
    sent = client.submit_order(market_order("SPY", 3))
    assert sent.status == OrderStatus.PENDING_NEW and sent.filled_qty == "0"
    assert client.get_order_by_id(sent.id).status == OrderStatus.FILLED
    with pytest.raises(APIError) as caught:
        client.cancel_order_by_id(sent.id)
    assert (caught.value.status_code, caught.value.code) == (422, 42210000)
    twin.set_clock(pd.Timestamp("2024-06-04T22:00:00Z"))
    first = client.submit_order(market_order("SPY", 1, "sell"))
    assert client.get_open_position("SPY").qty_available == "2"
    assert client.cancel_order_by_id(first.id) is None
    assert client.cancel_order_by_id(first.id) is None
    client.submit_order(market_order("SPY", 1))
    [cancelled] = client.cancel_orders()
    assert cancelled.status == 200 and client.cancel_orders() == []
    found = client.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True, direction="asc", limit=500)
    )
    assert [o.status.value for o in found] == ["filled", "canceled", "canceled"]
    for path in ("/v2/orders/none", "/v2/orders:by_client_order_id?client_order_id=none"):
        answer = requests.get(twin.url + path, headers=HEADERS)
        assert (answer.status_code, answer.json()["code"]) == (404, 40410000)
    replaced = requests.patch(f"{twin.url}/v2/orders/{sent.id}", json={"qty": 2}, headers=HEADERS)
    assert replaced.status_code == 422 and "filled" in replaced.json()["message"]


def test_refusals_over_the_wire(twin: Twin) -> None:
    client = trading(twin)
    with pytest.raises(APIError) as caught:
        client.submit_order(market_order("SPY", 1e6))
    body = json.loads(str(caught.value))
    assert caught.value.status_code == 403 and body["buying_power"] == "100000"
    with pytest.raises(APIError, match="sub-penny"):
        client.submit_order(
            LimitOrderRequest(
                symbol="SPY",
                qty=1,
                side=OrderSide.BUY,
                time_in_force=TimeInForce.DAY,
                limit_price=10.001,
            )
        )
    with pytest.raises(APIError, match="position does not exist"):
        client.get_open_position("SPY")


# ---- the wire


def raw(twin: Twin, *lines: str) -> bytes:
    """The bytes that answer several requests on one connection."""
    with socket.create_connection(("127.0.0.1", urlsplit(twin.url).port), timeout=10) as link:
        keys = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        for number, line in enumerate(lines, 1):
            last = "Connection: close\r\n" if number == len(lines) else ""
            link.sendall(f"{line} HTTP/1.1\r\nHost: twin\r\n{keys}{last}\r\n".encode())
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_one_connection_serves_many_requests(twin: Twin) -> None:
    answer = raw(twin, "GET /v2/clock", "HEAD /v2/account", "GET //v2/clock")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b'"is_open":false') == 2 and b'"cash"' not in answer
    for name in (
        b"X-RateLimit-Limit",
        b"X-RateLimit-Remaining",
        b"X-Request-ID",
        b"Content-Length",
    ):
        assert answer.count(name + b": ") == 3


def test_replies_are_zipped_for_those_who_can_read_it(twin: Twin) -> None:
    query = {"symbols": "SPY", "timeframe": "1Day", "start": "2023-01-01"}
    zipped = requests.get(twin.url + "/v2/stocks/bars", query, headers=HEADERS)
    plain = requests.get(
        twin.url + "/v2/stocks/bars", query, headers=HEADERS | {"Accept-Encoding": "identity"}
    )
    assert zipped.headers["Content-Encoding"] == "gzip" and zipped.json() == plain.json()
    assert "Content-Encoding" not in plain.headers
    assert int(zipped.headers["Content-Length"]) < int(plain.headers["Content-Length"])


def test_the_ports_are_apart(twin: Twin) -> None:
    assert requests.get(twin.url + "/sim/info", headers=HEADERS).status_code == 404
    assert requests.get(twin.control_url + "/v2/clock", headers=HEADERS).status_code == 404
    assert "/sim/reset" in requests.get(twin.control_url + "/docs").text
    assert "/v2/orders" in requests.get(twin.url + "/openapi.json").json()["paths"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_is_closed_or_reset(twin: Twin, when: str) -> None:
    fault(twin, {f"drop_{when}": {}})
    assert raw(twin, "GET /v2/clock") == b""
    fault(twin, {"reset": {"when": when}})
    with pytest.raises(ConnectionResetError):
        raw(twin, "GET /v2/clock")


def test_faults_through_the_client(twin: Twin) -> None:
    client = trading(twin)
    fault(twin, {"after": {"code": 502, "body": "<html>"}}, method="POST")
    with pytest.raises(APIError):
        client.submit_order(market_order("SPY", 1, client_order_id="one"))
    fault(twin, {"drop_after": {}}, method="POST")
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market_order("SPY", 1, client_order_id="two"))
    assert {o.client_order_id for o in client.get_orders()} == {"one", "two"}
    fault(twin, {"unknown_status": {}})
    with pytest.raises(ValueError, match="status"):
        client.get_orders()
    fault(twin, {"redirect": {}})
    with pytest.raises(TypeError):
        client.get_clock()
    fault(twin, {"truncate": {"bytes": 20}})
    with pytest.raises(requests.JSONDecodeError):
        client.get_clock()


def test_faults_of_time(twin: Twin) -> None:
    fault(twin, {"hang": {}})
    with pytest.raises(requests.ReadTimeout):
        requests.get(twin.url + "/v2/clock", headers=HEADERS, timeout=0.3)
    for when in ("before", "after"):
        fault(twin, {"delay": {"s": 0.1, "when": when}})
        begin = time.monotonic()
        trading(twin).get_clock()
        assert time.monotonic() - begin > 0.1


# ---- the process


def test_a_killed_twin_forgets_nothing(tmp_path: Path, universe: Path) -> None:
    state = tmp_path / "account.sqlite"
    first = attach_or_start(state, SETTINGS, universe, pd.Timestamp(NOW))
    trading(first).submit_order(market_order("SPY", 5))
    first.set_clock(pd.Timestamp("2024-06-04T22:00:00Z"))
    sent = trading(first).submit_order(market_order("XOM", 2.5, client_order_id="kept"))
    fault(first, {"status": {"code": 500}}, times=100)
    before = first.truth()
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    with pytest.raises(Unreachable, match="does not answer"):
        first.info()
    with attach_or_start(state, SETTINGS, universe, pd.Timestamp("2024-06-03T00:00:00Z")) as again:
        assert again.owned and again.pid != first.pid
        assert again.truth() == before
        assert again.info()["now"] == "2024-06-04T22:00:00Z"
        assert requests.get(again.control_url + "/sim/faults").json() == []
        assert trading(again).get_order_by_client_id("kept").id == sent.id
        with pytest.raises(APIError, match="must be unique"):
            trading(again).submit_order(market_order("XOM", 2.5, client_order_id="kept"))
        wrong = TradingClient("PKOTHER", "x", paper=True, url_override=again.url)
        with pytest.raises(APIError, match="unauthorized"):
            wrong.get_account()
    assert not psutil.pid_exists(again.pid)
    assert process.find(state) is None


def test_a_state_file_has_one_twin(shared: Twin, state: Path, universe: Path, capsys: Any) -> None:
    other = attach_or_start(state, SETTINGS, universe, None)
    assert (other.pid, other.url, other.owned) == (shared.pid, shared.url, False)
    other.stop()  # not its own: nothing happens
    assert shared.info()["market"] == "demo"
    with pytest.raises(SettingsError, match="settings ask for market 'demo' with seed 51"):
        attach_or_start(state, SETTINGS.model_copy(update={"seed": 51}), universe, None)
    assert server.main(["--state", str(state)]) == 2
    words = capsys.readouterr().err
    assert words.startswith("SettingsError:") and "is in use by" in words
    assert shared.url in words and f"process {shared.pid}" in words


def test_what_cannot_start_says_why(tmp_path: Path, universe: Path, capsys: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = ["--state", str(tmp_path / "a.sqlite"), "--universe", str(universe)]
        assert server.main([*line, "--port", port]) == 2
        assert f"port {port} on 127.0.0.1 cannot be used" in capsys.readouterr().err
    for more, words in (
        ([], "say what time"),
        (["--now", "noon"], "--now"),
        (["--market", "none.parquet", "--now", NOW], "is no file"),
    ):
        assert server.main([*line, *more]) == 2
        assert words in capsys.readouterr().err
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    market = SETTINGS.model_copy(update={"market": str(broken)})
    with pytest.raises(ContractError, match="broken.parquet"):
        attach_or_start(tmp_path / "c.sqlite", market, universe, pd.Timestamp(NOW))


def test_a_twin_ends_with_its_parent(tmp_path: Path, universe: Path) -> None:
    state = tmp_path / "account.sqlite"
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    line = process.command(state, SETTINGS, universe, pd.Timestamp(NOW))
    line[line.index("--parent") + 1] = str(parent.pid)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        ready = json.loads(child.stdout.readline())
        assert ready["pid"] == child.pid and process.find(state).url == ready["url"]
        child.send_signal(signal.SIGSTOP)  # it has not noticed yet
        parent.kill()
        parent.wait()
        child.send_signal(signal.SIGCONT)
        assert process.find(state) is None, "nobody attaches to a twin that is about to end"
        assert child.wait(timeout=20) == 0
    assert process.find(state) is None


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="the real bars are not beside the checkout")
def test_the_real_bars_over_http(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={
            "market": str(REAL / "us_daily_2013_2018.parquet"),
            "actions": REAL / "corporate_actions.csv",
        }
    )
    now = pd.Timestamp("2017-06-01T22:00:00Z")
    with attach_or_start(tmp_path / "s.sqlite", settings, None, now) as twin:
        info = twin.info()
        assert not info["simulated_prices"] and info["last_session"] == "2018-02-07"
        assert info["identity"].startswith("file us_daily_2013_2018.parquet sha256=")
        table = pd.read_parquet(REAL / "us_daily_2013_2018.parquet").set_index(["symbol", "date"])
        trading(twin).submit_order(market_order("AAPL", 10, client_order_id="real"))
        twin.set_clock(now + pd.Timedelta(days=1))
        order = trading(twin).get_order_by_client_id("real")
        opening = table.loc[("AAPL", dt.date(2017, 6, 2)), "open"]
        assert D(order.filled_avg_price) == (D(str(opening)) * D("1.0002")).quantize(D("0.0001"))
        request = StockBarsRequest(
            symbol_or_symbols=["AAPL", "BRK.B"],
            timeframe=TimeFrame.Day,
            start=dt.datetime(2017, 5, 1),
        )
        found = data(twin).get_stock_bars(request).df
        assert found.loc["BRK.B", "close"].tolist() == [
            table.loc[("BRK.B", day), "close"]
            for day in table.loc["BRK.B"].index
            if dt.date(2017, 5, 1) <= day <= dt.date(2017, 6, 2)
        ]
