"""Synthetic days for the report's tests: frames that keep the contracts, from a seed and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from quant50lib import contracts
from quant50lib.contracts import Table
from quant50lib.services import alarm
from quant50lib.services.panel import Panel
from quant50lib.settings import Settings
from quant50lib.utils import dates
from tests import factories

SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Utilities",
    "Bond ETF",
)
SHADOW_REASON = "over 1% of the median daily volume: $12,345 of $9,876"


def universe(names: list[str], session: pd.Timestamp) -> pd.DataFrame:
    rows = [
        {
            "session": session,
            "symbol": name,
            "name": f"{name.title()} International Holdings Corporation"[: 12 + i % 30],
            "sector": SECTORS[i % len(SECTORS)],
            "kind": "etf" if name == "SPY" else "stock",
            "close": 20.0 + i,
            "tradable": i % 9 != 4,
            "fractionable": True,
            "reason": "" if i % 9 != 4 else "quarantine",
        }
        for i, name in enumerate(names)
    ]
    return as_table(contracts.Universe, rows)


def as_table(table: type[Table], rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=table.columns())
    dtypes = {name: str(dtype) for name, dtype in table.empty().dtypes.items()}
    dtypes = {name: "str" if "string" in d else d for name, d in dtypes.items()}
    return table.check(frame.astype(dtypes))


def equity(
    last: pd.Timestamp, sessions: int, seed: int = 0, start: float = 100_000
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    index = dates.sessions_between("2000-01-03", last)[-sessions:]
    value = start * np.cumprod(np.r_[1.0, 1 + rng.normal(4e-4, 5e-3, sessions - 1)])
    share = np.clip(0.15 * np.arange(sessions), 0, 0.97)
    rows = [
        {
            "session": index[i],
            "cash": value[i] * (1 - share[i]),
            "holdings": value[i] * share[i],
            "equity": value[i],
            "broker_equity": value[i],
            "dividends": 0.31 * i,
            "flow": 0.0,
            "turnover": 0.15 if 0 < i < 7 else 0.04 * (i > 0),
        }
        for i in range(sessions)
    ]
    return as_table(contracts.Equity, rows)


def holdings(day: pd.DataFrame, n: int, value: float, entered: pd.Timestamp) -> pd.DataFrame:
    """`n` holdings of geometrically falling weight."""
    weights = 0.92 ** np.arange(n)
    weights = 0.95 * weights / weights.sum() if n else weights
    rows = [
        {
            "session": day["session"].iloc[0],
            "symbol": row.symbol,
            "qty": weight * value / row.close,
            "entry_price": row.close * (1 + 0.01 * ((i % 5) - 2)),
            "entry_session": entered,
            "price": row.close,
            "value": weight * value,
            "weight": weight,
        }
        for i, (row, weight) in enumerate(zip(day.head(n).itertuples(), weights, strict=True))
    ]
    return as_table(contracts.Holding, rows)


def target(day: pd.DataFrame, held: pd.DataFrame, n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    had = held.set_index("symbol")["weight"]
    names = list(dict.fromkeys([*day["symbol"].head(n), *had.index]))
    weight = pd.Series(rng.dirichlet(np.ones(len(names))) * 0.96 if names else [], names)
    weight = weight.clip(upper=0.05)
    share = weight / weight.sum() if names else weight
    rows = [
        {
            "session": day["session"].iloc[0],
            "symbol": name,
            "sector": day.set_index("symbol").loc[name, "sector"],
            "held": float(had.get(name, 0.0)),
            "weight": float(weight[name]),
            "expected_return": float(rng.normal(1e-3, 5e-4)),
            "risk_share": float(share[name]),
            "intent": "rebalance",
        }
        for name in names
    ]
    return as_table(contracts.Target, rows)


def limits(wanted: pd.DataFrame, breach: bool = False) -> pd.DataFrame:
    session = dates.as_session("2017-06-14") if wanted.empty else wanted["session"].iloc[0]
    values = {
        "names": (float((wanted["weight"] > 0).sum()), 50.0),
        "gross": (float(wanted["weight"].sum()), 0.99),
        "cash": (1 - float(wanted["weight"].sum()), 0.01),
        "volatility": (0.0713, 0.10),
        "turnover": (0.15, 0.15),
        "max_weight": (0.0492, 0.05),
        "min_weight": (0.0031, 0.0025),
    }
    for name, value in wanted.groupby("sector")["weight"].sum().items():
        values[f"sector:{name}"] = (float(value), 0.25)
    if breach:
        values["sector:Energy"] = (0.271, 0.25)
    rows = []
    for rule, (value, limit) in values.items():
        left = value - limit if rule in ("cash", "min_weight") else limit - value
        rows.append(
            {
                "session": session,
                "rule": rule,
                "value": value,
                "limit": limit,
                "headroom": left,
                "breached": left < -1e-8,
                "price_bps": 0.42 if abs(left) < 1e-8 else 0.0,
                "detail": "cured in 2 sessions" if left < -1e-8 else "",
            }
        )
    return as_table(contracts.Limit, rows)


def orders(day: pd.DataFrame, n: int, state: str = "accepted", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    session = day["session"].iloc[0]
    rows = []
    for i, row in enumerate(day.head(n).itertuples()):
        side = "sell" if i % 3 == 2 else "buy"
        notional = float(rng.lognormal(7, 0.7))
        deferred = i % 11 == 10
        rows.append(
            {
                "session": session,
                "client_order_id": f"q50-{session:%Y%m%d}-{row.symbol}-{side}-rebalance-1",
                "symbol": row.symbol,
                "side": side,
                "intent": "rebalance",
                "attempt": 1,
                "qty": notional / row.close,
                "price": row.close,
                "notional": notional,
                "state": "deferred" if deferred else state,
                "broker_id": "" if deferred else f"b{i}",
                "filled_qty": 0.0,
                "filled_price": np.nan,
                "reason": SHADOW_REASON if deferred else "",
            }
        )
    return as_table(contracts.Order, rows)


def fills(day: pd.DataFrame, n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "fill_id": f"f{i}",
            "session": row.session,
            "client_order_id": f"q50-x-{i}",
            "symbol": row.symbol,
            "side": "buy" if i % 3 else "sell",
            "qty": 10.0 + i / 3,
            "price": row.close,
            "value": (10.0 + i / 3) * row.close,
            "slippage_bps": float(rng.normal(1, 12)) if i % 7 else np.nan,
        }
        for i, row in enumerate(day.head(n).itertuples())
    ]
    return as_table(contracts.Fill, rows)


def forecast(day: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    alpha = rng.normal(0, 4e-4, len(day))
    rows = [
        {
            "session": row.session,
            "symbol": row.symbol,
            "score": float(rng.normal()),
            "volatility": 0.03,
            "alpha": float(a),
            "expected_return": 1e-3 + float(a),
            "error": 1e-3,
        }
        for row, a in zip(day.itertuples(), alpha, strict=True)
    ]
    return as_table(contracts.Forecast, rows)


def risk_state(
    session: pd.Timestamp, drawdown: float = 0.012, halted: bool = False
) -> pd.DataFrame:
    row = {
        "session": session,
        "mark": 103_000.0,
        "drawdown": drawdown,
        "budget": 0.0 if halted else 1.0,
        "halted": halted,
        "halted_sessions": 4 if halted else 0,
        "feedback": 1.04,
    }
    return as_table(contracts.RiskState, [row])


def risk_events(day: pd.DataFrame, n: int) -> pd.DataFrame:
    rows = [
        {
            "session": row.session,
            "rule": "stop_loss",
            "symbol": row.symbol,
            "value": 0.061 + i / 100,
            "limit": 0.052,
            "detail": "sold at the next open, barred for 5 sessions",
        }
        for i, row in enumerate(day.head(n).itertuples())
    ]
    return as_table(contracts.RiskEvent, rows)


def findings(day: pd.DataFrame, n: int) -> pd.DataFrame:
    rows = [
        {
            "gate": ("unexplained_jump", "stale_price", "ohlc")[i % 3],
            "symbol": row.symbol,
            "session": dates.shift(row.session, -3 * i),
            "severity": "quarantine" if i % 2 == 0 else "note",
            "detail": "close moved +61.2% in one session and no corporate action explains it",
        }
        for i, row in enumerate(day.head(n).itertuples())
    ]
    return as_table(contracts.Finding, rows)


def features(names: list[str], session: pd.Timestamp, n: int = 6, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=len(names))
    rows = []
    for k in range(n):
        z = (0.9 if k < 2 else 0.1) * common + rng.normal(size=len(names))
        for name, value in zip(names, z, strict=True):
            rows.append((session, name, f"feature_{k}", 10.0**k * value, value))
    columns = contracts.Feature.columns()
    return as_table(contracts.Feature, [dict(zip(columns, row, strict=True)) for row in rows])


def labels(names: list[str], sessions: pd.DatetimeIndex, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([sessions, names], names=["session", "symbol"])
    frame = index.to_frame(index=False)
    frame["known_at"] = frame["session"] + pd.Timedelta(days=8)
    frame["excess_return"] = rng.normal(0, 0.03, len(frame))
    frame["positive"] = frame["excess_return"] > 0
    return contracts.Label.check(
        frame.astype({"session": contracts.TIME, "known_at": contracts.TIME, "symbol": "str"})
    )


def folds() -> pd.DataFrame:
    rows = [
        {
            "model": model,
            "fold": fold,
            "first_session": pd.Timestamp("2014-01-02"),
            "last_session": pd.Timestamp("2014-12-31"),
            "rows": 50_000,
            "auc": 0.512 + i / 500,
            "rank_ic": 0.011 + i / 400 - 0.004 * k,
            "rank_ic_error": 0.009,
        }
        for k, model in enumerate(("lightgbm", "logistic", "momentum"))
        for i, fold in enumerate(("0", "1", "2", "all"))
    ]
    return as_table(contracts.Fold, rows)


CARD = {
    "model_id": "2017-05-26-3f9a",
    "trained_at": "2017-05-26",
    "metrics": {
        "rank_ic": 0.0142,
        "rank_ic_error": 0.0071,
        "auc": 0.512,
        "auc_error": 0.004,
        "calibration_slope": 0.81,
        "calibration_slope_error": 0.33,
        "sharpe_gain_equal_weight": 0.21,
        "sharpe_gain_equal_weight_low": -0.18,
        "sharpe_gain_equal_weight_high": 0.64,
        "sharpe_gain_momentum": None,
    },
}


@dataclass
class Day:
    """All tables that the report reads, of one made-up session."""

    run_date: pd.Timestamp
    panel: Panel
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __getitem__(self, table: type[Table]) -> pd.DataFrame:
        return self.tables[table.__name__]


def drift(run_date: pd.Timestamp) -> pd.DataFrame:
    """One feature and the score against training, and the IC since."""
    row = {"session": run_date, "low": None, "high": None, "limit": 0.25, "alarm": False, "n": 1}
    rows = [
        {**row, "measure": "feature", "name": "mom_12_1", "value": 0.02},
        {**row, "measure": "score", "name": "score", "value": 0.04},
        {
            **row,
            "measure": "ic",
            "name": "rank_ic",
            "value": 0.01,
            "low": -0.2,
            "high": 0.2,
            "n": 10,
        },
    ]
    return as_table(contracts.Drift, rows)


def day(
    sessions: int = 10,
    held: int = 40,
    ordered: int = 24,
    filled: int = 18,
    breach: bool = False,
    found: int = 5,
    stopped: int = 1,
    seed: int = 0,
) -> Day:
    """A day of an account of that age, with so many holdings, orders, fills, findings and stops."""
    panel = factories.panel(120, 320, seed, "2017-06-14")
    run_date = panel.sessions[-1]
    listed = universe(list(panel.symbols), run_date)
    account = equity(run_date, sessions, seed)
    owned = holdings(listed, held, float(account["equity"].iloc[-1]), account["session"].iloc[0])
    wanted = target(listed, owned, 48, seed)
    tables = {
        "Universe": listed,
        "Finding": findings(listed, found),
        "Holding": owned,
        "Equity": account,
        "Fill": fills(listed, filled, seed),
        "Forecast": forecast(listed, seed),
        "Drift": drift(run_date),
        "RiskState": risk_state(run_date),
        "RiskEvent": risk_events(listed, stopped),
        "Target": wanted,
        "Limit": limits(wanted, breach),
        "Order": orders(listed, ordered, seed=seed),
    }
    return Day(run_date, panel, tables)


def exposure(wanted: pd.DataFrame) -> dict[str, Any]:
    """What notebook 05 records of the weights wanted."""
    held = wanted[wanted["weight"] > 0]
    said: dict[str, Any] = {"largest_name": "", "largest_weight": 0.0}
    if len(held):
        top = held.loc[held["weight"].idxmax()]
        said = {"largest_name": top["symbol"], "largest_weight": float(top["weight"])}
    losses = ((0.95, 0.0071, 0.0098), (0.99, 0.0124, 0.0151))
    for level, at_risk, beyond in losses:
        for view, factor in (("historical", 1.0), ("parametric", 0.9)):
            said[f"value_at_risk_{level:.0%}_{view}".replace("%", "_percent")] = factor * at_risk
            name = f"expected_shortfall_{level:.0%}_{view}".replace("%", "_percent")
            said[name] = factor * beyond
    return said | {
        "beta": 0.82,
        "herfindahl": 0.03,
        "effective_names": 33.3,
        "slowest_name_to_exit": said["largest_name"],
        "sessions_to_exit": 0.012,
        "sessions_to_exit_95_percent": 0.004,
    }


def surprises(account: pd.DataFrame, volatility: float = 0.08) -> pd.DataFrame:
    """What `pipeline.surprises` finds: a forecast for every session after the first."""
    lines = account.set_index("session")
    returns = lines["equity"].pct_change()
    forecast = pd.Series(volatility, lines.index).where(returns.notna())
    surprise = returns / (forecast / np.sqrt(252))
    return pd.DataFrame({"return": returns, "forecast": forecast, "surprise": surprise})


class FakeStage:
    """What `pipeline.open_stage` hands to the report notebook, from a made-up day."""

    def __init__(self, made: Day, simulated: str, card: dict[str, Any] | None = None) -> None:
        self.made = made
        self.simulated = simulated
        self.settings = Settings()
        self.run_date = made.run_date
        self.panel = made.panel
        self.benchmark = "SPY"
        self.benchmark_returns = made.panel.close["SPY"].pct_change().dropna()
        self.model_card = CARD if card is None else card or None
        self.written: dict[str, pd.DataFrame] = {}
        self.recorded: dict[str, Any] = {}

    def read(self, table: type[Table]) -> pd.DataFrame:
        return self.made[table]

    def write(self, table: type[Table], frame: pd.DataFrame) -> pd.DataFrame:
        self.written[table.__name__] = table.check(frame)
        return self.written[table.__name__]

    def scraps(self) -> dict[str, dict[str, Any]]:
        brakes = {"kill_switch": None, "frozen": ["ABC: the broker has not applied the split"]}
        return {
            "ingest": {"books": {"to_look_at": []}},
            "optimize": {"exposure": exposure(self.made[contracts.Target])},
            "execute": {"brakes": brakes},
        }

    @property
    def surprises(self) -> pd.DataFrame:
        return surprises(self.made[contracts.Equity])

    @property
    def alarm(self) -> alarm.Standing:
        known = self.surprises["surprise"]
        return alarm.standing(known[known.index.year == self.run_date.year], 0.05)

    def record(self, name: str, **metrics: Any) -> SimpleNamespace:
        self.recorded[name] = metrics
        return SimpleNamespace(**metrics)
