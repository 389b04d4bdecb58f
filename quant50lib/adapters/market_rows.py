"""Rows of the store out of Alpaca's JSON; what is no row is named, not repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

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
UNUSED = "a price or the volume is missing"


def bars(
    found: Mapping[str, list[dict[str, Any]]] | None,
    symbols: Sequence[str],
    expected: pd.DatetimeIndex,
) -> tuple[pd.DataFrame, list[str], pd.DataFrame]:
    """One page of bars, sorted by symbol and session, and the rows left out with the reason.

    The last frame tells symbol and session of the rows that are bars of ours but lack a value.

    Left out are rows without a price or a volume, of symbols or sessions nobody asked for, and of
    days on which the exchange is closed.
    """
    told = found or {}
    frame, code = _frame(told)
    trouble = {
        "not a symbol that was asked for": ~np.isin(list(told), list(symbols))[code],
        "not a session that was asked for": ~frame["session"].isin(expected).to_numpy(),
        UNUSED: np.isnan(frame[list(NEEDED)].to_numpy()).any(axis=1),
    }
    bad = np.logical_or.reduce(list(trouble.values()))
    dropped: list[str] = []
    refused = frame.iloc[:0]
    if bad.any():
        why = np.select(list(trouble.values()), list(trouble), "")
        rows = frame.assign(why=why)[bad].itertuples()
        dropped = [f"{row.symbol} {str(row.session)[:10]}: {row.why}" for row in rows]
        refused = frame[why == UNUSED]
        frame, code = frame[~bad].reset_index(drop=True), code[~bad]
    return _sorted(frame, list(told), code), dropped, refused[["symbol", "session"]]


def _frame(told: Mapping[str, list[dict[str, Any]]]) -> tuple[pd.DataFrame, np.ndarray]:
    """All rows of a page that are objects, with the store's types, and the number of each's symbol."""
    series = [_objects(rows) for rows in told.values()]
    flat = list(chain.from_iterable(series))
    code = np.repeat(np.arange(len(series)), [len(rows) for rows in series])
    names = pa.table({"symbol": pa.array(told, pa.string()).take(pa.array(code))})
    columns = {"symbol": names.to_pandas()["symbol"].astype("str")}
    columns |= {"session": _session(_column(flat, "t"))}
    columns |= {name: _number(_column(flat, key)) for key, name in BAR_FIELDS.items()}
    return pd.DataFrame(columns, copy=False), code


def _objects(rows: Any) -> list[dict[str, Any]]:
    found = list(rows or ())
    return found if set(map(type, found)) == {dict} else [b for b in found if isinstance(b, dict)]


def _column(bars: list[dict[str, Any]], key: str) -> list[Any]:
    """One field of all bars; None where a bar lacks it."""
    try:
        return [bar[key] for bar in bars]
    except KeyError:
        return [bar.get(key) for bar in bars]


def _number(values: Sequence[Any]) -> np.ndarray:
    """Numbers as they are, and NaN for what is none."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(float)


def _session(stamps: Sequence[Any]) -> pd.Series:
    """New York dates of time stamps; NaT for what is none. A page repeats few stamps many times."""
    codes, words = pd.factorize(pd.Series(stamps, dtype=object), use_na_sentinel=False)
    moments = pd.to_datetime(pd.Series(words), utc=True, errors="coerce", format="ISO8601")
    local = moments.dt.tz_convert(dates.NEW_YORK).dt.tz_localize(None).dt.normalize()
    return local.astype("datetime64[us]").take(codes).reset_index(drop=True)


def _sorted(frame: pd.DataFrame, names: list[str], code: np.ndarray) -> pd.DataFrame:
    """By symbol and session, as an honest page already is."""
    rank = np.argsort(np.argsort(names))[code] if names else code
    session = frame["session"].to_numpy().astype(np.int64)
    step = np.diff(rank)
    if ((step > 0) | ((step == 0) & (np.diff(session) >= 0))).all():
        return frame
    return frame.take(np.lexsort([session, rank])).reset_index(drop=True)


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
