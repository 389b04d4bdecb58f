"""POST /run: who may, what starts, and how it fares."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from quant50lib.pipeline import archive
from quant50lib.utils.config import Home
from tests.api import archives
from tests.api.conftest import BEARER, Client

#: writes what it was asked for and which secrets it saw, then waits for the file `go`
WAITS = """
import os, pathlib, sys, time
home = pathlib.Path(os.environ["QUANT50_HOME"])
(home / "asked").write_text(sys.argv[1] + " " + str("QUANT50_API_TOKEN" in os.environ))
while not (home / "go").exists():
    time.sleep(0.02)
"""
FAILS = "import sys; print('DataQualityError: the bars of', sys.argv[1], 'are stale'); sys.exit(3)"


def post(client: TestClient, body: object = None, headers: dict[str, str] = BEARER):
    return client.post("/api/v1/run", json=body, headers=headers)


def until(condition, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_run_starts_in_a_process_of_its_own(
    client: Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT50_API_TOKEN", "must not be handed on")
    api = client(WAITS)
    reply = post(api, {"date": "2024-06-27"})
    assert reply.status_code == 202
    assert reply.json()["data"] == {
        "run_id": "2024-06-27-daily-beef",
        "run_date": "2024-06-27",
        "state": "starting",
        "url": "/api/v1/runs/2024-06-27-daily-beef",
    }
    until((home.root / "asked").is_file)
    until(lambda: (home.root / "asked").read_text())
    assert (home.root / "asked").read_text() == "2024-06-27 False"
    url = reply.json()["data"]["url"]
    assert api.get(url, headers=BEARER).json()["data"]["state"] == "starting"
    assert api.get("/api/v1/health").json()["data"]["busy"] is True
    second = post(api, {"date": "2024-06-26"})
    assert (second.status_code, second.json()["data"]["error"]) == (409, "Busy")
    (home.root / "go").touch()
    until(lambda: not api.get("/api/v1/health").json()["data"]["busy"])


def test_without_a_date_it_is_the_last_closed_session(client: Client) -> None:
    for body in (None, {}, {"date": None}):
        assert post(client(), body).json()["data"]["run_date"] == "2024-06-28"


def test_of_two_at_once_one_starts(client: Client, home: Home) -> None:
    api, codes = client(WAITS), []
    threads = [
        threading.Thread(target=lambda: codes.append(post(api, {"date": "2024-06-27"}).status_code))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (home.root / "go").touch()
    assert sorted(codes) == [202, 409, 409, 409, 409, 409]


def test_a_run_that_somebody_else_started_counts(client: Client, home: Home) -> None:
    with archive.locked(home.lock, "a run of this desk"):
        assert post(client(), {"date": "2024-06-27"}).status_code == 409


def test_a_sealed_session_is_left_alone(client: Client, home: Home) -> None:
    run = archives.make(home, "2024-06-27")
    reply = post(client(WAITS), {"date": "2024-06-27"})
    assert reply.json()["data"]["run_id"] == run.id
    assert reply.json()["data"]["state"] == "sealed"
    assert "nothing to do" in reply.json()["summary"]
    assert not (home.root / "asked").exists()


def test_a_job_that_dies_early_says_why(client: Client, home: Home) -> None:
    api = client(FAILS)
    url = post(api, {"date": "2024-06-27"}).json()["data"]["url"]
    until(lambda: api.get(url, headers=BEARER).json()["data"]["state"] == "failed")
    data = api.get(url, headers=BEARER).json()["data"]
    assert data["message"] == "DataQualityError: the bars of 2024-06-27 are stale"


def test_a_failed_run_shows_the_jobs_last_words_without_paths(client: Client, home: Home) -> None:
    api = client(f"print('seen in {home.root}/runs'); raise SystemExit(4)")
    url = post(api, {"date": "2024-06-27"}).json()["data"]["url"]
    archives.make(home, "2024-06-27", mark="beef", state="failed")
    until(lambda: not api.get("/api/v1/health").json()["data"]["busy"])
    data = api.get(url, headers=BEARER).json()["data"]
    assert (data["state"], data["message"]) == ("failed", "seen in <home>/runs")


def test_a_run_has_failed_only_when_its_job_has_said_why(client: Client, home: Home) -> None:
    api = client(WAITS + "print('no model'); raise SystemExit(2)")
    url = post(api, {"date": "2024-06-27"}).json()["data"]["url"]
    archives.make(home, "2024-06-27", mark="beef", state="failed")
    data = api.get(url, headers=BEARER).json()["data"]
    assert (data["state"], data["message"]) == ("running", "")
    (home.root / "go").touch()
    until(lambda: not api.get("/api/v1/health").json()["data"]["busy"])
    data = api.get(url, headers=BEARER).json()["data"]
    assert (data["state"], data["message"]) == ("failed", "no model")


def test_a_job_that_found_all_done_leads_to_the_sealed_run(client: Client, home: Home) -> None:
    api = client("pass")
    url = post(api, {"date": "2024-06-27"}).json()["data"]["url"]
    run = archives.make(home, "2024-06-27", mark="aaaa")
    until(lambda: not api.get("/api/v1/health").json()["data"]["busy"])
    assert api.get(url, headers=BEARER).json()["data"]["run_id"] == run.id


@pytest.mark.parametrize(
    "body, code",
    [
        ({"date": "2024-06-29"}, 400),
        ({"date": "2024-07-01"}, 400),
        ({"date": "2030-01-02"}, 400),
        ({"date": "27 June"}, 400),
        ({"date": 20240627}, 422),
        ({"date": "2024-06-27", "force": True}, 422),
        ({"date": "2024-06-27; rm -rf /"}, 422),
        ([1], 422),
    ],
)
def test_a_malformed_request_starts_nothing(
    client: Client, home: Home, body: object, code: int
) -> None:
    reply = post(client(WAITS), body)
    assert reply.status_code == code
    assert reply.json()["data"]["exit_code"] == 2
    assert not (home.root / "asked").exists()


def test_text_that_is_no_json_is_refused(client: Client) -> None:
    reply = client().post(
        "/api/v1/run", content=b"{not json", headers={**BEARER, "Content-Type": "application/json"}
    )
    assert reply.status_code == 422 and reply.json()["status"] == "error"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer a-token-for-tests-012345678"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "a-token-for-tests-0123456789"},
        {"Authorization": "Bearer größe".encode("latin-1")},
    ],
)
def test_acting_needs_the_token(client: Client, home: Home, headers: dict[str, str]) -> None:
    reply = post(client(WAITS), {"date": "2024-06-27"}, headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["status"] == "error"
    assert not (home.root / "asked").exists()


def test_an_empty_token_lets_nobody_act(client: Client) -> None:
    for headers in ({}, {"Authorization": "Bearer "}, BEARER):
        assert post(client(token=""), None, headers).status_code == 401


def test_reading_needs_the_token_only_where_one_was_configured(client: Client) -> None:
    for path in ("runs", "orders", "report", "runs/x", "runs/x/report"):
        assert client().get(f"/api/v1/{path}").status_code == 401, path
        assert client(guard_reads=False).get(f"/api/v1/{path}").status_code in (200, 404), path
    for guarded in (True, False):
        health = client(guard_reads=guarded).get("/api/v1/health").json()
        assert health["data"]["token_to_read"] is guarded


def test_the_log_of_a_job_lies_with_the_desk(client: Client, home: Home) -> None:
    api = client("print('hello')")
    post(api, {"date": "2024-06-27"})
    log = Path(home.data / "api" / "2024-06-27-daily-beef.log")
    until(lambda: log.is_file() and log.read_text() == "hello\n")
