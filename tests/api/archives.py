"""Hand-made runs, as the runner would have left them."""

from __future__ import annotations

from typing import Any

import nbformat
import pandas as pd

from quant50lib.contracts import REPORT, Equity, Kpi, Limit, Order
from quant50lib.pipeline import archive
from quant50lib.pipeline.archive import OPEN, RunInfo
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

PDF = b"%PDF-1.7 of the run\n"


def orders(date: str, n: int) -> pd.DataFrame:
    session = dates.as_session(date)
    side = ["buy" if i % 3 else "sell" for i in range(n)]
    symbols = [f"AB{chr(65 + i)}" for i in range(n)]
    day = date.replace("-", "")
    return pd.DataFrame(
        {
            "session": pd.Series([session] * n, dtype="datetime64[us]"),
            "client_order_id": [
                f"q50-{day}-{s}-{d}-rebalance-1" for s, d in zip(symbols, side, strict=True)
            ],
            "symbol": symbols,
            "side": side,
            "intent": "rebalance",
            "attempt": 1,
            "qty": [1.0 + i for i in range(n)],
            "price": 10.0,
            "notional": [10.0 * (1 + i) for i in range(n)],
            "state": "accepted",
            "broker_id": "",
            "filled_qty": 0.0,
            "filled_price": float("nan"),
            "reason": "",
        }
    )


def equity(date: str, sessions: int) -> pd.DataFrame:
    index = dates.sessions_between("2020-01-02", date)[-sessions:]
    value = [100_000.0 + 10 * i for i in range(sessions)]
    return pd.DataFrame(
        {
            "session": index,
            "cash": 1_000.0,
            "holdings": [v - 1_000.0 for v in value],
            "equity": value,
            "broker_equity": [float("nan"), *value[1:]],
            "dividends": 0.0,
            "flow": 0.0,
            "turnover": 0.1,
        }
    )


def limits(date: str) -> pd.DataFrame:
    row = {"session": dates.as_session(date), "value": 0.08, "limit": 0.15, "headroom": 0.07}
    rest = {"breached": False, "price_bps": float("nan"), "detail": ""}
    frame = pd.DataFrame([{**row, **rest, "rule": "turnover"}])
    return frame.assign(session=frame["session"].astype("datetime64[us]"))[Limit.columns()]


def kpis() -> pd.DataFrame:
    return pd.DataFrame(
        {"name": ["drawdown"], "value": [0.01], "unit": ["fraction"], "detail": [""]}
    )


def make(
    home: Home,
    date: str,
    *,
    state: str = "sealed",
    mark: str = "abcd",
    n_orders: int = 5,
    with_pdf: bool = True,
    reported: bool = True,
) -> RunInfo:
    """A daily run on disk."""
    path = home.runs / f"{date}-daily-{mark}"
    (path / "notebooks").mkdir(parents=True)
    (path / "settings.json").write_text(Settings().model_dump_json())
    facts: dict[str, Any] = {
        "id": path.name,
        "run_date": date,
        "schedule": "daily",
        "state": "running" if state == "half" else state,
        "started": f"{date} 22:00:01+00:00",
        "simulated": "SIMULATED prices and account",
        "shadow": "",
        "stages": {"ingest": {"state": "done", "seconds": 1.5}},
    }
    if n_orders:
        archive.write_table(path, Order, orders(date, n_orders))
    archive.write_table(path, Equity, equity(date, 300))
    archive.write_table(path, Limit, limits(date))
    if reported:
        facts["stages"]["execute"] = {"state": "done", "seconds": 0.5}
        facts["stages"][REPORT.name] = {"state": "done", "seconds": 2.0}
        archive.write_table(path, Kpi, kpis())
        cell = nbformat.v4.new_markdown_cell(f"# The day {date}\n\nWritten for a test.")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path / "notebooks" / REPORT.notebook)
    if with_pdf:
        (path / "report.pdf").write_bytes(PDF)
    archive.write_json(path / OPEN, facts)
    run = archive.run_named(home, path.name)
    return archive.seal(home, run) if state == "sealed" else run
