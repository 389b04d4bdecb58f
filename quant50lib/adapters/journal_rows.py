"""Between rows of the ledger and the records and frames of the library."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from quant50lib.contracts import Order
from quant50lib.errors import ReconciliationError
from quant50lib.services.execute import in_sequence
from quant50lib.services.ledger import (
    MONEY,
    SHARE,
    Entry,
    Execution,
    decimal,
    session_of,
    slippage_bps,
)
from quant50lib.utils.frames import typed

#: what happened to orders after an event, oldest first, with what each order is
SINCE = """
SELECT o.*, e.state, e.broker_id, e.filled_qty, e.filled_price, e.reason, e.event
FROM orders o JOIN order_events e USING (client_order_id) WHERE e.event > ? ORDER BY e.event
"""
#: the line of each session that counts; ends in a WHERE
LINES = """
SELECT * FROM (
    SELECT * FROM sessions QUALIFY row_number() OVER (
        PARTITION BY session ORDER BY event DESC) = 1) WHERE true
"""
#: fills of a range of sessions, the price that each was planned on, and a split in between
FILLS = """
SELECT f.*, o.price AS planned, p.event_id AS split
FROM fills f JOIN orders o USING (client_order_id)
LEFT JOIN position_events p
    ON p.kind = 'split' AND p.symbol = f.symbol AND p.moment > o.session AND p.moment <= f.moment
WHERE f.session BETWEEN ? AND ? ORDER BY f.moment, f.fill_id
"""


# -- values -----------------------------------------------------------------------------------


def naive(at: pd.Timestamp) -> dt.datetime:
    """An instant as the ledger stores it: UTC without zone."""
    return at.tz_convert("UTC").tz_localize(None).to_pydatetime()


def instant(stored: dt.datetime) -> pd.Timestamp:
    """A stored instant, UTC."""
    return pd.Timestamp(stored).tz_localize("UTC").as_unit("us")


def date(session: pd.Timestamp) -> dt.date:
    """A session as the ledger stores it."""
    return pd.Timestamp(session).date()


def session(stored: dt.date) -> pd.Timestamp:
    """A stored session."""
    return pd.Timestamp(stored).as_unit("us")


def only_session(frame: pd.DataFrame) -> pd.Timestamp:
    """The one session of a frame."""
    found = frame["session"].unique()
    if len(found) != 1:
        raise ValueError(f"rows of one session expected, found {len(found)}")
    return pd.Timestamp(found[0])


def write_durably(path: Path, text: str) -> None:
    """A small file that is on disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


# -- SQL --------------------------------------------------------------------------------------


