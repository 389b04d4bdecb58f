"""GET /v1/corporate-actions: what is known by the clock, grouped by type."""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal
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
ACTION_QUERY = frozenset("symbols cusips types start end ids limit sort page_token".split())
FILTERS = ("symbols", "cusips", "types", "start", "end")

DATED = "process_date ex_date record_date payable_date"
MERGED = "acquirer_symbol acquirer_cusip {} acquiree_symbol acquiree_cusip {} {} "
MERGED += "process_date effective_date payable_date"

#: the fields of each type, as the data service sends them
FIELDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "cash_dividend": f"symbol cusip rate special foreign {DATED} due_bill_off_date "
        "due_bill_on_date",
        "forward_split": f"symbol cusip new_rate old_rate {DATED} due_bill_redemption_date",
        "reverse_split": f"symbol old_cusip new_cusip new_rate old_rate {DATED}",
        "unit_split": "old_symbol old_cusip old_rate new_symbol new_cusip new_rate "
        "alternate_symbol alternate_cusip alternate_rate process_date effective_date payable_date",
        "stock_dividend": f"symbol cusip rate {DATED}",
        "spin_off": "source_symbol source_cusip source_rate new_symbol new_cusip new_rate "
        f"{DATED} due_bill_redemption_date",
        "cash_merger": MERGED.format("", "", "rate"),
        "stock_merger": MERGED.format("acquirer_rate", "acquiree_rate", ""),
        "stock_and_cash_merger": MERGED.format("acquirer_rate", "acquiree_rate", "cash_rate"),
        "redemption": "symbol cusip rate process_date record_date payable_date",
        "name_change": "old_symbol old_cusip new_symbol new_cusip process_date",
        "worthless_removal": "symbol cusip process_date",
        "rights_distribution": "source_symbol source_cusip new_symbol new_cusip rate "
        f"{DATED} expiration_date",
        "partial_call": "symbol cusip price lottery_date lottery_type process_date record_date "
        "payable_date",
        "reorganization": "symbol cusip cash_rate stock_movements process_date effective_date "
        "payable_date",
    }.items()
}
#: of each type the fields that hold the symbol of the action and the other symbol
OWN = {
    "unit_split": "old_symbol",
    "spin_off": "source_symbol",
    "cash_merger": "acquiree_symbol",
    "stock_merger": "acquiree_symbol",
    "stock_and_cash_merger": "acquiree_symbol",
    "name_change": "old_symbol",
    "rights_distribution": "source_symbol",
}
OTHER = {kind: "acquirer_symbol" if kind.endswith("_merger") else "new_symbol" for kind in OWN}
#: of each type the fields that hold new shares, old shares and cash
RATES = {
    "cash_dividend": ("", "", "rate"),
    "forward_split": ("new_rate", "old_rate", ""),
    "reverse_split": ("new_rate", "old_rate", ""),
    "unit_split": ("new_rate", "old_rate", ""),
    "spin_off": ("new_rate", "source_rate", ""),
    "cash_merger": ("", "", "rate"),
    "stock_merger": ("acquirer_rate", "acquiree_rate", ""),
    "stock_and_cash_merger": ("acquirer_rate", "acquiree_rate", "cash_rate"),
    "redemption": ("", "", "rate"),
    "rights_distribution": ("rate", "", ""),
    "partial_call": ("", "", "price"),
    "reorganization": ("", "", "cash_rate"),
}
FLAGS = {"foreign": False}


def group(kind: str) -> str:
    """The plural under which actions of a type stand."""
    return f"{kind}s"


def action_reply(query: Query, prices: Prices, now: int) -> dict[str, Any]:
    """The body of GET /v1/corporate-actions."""
    check_names(query, ACTION_QUERY)
    if query.get("ids"):
        rows = _by_id(query, prices, now)
    else:
        rows = _chosen(query, prices, now)
    if read_choice(query, "sort", frozenset({"asc", "desc"}), "asc") == "desc":
        rows = rows[::-1]
    first = _offset(query.get("page_token"))
    last = first + read_limit(query, USUAL_ACTIONS, MOST_ACTIONS)
    groups: dict[str, list[dict[str, Any]]] = {}
    for action in rows[first:last]:
        groups.setdefault(group(action.kind), []).append(action_row(action))
    more = base64.b64encode(str(last).encode()).decode() if last < len(rows) else None
    return {"corporate_actions": groups, "next_page_token": more}


