"""Pages of rows over several symbols, as the data service cuts them: by symbol, then by time."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from quant50lib.simulator.query import (
    Query,
    read_bound,
    read_choice,
    read_limit,
    read_symbols,
)
from quant50lib.simulator.refusals import Refusal, bad_query
from quant50lib.simulator.timetable import (
    SECOND,
    new_york_date,
    parse_bound,
    utc_text,
)

FRAME = frozenset("symbols start end limit asof feed currency page_token sort".split())
FEEDS = frozenset({"sip", "iex", "otc", "boats"})
MOST, USUAL = 10_000, 1_000
DELAY = 15 * 60 * SECOND  # by which SIP data are old without the paid plan
EARLIEST, LATEST = "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"

Row = dict[str, Any]


@dataclass(frozen=True)
class PageQuery:
    """A request for rows, read and checked; instants in microseconds, both ends included."""

    symbols: list[str]
    start: int
    end: int
    limit: int
    descending: bool
    feed: str
    asof: dt.date | None  # of the names; None: names stand for themselves
    after: tuple[str, int] | None  # symbol and instant of the last row sent


class Rows(Protocol):
    """The rows of a symbol that may be seen, in order of time."""

    @property
    def stop(self) -> int:
        """How many there are."""

    def label(self, row: int) -> str:
        """The spelling of its instant."""

    def find(self, t: int, side: Literal["left", "right"]) -> int:
        """How many lie before an instant, or (right) not after it."""

    def make(self, rows: range) -> list[Row]: ...


def read_page_query(query: Query, now: int, plan: str) -> PageQuery:
    """Check what all requests for pages have in common.

    Raises
    ------
    Refusal
        With status 400, or 403 for SIP data that the plan does not include; the message alone.
    """
    symbols = read_symbols(query)
    feed = read_feed(query, plan)
    read_choice(query, "currency", frozenset({"USD"}), "USD")
    start = read_bound(query, "start", parse_bound(str(new_york_date(now)), last=False))
    newest = now - DELAY if (feed, plan) == ("sip", "free") else now
    end = read_bound(query, "end", max(newest, start))
    if end < start:
        raise bad_query("end should not be before start")
    if query.get("end") and (feed, plan) == ("sip", "free") and end > newest:
        raise _not_permitted()
    return PageQuery(
        symbols=symbols,
        start=start,
        end=end,
        limit=read_limit(query, USUAL, MOST),
        descending=read_choice(query, "sort", frozenset({"asc", "desc"}), "asc") == "desc",
        feed=feed,
        asof=_asof(query, now),
        after=_read_token(query.get("page_token"), symbols),
    )


def read_feed(query: Query, plan: str, others: frozenset[str] = frozenset()) -> str:
    """The feed asked for, else the best of the plan."""
    return read_choice(query, "feed", FEEDS | others, "sip" if plan == "paid" else "iex")


def check_latest(feed: str, plan: str) -> None:
    """The newest SIP data are for the paid plan only."""
    if (feed, plan) == ("sip", "free"):
        raise _not_permitted()


def _not_permitted() -> Refusal:
    return Refusal(403, None, "subscription does not permit querying recent SIP data")


def _asof(query: Query, now: int) -> dt.date | None:
    text = query.get("asof") or str(new_york_date(now))
    if text == "-":
        return None
    try:
        if not re.match(r"^\d{4}-\d\d-\d\d$", text):
            raise ValueError(text)
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise bad_query(f"invalid asof: {text}") from error


def _read_token(token: str | None, symbols: list[str]) -> tuple[str, int] | None:
    if not token:
        return None
    try:
        symbol, _, text = base64.b64decode(token, validate=True).decode().split("|")
        at = parse_bound(text, last=False)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise bad_query(f"invalid page token: {token}") from error
    if symbol not in symbols:
        raise bad_query(f"invalid page token: {token}")
    return symbol, at


def token(symbol: str, mark: str, t: str) -> str:
    """Where a page ended; `mark` says what is in it, as Alpaca's D does of daily bars."""
    return base64.b64encode(f"{symbol}|{mark}|{t}".encode()).decode()


def same_place(query: PageQuery, mark: str) -> str:
    """Another token for the place at which this page begins."""
    step = -1 if query.descending else 1
    if query.after:
        return token(query.after[0], mark, str(utc_text(query.after[1] + step)))
    return token(query.symbols[0], mark, LATEST if query.descending else EARLIEST)


def cut_page(
    name: str, mark: str, query: PageQuery, rows_of: Callable[[str], Rows | None]
) -> dict[str, Any]:
    """The body of one page: at most `limit` rows over all symbols."""
    page: dict[str, list[Row]] = {}
    room, more = query.limit, None
    for symbol in query.symbols:
        rows = None if query.after and symbol < query.after[0] else rows_of(symbol)
        left = _left(symbol, rows, query) if rows else range(0)
        if left and room == 0:
            return {name: page, "next_page_token": more}
        if rows and left:
            part = left[:room]
            page[symbol] = rows.make(part)
            more, room = token(symbol, mark, rows.label(part[-1])), room - len(part)
            if len(part) < len(left):
                return {name: page, "next_page_token": more}
    return {name: page, "next_page_token": None}


def _left(symbol: str, rows: Rows, query: PageQuery) -> range:
    """The rows of a symbol that are still to be sent, in the order asked for."""
    a, b = rows.find(query.start, "left"), min(rows.find(query.end, "right"), rows.stop)
    if query.after and symbol == query.after[0]:
        if query.descending:
            b = min(b, rows.find(query.after[1], "left"))
        else:
            a = max(a, rows.find(query.after[1], "right"))
    found = range(a, max(a, b))
    return found[::-1] if query.descending else found
