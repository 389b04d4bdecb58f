"""Small frames of bars and actions for tests of the store and the market."""

from __future__ import annotations

import pandas as pd

from quant50lib.utils import dates


def bars(rows: list[tuple], **more: float) -> pd.DataFrame:
    """Bars from (symbol, session, close) or (symbol, session, close, volume)."""
    padded = [(*row, 100.0)[:4] for row in rows]
    frame = pd.DataFrame(padded, columns=["symbol", "session", "close", "volume"])
    frame["session"] = pd.to_datetime(frame["session"]).astype("datetime64[us]")
    frame = frame.astype({"symbol": "str", "close": float, "volume": float})
    frame = frame.assign(open=frame["close"], high=frame["close"], low=frame["close"], **more)
    return frame[["symbol", "session", "open", "high", "low", "close", "volume", *more]]


def actions(rows: list[tuple]) -> pd.DataFrame:
    """Actions from (symbol, type, ex_date, new_rate, old_rate, cash)."""
    names = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash"]
    frame = pd.DataFrame(rows, columns=names)
    frame["ex_date"] = pd.to_datetime(frame["ex_date"]).astype("datetime64[us]")
    rates = {name: float for name in ("new_rate", "old_rate", "cash")}
    frame = frame.astype({"symbol": "str", "type": "str"} | rates)
    ids = pd.Series([f"{n:08d}" for n in range(len(frame))], dtype="str")
    return frame.assign(id=ids, other_symbol=pd.Series(None, index=frame.index, dtype="str"))


def instant(text: str) -> pd.Timestamp:
    """A moment in UTC."""
    return pd.Timestamp(text, tz="UTC")


def after(session: str) -> pd.Timestamp:
    """22:00 UTC of a session, when its daily run is due."""
    return dates.scheduled(session)
