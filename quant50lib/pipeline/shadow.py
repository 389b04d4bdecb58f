"""Books of runs that may not touch the account."""

from __future__ import annotations

import pandas as pd

from quant50lib.contracts import Equity, Fill, Holding
from quant50lib.pipeline.desk import Settlement
from quant50lib.utils.frames import typed


def no_books() -> Settlement:
    """Of a training: no holding, no equity, no fill."""
    return Settlement(
        Holding.empty(), Equity.empty(), Fill.empty(), {"books": "none in a training"}
    )


def from_cash(run_date: pd.Timestamp, cash: float) -> Settlement:
    """Of a shadow run: an account of that session that holds nothing but cash, US dollars."""
    line = {
        "session": run_date,
        "cash": cash,
        "holdings": 0.0,
        "equity": cash,
        "broker_equity": None,
        "dividends": 0.0,
        "flow": 0.0,
        "turnover": 0.0,
    }
    said = {"books": "a shadow run starts from cash", "cash": cash, "equity": cash}
    return Settlement(Holding.empty(), typed(Equity, [line]), Fill.empty(), said)
