"""Lists with filters: orders and activities, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.records import Activity, Order
from quant50lib.simulator.refusals import invalid
from quant50lib.simulator.timetable import parse_bound

USUAL_ORDERS, MOST_ORDERS = 50, 500
MOST_ACTIVITIES = 100
TRADES = frozenset({"FILL"})
CATEGORIES = ("", "trade_activity", "non_trade_activity")

Query = Mapping[str, str]


def flag(query: Query, name: str) -> bool:
    """A truth value; Python clients spell it with a capital."""
    value = (query.get(name) or "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise invalid(f"invalid {name}: {query[name]}")
    return value in ("true", "1")


def _number(query: Query, name: str, usual: int, most: int) -> int:
    value = query.get(name) or str(usual)
    if not (value.isascii() and value.isdigit() and len(value) < 10) or not 1 <= int(value) <= most:
        raise invalid(f"invalid {name}: {value}")
    return int(value)


def instant(query: Query, name: str) -> int | None:
    """A moment; a date means its first one in New York."""
    if not query.get(name):
        return None
    try:
        return parse_bound(query[name], last=False)
    except (ValueError, OverflowError) as error:
        raise invalid(f"invalid {name}: {query[name]}") from error


def _word(query: Query, name: str, allowed: tuple[str, ...]) -> str:
    value = (query.get(name) or allowed[0]).lower()
    if value not in allowed:
        raise invalid(f"invalid {name}: {value}")
    return value


# ---- orders


def list_orders(exchange: Exchange, query: Query) -> list[Order]:
    """GET /v2/orders: by submission, newest first unless asked otherwise; bounds are exclusive."""
    status = _word(query, "status", ("open", "closed", "all"))
    side = _word(query, "side", ("", "buy", "sell"))
    descending = _word(query, "direction", ("desc", "asc")) == "desc"
    most = _number(query, "limit", USUAL_ORDERS, MOST_ORDERS)
    first, last = _bounds(exchange, query)
    symbols = set(filter(None, query.get("symbols", "").split(",")))
    classes = set(filter(None, query.get("asset_class", "").split(",")))
    if classes and not classes & {"us_equity", "all"}:
        return []
    source = exchange.working if status == "open" else exchange.orders
    found = [
        order
        for order in source.values()
        if (status != "closed" or not order.is_open)
        and (first is None or _place(order) > first)
        and (last is None or _place(order) < last)
        and (not symbols or order.symbol in symbols)
        and (not side or order.side == side)
    ]
    found.sort(key=_place, reverse=descending)
    if flag(query, "nested"):
        found = roll_up(found, True)
    return found[:most]


def roll_up(orders: Sequence[Order], nested: bool) -> list[Order]:
    """Without the legs whose parent is among them, where they are shown inside it."""
    ids = {order.id for order in orders}
    return [order for order in orders if not (nested and order.parent in ids)]


def _bounds(exchange: Exchange, query: Query) -> tuple[tuple[int, float] | None, ...]:
    """By time or by order, as (submission, number), both exclusive."""
    names = ("after_order_id", "before_order_id")
    edges = [_place(exchange.order(query[n])) if query.get(n) else None for n in names]
    after, until = instant(query, "after"), instant(query, "until")
    if any(edges) and (after is not None or until is not None):
        raise invalid("after and until do not go together with after_order_id or before_order_id")
    if any(edges):
        return tuple(edges)
    first = (after, float("inf")) if after is not None else None
    return first, (until, 0.0) if until is not None else None


def _place(order: Order) -> tuple[int, float]:
    return order.submitted_at, order.seq


# ---- activities


def list_activities(exchange: Exchange, query: Query, kind: str | None) -> list[dict[str, Any]]:
    """GET /v2/account/activities: by creation, newest first unless asked otherwise."""
    descending = _word(query, "direction", ("desc", "asc")) == "desc"
    chosen = _Filter(query, kind)
    latest = max(exchange.now, exchange.account.stamp)
    made = (a for a in exchange.activities if a.created_at <= latest)
    found = sorted(filter(chosen, made), key=_created, reverse=descending)
    token = query.get("page_token")
    if token:
        ids = [activity.id for activity in found]
        if token not in ids:
            raise invalid(f"invalid page_token: {token}")
        found = found[ids.index(token) + 1 :]
    most = len(exchange.activities) + MOST_ACTIVITIES if query.get("date") else MOST_ACTIVITIES
    return [activity.body for activity in found[: _number(query, "page_size", most, most)]]


def _created(activity: Activity) -> tuple[int, int]:
    return activity.created_at, activity.seq


class _Filter:
    """Whether an activity fits the query, which is read once."""

    def __init__(self, query: Query, kind: str | None) -> None:
        asked = set(filter(None, query.get("activity_types", "").split(",")))
        self._category = _word(query, "category", CATEGORIES)
        if asked and self._category:
            raise invalid("only one of activity_types or category is accepted")
        self._types = {kind} if kind else asked
        self._after, self._until = instant(query, "after"), instant(query, "until")
        self._day = query.get("date", "")[:10]
        if self._day and (self._after is not None or self._until is not None):
            raise invalid("date does not go together with after or until")
        if self._day:
            instant({"date": self._day}, "date")

    def __call__(self, activity: Activity) -> bool:
        trade = activity.type in TRADES
        return (
            (not self._types or activity.type in self._types)
            and (not self._category or (self._category == "trade_activity") == trade)
            and (not self._day or activity.day == self._day)
            and (self._after is None or activity.created_at > self._after)
            and (self._until is None or activity.created_at < self._until)
        )
