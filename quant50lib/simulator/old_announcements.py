"""GET /v2/corporate_actions/announcements: the deprecated way to ask for corporate actions."""

from __future__ import annotations

import datetime as dt
from typing import Any

from quant50lib.simulator.announcements import action_id, action_row, cusip
from quant50lib.simulator.market import Action
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.query import Query
from quant50lib.simulator.records import text
from quant50lib.simulator.refusals import invalid, missing

LONGEST = dt.timedelta(days=90)
DATES = ("declaration_date", "ex_date", "record_date", "payable_date")

#: the type and the sub-type of what the old interface knows
TYPES = {
    "cash_dividend": ("dividend", "cash"),
    "stock_dividend": ("dividend", "stock"),
    "cash_merger": ("merger", "merger_completion"),
    "stock_merger": ("merger", "merger_completion"),
    "stock_and_cash_merger": ("merger", "merger_completion"),
    "spin_off": ("spinoff", "spinoff"),
    "forward_split": ("split", "stock_split"),
    "reverse_split": ("split", "reverse_split"),
    "unit_split": ("split", "unit_split"),
}


def announcements(query: Query, prices: Prices, now: int) -> list[dict[str, Any]]:
    """The announcements of some types between two dates at most 90 days apart.

    Raises
    ------
    Refusal
        422, where types or dates are missing or wrong.
    """
    types = set(query.get("ca_types", "").lower().split(","))
    if not types <= {kind for kind, _ in TYPES.values()}:
        raise invalid(f"invalid ca_types: {query.get('ca_types', '')}")
    since, until = (_date(query, name) for name in ("since", "until"))
    if not dt.timedelta(0) <= until - since <= LONGEST:
        raise invalid("the range of dates is limited to 90 days")
    by = query.get("date_type") or "ex_date"
    if by not in DATES:
        raise invalid(f"invalid date_type: {by}")
    rows = [_row(a) for a in prices.announced(now) if TYPES.get(a.kind, ("",))[0] in types]
    return [
        row
        for row in rows
        if str(since) <= str(row[by] or "") <= str(until)
        and query.get("symbol", "") in ("", row["initiating_symbol"], row["target_symbol"])
        and query.get("cusip", "") in ("", row["initiating_original_cusip"])
    ]


def announcement(key: str, prices: Prices, now: int) -> dict[str, Any]:
    """One announcement by its id; raises Refusal (404) where there is none."""
    for action in prices.announced(now):
        if action.kind in TYPES and action_id(action) == key:
            return _row(action)
    raise missing(f"announcement not found for {key}")


def _date(query: Query, name: str) -> dt.date:
    try:
        return dt.date.fromisoformat((query.get(name) or "")[:10])
    except ValueError as error:
        raise invalid(f"{name} is not a date: {query.get(name)}") from error


def _row(action: Action) -> dict[str, Any]:
    kind, sub_type = TYPES[action.kind]
    shown, target = action_row(action), action.other_symbol or action.symbol
    shares = action.is_split or bool(action.other_symbol)
    return {
        "id": action_id(action),
        "corporate_action_id": f"{cusip(action.symbol)}_{kind[:2].upper()}{action.ex_date:%y%m%d}",
        "ca_type": kind,
        "ca_sub_type": sub_type,
        "initiating_symbol": action.symbol,
        "initiating_original_cusip": cusip(action.symbol),
        "target_symbol": target,
        "target_original_cusip": cusip(target),
        "declaration_date": None,
        "ex_date": str(action.ex_date),
        "record_date": shown.get("record_date"),
        "payable_date": shown.get("payable_date"),
        "cash": text(action.cash),
        "old_rate": text(action.old) if shares else "1",
        "new_rate": text(action.new) if shares else "1",
    }
