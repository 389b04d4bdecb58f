"""The control plane: rules, reset, clock, market, and what it says about itself."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from quant50lib.simulator.control import control_api
from quant50lib.simulator.control_shapes import Reset, rule_given
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import GUESSES, Rules
from tests.proof.wire import URL
from tests.simulator.ports import EVENING, Ports, ports


@pytest.fixture
def evening(tmp_path: Path) -> Ports:
    return ports(tmp_path / "s.db")


# ---- what it says about itself


def test_every_call_is_documented_with_what_it_takes_and_gives(evening: Ports) -> None:
    document = control_api(evening.twin).openapi()
    calls = {(m.upper(), p) for p, ms in document["paths"].items() for m in ms}
    assert {p for m, p in calls if m == "POST"} >= {
        f"/sim/{name}"
        for name in ("reset", "clock", "assets", "market", "bars", "corporate_actions", "faults")
    }
    assert {("DELETE", "/sim/faults"), ("GET", "/sim/requests"), ("GET", "/sim/truth")} <= calls
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            content = call["responses"]["200"]["content"]["application/json"]["schema"]
            assert content and call.get("description"), (method, path)
            assert ("requestBody" in call) == (method == "post")
    for name, shape in document["components"]["schemas"].items():
        assert shape.get("additionalProperties") is False, name
    assert evening.control.get(URL + "/openapi.json").json() == document


def test_the_page_of_the_documentation_needs_nothing_from_elsewhere(evening: Ports) -> None:
    for session, word in ((evening.control, "/sim/reset"), (evening.broker, "/v2/orders")):
        page = session.get(URL + "/docs")
        assert page.headers["content-type"].startswith("text/html") and word in page.text
        assert "http:" not in page.text and "https:" not in page.text
    assert evening.sim("GET", "requests").json()[0]["path"] == "/docs"


def test_the_rules_are_listed_with_their_other_values(evening: Ports) -> None:
    evening.do("reset", {"splits_on_paper": "late"})
    listed = {rule["name"]: rule for rule in evening.sim("GET", "rules").json()}
    assert list(listed) == [rule.name for rule in dataclasses.fields(Rules)]
    guesses = {name: tuple(r["others"]) for name, r in listed.items() if r["kind"] == "guess"}
    assert guesses == GUESSES
    assert all(rule["about"] for rule in listed.values())
    assert listed["splits_on_paper"]["now"] == "late"
    assert listed["splits_on_paper"]["default"] == "apply"
    assert listed["multiplier"]["others"] == ["2", "4"]


# ---- reset


def test_a_reset_takes_every_rule_and_every_guess(evening: Ports) -> None:
    defaults = dataclasses.asdict(Rules())
    assert set(Reset.model_fields) == set(defaults) | {"now"}
    evening.do("reset", defaults | {"now": EVENING})
    for name, values in GUESSES.items():
        for value in values:
            evening.do("reset", {name: value})
            assert getattr(evening.twin.exchange.rules, name) == value


def test_a_reset_empties_all_but_keeps_the_rules_that_are_not_named(evening: Ports) -> None:
    evening.do("reset", {"cash": "5000.25", "p_partial": 0.5, "now": "2024-06-04T14:00:00Z"})
    evening.fault({"hang": {}}, path_regex="never")
    evening.do("market", {"symbol": "NEW", "last": 10.0})
    evening.order("one")
    evening.do("clock", {"advance_s": 60})
    assert evening.sim("GET", "truth").json()["positions"]
    evening.do("reset", {})
    truth = evening.sim("GET", "truth").json()
    assert (truth["orders"], truth["positions"], truth["cash"]) == ([], [], "5000.25")
    assert evening.sim("GET", "faults").json() == evening.sim("GET", "requests").json() == []
    assert evening.sim("GET", "info").json()["now"] == "2024-06-04T14:01:00Z"
    assert evening.twin.exchange.rules.p_partial == 0.5
    evening.broker.headers["APCA-API-KEY-ID"] = "PKANOTHER"  # the first key is taken once more
    assert evening.get("/v2/assets/NEW").status_code == 404


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"colour": 1}, "unknown key colour; known: seed, cash, multiplier"),
        ({"seed": "5"}, "seed: Input should be a valid integer"),
        ({"no_shorting": 1}, "no_shorting: Input should be a valid boolean"),
        ({"p_partial": 2}, "not a set of rules"),
        ({"cash": "much"}, "not a set of rules"),
        ({"cash": "NaN"}, "not a set of rules"),
        ({"cash": "Infinity"}, "not a set of rules"),
        ({"half_spread_bps": 10_000}, "not a set of rules"),
        ({"seed": 10**30}, "not a set of rules"),
        ({"multiplier": "3"}, "multiplier: Input should be '1', '2' or '4'"),
        ({"splits_on_paper": "never"}, "splits_on_paper: Input should be 'apply', 'late'"),
        ({"now": 1}, "now: Input should be a valid string"),
        ({"now": "2024-06-05"}, "not an RFC 3339 instant"),
        ({"now": "2099-06-05T00:00:00Z"}, "is not between 1990-01-03 and 2045"),
        ({"calendar": {"someday": "13:00"}}, "'someday' is not a date"),
        ({"calendar": {"2024-06-04": "25:00"}}, "not a time"),
        ([], "valid dictionary"),
    ],
)
def test_a_reset_that_cannot_be_changes_nothing(evening: Ports, bad: Any, words: str) -> None:
    evening.order("one")
    reply = evening.sim("POST", "reset", bad)
    assert reply.status_code == 422 and words in reply.json()["message"]
    assert evening.statuses() == {"one": "accepted"}


def test_the_calendar_is_a_rule(evening: Ports) -> None:
    evening.do("reset", {"calendar": {"2024-06-04": "13:00", "2024-06-05": None}})
    rows = evening.get("/v2/calendar", start="2024-06-04", end="2024-06-06").json()
    assert [(row["date"], row["close"]) for row in rows] == [
        ("2024-06-04", "13:00"),
        ("2024-06-06", "16:00"),
    ]
    assert evening.do("clock", {"to": "next_close"}) == {"now": "2024-06-04T17:00:00Z"}


def test_a_rule_of_the_command_line() -> None:
    assert rule_given("p_partial=0.5") == {"p_partial": 0.5}
    assert rule_given("cash=5000") == {"cash": "5000"}
    assert rule_given("splits_on_paper=late") == {"splits_on_paper": "late"}
    assert rule_given("rate_limit=null") == {"rate_limit": None}
    for bad, words in (("colour=1", "unknown key colour"), ("seed", "seed: Input should be")):
        with pytest.raises(Refusal, match=words):
            rule_given(bad)


# ---- clock


def test_the_clock_moves_in_three_ways_and_forward_only(evening: Ports) -> None:
    assert evening.do("clock", {"advance_s": 0.5}) == {"now": "2024-06-03T22:00:00.5Z"}
    assert evening.do("clock", {"to": "04:00"}) == {"now": "2024-06-04T08:00:00Z"}
    assert evening.do("clock", {"to": "next_open"}) == {"now": "2024-06-04T13:30:00Z"}
    assert evening.do("clock", {"to": "next_close"}) == {"now": "2024-06-04T20:00:00Z"}
    assert evening.do("clock", {"set": "2024-06-05T00:00:00+02:00"}) == {
        "now": "2024-06-04T22:00:00Z"
    }
    for bad, words in (
        ({"set": "2024-06-04T21:00:00Z"}, "cannot go back"),
        ({"to": "tomorrow"}, "'next_open', 'next_close' or '04:00'"),
        ({"to": "04:00", "advance_s": 1}, "exactly one"),
        ({"advance_s": -1}, "advance_s"),
        ({"advance_s": 3e9}, "is not between"),
        ({"set": "2024-06-05"}, "RFC 3339"),
        ({}, "exactly one of these is needed: set, advance_s, to"),
    ):
        reply = evening.sim("POST", "clock", bad)
        assert reply.status_code == 422 and words in reply.json()["message"], bad


def test_bodies_are_json_whatever_the_sender_calls_them(evening: Ports) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    move = evening.control.post(URL + "/sim/clock", data='{"advance_s": 1}', headers=form)
    assert move.json() == {"now": "2024-06-03T22:00:01Z"}
    assert evening.control.post(URL + "/sim/reset").status_code == 200
    for body in (b"{", b"\xff\xfe", b""):
        reply = evening.control.post(URL + "/sim/clock", data=body)
        assert reply.status_code == 422 and list(reply.json()) == ["message"]
    assert evening.control.get(URL + "/sim/nowhere").status_code == 404
    wrong = evening.control.put(URL + "/sim/clock")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


# ---- market and truth


def test_a_market_may_be_made_by_hand(evening: Ports) -> None:
    """Assets, bars, a quote and a halt, and an order that meets them."""
    evening.do("assets", [{"symbol": "HAND", "name": "Handmade", "exchange": "NYSE"}])
    rows = [{"t": "2024-06-03", "c": 20.0}]
    evening.do("bars", {"symbol": "HAND", "timeframe": "1Day", "rows": rows})
    evening.do("clock", {"set": "2024-06-04T14:00:00Z"})
    evening.do("market", {"symbol": "HAND", "bid": 20.9, "ask": 21.1, "last": 21.0})
    evening.do("market", {"halt": "HAND", "on": True})
    assert evening.order("one", symbol="HAND").status_code == 200
    assert evening.statuses() == {"one": "new"}
    evening.do("market", {"halt": "HAND", "on": False})
    assert evening.named("one").json()["filled_avg_price"] == "21.1"
    truth = evening.sim("GET", "truth").json()
    assert D(truth["cash"]) == 100_000 - 2 * D("21.1")
    assert sum(D(move["amount"]) for move in truth["cash_ledger"]) == D(truth["cash"])
    [fill] = truth["executions"]
    assert (fill["qty"], fill["price"]) == ("2", "21.1")


def test_prices_of_days_to_come_are_moved(evening: Ports) -> None:
    assert evening.do("reprice", {"factor": 0.5, "symbols": ["AAA"], "sessions": 2, "volume": 2.0})
    evening.do("clock", {"set": "2024-06-06T22:00:00Z"})
    query = {"timeframe": "1Day", "start": "2024-06-03"}
    rows = evening.get("/v2/stocks/AAA/bars", **query).json()["bars"]
    assert [row["c"] for row in rows] == [101, 51, 51.5, 104]  # 102 and 103 are halved
    assert [row["v"] for row in rows] == [1e6, 2e6, 2e6, 1e6]
    other = evening.get("/v2/stocks/BBB/bars", **query).json()["bars"]
    assert [row["c"] for row in other] == [51, 52, 53, 54]
    reply = evening.sim("POST", "reprice", {"factor": 2.0, "symbols": ["ZZZ"]})
    assert reply.status_code == 422 and "no bars of ZZZ" in reply.json()["message"]


def test_the_log_of_requests(evening: Ports) -> None:
    evening.order("logged", qty="1")
    evening.get("/v2/orders", status="all")
    posted, listed = evening.sim("GET", "requests").json()
    assert (posted["method"], posted["path"], posted["status"]) == ("POST", "/v2/orders", 200)
    assert json.loads(posted["body"])["client_order_id"] == "logged"
    assert posted["t"] == EVENING and posted["fault"] is None
    assert len(posted["x_request_id"]) == 32 != listed["x_request_id"]
    assert listed["query"] == {"status": "all"}


def test_what_market_it_is(evening: Ports) -> None:
    assert evening.sim("GET", "info").json() == {
        "market": "table",
        "simulated_prices": True,
        "identity": "table",
        "now": EVENING,
        "first_session": "2024-06-03",
        "last_session": "2024-06-10",
    }
