"""At the socket: a call that changes something is made once, by nobody twice, whatever comes back."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alpaca.common.exceptions import APIError

from quant50lib.adapters import broker as module
from quant50lib.adapters.broker import Broker, connect
from quant50lib.errors import BrokerError, OutcomeUnknown, Unreachable
from quant50lib.settings import Secrets, Settings

PATIENCE = 0.3
ACCOUNT = {"account_number": "PA1", "status": "ACTIVE", "cash": "1", "equity": "1"}
STATUSES = ["408", "425", "429", "500", "502", "503", "504"]
SILENCES = ["reset", "close", "hang", "truncated", "empty", "redirect", "html"]


class Stub(ThreadingHTTPServer):
    """A broker whose account is in order; what it does with anything else is `does`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.does = ""
        self.calls: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def _handle(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/v2/account":
            self._say(200, json.dumps({**ACCOUNT, "buying_power": "1"}))
            return
        self.server.calls.append(self.command)
        does = self.server.does
        if does.isdigit():
            self._say(int(does), json.dumps({"code": 1, "message": "said"}))
        elif does in ("reset", "close", "hang"):
            self._fall_silent(does)
        else:
            page = "<html>ok</html>" if does == "html" else '{"id": "b1"'
            self._say(302 if does == "redirect" else 200, "" if does == "empty" else page)

    do_GET = do_POST = do_DELETE = do_PATCH = _handle

    def _say(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("X-Request-ID", "r-42")
        self.send_header("Location", "/v2/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def _fall_silent(self, how: str) -> None:
        self.close_connection = True
        if how == "hang":
            time.sleep(2 * PATIENCE)
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass  # reset by us

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    server = Stub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def account(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    execute = {"connect_timeout_seconds": 1.0, "read_timeout_seconds": PATIENCE}
    url = f"http://127.0.0.1:{stub.server_port}"
    found = connect(Settings.model_validate({"execute": execute}), Secrets(), url)
    found.account()
    stub.calls.clear()
    return found


@pytest.mark.parametrize("does", [*STATUSES, *SILENCES])
def test_an_order_is_posted_once_and_its_fate_unknown(
    stub: Stub, account: Broker, does: str
) -> None:
    stub.does = does
    with pytest.raises(OutcomeUnknown, match="q50-a"):
        account.submit("q50-a", "AAA", "buy", Decimal(1))
    assert stub.calls == ["POST"]


@pytest.mark.parametrize("does", [*STATUSES, "reset", "close", "hang"])
def test_a_cancellation_is_asked_for_once(stub: Stub, account: Broker, does: str) -> None:
    stub.does = does
    with pytest.raises(OutcomeUnknown, match="cancel b1"):
        account.cancel("b1")
    assert stub.calls == ["DELETE"]


@pytest.mark.parametrize("does", ["429", "503", "504", "reset"])
def test_nothing_below_us_repeats_a_change_either(stub: Stub, account: Broker, does: str) -> None:
    stub.does = does
    with pytest.raises((APIError, OSError)):
        account._client.patch("/orders/b1", {"qty": "1"})
    assert stub.calls == ["PATCH"]


@pytest.mark.parametrize("does", [*STATUSES, *SILENCES])
def test_a_read_is_repeated_and_then_given_up(stub: Stub, account: Broker, does: str) -> None:
    stub.does = does
    with pytest.raises(Unreachable, match="no usable answer to GET /positions"):
        account.positions()
    assert stub.calls == ["GET"] * 3


@pytest.mark.parametrize("does", ["503", "400", "html", "truncated"])
def test_the_id_of_the_request_is_in_every_error(stub: Stub, account: Broker, does: str) -> None:
    stub.does = does
    with pytest.raises(BrokerError, match=r"\(request r-42\)"):
        account.positions()


def test_an_order_after_the_connection_was_closed_goes_out_once(
    stub: Stub, account: Broker
) -> None:
    stub.does = "close"
    for name in ("q50-a", "q50-b"):
        with pytest.raises(OutcomeUnknown):
            account.submit(name, "AAA", "buy", Decimal(1))
    assert stub.calls == ["POST", "POST"]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0,))
    away = connect(Settings(), Secrets(), "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="GET /clock .*ConnectionError"):
        away.clock()
    with pytest.raises(Unreachable, match="GET /account .*ConnectionError"):
        away.submit("q50-a", "AAA", "buy", Decimal(1))
