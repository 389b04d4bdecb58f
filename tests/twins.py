"""A small market of our own making, served by a real twin: for tests of orders and books."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests

from quant50lib.adapters.broker import Broker, connect
from quant50lib.settings import Secrets, Settings, SimulatorSettings
from quant50lib.simulator.process import Twin, attach_or_start
from quant50lib.utils import dates

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "SPY")
SESSIONS = dates.sessions_between("2024-05-20", "2024-06-07")
#: (symbol, ex-session, type, new, old, cash)
ACTIONS = (
    ("BBB", SESSIONS[4], "forward_split", 3, 2, 0.0),
    ("DDD", SESSIONS[6], "reverse_split", 1, 7, 0.0),
    ("CCC", SESSIONS[5], "cash_dividend", 1, 1, 0.37),
)
FAST = {
    "grace_seconds": 0.05,
    "poll_seconds": 0.05,
    "settle_seconds": 1.0,
    "read_timeout_seconds": 5.0,
    "requests_per_minute": 100_000,
}


def closes(seed: int = 1) -> pd.DataFrame:
    """Closes as traded, sessions x symbols; a split shows as a jump."""
    rng = np.random.default_rng(seed)
    walk = np.exp(np.cumsum(rng.normal(0, 0.01, (len(SESSIONS), len(SYMBOLS))), axis=0))
    table = pd.DataFrame(walk * [31.0, 120.0, 55.5, 4.2, 260.0, 500.0], SESSIONS, list(SYMBOLS))
    for symbol, ex_session, kind, new, old, _ in ACTIONS:
        if kind.endswith("split"):
            table.loc[ex_session:, symbol] *= old / new
    return table.round(2)


def actions() -> pd.DataFrame:
    """Corporate actions as `adapters.store.actions_asof` has them."""
    names = ["symbol", "ex_date", "type", "new_rate", "old_rate", "cash"]
    return pd.DataFrame(list(ACTIONS), columns=names)


def universe(session: pd.Timestamp, traded: pd.DataFrame) -> pd.DataFrame:
    """A Universe frame of the session."""
    return pd.DataFrame(
        {
            "session": session,
            "symbol": pd.Series(SYMBOLS, dtype="str"),
            "name": "Name",
            "sector": "Energy",
            "kind": "stock",
            "close": traded.loc[session].to_numpy(),
            "tradable": True,
            "fractionable": True,
            "reason": "",
        }
    )


def target(session: pd.Timestamp, weights: dict[str, float]) -> pd.DataFrame:
    """A Target frame with these weights."""
    return pd.DataFrame(
        {
            "session": session,
            "symbol": pd.Series(list(weights), dtype="str"),
            "sector": "Energy",
            "held": 0.0,
            "weight": list(weights.values()),
            "expected_return": 0.0,
            "risk_share": 0.0,
            "intent": "rebalance",
        }
    )


def write_market(folder: Path) -> None:
    """The files bars.parquet, actions.csv and names.csv."""
    close = closes()
    long = close.stack().rename("close").reset_index()
    long.columns = ["date", "symbol", "close"]
    long["date"] = long["date"].dt.date
    opening = (long["close"] * 1.001).round(2)
    high, low = long["close"] * 1.01, long["close"] * 0.99
    bars = long.assign(open=opening, high=high, low=low, volume=1_000_000.0)
    order = ["symbol", "date", "open", "high", "low", "close", "volume"]
    bars[order].to_parquet(folder / "bars.parquet", index=False)
    lines = ["symbol,ex_date,type,ratio_new,ratio_old,cash_amount,already_in_prices"]
    for symbol, ex_session, kind, new, old, cash in ACTIONS:
        ratio = f"{new},{old}," if kind.endswith("split") else f",,{cash}"
        lines.append(f"{symbol},{ex_session:%Y-%m-%d},{kind},{ratio},no")
    (folder / "actions.csv").write_text("\n".join(lines) + "\n")
    names = [f"{s},{s} Corporation,Energy,stock" for s in SYMBOLS]
    (folder / "names.csv").write_text("\n".join(["symbol,name,sector,kind", *names]) + "\n")


@contextmanager
def running(folder: Path, session: pd.Timestamp = SESSIONS[1], **rules: Any) -> Iterator[Twin]:
    """A twin of the small market, its clock at 22:00 UTC of the session."""
    write_market(folder)
    settings = SimulatorSettings(
        market=str(folder / "bars.parquet"), actions=folder / "actions.csv", **rules
    )
    now = dates.scheduled(session)
    with attach_or_start(folder / "twin.db", settings, folder / "names.csv", now) as twin:
        yield twin


def settings(**execute: Any) -> Settings:
    """Settings of a desk that does not wait."""
    return Settings.model_validate({"execute": {**FAST, **execute}})


def broker(twin: Twin, **execute: Any) -> Broker:
    """Our client of the twin."""
    return connect(settings(**execute), Secrets(), twin.url)


def fault(twin: Twin, action: dict[str, Any], times: int = 1, **match: Any) -> None:
    """Put a fault into force."""
    rule = {"match": match, "times": times, "action": action}
    requests.post(f"{twin.control_url}/sim/faults", json=[rule], timeout=10).raise_for_status()


def no_faults(twin: Twin) -> None:
    """End all faults."""
    requests.delete(f"{twin.control_url}/sim/faults", timeout=10).raise_for_status()


def requests_of(twin: Twin, method: str) -> list[dict[str, Any]]:
    """The twin's log of the requests with a method."""
    reply = requests.get(f"{twin.control_url}/sim/requests", timeout=10)
    return [line for line in reply.json() if line["method"] == method]


def reset(twin: Twin, session: pd.Timestamp = SESSIONS[1], **rules: Any) -> Twin:
    """The same twin with an empty account and no fault, its clock at 22:00 UTC of the session."""
    body = {"now": dates.scheduled(session).isoformat(), "cash": "100000", "p_partial": 0.0}
    body |= {"splits_on_paper": "apply", "activity_delay": "at_once", "reserve_factor": "1"}
    url = f"{twin.control_url}/sim/reset"
    reply = requests.post(url, json=body | rules, timeout=30)
    assert reply.ok, reply.text
    return twin


def corporate_action(twin: Twin, **action: Any) -> None:
    """Announce a corporate action at the twin, which it will carry out."""
    url = f"{twin.control_url}/sim/corporate_actions"
    reply = requests.post(url, json=[action], timeout=10)
    assert reply.ok, reply.text


def known_action(symbol: str, kind: str, ex_date: pd.Timestamp, **own: Any) -> pd.DataFrame:
    """The table of actions with one more."""
    row = {"symbol": symbol, "type": kind, "ex_date": ex_date, "other_symbol": None} | own
    return pd.concat([actions(), pd.DataFrame([row])], ignore_index=True)
