"""GET /v1/corporate-actions: what is known by the clock, grouped by type."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from quant50lib.simulator.market import Action
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.query import (
    Query,
    check_names,
    read_bound,
    read_choice,
    read_limit,
    read_symbols,
)
from quant50lib.simulator.records import identifier
from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.timetable import new_york_date, parse_bound

MOST_ACTIONS, USUAL_ACTIONS = 1_000, 100

GROUPS = {
    "cash_dividend": "cash_dividends",
    "forward_split": "forward_splits",
    "reverse_split": "reverse_splits",
    "cash_merger": "cash_mergers",
}
OTHER_TYPES = frozenset(
    "unit_split stock_dividend spin_off stock_merger stock_and_cash_merger redemption name_change "
    "worthless_removal rights_distribution partial_call reorganization".split()
)
ACTION_QUERY = frozenset("symbols cusips types start end ids limit sort page_token".split())


def action_reply(query: Query, prices: Prices, now: int) -> dict[str, Any]:
    """The body of GET /v1/corporate-actions."""
    check_names(query, ACTION_QUERY)
    if query.get("ids"):
        wanted = set(query["ids"].split(","))
        rows = [a for a in prices.announced(now) if _action_id(a) in wanted]
    else:
        rows = _chosen(query, prices, now)
    if read_choice(query, "sort", frozenset({"asc", "desc"}), "asc") == "desc":
        rows = rows[::-1]
    first = _offset(query.get("page_token"))
    last = first + read_limit(query, USUAL_ACTIONS, MOST_ACTIONS)
    groups: dict[str, list[dict[str, Any]]] = {}
    for action in rows[first:last]:
        groups.setdefault(GROUPS[action.kind], []).append(action_row(action))
    more = base64.b64encode(str(last).encode()).decode() if last < len(rows) else None
    return {"corporate_actions": groups, "next_page_token": more}


def _chosen(query: Query, prices: Prices, now: int) -> list[Action]:
    today = str(new_york_date(now))
    start, end = (
        read_bound(query, k, parse_bound(today, last=k == "end")) for k in ("start", "end")
    )
    if end < start:
        raise bad_query("end should not be before start")
    first, last = new_york_date(start), new_york_date(end)
    symbols = read_symbols(query) if query.get("symbols") else None
    types = _types(query)
    return [
        action
        for action in prices.announced(now)
        if first <= action.ex_date <= last
        and action.kind in types
        and (symbols is None or action.symbol in symbols)
        and not query.get("cusips")
    ]


def _types(query: Query) -> set[str]:
    known = set(GROUPS) | OTHER_TYPES
    asked = set(query["types"].split(",")) if query.get("types") else known
    asked = {kind[:-1] if kind in GROUPS.values() else kind for kind in asked}
    if not asked <= known:
        raise bad_query(f"invalid type: {sorted(asked - known)[0]}")
    return asked


def _offset(page_token: str | None) -> int:
    try:
        return int(base64.b64decode(page_token, validate=True)) if page_token else 0
    except (ValueError, binascii.Error) as error:
        raise bad_query(f"invalid page token: {page_token}") from error


def _action_id(action: Action) -> str:
    return identifier("action", action.kind, action.symbol, action.ex_date)


def cusip(symbol: str) -> str:
    """Nine characters that stand for a CUSIP."""
    return identifier("cusip", symbol).replace("-", "").upper()[:9]


def action_row(action: Action) -> dict[str, Any]:
    """A record of the reply; dates as text, rates as numbers."""
    day = str(action.ex_date)
    row: dict[str, Any] = {"id": _action_id(action), "process_date": day}
    if action.kind == "cash_merger":
        return row | {
            "acquirer_symbol": None,
            "acquirer_cusip": None,
            "acquiree_symbol": action.symbol,
            "acquiree_cusip": cusip(action.symbol),
            "rate": float(action.cash),
            "effective_date": day,
            "payable_date": day,
        }
    row |= {"symbol": action.symbol, "ex_date": day, "record_date": day, "payable_date": day}
    if action.kind == "cash_dividend":
        own = {"rate": float(action.cash), "special": action.special, "foreign": False}
        return row | own | {"cusip": cusip(action.symbol)}
    row |= {"new_rate": float(action.new), "old_rate": float(action.old)}
    if action.kind == "forward_split":
        return row | {"cusip": cusip(action.symbol), "due_bill_redemption_date": None}
    return row | {"old_cusip": cusip(action.symbol), "new_cusip": cusip(action.symbol + "+")}
