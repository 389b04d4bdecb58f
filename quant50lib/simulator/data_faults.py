"""Faults of the data service: what its pages look like on a bad day.

Each changes the body of a page before it is sent; `short_page` and `stale` change what is asked
for. The rows that are hit are the same in every run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from quant50lib.simulator.pages import PageQuery, same_place

Body = dict[str, Any]
Arguments = dict[str, Any]
Asked = TypeVar("Asked", bound=PageQuery)


def asked(query: Asked, fault: Body) -> Asked:
    """The request as a tired service understands it: of a short page it asks for few rows."""
    if "short_page" not in fault:
        return query
    return replace(query, limit=min(query.limit, int(fault["short_page"].get("rows", 1))))


def hidden_sessions(fault: Body) -> int:
    """How many of the newest sessions a stale service does not know."""
    return int(fault["stale"].get("days", 1)) if "stale" in fault else 0


def damaged(body: Body, name: str, fault: Body, again: str) -> Body:
    """A page with the fault's damage; `name` is the key of its rows, `again` a token for it."""
    for fault_name, arguments in fault.items():
        if fault_name in DAMAGE:
            body = DAMAGE[fault_name](body, name, arguments or {}, again)
    return body


def _rows(change: Callable[[list[Any], Arguments], list[Any]]) -> Callable[..., Body]:
    """A damage that befalls the rows of each symbol; a symbol without rows is left out."""

    def apply(body: Body, name: str, arguments: Arguments, again: str) -> Body:
        changed = {symbol: change(rows, arguments) for symbol, rows in body[name].items()}
        return body | {name: {symbol: rows for symbol, rows in changed.items() if rows}}

    return apply


def _empty_page(body: Body, name: str, arguments: Arguments, again: str) -> Body:
    return body | {name: {}, "next_page_token": again}


def _null_bars(body: Body, name: str, arguments: Arguments, again: str) -> Body:
    return body | {name: None, "next_page_token": None}


def _null_symbol(body: Body, name: str, arguments: Arguments, again: str) -> Body:
    """The first symbol has null in place of rows."""
    return body | {name: body[name] | dict.fromkeys(list(body[name])[:1])}


def _empty_token(body: Body, name: str, arguments: Arguments, again: str) -> Body:
    """The last page says so with an empty text."""
    return body | {"next_page_token": body["next_page_token"] or ""}


def _twice(rows: list[Any], arguments: Arguments) -> list[Any]:
    """The last row comes twice."""
    return rows + rows[-1:]


def _shuffle(rows: list[Any], arguments: Arguments) -> list[Any]:
    """The rows come in an order of their own, backwards where chance left them as they were."""
    mixed = list(rows)
    random.Random(len(rows)).shuffle(mixed)
    return mixed if mixed != rows else rows[::-1]


def _drop(rows: list[Any], arguments: Arguments) -> list[Any]:
    """Some in the middle are missing."""
    lost = int(arguments.get("rows", 1))
    first = max((len(rows) - lost) // 2, 0)
    return rows[:first] + rows[first + lost :]


def _nan_volume(rows: list[Any], arguments: Arguments) -> list[Any]:
    """The last volume is no number."""
    return [*rows[:-1], rows[-1] | {"v": float("nan")}]


def _null_field(rows: list[Any], arguments: Arguments) -> list[Any]:
    return [row | {arguments.get("name", "c"): None} for row in rows]


DAMAGE: dict[str, Callable[..., Body]] = {
    "empty_page_with_token": _empty_page,
    "duplicate_rows": _rows(_twice),
    "shuffle_pages": _rows(_shuffle),
    "null_bars": _null_bars,
    "null_symbol": _null_symbol,
    "nan_volume": _rows(_nan_volume),
    "null_field": _rows(_null_field),
    "token_empty_string": _empty_token,
    "drop_rows": _rows(_drop),
}

#: the faults that handlers of the data look for
DATA_FAULTS = frozenset(DAMAGE) | {"short_page", "stale"}
