"""The walls before the network, the time limits, and the pace."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from quant50lib.adapters import http
from quant50lib.adapters.http import (
    Pace,
    Redirected,
    TimedSession,
    require_data_host,
    require_paper,
)
from quant50lib.errors import SettingsError

PAPER, DATA = "https://paper-api.alpaca.markets", "https://data.alpaca.markets"
LOOPBACK = ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:99", "http://127.8.9.1/"]
FOREIGN = [
    "https://api.alpaca.markets",
    "https://broker-api.alpaca.markets",
    "https://paper-api.alpaca.markets.evil.example",
    "https://paper-api.alpaca.markets@evil.example",
    "https://evil.example\\@paper-api.alpaca.markets",
    "https://evil.example#paper-api.alpaca.markets",
    "https://evil.example?paper-api.alpaca.markets",
    "https://paper-api.alpaca.markets/../x",
    "http://localhost.evil.example",
    "http://0.0.0.0:80",
    "http://10.0.0.1",
    "ftp://127.0.0.1",
    "127.0.0.1:8000",
    "",
    " https://paper-api.alpaca.markets",
]


@pytest.mark.parametrize("url", [PAPER, PAPER + "/", PAPER.upper(), *LOOPBACK])
def test_paper_and_loopback_may_be_traded_on(url):
    require_paper(url, "PKABC")


@pytest.mark.parametrize("url", [*FOREIGN, DATA, "http://paper-api.alpaca.markets"])
def test_no_other_host_may_be_traded_on(url):
    with pytest.raises(SettingsError, match="alpaca.trading_url"):
        require_paper(url, "PKABC")


@pytest.mark.parametrize("url", [DATA, *LOOPBACK])
def test_data_come_from_the_data_host_or_loopback(url):
    require_data_host(url)


@pytest.mark.parametrize("url", [*FOREIGN, PAPER, "http://data.alpaca.markets"])
def test_data_come_from_no_other_host(url):
    with pytest.raises(SettingsError, match="alpaca.data_url"):
        require_data_host(url)


@pytest.mark.parametrize("key", ["AKABCDEF", "akabcdef", " AK123"])
def test_a_live_key_is_refused_everywhere_and_never_shown(key):
    for url in (PAPER, LOOPBACK[0]):
        with pytest.raises(SettingsError, match="live account") as caught:
            require_paper(url, key)
        assert key.strip() not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["https://", "http:", "//", "paper-api.alpaca.markets", "127.0.0.1", "localhost", "@"]
            + ["\\", "#", "?", "/", ":", ".", "evil.example", "%2e", "[", "]", "80", "\t", "\n"]
        ),
        max_size=7,
    ).map("".join)
)
def test_a_url_that_passes_names_that_host_to_the_http_library_too(url):
    try:
        require_paper(url, "PK")
    except SettingsError:
        return
    host = (parse_url(url).host or "").strip("[]")
    assert host == "paper-api.alpaca.markets" or http.is_loopback(host)


class Answer(BaseHTTPRequestHandler):
    """Says what it was asked, or nothing for a while."""

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.0)
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/away"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Request-ID", "r1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok" if self.headers["Authorization"] is None else b"no")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def test_the_session_gives_up_on_a_silent_server(server):
    session = TimedSession((1.0, 0.2), 0)
    started = time.monotonic()
    with pytest.raises(requests.ReadTimeout):
        session.get(server + "/slow")
    assert time.monotonic() - started < 0.9
    assert session.get(server + "/slow", timeout=(1.0, 3.0)).text == "ok"


def test_the_session_gives_up_on_a_host_that_never_accepts():
    with socket.socket() as full:  # a backlog of one, taken: further connections hang
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        held = [socket.socket() for _ in range(4)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(address)
        with pytest.raises(requests.RequestException):
            TimedSession((0.2, 0.2), 0).get(f"http://127.0.0.1:{address[1]}/")
        for each in held:
            each.close()


@pytest.mark.parametrize("url", ["http://evil.example/", "https://api.alpaca.markets/v2/orders"])
def test_the_session_sends_nothing_to_a_stranger(url):
    with pytest.raises(SettingsError, match="was stopped"):
        TimedSession((0.1, 0.1), 0).post(url, json={})


@pytest.mark.parametrize("to", ["/", "//evil.example/", "/v2/orders"])
def test_the_session_follows_no_redirect_not_even_at_home(server, to):
    session = TimedSession((1.0, 1.0), 0)
    with pytest.raises(Redirected, match="HTTP 302 points to"):
        session.get(server + "/away" + to)


def test_the_session_remembers_the_id_of_the_last_reply_only(server):
    session = TimedSession((1.0, 0.2), 0)
    session.get(server)
    assert session.request_id == "r1"
    with pytest.raises(requests.ReadTimeout):
        session.get(server + "/slow")
    assert session.request_id == ""


def test_a_netrc_adds_no_keys_of_its_own(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.get(server, timeout=1).text == "no"
    assert TimedSession((1.0, 1.0), 0).get(server).text == "ok"


def test_a_proxy_of_the_environment_never_stands_before_loopback(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert TimedSession((1.0, 1.0), 0).get(server).text == "ok"
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get(server, timeout=1)


class Hours:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def pace(self, per_minute: int) -> Pace:
        return Pace(per_minute, lambda: self.now, self.sleep, lambda: self.now)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.lists(st.floats(0, 40), min_size=1, max_size=40))
def test_no_minute_ever_sees_more_calls_than_allowed(per_minute, pauses):
    hours = Hours()
    pace, calls = hours.pace(per_minute), []
    for pause in pauses:
        hours.now += pause
        pace.wait()
        calls.append(hours.now)
    for at in calls:
        assert sum(at <= other < at + 60 - 1e-6 for other in calls) <= per_minute


def test_without_a_limit_of_ours_nothing_waits():
    hours = Hours()
    pace = hours.pace(0)
    for _ in range(500):
        pace.wait()
    assert hours.slept == []


RESET, LEFT, RETRY = "X-RateLimit-Reset", "X-RateLimit-Remaining", "Retry-After"


@pytest.mark.parametrize(
    ("status", "said", "slept"),
    [
        (200, {LEFT: "0", RESET: "1012"}, [12.0]),
        (200, {LEFT: "0", RESET: "990"}, []),
        (200, {LEFT: "0", RESET: "99999"}, [60.0]),
        (200, {LEFT: "5", RESET: "1012"}, []),
        (200, {LEFT: "0"}, []),
        (200, {RESET: "1012"}, []),
        (200, {LEFT: "0", RESET: "soon"}, []),
        (200, {LEFT: "nan", RESET: "nan"}, []),
        (429, {RESET: "1012"}, [12.0]),
        (429, {LEFT: "5", RESET: "1012"}, [12.0]),
        (429, {}, []),
        (429, {RETRY: "7", LEFT: "0", RESET: "1012"}, [7.0]),
        (503, {RETRY: "7"}, [7.0]),
        (503, {RETRY: "Thu, 01 Jan 1970 00:16:49 GMT"}, [9.0]),
        (503, {RETRY: "later"}, []),
        (429, {RETRY: "-5"}, []),
    ],
    ids=str,
)
def test_the_pace_heeds_the_server_but_never_waits_over_a_minute(status, said, slept):
    hours = Hours()
    pace = hours.pace(100)
    pace.heed(status, said)
    pace.wait()
    pace.wait()
    assert hours.slept == slept


def test_a_later_reply_does_not_shorten_what_an_earlier_one_asked_for():
    hours = Hours()
    pace = hours.pace(100)
    pace.heed(503, {RETRY: "30"})
    pace.heed(503, {RETRY: "5"})
    pace.wait()
    assert hours.slept == [30.0]


class Says(requests.adapters.BaseAdapter):
    """In place of the network: every request is answered at once, and counted."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def send(self, request, **kwargs):
        self.seen.append(request)
        reply = requests.Response()
        reply.status_code, reply._content, reply.request = 200, b"{}", request
        return reply


