"""A small demo market for back-tests: about twenty names, three years, made in a second."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from quant50lib.adapters import universe
from quant50lib.jobs import backtest as job
from quant50lib.services import universe as membership
from quant50lib.services.backtest_market import Market
from quant50lib.settings import Settings
from quant50lib.simulator.demo import DemoMarket
from quant50lib.simulator.market import Listing

LAST = pd.Timestamp("2023-06-30")


def small_settings(**changed) -> Settings:
    """Settings that a market of two years satisfies."""
    own = {
        "data": {"history_years": 2},
        "features": {"min_dollar_volume": 0},
        "model": {
            "n_splits": 2,
            "trees": 10,
            "min_rows_per_leaf": 50,
            "min_training_sessions": 100,
            "threads": 1,
        },
    }
    return Settings.model_validate(own | changed)


@lru_cache(maxsize=1)
def small_market() -> Market:
    names = universe.load(None)
    stocks = names[names["kind"] == "stock"].groupby("sector", sort=True).head(2)
    funds = names[names["symbol"].isin(["SPY", "TLT", "GLD"])]
    small = pd.concat([stocks, funds]).sort_values("symbol", ignore_index=True)
    listings = [Listing(**row) for row in small.to_dict("records")]
    made = DemoMarket(7, "2021-01-04", listings)
    made.extend(LAST.date())
    bars = job.bars_of(made, small["symbol"].tolist(), LAST)
    return Market.of(bars, job.actions_frame(made.actions()), small, "SIMULATED prices")


def poisoned(market: Market, after: pd.Timestamp, seed: int = 0) -> Market:
    """The same market with everything after a session replaced by noise."""
    row, rng = market.row(after) + 1, np.random.default_rng(seed)
    fields = {name: values.copy() for name, values in market.raw.fields.items()}
    for values in fields.values():
        values[row:] *= np.exp(rng.normal(0, 0.5, values[row:].shape))
    present = market.raw.present.copy()
    lost = rng.random(present[row:].shape) < 0.2
    present[row:] &= ~lost
    for values in fields.values():
        values[row:][lost] = np.nan
    # what happens to shares before the next open is announced, and known to the desk
    known = market.actions[market.actions["ex_date"] <= market.sessions[row]]
    days = pd.DatetimeIndex(market.sessions[row + 1 : row + 60])
    symbols = rng.choice(market.raw.symbols, len(days))
    made = {"symbol": symbols, "type": "forward_split", "ex_date": days, "new_rate": 3.0}
    false = pd.DataFrame(made | {"old_rate": 1.0, "cash": np.nan, "other_symbol": ""})
    false = false.astype(known.dtypes)
    return replace(
        market,
        raw=market.raw._replace(fields=fields, present=present),
        actions=pd.concat([known, false], ignore_index=True),
    )


def always(symbols) -> pd.DataFrame:
    return membership.intervals((s, pd.NaT, pd.NaT) for s in symbols)
