"""Every shipped scenario keeps its claim; a scenario that cannot be is refused before it begins."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from quant50lib.cli import app
from quant50lib.simulator import scenario
from quant50lib.simulator.demo import DemoMarket
from quant50lib.simulator.market import Listing, NoMarket
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.server import main
from quant50lib.simulator.timetable import utc_text
from tests.proof.wire import URL
from tests.simulator.ports import Ports, ports

NAMES = [
    Listing("AAPL", "Apple", "Information Technology", "stock"),
    Listing("SPY", "SPDR S&P 500", "Broad Equity", "etf"),
    Listing("XOM", "Exxon Mobil", "Energy", "stock"),
]
CLAIMS: dict[str, Callable[[Ports, Ports], None]] = {}


def claim(test: Callable[[Ports, Ports], None]) -> Callable[[Ports, Ports], None]:
    """The test of the scenario of that name, beside a twin on which nothing happens."""
    CLAIMS[test.__name__] = test
    return test


def demo(folder: Path) -> Ports:
    folder.mkdir(exist_ok=True)
    market = DemoMarket(50, "2024-01-02", NAMES, 0.0)
    return ports(folder / "s.db", market=market, half_spread_bps=1.0)


def bar(twin: Ports, symbol: str, day: str) -> dict[str, Any]:
    query = {"timeframe": "1Day", "start": day, "end": day}
    [row] = twin.get(f"/v2/stocks/{symbol}/bars", **query).json()["bars"]
    return row


@pytest.mark.parametrize("name", scenario.names())
def test_a_shipped_scenario_keeps_its_claim(name: str, tmp_path: Path) -> None:
    told, calm = demo(tmp_path / "told"), demo(tmp_path / "calm")
    shown = told.do("scenario", {"name": name})
    assert shown["title"] and shown["claim"]
    CLAIMS[name](told, calm)
    assert all(step["done"] for step in told.sim("GET", "scenario").json()["steps"])


@claim
def calm_day(told: Ports, calm: Ports) -> None:
    told.order("one", symbol="XOM", qty="5")
    told.do("clock", {"set": "2024-06-05T22:00:00Z"})
    [order] = told.sim("GET", "truth").json()["orders"]
    assert [(row["status"], row["t"][:19]) for row in order["history"]] == [
        ("accepted", "2024-06-03T22:00:00"),
        ("new", "2024-06-04T08:00:00"),
        ("filled", "2024-06-04T13:30:00"),
    ]
    assert told.sim("GET", "faults").json() == []


@claim
def crash_12(told: Ports, calm: Ports) -> None:
    for twin in (told, calm):
        twin.do("clock", {"set": "2024-06-04T22:00:00Z"})
    for symbol in ("AAPL", "SPY", "XOM"):
        assert bar(told, symbol, "2024-06-03") == bar(calm, symbol, "2024-06-03")
        fallen, usual = bar(told, symbol, "2024-06-04"), bar(calm, symbol, "2024-06-04")
        for price in "ohlc":
            assert fallen[price] == pytest.approx(0.88 * usual[price], abs=0.0051)


@claim
def split_overnight(told: Ports, calm: Ports) -> None:
    for twin in (told, calm):
        assert twin.order("one", symbol="AAPL", qty="10").status_code == 200
        twin.do("clock", {"set": "2024-06-04T22:00:00Z"})
    before = told.get("/v2/positions/AAPL").json()
    told.do("clock", {"to": "04:00"})
    after = told.get("/v2/positions/AAPL").json()
    assert (before["qty"], after["qty"]) == ("10", "40")
    assert after["cost_basis"] == before["cost_basis"]
    for twin in (told, calm):
        twin.do("clock", {"set": "2024-06-05T22:00:00Z"})
    assert bar(told, "AAPL", "2024-06-04") == bar(calm, "AAPL", "2024-06-04")
    split, usual = bar(told, "AAPL", "2024-06-05"), bar(calm, "AAPL", "2024-06-05")
    assert split["c"] == pytest.approx(usual["c"] / 4, abs=0.0051)
    worth, whole = (D(t.get("/v2/account").json()["equity"]) for t in (told, calm))
    assert abs(worth - whole) <= D("0.2")  # 40 shares, half a cent each


@claim
def broker_outage_at_submit(told: Ports, calm: Ports) -> None:
    first, second = told.order("one", symbol="XOM"), told.order("two", symbol="XOM")
    assert (first.status_code, second.status_code) == (503, 504)
    with pytest.raises(requests.ConnectionError):
        told.order("three", symbol="XOM")
    assert told.order("four", symbol="XOM").status_code == 200
    assert set(told.statuses()) == {"two", "three", "four"}


@claim
def lagging_data(told: Ports, calm: Ports) -> None:
    def newest() -> str:
        query = {"timeframe": "1Day", "start": "2024-05-28"}
        return str(told.get("/v2/stocks/SPY/bars", **query).json()["bars"][-1]["t"])

    assert newest() == "2024-06-03T04:00:00Z"
    told.do("clock", {"advance_s": 7199})
    assert newest() == "2024-06-03T04:00:00Z"
    told.do("clock", {"advance_s": 1})
    assert newest() == "2024-06-04T04:00:00Z"


@claim
def reset_account(told: Ports, calm: Ports) -> None:
    told.order("one", symbol="XOM")
    told.do("clock", {"set": "2024-06-05T20:59:59Z"})
    assert [row["symbol"] for row in told.get("/v2/positions").json()] == ["XOM"]
    told.do("clock", {"set": "2024-06-05T22:00:00Z"})
    assert told.get("/v2/positions").json() == []
    assert told.get("/v2/account/activities").json() == []
    assert told.named("one").status_code == 404
    assert told.get("/v2/account").json()["cash"] == "100000"


# ---- times

WRITTEN = """
title = "t"
claim = "c"
[reset]
now = {now}
"""


def instants(*marks: str, now: str = '"2024-07-02T22:00:00Z"') -> list[str | None]:
    """When the steps of a scenario happen that begins on the evening before a half day."""
    steps = "".join(f'[[steps]]\nat = "{mark}"\ndo = "clear_faults"\n' for mark in marks)
    found = scenario.parse(WRITTEN.format(now=now) + steps, "x.toml")
    return [utc_text(step.at) for step in scenario.plan(found)]


def test_marks_are_the_first_at_or_after_the_step_before() -> None:
    assert instants("04:00+26s", "open+5m", "open+10m", "close-10m", "close", "open") == [
        "2024-07-03T08:00:26Z",
        "2024-07-03T13:35:00Z",
        "2024-07-03T13:40:00Z",
        "2024-07-03T16:50:00Z",
        "2024-07-03T17:00:00Z",
        "2024-07-05T13:30:00Z",
    ]
    assert instants("open-24h") == ["2024-07-04T13:30:00Z"]  # of the 5th; the 3rd's has passed
    assert instants("2024-07-04T00:00:00+02:00", "open") == [
        "2024-07-03T22:00:00Z",
        "2024-07-05T13:30:00Z",
    ]
    assert instants("open", now="2024-07-02T22:00:00Z") == ["2024-07-03T13:30:00Z"]  # unquoted


def test_steps_happen_in_their_order_while_the_clock_passes(tmp_path: Path) -> None:
    twin = ports(tmp_path / "s.db")
    text = WRITTEN.format(now='"2024-06-03T22:00:00Z"') + """
    [[steps]]
    at = "open+5m"
    do = "market"
    with = { symbol = "AAA", last = 150.0 }
    [[steps]]
    at = "open+10m"
    do = "faults"
    with = { action = { status = { code = 500 } } }
    [[steps]]
    at = "open+15m"
    do = "clear_faults"
    """
    twin.do("scenario", {"toml": text})
    twin.do("clock", {"to": "next_open"})
    assert [s["done"] for s in twin.sim("GET", "scenario").json()["steps"]] == [False] * 3
    twin.order("one")
    twin.do("clock", {"advance_s": 599})
    assert twin.get("/v2/positions/AAA").json()["current_price"] == "150"
    twin.do("clock", {"advance_s": 1})
    assert twin.get("/v2/clock").status_code == 500
    twin.do("clock", {"to": "next_close"})
    assert twin.get("/v2/clock").status_code == 200
    twin.do("reset", {})
    assert twin.sim("GET", "scenario").json() == {"title": None, "claim": None, "steps": []}


def test_a_scenario_begins_from_the_defaults_of_the_rules(tmp_path: Path) -> None:
    twin = ports(tmp_path / "s.db", p_partial=0.7, splits_on_paper="late")
    twin.do("scenario", {"toml": WRITTEN.format(now='"2024-06-03T22:00:00Z"')})
    assert twin.twin.exchange.rules.p_partial == 0.10
    assert twin.twin.exchange.rules.splits_on_paper == "apply"


# ---- what is refused

GOOD = WRITTEN.format(now='"2024-06-03T22:00:00Z"')


@pytest.mark.parametrize(
    "text, words",
    [
        ("title = ", "x.toml: Invalid value"),
        (GOOD + "[more]", "x.toml: unknown key more; known: title, claim, market, reset, steps"),
        ("title = 'a'\nclaim = 'b'", "x.toml: reset: Field required"),
        ("title = 'a'\nclaim = 'b'\n[reset]", "x.toml: reset.now: a scenario says when it begins"),
        (GOOD + "cash = 5", "x.toml: reset.cash: Input should be a valid string"),
        (GOOD + "cash = '-5'", "x.toml: not a set of rules"),
        (GOOD + "colour = 5", "x.toml: reset: unknown key colour; known: seed"),
        (GOOD + "[[steps]]\nat='noon'\ndo='reset'", "x.toml: steps.0.at: 'noon' is neither"),
        (GOOD + "[[steps]]\nat='open'\ndo='dance'", "x.toml: steps.0.do: Input should be 'reset'"),
        (GOOD + "[[steps]]\nat='open'\ndo='bars'", "x.toml: steps.0: with: symbol: Field required"),
        (
            GOOD + "[[steps]]\nat='open'\ndo='faults'\nwith={action={magic={}}}",
            "x.toml: steps.0: with: 0.action: unknown key magic",
        ),
        (
            GOOD
            + "[[steps]]\nat='open'\ndo='reset'\n[[steps]]\nat=2024-06-03T23:00:00Z\ndo='reset'",
            "x.toml: steps.1: at: 2024-06-03T23:00:00+00:00 lies before the step before",
        ),
    ],
)
def test_a_scenario_that_cannot_be_names_file_and_key(text: str, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        scenario.parse(text, "x.toml")
    assert str(caught.value).startswith(words)


def test_a_scenario_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    twin = ports(tmp_path / "s.db")
    twin.order("one")
    for body, words in (
        ({"name": "storm"}, "there is no scenario storm; known: broker_outage_at_submit"),
        ({"name": str(tmp_path)}, "there is no scenario"),
        ({"toml": GOOD + "x = 1"}, "toml: reset: unknown key x"),
        ({"toml": GOOD.replace("title", 'market = "none"\ntitle')}, "needs the market none"),
        ({}, "exactly one of these is needed: name, toml"),
    ):
        reply = twin.sim("POST", "scenario", body)
        assert reply.status_code == 422 and words in reply.json()["message"]
    assert twin.statuses() == {"one": "accepted"}


def test_a_twin_without_a_market_has_what_is_set(tmp_path: Path) -> None:
    twin = ports(tmp_path / "s.db", market=NoMarket())
    twin.do("scenario", {"toml": GOOD.replace("title", 'market = "none"\ntitle')})
    assert twin.get("/v2/assets").json() == []
    twin.do("clock", {"to": "next_open"})
    twin.do("market", {"symbol": "NEW", "last": "12.5"})
    twin.order("one", symbol="NEW")
    assert D(twin.named("one").json()["filled_avg_price"]) == pytest.approx(
        D("12.5"), rel=D("0.01")
    )


# ---- the command line


def test_the_command_lists_the_scenarios() -> None:
    done = CliRunner().invoke(app, ["simulate", "--list-scenarios"])
    assert done.exit_code == 0
    for name in scenario.names():
        assert f"{name}: {scenario.load(name).title}" in done.output
    assert set(scenario.names()) == set(CLAIMS)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--scenario", "storm"], "there is no scenario storm; known: "),
        (["--scenario", "none.toml"], "none.toml cannot be read"),
        (["--scenario", "calm_day", "--now", "2024-06-03T22:00Z", "--cash", "5"], "--now, --cash"),
        (["--rule", "colour=1", "--now", "2024-06-03T22:00Z", "--market", "none"], "key colour"),
        (["--rule", "p_partial=7", "--now", "2024-06-03T22:00Z", "--market", "none"], "of rules"),
    ],
)
def test_a_twin_that_cannot_start_says_why(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state", str(tmp_path / "s.db"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("SettingsError: ") and said in error
    assert URL not in error
