"""Demo markets with a known edge as panels, in process; and what an oracle makes of the edge."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from quant50lib.services import label
from quant50lib.services.data import to_panel
from quant50lib.services.panel import Panel
from quant50lib.services.training import TrainingSet, training_set
from quant50lib.settings import FeatureSettings
from quant50lib.simulator.demo import BETA, DemoMarket
from quant50lib.simulator.market import Listing
from quant50lib.utils import dates

BENCHMARK = "SPY"
EDGE_SESSIONS, EDGE_LIMIT = 5, 3.0


def listings(per_sector: int) -> list[Listing]:
    """Made-up stocks of every sector, up to 26 each, and the benchmark."""
    stocks = [
        Listing(f"{sector[0]}{sector[-1].upper()}{chr(65 + i)}{k}", sector, sector, "stock")
        for k, sector in enumerate(sorted(BETA))
        for i in range(per_sector)
    ]
    return [*stocks, Listing(BENCHMARK, BENCHMARK, "Broad Equity", "etf")]


def planted_panel(
    planted_ic: float, seed: int, per_sector: int, first: str, last: str
) -> tuple[Panel, pd.Series]:
    """The demo market with that edge, adjusted as the desk does it; and the sectors by symbol."""
    names = listings(per_sector)
    market = DemoMarket(seed, first, names, planted_ic)
    market.extend(dt.date.fromisoformat(last))
    panel = to_panel(_bars(market), _actions(market), dates.as_session(last))
    return panel, pd.Series({name.symbol: name.sector for name in names}).drop(BENCHMARK)


def _bars(market: DemoMarket) -> pd.DataFrame:
    parts = []
    for symbol in market.listings():
        series = market.series(symbol)
        fields = {k: getattr(series, k) for k in ("open", "high", "low", "close", "volume")}
        session = series.day.astype("datetime64[us]")
        parts.append(pd.DataFrame({"symbol": symbol, "session": session, **fields}))
    return pd.concat(parts, ignore_index=True)


def _actions(market: DemoMarket) -> pd.DataFrame:
    found = [
        (a.symbol, a.kind, a.ex_date, float(a.new), float(a.old), float(a.cash))
        for a in market.actions()
    ]
    columns = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash"]
    return pd.DataFrame(found, columns=columns).astype({"ex_date": "datetime64[us]"})


def planted_rows(
    panel: Panel, sectors: pd.Series, horizon: int, settings: FeatureSettings
) -> TrainingSet:
    """What the desk's model would learn from."""
    last = panel.sessions[-1]
    table = label.to_table(label.excess_return(panel, BENCHMARK, horizon), horizon, last)
    known = label.KnownLabels(table, last, horizon)
    return training_set(panel, known, sectors, settings, BENCHMARK)


def oracle_score(panel: Panel) -> pd.DataFrame:
    """The planted variable, (n_sessions, n_symbols), as near as prices tell it.

    The demo market lifts the next session's return by a multiple of minus the excess log return of
    the last five sessions over the market, in units of the name's own volatility, within ±3. The
    volatility is taken over the whole sample: an oracle may.
    """
    daily = np.log(panel.close).diff()
    excess = daily.sub(daily[BENCHMARK], axis=0).rolling(EDGE_SESSIONS).sum()
    return (-excess / (daily.std() * EDGE_SESSIONS**0.5)).clip(-EDGE_LIMIT, EDGE_LIMIT)


def oracle_ic(panel: Panel, horizon: int, warm: int = 0) -> pd.Series:
    """Rank IC of the planted variable with the label, by session, without the first `warm`."""
    score = oracle_score(panel).iloc[warm:].drop(columns=BENCHMARK)
    excess = label.excess_return(panel, BENCHMARK, horizon).iloc[warm:].drop(columns=BENCHMARK)
    known = score.notna() & excess.notna()
    ranks = [values.where(known).rank(axis=1) for values in (score, excess)]
    return ranks[0].corrwith(ranks[1], axis=1).dropna()