def _by_id(query: Query, prices: Prices, now: int) -> list[Action]:
    others = [name for name in FILTERS if query.get(name)]
    if others:
        raise bad_query(f"ids cannot be combined with {', '.join(others)}")
    wanted = set(query["ids"].split(","))
    return [action for action in prices.announced(now) if action_id(action) in wanted]


def _chosen(query: Query, prices: Prices, now: int) -> list[Action]:
    today = str(new_york_date(now))
    start, end = (
        read_bound(query, k, parse_bound(today, last=k == "end")) for k in ("start", "end")
    )
    if end < start:
        raise bad_query("end should not be before start")
    first, last = new_york_date(start), new_york_date(end)
    symbols = set(read_symbols(query)) if query.get("symbols") else None
    cusips = set(query["cusips"].split(",")) if query.get("cusips") else None
    types = _types(query)
    return [
        action
        for action in prices.announced(now)
        if first <= action.ex_date <= last
        and action.kind in types
        and (symbols is None or symbols & {action.symbol, action.other_symbol})
        and (cusips is None or cusips & _cusips(action))
    ]


def _cusips(action: Action) -> set[str]:
    return {value for name, value in action_row(action).items() if name.endswith("cusip") and value}


def _types(query: Query) -> set[str]:
    asked = set(query["types"].split(",")) if query.get("types") else set(FIELDS)
    plural = {group(kind): kind for kind in FIELDS}
    asked = {plural.get(kind, kind) for kind in asked}
    if not asked <= set(FIELDS):
        raise bad_query(f"invalid type: {sorted(asked - set(FIELDS))[0]}")
    return asked


def _offset(page_token: str | None) -> int:
    try:
        found = int(base64.b64decode(page_token, validate=True)) if page_token else 0
        if found < 0:
            raise ValueError(found)
    except (ValueError, binascii.Error) as error:
        raise bad_query(f"invalid page token: {page_token}") from error
    return found


def action_id(action: Action) -> str:
    """A UUID, the same in every run."""
    special = ("special",) if action.special else ()
    made = identifier("action", action.kind, action.symbol, action.ex_date, *special)
    return str(action.shown.get("id") or made)


def cusip(symbol: str) -> str:
    """Nine characters that stand for a CUSIP."""
    return identifier("cusip", symbol).replace("-", "").upper()[:9]


def action_row(action: Action) -> dict[str, Any]:
    """A record of the reply; dates as text, rates as numbers; what was set stands as it was."""
    made = {name: _value(action, name) for name in FIELDS[action.kind]}
    told = {name: value for name, value in action.shown.items() if name in made}
    return {"id": action_id(action)} | made | told


def _value(action: Action, name: str) -> Any:
    if name.endswith(("process_date", "ex_date", "record_date", "payable_date", "effective_date")):
        return str(action.ex_date)
    if name == OWN.get(action.kind, "symbol"):
        return action.symbol
    if name == OTHER.get(action.kind):
        return action.other_symbol or None
    if name.endswith("cusip"):
        return _cusip(action, name)
    if name == "special":
        return action.special
    return FLAGS.get(name, _rate(action, name))


def _cusip(action: Action, name: str) -> str | None:
    """A reverse split changes it; otherwise it is that of the symbol beside it."""
    if action.kind == "reverse_split":
        return cusip(action.symbol + ("+" if name == "new_cusip" else ""))
    own = OWN.get(action.kind, "symbol").replace("symbol", "cusip")
    symbol = action.symbol if name == own else action.other_symbol
    return cusip(symbol) if symbol else None


def _rate(action: Action, name: str) -> float | None:
    if action.kind == "stock_dividend" and name == "rate":
        return float(action.new / action.old - 1)
    exact = dict(zip(RATES.get(action.kind, ()), (action.new, action.old, action.cash)))
    return float(exact[name]) if name in exact else None


def read_rates(kind: str, told: dict[str, Any]) -> dict[str, Decimal]:
    """`new`, `old` and `cash` of an action from the fields that were set."""
    if kind == "stock_dividend":
        return {"new": 1 + Decimal(str(told["rate"])), "old": Decimal(1), "cash": Decimal(0)}
    names = dict(zip(("new", "old", "cash"), RATES.get(kind, ("", "", ""))))
    usual = {"new": 1, "old": 1, "cash": 0}
    return {key: Decimal(str(told.get(name, usual[key]))) for key, name in names.items()}