def session_of(per_minute):
    session = TimedSession((1.0, 1.0), per_minute)
    session.mount("https://", Says())
    session.mount("http://", Says())
    return session


@pytest.fixture
def hours(monkeypatch):
    found = Hours()
    monkeypatch.setattr(http, "_paces", {})
    monkeypatch.setattr(http, "Pace", lambda per_minute: found.pace(per_minute))
    return found


def test_trading_and_data_clients_of_one_host_share_one_limit(hours):
    trading, data = session_of(3), session_of(100)
    for session in (data, data, trading, data):
        session.get(PAPER + "/v2/clock")
    assert hours.slept == [60.0]


def test_another_host_has_a_limit_of_its_own(hours):
    session = session_of(2)
    for url in (PAPER, DATA, PAPER, DATA):
        session.get(url)
    assert hours.slept == []
    session.get(DATA)
    assert hours.slept == [60.0]


def test_the_twin_has_no_limit_of_ours(hours):
    session = session_of(2)
    for _ in range(10):
        session.get(LOOPBACK[0])
    assert hours.slept == []


@pytest.mark.parametrize("url", ["http://paper-api.alpaca.markets/v2/orders"])
def test_nothing_is_sent_in_the_clear(url):
    with pytest.raises(SettingsError, match="was stopped"):
        session_of(0).get(url)
