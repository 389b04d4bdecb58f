"""What the API reads out of the archive."""

from __future__ import annotations

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from quant50lib.adapters import pdf
from quant50lib.api import replies
from quant50lib.contracts import Kpi, Order
from quant50lib.pipeline import archive
from quant50lib.utils.config import Home
from tests.api import archives
from tests.api.conftest import NOW

ENVELOPE = {"status", "timestamp", "summary", "data"}


def test_every_reply_has_the_envelope(reader: TestClient, home: Home) -> None:
    archives.make(home, "2024-06-27")
    paths = ["health", "runs", "runs/2024-06-27-daily-abcd", "orders"]
    paths += ["runs/no", "nowhere", "orders?date=x", "orders?limit=0"]
    for path in paths:
        reply = reader.get(f"/api/v1/{path}")
        body = reply.json()
        assert set(body) == ENVELOPE, path
        assert body["status"] == ("ok" if reply.status_code == 200 else "error"), path
        assert pd.Timestamp(body["timestamp"]) == pd.Timestamp(NOW), path
        assert body["summary"], path


def test_runs_are_newest_first(reader: TestClient, home: Home) -> None:
    for date, state in (("2024-06-25", "sealed"), ("2024-06-27", "failed"), ("2024-06-26", "half")):
        archives.make(home, date, state=state)
    body = reader.get("/api/v1/runs").json()
    assert [(r["run_date"], r["state"]) for r in body["data"]] == [
        ("2024-06-27", "failed"),
        ("2024-06-26", "half"),
        ("2024-06-25", "sealed"),
    ]
    assert body["summary"] == "3 runs, the newest of 2024-06-27 (failed)"
    assert len(reader.get("/api/v1/runs?limit=2").json()["data"]) == 2


def test_a_run_shows_its_figures(reader: TestClient, home: Home) -> None:
    run = archives.make(home, "2024-06-27")
    data = reader.get(f"/api/v1/runs/{run.id}").json()["data"]
    table = archives.equity("2024-06-27", 300)
    assert [row["equity"] for row in data["equity"]] == list(table["equity"][-252:])
    assert data["equity"][-1]["session"] == "2024-06-27"
    assert data["limits"][0]["rule"] == "turnover" and data["limits"][0]["price_bps"] is None
    assert data["kpis"][0] == {"name": "drawdown", "value": 0.01, "unit": "fraction", "detail": ""}
    seconds = [(stage["name"], stage["seconds"]) for stage in data["stages"]]
    assert seconds == [("ingest", 1.5), ("execute", 0.5), ("report", 2.0)]


def test_orders_come_from_the_newest_run_that_has_any(reader: TestClient, home: Home) -> None:
    archives.make(home, "2024-06-25", n_orders=2)
    archives.make(home, "2024-06-26", n_orders=7)
    archives.make(home, "2024-06-27", n_orders=0, state="failed")
    data = reader.get("/api/v1/orders?limit=3").json()["data"]
    assert (data["run_date"], data["total"]) == ("2024-06-26", 7)
    assert [o["notional"] for o in data["orders"]] == [70.0, 60.0, 50.0]
    assert data["orders"][0]["filled_price"] is None
    older = reader.get("/api/v1/orders?date=2024-06-25").json()["data"]
    assert older["total"] == len(older["orders"]) == 2
    assert reader.get("/api/v1/orders?date=2024-06-27").status_code == 404


def test_nothing_yet_says_how_to_begin(reader: TestClient) -> None:
    for path in ("report", "orders", "orders?date=2024-06-27", "report?date=2024-06-27"):
        reply = reader.get(f"/api/v1/{path}")
        assert reply.status_code == 404
        assert "POST /api/v1/run" in reply.json()["summary"]
        assert reply.json()["data"] == {"error": "Missing", "exit_code": 8, "detail": []}
    assert reader.get("/api/v1/runs").json()["data"] == []


@pytest.mark.parametrize("date", ["2024-13-01", "yesterday", "2024-06-29", "", "27.6.2024"])
def test_a_date_that_is_no_session_is_refused(reader: TestClient, date: str) -> None:
    for path in ("report", "orders"):
        reply = reader.get(f"/api/v1/{path}", params={"date": date})
        assert reply.status_code == 400
        assert reply.json()["data"]["exit_code"] == 2