def records(
    connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries."""
    result = connection.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row)) for row in result.fetchall()]


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Append rows, all with the same keys: one statement, and one list for each column.

    Numbers go as text, because a list of numbers of unequal scale would lose digits on its way.
    """
    if not rows:
        return
    columns = [[_plain(row[name]) for row in rows] for name in rows[0]]
    lists = ", ".join(["unnest(?)"] * len(columns))
    connection.execute(f"INSERT INTO {table} ({', '.join(rows[0])}) SELECT {lists}", columns)


def _plain(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


# -- orders -----------------------------------------------------------------------------------


def order_rows(orders: pd.DataFrame) -> list[dict[str, Any]]:
    """An Order frame as rows of `orders`, numbered in the sequence of sending."""
    return [
        {
            "client_order_id": order.client_order_id,
            "session": date(order.session),
            "symbol": order.symbol,
            "side": order.side,
            "intent": order.intent,
            "attempt": order.attempt,
            "qty": decimal(order.qty).quantize(SHARE),
            "price": decimal(order.price).quantize(SHARE),
            "place": place,
        }
        for place, order in enumerate(in_sequence(orders).itertuples())
    ]


def first_events(orders: pd.DataFrame, at: pd.Timestamp) -> list[dict[str, Any]]:
    """The state in which each order begins."""
    return [
        {
            "client_order_id": order.client_order_id,
            "state": order.state,
            "broker_id": "",
            "filled_qty": Decimal(0),
            "filled_price": None,
            "reason": order.reason,
            "moment": naive(at),
        }
        for order in in_sequence(orders).itertuples()
    ]


def grown_event(
    order: Mapping[str, Any], qty: Decimal, value: Decimal, at: pd.Timestamp
) -> dict[str, Any]:
    """The same end of an order with more filled: `qty` shares for `value` US dollars in all."""
    with localcontext(prec=50):
        price = (value / qty).quantize(MONEY)
    return {
        "client_order_id": order["client_order_id"],
        "state": order["state"],
        "broker_id": order["broker_id"],
        "filled_qty": qty,
        "filled_price": price,
        "reason": "filled after it had ended",
        "moment": naive(at),
    }


def orders_since(
    connection: duckdb.DuckDBPyConnection, seen: int
) -> tuple[int, list[dict[str, Any]]]:
    """The number of the newest order event, and orders as each event after `seen` left them."""
    newest = records(connection, "SELECT max(event) AS newest FROM order_events")[0]["newest"] or 0
    return newest, records(connection, SINCE, [seen]) if newest > seen else []


def order_frame(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Orders as they stand as an Order frame."""
    return typed(Order, [_order(row) for row in found]) if found else _no_orders().copy()


@lru_cache(maxsize=1)
def _no_orders() -> pd.DataFrame:
    """The frequent answer, made once: dtypes are slow."""
    return typed(Order, [])


def _order(row: Mapping[str, Any]) -> dict[str, Any]:
    price = row["filled_price"]
    return {
        **row,
        "session": session(row["session"]),
        "qty": float(row["qty"]),
        "price": float(row["price"]),
        "notional": float(row["qty"] * row["price"]),
        "filled_qty": float(row["filled_qty"]),
        "filled_price": None if price is None else float(price),
    }


# -- the books --------------------------------------------------------------------------------


def known_events(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> set[str]:
    """Those of the events that were booked already."""
    asked = list(names)
    query = (
        "SELECT event_id FROM cash_events WHERE event_id IN (SELECT unnest(?)) "
        "UNION SELECT event_id FROM position_events WHERE event_id IN (SELECT unnest(?))"
    )
    found = records(connection, query, [asked, asked]) if asked else []
    return {row["event_id"] for row in found}


def position_entries(connection: duckdb.DuckDBPyConnection, after: int) -> tuple[int, list[Entry]]:
    """The number of the newest position event, and the entries numbered above `after`."""
    newest = records(connection, "SELECT max(event) AS newest FROM position_events")[0]["newest"]
    query = "SELECT * FROM position_events WHERE event > ? ORDER BY event"
    fresh = [
        Entry(
            row["event_id"],
            instant(row["moment"]),
            row["kind"],
            row["symbol"],
            qty=row["qty"],
            cost=row["cost"],
            detail=row["detail"],
        )
        for row in records(connection, query, [after])
    ]
    return newest or 0, fresh


def fill_row(fill: Execution) -> dict[str, Any]:
    """An execution as a row of `fills`."""
    return {
        "fill_id": fill.fill_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side,
        "qty": _exact(fill.qty, fill.fill_id),
        "price": _exact(fill.price, fill.fill_id),
        "session": date(session_of(fill.at)),
        "moment": naive(fill.at),
    }


def _exact(value: Decimal, of: str) -> Decimal:
    """The value with nine decimals; more would be silently cut by the database."""
    kept = value.quantize(SHARE)
    if kept != value:
        raise ReconciliationError(f"{of}: {value} has more than nine decimals")
    return kept


def cash_row(entry: Entry) -> dict[str, Any]:
    """An entry as a row of `cash_events`."""
    return {
        "event_id": entry.event_id,
        "moment": naive(entry.at),
        "kind": entry.kind,
        "symbol": entry.symbol,
        "amount": entry.cash,
        "detail": entry.detail,
    }


def position_row(entry: Entry) -> dict[str, Any]:
    """An entry as a row of `position_events`."""
    return {
        "event_id": entry.event_id,
        "moment": naive(entry.at),
        "kind": entry.kind,
        "symbol": entry.symbol,
        "qty": entry.qty,
        "cost": entry.cost,
        "detail": entry.detail,
    }


def fill_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `FILLS` as a row of a Fill frame."""
    price, planned = float(row["price"]), float(row["planned"])
    return {
        **row,
        "session": session(row["session"]),
        "qty": float(row["qty"]),
        "price": price,
        "value": float(row["qty"] * row["price"]),
        "slippage_bps": None if row["split"] else slippage_bps(row["side"], price, planned),
    }


def equity_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `LINES` as a row of an Equity frame."""
    broker = row["broker_equity"]
    return {
        "session": session(row["session"]),
        "cash": float(row["cash"]),
        "holdings": float(row["holdings"]),
        "equity": float(row["cash"] + row["holdings"]),
        "broker_equity": None if broker is None else float(broker),
        "dividends": float(row["dividends"]),
        "flow": float(row["flow"]),
        "turnover": float(row["turnover"]),
    }


# -- risk -------------------------------------------------------------------------------------


def body(of_session: pd.Timestamp, frame: pd.DataFrame) -> dict[str, Any]:
    """A frame of one session as one row of JSON."""
    plain = frame.drop(columns="session").to_dict("records")
    return {"session": date(of_session), "body": json.dumps(plain)}


def unpacked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of a row of JSON."""
    of_session = session(row["session"])
    return [{"session": of_session, **record} for record in json.loads(row["body"])]
