"""What every request passes before a route: credentials, limits, headers, and odd spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proof.wire import URL
from tests.simulator.ports import KEYS, Ports, ports

MINUTE = 60
NOON = 1_717_452_000  # the evening of `ports`, in seconds of UTC


@pytest.fixture
def evening(tmp_path: Path) -> Ports:
    return ports(tmp_path / "s.db")


def ask(twin: Ports, headers: dict[str, str], path: str = "/v2/account") -> requests.Response:
    """A request with these headers and no others; a session would fall back on its own."""
    made = requests.Request("GET", URL + path, headers=headers).prepare()
    return twin.broker.get_adapter(URL).send(made)


BASIC = requests.auth._basic_auth_str(*KEYS.values())


# ---- credentials


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"APCA-API-KEY-ID": "PKONLY"},
        {"APCA-API-KEY-ID": "AKLIVE", "APCA-API-SECRET-KEY": "x"},
        {**KEYS, "APCA-API-SECRET-KEY": "other"},
        {"Authorization": "Basic ?"},
        {"Authorization": "Basic é"},
        {"Authorization": "Bearer token"},
        {"Authorization": "Bearer "},
        {"Authorization": "Digest x"},
    ],
)
def test_who_is_refused(evening: Ports, headers: dict[str, str]) -> None:
    assert evening.get("/v2/account").status_code == 200  # the first key is taken
    answer = ask(evening, headers)
    assert (answer.status_code, answer.json()) == (401, {"message": "unauthorized."})
    assert "Basic" in answer.headers["WWW-Authenticate"]


def test_a_key_may_be_basic_and_a_token_may_be_the_first(evening: Ports) -> None:
    assert ask(evening, KEYS).status_code == 200
    assert ask(evening, {"Authorization": BASIC}).status_code == 200
    evening.do("reset", {})
    assert ask(evening, {"Authorization": "Bearer AKLIVE"}).status_code == 401
    for _ in range(2):
        assert ask(evening, {"authorization": "bearer 7f3a-token"}).status_code == 200
    assert ask(evening, KEYS).status_code == 401


@pytest.mark.parametrize(
    "rule, account, clock",
    [("json", "json", "html"), ("old", "json", "json"), ("html", "html", "html")],
)
def test_the_forms_of_a_401(evening: Ports, rule: str, account: str, clock: str) -> None:
    evening.do("reset", {"unauthorized": rule})
    for path, kind in (("/v2/account", account), ("/v2/clock", clock), ("/v2/stocks/bars", clock)):
        answer = ask(evening, {}, path)
        assert answer.status_code == 401 and kind in answer.headers["content-type"]
        if kind == "json":
            assert ("code" in answer.json()) == (rule == "old")


# ---- limits


def left(twin: Ports) -> list[int]:
    """Status and requests left of the next request."""
    answer = twin.get("/v2/clock")
    return [answer.status_code, int(answer.headers["X-RateLimit-Remaining"])]


def test_a_bucket_refills_with_the_simulated_clock(evening: Ports) -> None:
    evening.do("reset", {"rate_limit": 3})
    assert [left(evening) for _ in range(4)] == [[200, 2], [200, 1], [200, 0], [429, 0]]
    refused = evening.get("/v2/clock")
    assert refused.json() == {"code": 42910000, "message": "rate limit exceeded"}
    assert int(refused.headers["X-RateLimit-Reset"]) == NOON + 60
    evening.do("clock", {"advance_s": 20})
    assert [left(evening)[0] for _ in range(2)] == [200, 429]


def test_a_minute_begins_anew(evening: Ports) -> None:
    evening.do("reset", {"rate_limit": 2, "rate_window": "minute"})
    evening.do("clock", {"advance_s": 30})
    assert [left(evening)[0] for _ in range(3)] == [200, 200, 429]
    assert int(evening.get("/v2/clock").headers["X-RateLimit-Reset"]) == NOON + 60
    evening.do("clock", {"advance_s": 29})
    assert left(evening)[0] == 429
    evening.do("clock", {"advance_s": 1})
    assert [left(evening) for _ in range(3)] == [[200, 1], [200, 0], [429, 0]]


def test_a_429_may_come_without_headers(evening: Ports) -> None:
    evening.do("reset", {"rate_limit": 1, "rate_headers": "not_on_429"})
    first, second = evening.get("/v2/clock"), evening.get("/v2/clock")
    assert first.headers["X-RateLimit-Limit"] == "1" and second.status_code == 429
    assert not [name for name in second.headers if name.lower().startswith("x-ratelimit")]
    assert second.headers["X-Request-ID"]


@pytest.mark.parametrize("limit", [None, 0])
def test_no_limit_shows_the_usual_one(evening: Ports, limit: int | None) -> None:
    evening.do("reset", {"rate_limit": limit})
    assert [left(evening) for _ in range(3)] == [[200, 199]] * 3
    assert evening.get("/v2/clock").headers["X-RateLimit-Limit"] == "200"


@settings(deadline=None, max_examples=8)
@given(
    limit=st.integers(1, 5),
    bursts=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 8)), max_size=5),
    window=st.sampled_from(["bucket", "minute"]),
)
def test_no_window_lets_more_through_than_two_limits_a_minute(
    limit: int, bursts: list[tuple[int, int]], window: str, tmp_path_factory: Any
) -> None:
    """Whatever the rhythm: a full bucket and its refill, or the ends of two minutes."""
    twin = ports(tmp_path_factory.mktemp("x") / "s.db", rate_limit=limit, rate_window=window)
    at, passed = 0, []
    for pause, count in bursts:
        twin.do("clock", {"advance_s": pause})
        at += pause
        passed += [at for _ in range(count) if left(twin)[0] == 200]
    for begin in passed:
        assert len([t for t in passed if begin <= t < begin + MINUTE]) <= 2 * limit


# ---- headers and spellings


def test_every_reply_has_an_id_of_its_own(evening: Ports) -> None:
    found = [evening.get(path) for path in ("/v2/clock", "/v2/clock", "/v2/nowhere")]
    assert len({reply.headers["X-Request-ID"] for reply in found}) == 3
    assert found[0].headers["Content-Type"] == "application/json"
    logged = evening.sim("GET", "requests").json()
    assert [e["x_request_id"] for e in logged] == [r.headers["X-Request-ID"] for r in found]


def test_paths_that_are_not_there(evening: Ports) -> None:
    lost = evening.get("/v2/nowhere")
    assert (lost.status_code, lost.json()["code"]) == (404, 40410000)
    wrong = evening.broker.put(URL + "/v2/clock")
    assert (wrong.status_code, wrong.json()["code"]) == (405, 40510000)
    assert wrong.headers["Allow"] == "GET"
    assert evening.get("/sim/info").status_code == 404


def test_a_head_is_a_get_without_its_body(evening: Ports) -> None:
    whole = evening.get("/v2/clock")
    head = evening.broker.head(URL + "/v2/clock", stream=True)
    assert (head.status_code, head.raw.read(decode_content=False)) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(whole.content)
    assert evening.sim("GET", "requests").json()[-1]["method"] == "HEAD"


def test_the_spellings_of_other_clients(evening: Ports) -> None:
    assert evening.get("//v2/clock").status_code == 200
    made = evening.order("a/b c+é").json()["id"]
    for spelt in ("a%2Fb+c%2B%C3%A9", "a/b%20c%2b%c3%a9"):
        found = evening.get(f"/v2/orders:by_client_order_id?client_order_id={spelt}")
        assert found.json()["id"] == made
    for spelt in ("True", "true", "TRUE", "False"):
        assert evening.get(f"/v2/orders?nested={spelt}").status_code == 200
    text = {"content-type": "text/plain"}
    body = '{"symbol":"AAA","qty":1,"side":"buy","type":"market","time_in_force":"day"}'
    assert evening.broker.post(URL + "/v2/orders", data=body, headers=text).status_code == 200