def test_a_saturday_is_answered_with_the_sessions_around_it(reader: TestClient) -> None:
    summary = reader.get("/api/v1/orders?date=2024-06-29").json()["summary"]
    assert "2024-06-28" in summary and "2024-07-01" in summary


@pytest.mark.parametrize(
    "run_id",
    [
        "../../etc/passwd",
        "..%2f..%2fsettings.json",
        "2024-06-27-daily-abcd%2f..",
        "%00",
        "a" * 5000,
    ],
)
def test_ids_never_become_paths(reader: TestClient, home: Home, run_id: str) -> None:
    archives.make(home, "2024-06-27")
    for tail in ("", "/report"):
        reply = reader.get(f"/api/v1/runs/{run_id}{tail}")
        assert reply.status_code == 404
        assert set(reply.json()) == ENVELOPE


def test_the_report_is_the_runs_own_pdf(reader: TestClient, home: Home) -> None:
    run = archives.make(home, "2024-06-26")
    archives.make(home, "2024-06-27", state="failed", with_pdf=False)
    for path in ("report", "report?date=2024-06-26", f"runs/{run.id}/report"):
        reply = reader.get(f"/api/v1/{path}")
        assert reply.headers["content-type"] == "application/pdf"
        assert reply.headers["content-disposition"] == 'inline; filename="diario_20240626.pdf"'
        assert reply.content == archives.PDF


def test_without_a_browser_the_report_is_html_and_the_run_stays_as_sealed(
    reader: TestClient, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT50_CHROMIUM", "/no/such/browser")
    archives.make(home, "2024-06-27", with_pdf=False)
    reply = reader.get("/api/v1/report")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "The day 2024-06-27" in reply.text
    assert "sandbox" in reply.headers["content-security-policy"]
    assert archive.verify(home) == []


def test_a_missing_pdf_is_printed_once(
    reader: TestClient, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.make(home, "2024-06-27", with_pdf=False)
    printed = []

    def export(executed, target, *_):
        printed.append(executed)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"%PDF printed")
        return target

    monkeypatch.setattr(pdf, "export_pdf", export)
    for _ in range(3):
        assert reader.get("/api/v1/report").content == b"%PDF printed"
    assert len(printed) == 1
    assert archive.verify(home) == []


def test_a_run_before_its_report_has_none(reader: TestClient, home: Home) -> None:
    run = archives.make(home, "2024-06-27", state="failed", with_pdf=False, reported=False)
    reply = reader.get(f"/api/v1/runs/{run.id}/report")
    assert reply.status_code == 404
    assert reader.get(f"/api/v1/runs/{run.id}").json()["data"]["report"] is None


def test_an_older_run_of_the_session_never_shows_the_newer_ones_report(
    reader: TestClient, home: Home
) -> None:
    old = archives.make(home, "2024-06-27", mark="aaaa", with_pdf=False)
    facts = archives.make(home, "2024-06-27", mark="bbbb").facts
    assert facts["id"] != old.id
    home.reports.mkdir(parents=True)
    (home.reports / "diario_20240627.pdf").write_bytes(b"%PDF of the newer")
    newest = archive.newest(home, "daily", None, "2024-06-27")
    other = next(r for r in archive.runs(home) if r.id != newest.id)
    reply = reader.get(f"/api/v1/runs/{other.id}/report")
    assert reply.content != b"%PDF of the newer"


def test_a_truncated_table_is_an_error_with_its_exit_code(reader: TestClient, home: Home) -> None:
    run = archives.make(home, "2024-06-27", state="failed")
    table = run.path / "tables" / Order.file_name()
    table.write_bytes(table.read_bytes()[:100])
    reply = reader.get("/api/v1/orders")
    assert reply.status_code == 500
    assert reply.json()["data"]["error"] == "ContractError"
    assert reply.json()["data"]["exit_code"] == 3


def test_row_models_mirror_the_contracts() -> None:
    for table in (Order, Kpi):
        model = replies.row_model(table)
        assert list(model.model_fields) == table.columns()
    schema = replies.OrderRow.model_json_schema()
    assert schema["properties"]["qty"]["description"] == "shares, up to nine decimals"
    assert "filled_price" not in schema["required"] and "qty" in schema["required"]
