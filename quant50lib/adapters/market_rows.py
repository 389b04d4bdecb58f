"""Rows of the store out of Alpaca's JSON; what is no row is named, not repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from quant50lib.utils import dates

#: Alpaca's short names, in the order of the store's columns
BAR_FIELDS = {
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "n": "trade_count",
    "vw": "vwap",
}
NEEDED = ("open", "high", "low", "close", "volume")
#: Alpaca's groups of corporate actions are plurals of our types
IRREGULAR = {"reorganizations": "reorganization"}
OWN_SYMBOL = ("symbol", "source_symbol", "acquiree_symbol", "old_symbol")
OTHER_SYMBOL = ("new_symbol", "acquirer_symbol", "alternate_symbol")
DATE = ("ex_date", "effective_date", "process_date")
NO_STATUS = "unlisted"


def bars(
    found: Mapping[str, list[dict[str, Any]]] | None,
    symbols: Sequence[str],
    expected: pd.DatetimeIndex,
) -> tuple[pd.DataFrame, list[str]]:
    """One page of bars, sorted by symbol and session, and the rows left out with the reason.

    Left out are rows without a price or a volume, of symbols or sessions nobody asked for, and of
    days on which the exchange is closed.
    """
    wanted = set(symbols)
    rows = [
        (symbol, *(bar.get(key) for key in ("t", *BAR_FIELDS)))
        for symbol, series in (found or {}).items()
        for bar in series or ()
        if isinstance(bar, dict)
    ]
    frame = pd.DataFrame(rows, columns=["symbol", "session", *BAR_FIELDS.values()])
    frame = frame.astype({"symbol": "str"})
    frame["session"] = _session(frame["session"])
    for name in BAR_FIELDS.values():
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
    trouble = pd.Series("", index=frame.index, dtype="str")
    trouble = trouble.mask(
        frame[list(NEEDED)].isna().any(axis=1), "a price or the volume is missing"
    )
    trouble = trouble.mask(~frame["session"].isin(expected), "not a session that was asked for")
    trouble = trouble.mask(~frame["symbol"].isin(wanted), "not a symbol that was asked for")
    bad = trouble != ""
    dropped = [
        f"{r.symbol} {str(r.session)[:10]}: {r.why}"
        for r in frame.assign(why=trouble)[bad].itertuples()
    ]
    return frame[~bad].sort_values(["symbol", "session"], ignore_index=True), dropped


def _session(stamps: pd.Series) -> pd.Series:
    """New York dates of time stamps; NaT for what is none."""
    moments = pd.to_datetime(stamps, utc=True, errors="coerce", format="ISO8601")
    local = moments.dt.tz_convert(dates.NEW_YORK).dt.tz_localize(None).dt.normalize()
    return local.astype("datetime64[us]")


def actions(
    groups: Sequence[Mapping[str, list[dict[str, Any]]] | None], symbols: Sequence[str]
) -> pd.DataFrame:
    """One row per corporate action; the last word on an id counts."""
    wanted = set(symbols)
    rows = [
        _action(IRREGULAR.get(plural, plural.removesuffix("s")), record)
        for group in groups
        for plural, records in (group or {}).items()
        for record in records or ()
    ]
    frame = pd.DataFrame(rows, columns=list(ACTION_TYPES)).astype(ACTION_TYPES)
    frame = frame[frame["symbol"].isin(wanted) & frame["ex_date"].notna()]
    return frame.drop_duplicates("id", keep="last").sort_values("id", ignore_index=True)


ACTION_TYPES = {
    "id": "str",
    "symbol": "str",
    "type": "str",
    "ex_date": "datetime64[us]",
    "new_rate": "float64",
    "old_rate": "float64",
    "cash": "float64",
    "other_symbol": "str",
}


def _action(kind: str, record: Mapping[str, Any]) -> tuple[Any, ...]:
    new, old, cash = _terms(kind, record)
    day = pd.to_datetime(_first(record, DATE), errors="coerce", format="%Y-%m-%d")
    symbol, other = _first(record, OWN_SYMBOL), _first(record, OTHER_SYMBOL)
    return record.get("id"), symbol, kind, day, new, old, cash, other


def _terms(kind: str, record: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """New shares, old shares and cash of one old share."""
    new = record.get("new_rate", record.get("acquirer_rate"))
    old = record.get("old_rate", record.get("source_rate", record.get("acquiree_rate")))
    rate = record.get("rate", record.get("cash_rate"))
    if kind == "stock_dividend" and rate is not None:
        return 1 + rate, 1, None
    return new, old, rate


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name)), None)


def assets(listed: Sequence[Mapping[str, Any]], symbols: Sequence[str]) -> pd.DataFrame:
    """One row per symbol asked for; of several assets of one ticker the active one."""
    found: dict[str, Mapping[str, Any]] = {}
    for asset in listed:
        symbol = asset.get("symbol")
        if symbol in found and found[symbol].get("status") == "active":
            continue
        found[str(symbol)] = asset
    rows = [_asset(symbol, found.get(symbol, {})) for symbol in sorted(symbols)]
    columns = ["symbol", "name", "exchange", "tradable", "fractionable", "status"]
    return pd.DataFrame(rows, columns=columns).astype({"tradable": bool, "fractionable": bool})


def _asset(symbol: str, asset: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        symbol,
        str(asset.get("name") or ""),
        str(asset.get("exchange") or ""),
        asset.get("tradable") is True,
        asset.get("fractionable") is True,
        str(asset.get("status") or NO_STATUS),
    )
