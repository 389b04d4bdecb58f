"""An app over a hand-made archive, and a client that answers to the name of loopback."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from quant50lib.api.launch import Launcher
from quant50lib.api.main import create_app, launcher_of
from quant50lib.settings import Settings
from quant50lib.utils.config import Home

NOW = dt.datetime(2024, 6, 28, 22, 30, tzinfo=dt.UTC)
TOKEN = "a-token-for-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Client = Callable[..., TestClient]


def clock() -> dt.datetime:
    return NOW


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "desk")


@pytest.fixture
def client(home: Home) -> Client:
    """Makes a client; `job` is Python source run in place of the daily job."""

    def make(job: str = "", guard_reads: bool = True, token: str = TOKEN) -> TestClient:
        real = launcher_of(home, Settings(), clock)
        launcher = Launcher(
            home,
            real._session,
            lambda session: f"{session}-daily-beef",
            lambda session: [sys.executable, "-c", job, session],
        )
        app = create_app(
            home, Settings(), token, clock=clock, launcher=launcher, guard_reads=guard_reads
        )
        return TestClient(app, "http://127.0.0.1", raise_server_exceptions=False)

    return make


@pytest.fixture
def reader(client: Client) -> Iterator[TestClient]:
    """A client that carries the right token."""
    with client() as made:
        made.headers.update(BEARER)
        yield made
