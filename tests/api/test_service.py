"""The service as a whole: walls, headers, the page, the OpenAPI document, and a real server."""

from __future__ import annotations

import json
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from quant50lib import errors
from quant50lib.api import examples, failures, main, openapi, replies, security, web
from quant50lib.api.failures import status_of
from quant50lib.api.replies import Problem, Reply
from quant50lib.errors import Quant50Error, SettingsError, StageFailed
from quant50lib.pipeline import archive
from quant50lib.settings import Secrets, Settings
from quant50lib.utils.config import Home
from tests import desks
from tests.api import archives
from tests.api.conftest import BEARER, Client, clock


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "[::2]", "0.0.0.0"])
def test_only_the_names_of_loopback_are_answered(client: Client, name: str) -> None:
    reply = client().get("/api/v1/health", headers={"Host": name})
    assert reply.status_code == 421
    assert reply.json()["status"] == "error"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8050", "127.0.0.1:9", "[::1]:8050"])
def test_loopback_answers_under_each_of_its_names(client: Client, name: str) -> None:
    assert client().get("/api/v1/health", headers={"Host": name}).status_code == 200


def test_bound_to_the_outside_any_name_goes(home: Home) -> None:
    app = main.create_app(home, Settings(), "x" * 32, clock=clock, host="0.0.0.0")
    reply = TestClient(app).get("/api/v1/health", headers={"Host": "desk.example"})
    assert reply.status_code == 200


def test_every_reply_carries_safe_headers(client: Client, home: Home) -> None:
    archives.make(home, "2024-06-27")
    api = client()
    for path in ("/", "/static/page.js", "/api/v1/health", "/api/v1/runs", "/none"):
        headers = api.get(path).headers
        for name, value in security.HEADERS.items():
            assert headers[name] == value, (path, name)
        assert "access-control-allow-origin" not in headers


def test_the_page_keeps_its_own_policy(client: Client) -> None:
    page = (web.FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", page)
    script = (web.FOLDER / "page.js").read_text()
    assert "innerHTML" not in script and "eval(" not in script
    for path in re.findall(r'(?:src|href)="(/[^"]*)"', page):
        assert client().get(path).status_code == 200, path
    for name in re.findall(r'at\("([\w-]+)"\)|fill\("([\w-]+)"', script):
        assert f'id="{name[0] or name[1]}"' in page


def test_a_bug_is_an_envelope_that_tells_nothing(
    client: Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a path of this machine")

    monkeypatch.setattr(archive, "runs", broken)
    reply = client().get("/api/v1/runs", headers=BEARER)
    assert reply.status_code == 500
    assert reply.json()["data"]["error"] == "InternalServerError"
    assert "path" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_every_error_of_ours_has_a_status() -> None:
    def every(kind: type[Quant50Error]) -> Iterator[type[Quant50Error]]:
        yield kind
        for child in kind.__subclasses__():
            yield from every(child)

    made = [kind("x") for kind in every(Quant50Error) if kind is not StageFailed]
    made.append(StageFailed("x", stage="ingest", notebook="01", exit_code=3))
    codes = {type(error).__name__: status_of(error) for error in made}
    assert set(codes.values()) <= {400, 404, 409, 500, 502, 503}
    wanted = {
        "Busy": 409,
        "Missing": 404,
        "SettingsError": 400,
        "Unreachable": 503,
        "RiskHalt": 409,
    }
    assert wanted.items() <= codes.items()
    assert codes["ArchiveError"] == codes["ContractError"] == codes["StageFailed"] == 500
    assert errors.by_name("Busy") is not None


MODELS = {
    "HEALTH": Reply[replies.Health],
    "STARTED": Reply[replies.Started],
    "RUNS": Reply[list[replies.RunView]],
    "RUN": Reply[replies.RunDetail],
    "ORDERS": Reply[replies.OrderList],
}


@pytest.mark.parametrize("name", MODELS)
def test_examples_are_true(name: str) -> None:
    example = getattr(examples, name)
    assert json.loads(MODELS[name].model_validate(example).model_dump_json()) == example


def test_examples_of_errors_are_true() -> None:
    for code, example in examples.PROBLEMS.items():
        assert json.loads(Reply[Problem].model_validate(example).model_dump_json()) == example
        kind = errors.by_name(example["data"]["error"])
        if kind:
            assert status_of(kind("x")) == code
            assert kind.exit_code == example["data"]["exit_code"]


def test_the_openapi_document_shows_everything() -> None:
    document = openapi.document()
    assert set(document["paths"]) == {
        f"/api/v1/{path}"
        for path in (
            "health",
            "run",
            "runs",
            "runs/{run_id}",
            "runs/{run_id}/report",
            "orders",
            "report",
        )
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], path
            good = operation["responses"].get("200") or operation["responses"]["202"]
            media = good["content"].get("application/json")
            assert "application/pdf" in good["content"] or "example" in media, path
            guarded = path != "/api/v1/health"
            assert bool(operation.get("security")) == guarded, (path, method)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_the_document_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("quant50lib.api.openapi", run_name="__main__")
    assert json.loads(capsys.readouterr().out) == openapi.document()


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.1.5", "::", "desk.example", "127.evil.example"]
)
def test_the_outside_needs_a_chosen_token(host: str) -> None:
    with pytest.raises(SettingsError, match="QUANT50_API_TOKEN"):
        security.check_binding(host, "")
    security.check_binding(host, "a token that somebody chose")


def test_loopback_needs_none_and_a_short_one_is_refused() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"):
        security.check_binding(host, "")
    with pytest.raises(SettingsError, match="at least 16"):
        security.check_binding("127.0.0.1", "short")
    assert len({security.new_token() for _ in range(50)}) == 50


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}.*QUANT50_API__PORT"):
            main.bind("127.0.0.1", port)
    with pytest.raises(SettingsError, match="no address"):
        main.bind("no.such.host.invalid", 0)
    with pytest.raises(SettingsError):
        main.bind("192.0.2.1", 0)


