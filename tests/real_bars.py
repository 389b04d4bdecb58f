"""Real daily bars beside the checkout, as a panel; tests that need them skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from quant50lib.services.panel import Panel
from quant50lib.utils import dates

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def real_bars(name: str = "us_daily_2013_2018") -> pd.DataFrame:
    """A file of bars in the store's form: symbol, session, prices, volume."""
    bars = pd.read_parquet(_file(f"{name}.parquet")).rename(columns={"date": "session"})
    bars["session"] = pd.to_datetime(bars["session"]).astype("datetime64[us]")
    return bars


def real_table(name: str, *dates_in: str) -> pd.DataFrame:
    """A CSV beside the bars."""
    table = pd.read_csv(_file(f"{name}.csv"), parse_dates=list(dates_in), keep_default_na=True)
    return table.astype({column: "datetime64[us]" for column in dates_in})


def _file(name: str) -> Path:
    if not (FOLDER / name).exists():
        pytest.skip("no real bars beside the checkout")
    return FOLDER / name


def real_panel(last: str, n_symbols: int) -> tuple[Panel, pd.Series]:
    """The names with the largest volume of the first 252 sessions, up to `last`, and sectors."""
    bars = pd.read_parquet(_file("us_daily_2013_2018.parquet"))
    bars["date"] = pd.to_datetime(bars["date"]).astype("datetime64[us]")
    bars = bars[bars.date <= last]
    index = dates.sessions_between(bars.date.min(), bars.date.max())
    wide = {
        name: bars.pivot(index="date", columns="symbol", values=name).reindex(index).astype(float)
        for name in ("open", "high", "low", "close", "volume")
    }
    dollars = wide["close"] * wide["volume"]
    panel = Panel(**wide, traded_close=wide["close"], dollar_volume=dollars)
    names = sorted({*dollars.iloc[:252].median().nlargest(n_symbols).index, "SPY"})
    sectors = pd.read_csv(FOLDER / "sectors.csv").set_index("symbol").gics_sector.fillna("ETF")
    return panel.only(names), sectors[sectors.index.isin(names)]
