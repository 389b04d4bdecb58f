"""Clients that we did not write, unmodified, each through the same day against one twin.

Those that are no dependency of ours live in environments of their own under `.cache/clients`, made
once; where that is impossible, the test is skipped with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
)

from quant50lib.settings import SimulatorSettings
from quant50lib.simulator.process import Twin, attach_or_start

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "clients"
SCRIPTS = Path(__file__).parent / "clients"
NOW = "2024-06-04T14:00:00Z"
NAMES = "symbol,name,sector,kind\nSPY,SPDR,Broad Equity,etf\nXOM,Exxon Mobil,Energy,stock\n"
INSTALL_SECONDS, DAY_SECONDS = 300, 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "names.csv").write_text(NAMES)
    settings = SimulatorSettings(first_session="2023-01-03", p_partial=0.0)
    twin = attach_or_start(folder / "s.db", settings, folder / "names.csv", pd.Timestamp(NOW))
    with twin:
        yield twin


@pytest.fixture
def twin(server: Twin) -> Twin:
    requests.post(server.control_url + "/sim/reset", json={"now": NOW}).raise_for_status()
    return server


def _made(folder: Path, *commands: list[str]) -> Path:
    """The folder, filled by the commands unless an earlier run did; skips where they fail."""
    done = folder / "complete"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if "python" in folder.name:
        venv.create(folder, with_pip=True)
    for command in commands:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
        if result.returncode:
            words = (result.stderr or result.stdout).strip().splitlines()[-1:]
            pytest.skip(f"{' '.join(command)} failed: {' '.join(words)}")
    done.touch()
    return folder


@pytest.fixture(scope="module")
def pypi() -> list[str]:
    """The command of alpaca-trade-api 3.2.0."""
    version = "{}.{}".format(*sys.version_info[:2])
    folder = CACHE / f"alpaca-trade-api-3.2.0-python{version}"
    python = str(folder / "bin" / "python")
    _made(folder, [python, "-m", "pip", "install", "--quiet", "alpaca-trade-api==3.2.0"])
    return [python, "-W", "ignore", str(SCRIPTS / "pypi_client.py")]


@pytest.fixture(scope="module")
def npm() -> list[str]:
    """The command of @alpacahq/alpaca-trade-api 4.0.2."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = CACHE / "alpacahq-alpaca-trade-api-4.0.2"
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
    _made(folder, [*install, "@alpacahq/alpaca-trade-api@4.0.2"])
    return [node, str(shutil.copy(SCRIPTS / "npm_client.cjs", folder))]


def _day(command: list[str], twin: Twin) -> dict[str, Any]:
    """What a client in a process of its own saw."""
    done = subprocess.run(
        [*command, twin.url],
        env=os.environ | {"APCA_API_DATA_URL": twin.url},
        capture_output=True,
        text=True,
        timeout=DAY_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _check(seen: dict[str, Any], twin: Twin) -> None:
    """The day as the twin itself knows it."""
    truth = twin.truth()
    assert seen["assets"] == ["SPY", "XOM"]
    assert seen["bars"] == 2 * 5  # 28 May to 3 June 2024: five sessions
    assert set(seen["closes"]) == {"SPY", "XOM"}
    assert (seen["market"], seen["cancelled"]) == ("filled", "canceled")
    assert seen["open"] == [seen["limit"]]
    assert seen["all"] == ["canceled", "filled"]
    assert {name: str(qty) for name, qty in seen["positions"].items()} == {"SPY": "3"}
    assert seen["fills"] == [[True, "3"]]
    assert [order["status"] for order in truth["orders"]] == ["filled", "canceled"]
    assert truth["positions"] == [{"symbol": "SPY", "qty": "3"}]


def test_alpaca_py(twin: Twin) -> None:
    keys = ("PKTESTTESTTESTTEST01", "secret")
    client = TradingClient(*keys, paper=True, url_override=twin.url)
    data = StockHistoricalDataClient(*keys, url_override=twin.url)
    order = {"side": "buy", "time_in_force": "day"}
    bars = data.get_stock_bars(
        StockBarsRequest(
            symbol_or_symbols=["SPY", "XOM"],
            timeframe=TimeFrame.Day,
            start="2024-05-28",
            end="2024-06-03T12:00:00Z",
            adjustment="all",
        )
    ).data
    seen: dict[str, Any] = {
        "assets": sorted(
            a.symbol for a in client.get_all_assets(GetAssetsRequest(status="active"))
        ),
        "bars": sum(map(len, bars.values())),
        "closes": {symbol: rows[-1].close for symbol, rows in bars.items()},
    }
    assert client.get_account().cash == "100000" and client.get_clock().is_open
    days = client.get_calendar(GetCalendarRequest(start="2024-07-03", end="2024-07-05"))
    assert [(day.date.day, day.close.hour) for day in days] == [(3, 13), (5, 16)]
    market = client.submit_order(
        MarketOrderRequest(symbol="SPY", qty=3, client_order_id="market one", **order)
    )
    limit = client.submit_order(LimitOrderRequest(symbol="XOM", qty=1, limit_price=1.5, **order))
    seen["market"] = client.get_order_by_client_id("market one").status.value
    seen["open"], seen["limit"] = [o.id for o in client.get_orders()], limit.id
    client.cancel_order_by_id(limit.id)
    seen["cancelled"] = client.get_order_by_id(limit.id).status.value
    every = client.get_orders(GetOrdersRequest(status="all", nested=True))
    seen["all"] = sorted(o.status.value for o in every)
    seen["positions"] = {p.symbol: p.qty for p in client.get_all_positions()}
    fills = client.get("/account/activities/FILL")
    seen["fills"] = [[row["order_id"] == str(market.id), row["qty"]] for row in fills]
    _check(seen, twin)


def test_alpaca_trade_api_of_pypi(twin: Twin, pypi: list[str]) -> None:
    seen = _day(pypi, twin)
    assert seen["account"]["cash"] == "100000" and seen["clock"]["is_open"]
    assert [day["close"] for day in seen["calendar"]] == ["13:00", "16:00"]
    _check(seen, twin)


def test_alpaca_trade_api_of_npm(twin: Twin, npm: list[str]) -> None:
    seen = _day(npm, twin)
    assert seen["account"]["accountNumber"].startswith("PA") and seen["clock"]["isOpen"]
    assert [day["close"] for day in seen["calendar"]] == ["13:00", "16:00"]
    _check(seen, twin)