def test_greetings() -> None:
    assert "#token=secret" in main.greeting("127.0.0.1", 80, "secret")
    assert "QUANT50_API_TOKEN" in main.greeting("127.0.0.1", 80, "")


def test_the_default_launcher_asks_the_calendar_and_the_job(home: Home) -> None:
    launcher = main.launcher_of(home, Settings(), clock)
    assert launcher._session(None) == "2024-06-28"
    assert launcher._plan("2024-06-28").startswith("2024-06-28-daily-")
    words = launcher._command("2024-06-28")
    assert words[1:] == ["-m", "quant50lib.jobs.daily_run", "--date", "2024-06-28"]
    with pytest.raises(SettingsError, match="not closed"):
        launcher._session("2024-07-01")


def test_failure_keeps_its_headers() -> None:
    reply = failures.failure(clock, 401, "no", Problem(error="x"), {"WWW-Authenticate": "Bearer"})
    assert reply.headers["www-authenticate"] == "Bearer"


@contextmanager
def served(home: Path, **environment: str) -> Iterator[SimpleNamespace]:
    """`quant50 serve` on a free port; gives its address and the token it printed."""
    home.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*desks.command("serve", "--port", "0")],
        env={**desks.environment(home), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://[\d.]+:\d+", line)
        assert url, line + process.stdout.read()
        token = re.search(r"#token=(\S+)", line)
        yield SimpleNamespace(url=url.group(), token=token and token.group(1), process=process)
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_real_server_over_real_http(tmp_path: Path) -> None:
    home = Home(tmp_path / "desk")
    archives.make(home, "2024-06-27")
    with served(home.root) as service, httpx.Client(base_url=service.url, timeout=20) as http:
        assert http.get("/api/v1/health").json()["data"]["broker"] == "sim"
        assert http.get("/api/v1/report").content == archives.PDF
        assert http.get("/api/v1/orders").json()["data"]["total"] == 5
        assert "Quant50" in http.get("/").text
        assert "server" not in http.get("/").headers
        assert http.get("/", headers={"Host": "evil.example"}).status_code == 421
        bad = http.post("/api/v1/run", json={"date": "2024-06-29"})
        assert bad.status_code == 401
        right = {"Authorization": f"Bearer {service.token}"}
        saturday = http.post("/api/v1/run", json={"date": "2024-06-29"}, headers=right)
        assert saturday.status_code == 400
        again = http.post("/api/v1/run", json={"date": "2024-06-27"}, headers=right)
        assert again.status_code == 202 and again.json()["data"]["state"] == "sealed"


def test_a_configured_token_guards_reading_and_is_never_said(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, said, apps = "chosen-by-the-operator-42", [], []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: apps.append(self.config.app))
    secrets = Secrets(api_token=SecretStr(chosen))
    main.serve(home, Settings(), secrets, "127.0.0.1", 0, said.append)
    api = TestClient(apps[0], "http://localhost")
    assert api.get("/api/v1/runs").status_code == 401
    right = {"Authorization": f"Bearer {chosen}"}
    assert api.get("/api/v1/runs", headers=right).status_code == 200
    assert len(said) == 1 and chosen not in said[0]


def test_serve_refuses_before_it_listens(home: Home) -> None:
    with pytest.raises(SettingsError, match="other machines"):
        main.serve(home, Settings(), Secrets(), "0.0.0.0", 0)
