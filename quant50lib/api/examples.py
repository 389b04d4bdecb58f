"""Examples for the OpenAPI document; a test holds each against its model."""

from __future__ import annotations

from typing import Any

_AT = "2026-11-20T22:01:07Z"
_ID = "2026-11-20-daily-7f3a"


def _ok(summary: str, data: Any) -> dict[str, Any]:
    return {"status": "ok", "timestamp": _AT, "summary": summary, "data": data}


def _problem(
    summary: str, error: str, exit_code: int | None = None, detail: tuple[str, ...] = ()
) -> dict[str, Any]:
    data = {"error": error, "exit_code": exit_code, "detail": list(detail)}
    return {"status": "error", "timestamp": _AT, "summary": summary, "data": data}


PROBLEMS = {
    400: _problem(
        "2026-11-21 (Saturday) is not a session of the NYSE; "
        "the sessions around it are 2026-11-20 and 2026-11-23",
        "SettingsError",
        2,
    ),
    401: _problem("this needs the header `Authorization: Bearer <token>`", "HTTP 401"),
    404: _problem("there is no finished run yet: POST /api/v1/run, or `quant50 run`", "Missing", 8),
    409: _problem(
        "a run is at work: wait until it ends (GET /api/v1/runs shows it)", "Busy", exit_code=2
    ),
    422: _problem(
        "the request is not understood: query.limit: Input should be greater than or equal to 1",
        "RequestValidationError",
        2,
        ("query.limit: Input should be greater than or equal to 1",),
    ),
}

_VIEW = {
    "run_id": _ID,
    "run_date": "2026-11-20",
    "schedule": "daily",
    "state": "sealed",
    "started": "2026-11-20 22:00:03+00:00",
    "simulated": "prices and broker",
    "shadow": "",
    "stages": [
        {"name": "ingest", "state": "done", "seconds": 4.1},
        {"name": "features", "state": "done", "seconds": 2.2},
        {"name": "optimize", "state": "done", "seconds": 5.0},
        {"name": "execute", "state": "done", "seconds": 3.7},
        {"name": "report", "state": "done", "seconds": 6.4},
    ],
    "report": f"/api/v1/runs/{_ID}/report",
}
_EQUITY = {
    "session": "2026-11-20",
    "cash": 12044.18,
    "holdings": 89871.02,
    "equity": 101915.20,
    "broker_equity": 101915.20,
    "dividends": 0.0,
    "flow": 0.0,
    "turnover": 0.08,
}
_LIMIT = {
    "session": "2026-11-20",
    "rule": "turnover",
    "value": 0.08,
    "limit": 0.15,
    "headroom": 0.07,
    "breached": False,
    "price_bps": 0.0,
    "detail": "",
}
_ORDER = {
    "session": "2026-11-20",
    "client_order_id": "q50-20261120-AAPL-buy-rebalance-1",
    "symbol": "AAPL",
    "side": "buy",
    "intent": "rebalance",
    "attempt": 1,
    "qty": 3.25,
    "price": 270.5,
    "notional": 879.125,
    "state": "accepted",
    "broker_id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "filled_qty": 0.0,
    "filled_price": None,
    "reason": "",
}
_KPI = {"name": "drawdown", "value": 0.012, "unit": "fraction", "detail": "since inception"}

HEALTH = _ok("up", {"version": "0.1.0", "broker": "sim", "busy": False, "token_to_read": False})
STARTED = _ok(
    f"run {_ID} has started",
    {
        "run_id": _ID,
        "run_date": "2026-11-20",
        "state": "starting",
        "url": f"/api/v1/runs/{_ID}",
    },
)
RUNS = _ok("1 run, the newest of 2026-11-20 (sealed)", [_VIEW])
RUN = _ok(
    "run of 2026-11-20: sealed",
    {**_VIEW, "message": "", "equity": [_EQUITY], "kpis": [_KPI], "limits": [_LIMIT]},
)
ORDERS = _ok(
    "1 orders decided on 2026-11-20",
    {
        "run_id": _ID,
        "run_date": "2026-11-20",
        "simulated": "prices and broker",
        "total": 1,
        "orders": [_ORDER],
    },
)
