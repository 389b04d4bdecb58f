"""Lists with filters: orders and activities, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.records import Activity, Order
from quant50lib.simulator.refusals import Refusal, invalid
from quant50lib.simulator.timetable import parse_bound

USUAL_ORDERS, MOST_ORDERS = 50, 500
MOST_ACTIVITIES = 100
TRADES = frozenset({"FILL"})

Query = Mapping[str, str]


def _number(query: Query, name: str, usual: int, most: int) -> int:
    value = query.get(name) or str(usual)
    if not value.isdigit() or not 1 <= int(value) <= most:
        raise invalid(f"invalid {name}: {value}")
    return int(value)


def _instant(query: Query, name: str) -> int | None:
    if not query.get(name):
        return None
    try:
        return parse_bound(query[name], last=False)
    except ValueError as error:
        raise Refusal(422, 40010001, f"invalid {name}: {query[name]}") from error


def _word(query: Query, name: str, allowed: tuple[str, ...]) -> str:
    value = (query.get(name) or allowed[0]).lower()
    if value not in allowed:
        raise invalid(f"invalid {name}: {value}")
    return value


def list_orders(exchange: Exchange, query: Query) -> list[Order]:
    """GET /v2/orders: by submission, newest first unless asked otherwise; bounds are exclusive."""
    status = _word(query, "status", ("open", "closed", "all"))
    descending = _word(query, "direction", ("desc", "asc")) == "desc"
    after, until = _instant(query, "after"), _instant(query, "until")
    symbols = set(filter(None, query.get("symbols", "").split(",")))
    edges = [_edge(exchange, query, name) for name in ("after_order_id", "before_order_id")]
    side = query.get("side")
    source = exchange.working if status == "open" else exchange.orders
    found = [
        order
        for order in source.values()
        if (status != "closed" or not order.is_open)
        and (after is None or order.submitted_at > after)
        and (until is None or order.submitted_at < until)
        and (not symbols or order.symbol in symbols)
        and (not side or order.side == side)
        and (edges[0] is None or _place(order) > edges[0])
        and (edges[1] is None or _place(order) < edges[1])
    ]
    found.sort(key=_place, reverse=descending)
    return found[: _number(query, "limit", USUAL_ORDERS, MOST_ORDERS)]


def _place(order: Order) -> tuple[int, int]:
    return order.submitted_at, order.seq


def _edge(exchange: Exchange, query: Query, name: str) -> tuple[int, int] | None:
    return _place(exchange.order(query[name])) if query.get(name) else None


def list_activities(exchange: Exchange, query: Query, kind: str | None) -> list[dict[str, Any]]:
    """GET /v2/account/activities: by time, newest first unless asked otherwise."""
    descending = _word(query, "direction", ("desc", "asc")) == "desc"
    found = [a for a in exchange.activities if _chosen(a, query, kind)]
    found = found[::-1] if descending else found
    token = query.get("page_token")
    if token:
        ids = [activity.id for activity in found]
        if token not in ids:
            raise invalid(f"invalid page_token: {token}")
        found = found[ids.index(token) + 1 :]
    most = len(exchange.activities) + 1 if query.get("date") else MOST_ACTIVITIES
    usual = most if query.get("date") else MOST_ACTIVITIES
    return [activity.body for activity in found[: _number(query, "page_size", usual, most)]]


def _chosen(activity: Activity, query: Query, kind: str | None) -> bool:
    types = {kind} if kind else set(filter(None, query.get("activity_types", "").split(",")))
    category = query.get("category")
    after, until = _instant(query, "after"), _instant(query, "until")
    return (
        (not types or activity.type in types)
        and (not category or (category == "trade_activity") == (activity.type in TRADES))
        and (not query.get("date") or activity.day == query["date"][:10])
        and (after is None or activity.created_at > after)
        and (until is None or activity.created_at < until)
    )
