"""Every fault: what the client sees, and whether the order exists all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.simulator.data_faults import DATA_FAULTS
from quant50lib.simulator.fault_actions import ACTIONS
from quant50lib.simulator.fault_shapes import Action
from quant50lib.simulator.faults import Fault
from tests.proof.wire import URL
from tests.simulator.ports import EVENING, SESSION, Ports, ports

ORDER_FAULTS = {
    "stick",
    "reject_later",
    "fill_race",
    "unknown_status",
    "duplicate_visible_late",
    "clock_skew",
}


@pytest.fixture
def evening(tmp_path: Path) -> Ports:
    return ports(tmp_path / "s.db")


@pytest.fixture
def session(tmp_path: Path) -> Ports:
    return ports(tmp_path / "s.db", SESSION)


def test_every_fault_has_one_place_where_it_is_made() -> None:
    places = [set(ACTIONS), ORDER_FAULTS, set(DATA_FAULTS)]
    assert sum(map(len, places)) == len(set().union(*places)) == len(Action.model_fields)
    assert set().union(*places) == set(Action.model_fields)


# ---- the connection

HTML = "<html><h1>504</h1></html>"


@pytest.mark.parametrize(
    "action, status, exists",
    [
        ({"status": {"code": 500, "body": {"code": 50010000, "message": "oh"}}}, 500, False),
        ({"status": {"code": 429, "headers": {"Retry-After": "3"}}}, 429, False),
        ({"status": {"code": 204, "body": "never sent"}}, 204, False),
        ({"after": {"code": 504, "body": HTML, "content_type": "text/html"}}, 504, True),
        ({"html": {"code": 503}}, 503, False),
        ({"empty_200": {}}, 200, True),
        ({"empty_200": {"processed": False}}, 200, False),
        ({"redirect": {}}, 302, False),
        ({"ratelimit": {"remaining": 0}}, 200, True),
        ({"delay": {"s": 0.0}}, 200, True),
        ({"delay": {"s": 0.0, "when": "after"}}, 200, True),
        ({"truncate": {}}, 200, True),
        ({"drop_before": {}}, requests.ConnectionError, False),
        ({"drop_after": {}}, requests.ConnectionError, True),
        ({"reset": {}}, requests.ConnectionError, False),
        ({"reset": {"when": "after"}}, requests.ConnectionError, True),
        ({"hang": {}}, requests.ReadTimeout, False),
    ],
)
def test_faults_of_the_connection(evening: Ports, action: Any, status: Any, exists: bool) -> None:
    evening.broker.max_redirects = 0
    evening.fault(action, method="POST")
    if isinstance(status, int):
        try:
            assert evening.order("one").status_code == status
        except requests.TooManyRedirects as error:
            assert error.response.status_code == status
    else:
        with pytest.raises(status):
            evening.order("one")
    assert ("one" in evening.statuses()) == exists
    [entry] = evening.sim("GET", "requests").json()
    assert entry["fault"] == action
    assert evening.order("two").status_code == 200  # it hits once


def test_what_made_up_answers_look_like(evening: Ports) -> None:
    evening.fault({"status": {"code": 429, "body": "slow", "headers": {"X-Why": "tired"}}})
    reply = evening.get("/v2/clock")
    assert (reply.text, reply.headers["X-Why"]) == ("slow", "tired")
    evening.fault({"html": {"code": 502}})
    reply = evening.get("/v2/clock")
    assert reply.headers["content-type"] == "text/html" and "502" in reply.text
    evening.fault({"redirect": {"code": 307, "location": "/x"}})
    reply = evening.broker.get(URL + "/v2/clock", allow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (307, "/x")
    evening.fault({"ratelimit": {"remaining": 7, "reset_s": 30}})
    reply = evening.get("/v2/clock")
    assert reply.headers["X-RateLimit-Remaining"] == "7"
    assert int(reply.headers["X-RateLimit-Reset"]) == 1717452000 + 30  # EVENING in seconds
    whole = evening.get("/v2/clock").text
    evening.fault({"truncate": {"bytes": 9}})
    assert evening.get("/v2/clock").text == whole[:9]
    evening.fault({"truncate": {}})
    assert evening.get("/v2/clock").text == whole[: len(whole) // 2]


# ---- counting


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 15))
def test_a_fault_hits_from_the_nth_request_on(nth: int, times: int, requests_made: int) -> None:
    fault = Fault("hang", None, nth=nth, times=times)
    hit = [n for n in range(1, requests_made + 1) if fault.hits("GET", "/")]
    assert hit == [n for n in range(1, requests_made + 1) if n in range(nth, nth + times)]


def test_counting_begins_when_a_fault_is_set_and_knows_its_requests(evening: Ports) -> None:
    evening.get("/v2/clock")
    evening.fault({"status": {"code": 500}}, method="get", path_regex="clock$", nth=2)
    assert evening.get("/v2/account").status_code == 200
    assert [evening.get("/v2/clock").status_code for _ in range(3)] == [200, 500, 200]
    [shown] = evening.sim("GET", "faults").json()
    assert shown["seen"] == 3 and shown["action"] == {"status": {"code": 500}}
    assert shown["match"] == {"method": "GET", "path_regex": "clock$", "nth": 2}
    assert evening.sim("DELETE", "faults").json() == {"faults": 0}
    assert evening.sim("GET", "faults").json() == []


def test_several_faults_hit_one_request_each_with_its_own_count(session: Ports) -> None:
    session.fault({"after": {"code": 504}}, method="POST", times=2)
    session.fault({"stick": {"status": "new"}}, method="POST", nth=2)
    assert [session.order(name).status_code for name in ("one", "two")] == [504, 504]
    assert session.statuses() == {"one": "filled", "two": "new"}
    entry = session.sim("GET", "requests").json()[-1]
    assert entry["fault"] == {"after": {"code": 504}, "stick": {"status": "new"}}


# ---- orders


def test_a_stuck_order_stays_until_the_faults_are_cleared(session: Ports) -> None:
    session.fault({"stick": {}}, method="POST")
    assert session.order("one").json()["status"] == "pending_new"
    session.do("clock", {"advance_s": 3600})
    assert session.named("one").json()["status"] == "pending_new"
    session.sim("DELETE", "faults")
    assert session.named("one").json()["status"] == "filled"


def test_an_order_may_stick_in_a_status_of_choice_past_its_session(session: Ports) -> None:
    session.fault({"stick": {"status": "accepted"}}, method="POST")
    assert session.order("one").status_code == 200
    session.do("clock", {"to": "next_close"})
    session.do("clock", {"to": "next_close"})
    assert session.named("one").json()["status"] == "accepted"
    session.sim("DELETE", "faults")
    assert session.statuses() == {"one": "expired"}


def test_a_cancel_may_stick(evening: Ports) -> None:
    made = evening.order("one").json()["id"]
    evening.fault({"stick": {}}, method="DELETE")
    assert evening.broker.delete(f"{URL}/v2/orders/{made}").status_code == 204
    evening.do("clock", {"to": "next_open"})
    assert evening.statuses() == {"one": "pending_cancel"}
    evening.sim("DELETE", "faults")
    assert evening.statuses() == {"one": "canceled"}


def test_a_refused_request_leaves_nothing_to_stick(session: Ports) -> None:
    session.fault({"stick": {}}, method="POST")
    assert session.order("one", qty="0").status_code == 422
    assert session.order("two").status_code == 200
    assert session.statuses() == {"two": "filled"}


def test_what_stuck_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = ports(tmp_path / "s.db", SESSION)
    first.fault({"stick": {}}, method="POST")
    first.order("one")
    again = ports(tmp_path / "s.db", SESSION)
    assert again.sim("GET", "faults").json() == []
    assert again.statuses() == {"one": "filled"}


@pytest.mark.parametrize("look", ["lookup", "clock"])
def test_an_order_is_rejected_after_its_acceptance(session: Ports, look: str) -> None:
    session.fault({"reject_later": {"reason": "no locate"}}, method="POST")
    assert session.order("one").json()["status"] == "pending_new"
    assert session.statuses() == {"one": "pending_new"}
    if look == "clock":
        session.do("clock", {"advance_s": 1})
        assert session.statuses() == {"one": "rejected"}
    found = session.named("one").json()
    assert found["status"] == "rejected" and found["failed_at"] is not None
    [truth] = session.sim("GET", "truth").json()["orders"]
    assert truth["reason"] == "no locate" and truth["filled_qty"] == "0"
    assert [row["status"] for row in truth["history"]] == ["pending_new", "rejected"]


@pytest.mark.parametrize("code", [204, 422])
def test_a_cancel_may_come_too_late(evening: Ports, code: int) -> None:
    made = evening.order("one").json()["id"]
    evening.fault({"fill_race": {"code": code}}, method="DELETE")
    reply = evening.broker.delete(f"{URL}/v2/orders/{made}")
    assert reply.status_code == code
    found = evening.named("one").json()
    assert (found["status"], found["filled_avg_price"]) == ("filled", "101")  # the last close


def test_an_unknown_status_is_in_the_reply_only(evening: Ports) -> None:
    evening.order("one")
    evening.fault({"unknown_status": {"value": "dreaming"}}, times=2)
    assert evening.named("one").json()["status"] == "dreaming"
    assert [o["status"] for o in evening.get("/v2/orders").json()] == ["dreaming"]
    assert evening.named("one").json()["status"] == "accepted"


def test_an_order_is_visible_late_by_look_ups(evening: Ports) -> None:
    evening.fault({"duplicate_visible_late": {"lookups": 3}}, method="POST")
    made = evening.order("one").json()["id"]
    assert evening.named("one").status_code == 404
    assert evening.get(f"/v2/orders/{made}").json()["code"] == 40410000
    assert evening.get("/v2/orders", status="all").json() == []
    assert evening.named("one").json()["id"] == made
    assert [o["id"] for o in evening.get("/v2/orders").json()] == [made]


def test_an_order_is_visible_late_by_the_clock(evening: Ports) -> None:
    evening.fault({"duplicate_visible_late": {"s": 20}}, method="POST")
    evening.order("one")
    assert [evening.named("one").status_code for _ in range(3)] == [404, 404, 404]
    repeated = evening.order("one")
    assert (repeated.status_code, repeated.json()["code"]) == (422, 40010001)
    evening.do("clock", {"advance_s": 20})
    assert evening.named("one").status_code == 200


def test_the_clock_is_skewed_in_the_reply_only(evening: Ports) -> None:
    evening.fault({"clock_skew": {"s": -2.5}})
    skewed, true = evening.get("/v2/clock").json(), evening.get("/v2/clock").json()
    assert skewed["timestamp"] == "2024-06-03T17:59:57.500000-04:00"
    assert true["timestamp"] == "2024-06-03T18:00:00-04:00"
    assert skewed | {"timestamp": ""} == true | {"timestamp": ""}
    assert evening.sim("GET", "info").json()["now"] == EVENING


# ---- data


def test_faults_of_the_data_reach_the_pages(evening: Ports) -> None:
    query = {"symbols": "AAA,BBB", "timeframe": "1Day", "start": "2024-06-03"}
    evening.fault({"null_bars": {}}, path_regex="bars")
    assert evening.get("/v2/stocks/bars", **query).json()["bars"] is None
    evening.fault({"token_empty_string": {}}, path_regex="bars")
    assert evening.get("/v2/stocks/bars", **query).json()["next_page_token"] == ""
    evening.fault({"stale": {"days": 1}}, path_regex="bars")
    assert evening.get("/v2/stocks/bars", **query).json()["bars"] == {}
    assert set(evening.get("/v2/stocks/bars", **query).json()["bars"]) == {"AAA", "BBB"}


# ---- what is refused


@pytest.mark.parametrize(
    "bad, words",
    [
        ("nothing", "valid dictionary"),
        ({}, "action"),
        ({"action": {}}, "exactly one of these is needed: status, after"),
        ({"action": {"hang": {}, "reset": {}}}, "exactly one"),
        ({"action": {"hang": None}}, "action.hang: Input should be a valid dictionary"),
        ({"action": {"magic": {}}}, "unknown key magic; known: status, after"),
        ({"action": {"delay": {"seconds": 1}}}, "unknown key seconds; known: s, when"),
        ({"action": {"stick": {"status": "filled"}}}, "stick.status: Input should be 'accepted'"),
        ({"action": {"html": {"code": 42}}}, "html.code"),
        ({"action": {"redirect": {"location": "/\r\nx"}}}, "redirect.location"),
        ({"action": {"hang": {}}, "match": {"verb": "GET"}}, "known: method, path_regex, nth"),
        ({"action": {"hang": {}}, "match": {"path_regex": "("}}, "no regular expression"),
        ({"action": {"hang": {}}, "match": {"nth": 0}}, "match.nth"),
        ({"action": {"hang": {}}, "times": 0}, "times"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_in_words(evening: Ports, bad: Any, words: str) -> None:
    reply = evening.sim("POST", "faults", [bad])
    assert reply.status_code == 422 and words in reply.json()["message"]
    assert evening.sim("GET", "faults").json() == []
