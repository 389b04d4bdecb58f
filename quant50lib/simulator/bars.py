"""GET /v2/stocks/bars: pages of daily bars, raw or adjusted for what had happened by the clock."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant50lib.simulator.market import Action, Series
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.query import (
    Query,
    check_names,
    read_bound,
    read_choice,
    read_limit,
    read_symbols,
)
from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.timetable import new_york_date, parse_bound, utc_text

KNOWN = frozenset(
    "symbols timeframe start end limit adjustment asof feed currency page_token sort".split()
)
DAILY = frozenset({"1Day", "1D", "Day", "D"})
TIMEFRAME = re.compile(r"^(\d{1,2})?(Min|T|Hour|H|Day|D|Week|W|Month|M)$")
ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
FEEDS = frozenset({"sip", "iex", "otc", "boats"})
MOST, USUAL = 10_000, 1_000
MINUTE = 60_000_000

Row = dict[str, Any]


@dataclass(frozen=True)
class BarQuery:
    """A request for bars, read and checked; instants in microseconds, both ends included."""

    symbols: list[str]
    start: int
    end: int
    limit: int
    descending: bool
    adjustment: frozenset[str]
    after: tuple[str, int] | None  # symbol and instant of the last bar sent


def read_bar_query(query: Query, now: int) -> BarQuery:
    """Check a request for bars.

    Raises
    ------
    Refusal
        With status 400 and the message alone.
    """
    check_names(query, KNOWN)
    symbols = read_symbols(query)
    _check_timeframe(query.get("timeframe", ""))
    read_choice(query, "feed", FEEDS, "sip")
    read_choice(query, "currency", frozenset({"USD"}), "USD")
    start = read_bound(query, "start", parse_bound(str(new_york_date(now)), last=False))
    end = read_bound(query, "end", max(now, start))
    if end < start:
        raise bad_query("end should not be before start")
    return BarQuery(
        symbols=symbols,
        start=start,
        end=end,
        limit=read_limit(query, USUAL, MOST),
        descending=read_choice(query, "sort", frozenset({"asc", "desc"}), "asc") == "desc",
        adjustment=_adjustment(query),
        after=_read_token(query.get("page_token"), symbols),
    )


def _check_timeframe(value: str) -> None:
    if value in DAILY:
        return
    if TIMEFRAME.match(value):
        raise bad_query(f"timeframe {value} is not simulated; ask for 1Day")
    raise bad_query(f"invalid timeframe: {value}")


def _adjustment(query: Query) -> frozenset[str]:
    asof = query.get("asof") or "-"
    if asof != "-" and not re.match(r"^\d{4}-\d\d-\d\d$", asof):
        raise bad_query(f"invalid asof: {asof}")
    found = frozenset((query.get("adjustment") or "raw").split(","))
    if not found <= ADJUSTMENTS:
        raise bad_query(f"invalid adjustment: {query['adjustment']}")
    return found


def _read_token(token: str | None, symbols: list[str]) -> tuple[str, int] | None:
    if not token:
        return None
    try:
        symbol, _, text = base64.b64decode(token, validate=True).decode().split("|")
        at = parse_bound(text, last=False)
    except (ValueError, binascii.Error) as error:
        raise bad_query(f"invalid page token: {token}") from error
    if symbol not in symbols:
        raise bad_query(f"invalid page token: {token}")
    return symbol, at


def _token(symbol: str, row: Row) -> str:
    return base64.b64encode(f"{symbol}|D|{row['t']}".encode()).decode()


class Bars:
    """Pages of daily bars. The bar of the running session is hidden until its close."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._factors: dict[tuple[str, frozenset[str]], tuple[Any, np.ndarray, np.ndarray]] = {}
        self._labels = np.array([utc_text(int(at)) for at in prices.times.midnights], object)

    def page(self, query: BarQuery, now: int, stale_days: int = 0) -> dict[str, Any]:
        """The body of one page: at most `limit` bars over all symbols, by symbol, then time.

        `stale_days` hides the newest sessions: a fault of the data service.
        """
        times = self._prices.times
        first = int(np.searchsorted(times.midnights, query.start))
        last = int(np.searchsorted(times.midnights, query.end, "right"))
        last = min(last, times.last_closed(now) + 1 - stale_days)
        page: dict[str, list[Row]] = {}
        room, more = query.limit, None
        for symbol in query.symbols:
            left = self._left(symbol, query, first, last)
            if left and room == 0:
                return {"bars": page, "next_page_token": more}
            if left:
                part = left[:room]
                page[symbol] = self._rows(symbol, part, query.adjustment, now)
                more, room = _token(symbol, page[symbol][-1]), room - len(part)
                if len(part) < len(left):
                    return {"bars": page, "next_page_token": more}
        return {"bars": page, "next_page_token": None}

    def _left(self, symbol: str, query: BarQuery, first: int, last: int) -> range:
        """The rows of a symbol that are still to be sent, in the order asked for."""
        series, after = self._prices.market.series(symbol), query.after
        if series is None or last <= first or (after and symbol < after[0]):
            return range(0)
        times = self._prices.times
        a, b = np.searchsorted(series.day, times.days[[first, last]])
        if after and symbol == after[0]:
            session = min(int(np.searchsorted(times.midnights, after[1])), len(times.days) - 1)
            at = int(np.searchsorted(series.day, times.days[session]))
            a, b = (a, min(b, at)) if query.descending else (max(a, at + 1), b)
        rows = range(int(a), max(int(a), int(b)))
        return rows[::-1] if query.descending else rows

    def _rows(self, symbol: str, rows: range, adjustment: frozenset[str], now: int) -> list[Row]:
        series = self._prices.market.series(symbol)
        assert series is not None
        part = slice(min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1)
        session = np.searchsorted(self._prices.times.days, series.day[part])
        columns = self._columns(symbol, series, adjustment, now, part)
        made = [
            {"t": t, "o": o, "h": h, "l": low, "c": c, "v": v, "n": n, "vw": vw}
            for t, o, h, low, c, v, n, vw in zip(self._labels[session].tolist(), *columns)
        ]
        return made[::-1] if rows.step < 0 else made

    def _columns(
        self, symbol: str, series: Series, adjustment: frozenset[str], now: int, part: slice
    ) -> list[list[Any]]:
        prices = [series.open, series.high, series.low, series.close]
        volume, trades, vwap = series.volume[part], series.trades[part], series.vwap[part]
        cut = [values[part] for values in prices]
        if adjustment != {"raw"}:
            price, share = (f[part] for f in self._factors_of(symbol, series, adjustment, now))
            cut = [np.round(values * price, 4) for values in cut]
            volume, vwap = np.round(volume / share).astype(np.int64), np.round(vwap * price, 4)
        return [values.tolist() for values in (*cut, volume, trades, vwap)]

    def _factors_of(
        self, symbol: str, series: Series, adjustment: frozenset[str], now: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The factors by the clock; made anew when an action took effect or bars were added."""
        known = self._prices.happened(symbol, now)
        state = (len(series.day), len(known))
        kept = self._factors.get((symbol, adjustment))
        if kept is None or kept[0] != state:
            kept = (state, *factors(series, known, adjustment))
            self._factors[symbol, adjustment] = kept
        return kept[1], kept[2]

    def latest(self, symbols: list[str], now: int) -> dict[str, Row]:
        """The last minute in which each symbol traded; the twin knows one price a minute."""
        found = {}
        for symbol in symbols:
            price, at = self._prices.last(symbol, now), self._last_minute(symbol, now)
            if price is not None and at is not None:
                p = float(price)
                bar = {"t": utc_text(at), "o": p, "h": p, "l": p, "c": p, "v": 100, "n": 1, "vw": p}
                found[symbol] = bar
        return found

    def _last_minute(self, symbol: str, now: int) -> int | None:
        prices, times = self._prices, self._prices.times
        if prices.trade(symbol, now) is not None:
            return now // MINUTE * MINUTE
        series = prices.market.series(symbol)
        if series is None:
            return None
        row = int(np.searchsorted(series.day, times.days[times.live(now)])) - 1
        return (
            int(times.closes[times.index_of(series.day[row].astype(object))]) - MINUTE
            if row >= 0
            else None
        )


def factors(
    series: Series, known: list[Action], adjustment: frozenset[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What each row's prices are multiplied with, and the part of it that comes from splits.

    A dividend counts as 1 - amount / close before the ex-date, both on the ex-date's share basis.
    """
    price, share = np.ones(len(series.day)), np.ones(len(series.day))
    rows = np.searchsorted(series.day, np.array([a.ex_date for a in known], "datetime64[D]"))
    splits = [(row, action) for row, action in zip(rows.tolist(), known) if action.is_split]
    for row, action in zip(rows.tolist(), known):
        if row > 0 and action.is_split and adjustment & {"split", "all"}:
            ratio = float(action.old / action.new)
            price[:row] *= ratio
            share[:row] *= ratio
        elif row > 0 and action.kind == "cash_dividend" and adjustment & {"dividend", "all"}:
            before = float(series.close[row - 1])
            for at, split in splits:
                if at == row and split.ex_date <= action.ex_date:
                    before *= float(split.old / split.new)
            price[:row] *= max(1 - float(action.cash) / before, 0.01)
    return price, share
