"""Quotes, trades, auctions and snapshots of the data service.

The twin knows a price at every moment and keeps no ticks. A history has the quotes that were set
through the control plane and, of each session with a bar, one quote and one trade at the open and
at the close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from quant50lib.simulator.assets import exchange_of
from quant50lib.simulator.market import Series
from quant50lib.simulator.pages import PageQuery, Row, Rows, cut_page
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.quotes import Quote, around, cents, so_far
from quant50lib.simulator.timetable import new_york_date, utc_text

LOT = 100  # shares of every quote and trade
TAPES = {"NYSE": "A", "NASDAQ": "C"}  # all others: B
VENUES = {"NYSE": "N", "NASDAQ": "Q", "ARCA": "P", "NYSEARCA": "P", "AMEX": "A", "BATS": "Z"}

#: what the codes in quotes and trades mean
EXCHANGES = {
    "A": "NYSE American (AMEX)",
    "N": "New York Stock Exchange",
    "P": "NYSE Arca",
    "Q": "NASDAQ",
    "V": "IEX",
    "Z": "Cboe BZX",
}
CONDITIONS = {
    "trade": {"@": "Regular Sale", "O": "Opening Print", "6": "Closing Print"},
    "quote": {"R": "Regular, Two-Sided Open"},
}

Make = Callable[[str, Quote], Row]


@dataclass(frozen=True)
class Ticks:
    """Quotes of a symbol, in order of time, and how they are shown."""

    quotes: list[Quote]
    show: Callable[[Quote], Row]

    @property
    def stop(self) -> int:
        return len(self.quotes)

    def find(self, t: int, side: Literal["left", "right"]) -> int:
        return int(np.searchsorted([quote.t for quote in self.quotes], t, side))

    def label(self, row: int) -> str:
        return str(utc_text(self.quotes[row].t))

    def make(self, rows: range) -> list[Row]:
        return [self.show(self.quotes[row]) for row in rows]


@dataclass(frozen=True)
class Auctions:
    """The opening and closing prints of a symbol's sessions."""

    rows: list[tuple[int, Row]]

    @property
    def stop(self) -> int:
        return len(self.rows)

    def find(self, t: int, side: Literal["left", "right"]) -> int:
        return int(np.searchsorted([at for at, _ in self.rows], t, side))

    def label(self, row: int) -> str:
        return str(utc_text(self.rows[row][0]))

    def make(self, rows: range) -> list[Row]:
        return [self.rows[row][1] for row in rows]


class Tape:
    """What can be seen of trading; prices as of the clock."""

    def __init__(self, prices: Prices, now: int, half_spread_bps: float) -> None:
        self._prices, self.now, self._half = prices, now, half_spread_bps

    # ---- history

    def page(
        self, name: Literal["quotes", "trades", "auctions"], query: PageQuery
    ) -> dict[str, Any]:
        """The body of one page; auctions have a row a session."""
        if name == "auctions":
            return cut_page(name, "A", query, lambda symbol: self._auctions(symbol, query))
        show = self.quote_row if name == "quotes" else self.trade_row
        return cut_page(name, name[0].upper(), query, lambda s: self._ticks(s, query, show))

    def _ticks(self, symbol: str, query: PageQuery, show: Make) -> Rows:
        last = min(query.end, self.now)
        made = self._session_quotes(symbol, query, last) | self._told_quotes(symbol, query, last)
        return Ticks([made[t] for t in sorted(made)], lambda quote: show(symbol, quote))

    def _told_quotes(self, symbol: str, query: PageQuery, last: int) -> dict[int, Quote]:
        every = self._prices.market.quotes
        return {
            told.t: told.whole(self._half)
            for name, first, end in self._prices.lineage(symbol, self.now, query.asof)
            for told in every.get(name, [])
            if query.start <= told.t <= last and first <= new_york_date(told.t) < end
        }

    def _sessions(
        self, symbol: str, query: PageQuery, last: int
    ) -> list[tuple[int, int, float, float]]:
        """Opens and closes of the sessions with a bar: their instants and prices."""
        parts = self._prices.lineage(symbol, self.now, query.asof)
        times, series = self._prices.times, self._prices.market.whole(parts)
        if series is None:
            return []
        first = np.searchsorted(times.closes, query.start)
        end = np.searchsorted(times.opens, last, "right")
        if first >= end:
            return []
        a, b = np.searchsorted(series.day, times.days[[first, end - 1]])
        days = series.day[a : b + 1]
        days = days[days <= times.days[end - 1]]
        at = np.searchsorted(times.days, days)
        bounds = (times.opens[at].tolist(), times.closes[at].tolist())
        rows = slice(a, a + len(days))
        return list(zip(*bounds, series.open[rows].tolist(), series.close[rows].tolist()))

    def _session_quotes(self, symbol: str, query: PageQuery, last: int) -> dict[int, Quote]:
        found = {}
        for opens, closes, first, final in self._sessions(symbol, query, last):
            told = [
                q.t for q in self._prices.market.quotes.get(symbol, []) if opens <= q.t <= closes
            ]
            found[opens] = around(cents(first), opens, self._half)
            if not told:
                found[closes] = around(cents(final), closes, self._half)
        return {t: quote for t, quote in found.items() if query.start <= t <= last}

    def _auctions(self, symbol: str, query: PageQuery) -> Rows:
        last, rows = min(query.end, self.now), []
        for opens, closes, first, final in self._sessions(symbol, query, last):
            row: Row = {"d": str(utc_text(opens))[:10]}
            row["o"] = [self._print(symbol, opens, first, "O")]
            row["c"] = [self._print(symbol, closes, final, "6")] if closes <= self.now else []
            rows.append((opens, row))
        return Auctions(rows)

    def _print(self, symbol: str, at: int, price: float, condition: str) -> Row:
        return {"t": utc_text(at), "x": self._venue(symbol), "p": price, "s": LOT, "c": condition}

    # ---- the newest

    def latest(self, name: Literal["quotes", "trades"], symbols: list[str]) -> dict[str, Row]:
        """The newest quote or trade of each symbol that has one."""
        show = self.quote_row if name == "quotes" else self.trade_row
        found = {symbol: self.newest(symbol) for symbol in symbols}
        return {symbol: show(symbol, quote) for symbol, quote in found.items() if quote}

    def newest(self, symbol: str) -> Quote | None:
        """The quote that stands, else the last of the session that is over."""
        running = self._prices.quote(symbol, self.now, self._half)
        if running is not None:
            return running
        last = self._prices.latest(symbol, self.now)
        return around(*last, self._half) if last else None

    def quote_row(self, symbol: str, quote: Quote) -> Row:
        venue, tape = self._venue(symbol), self._tape(symbol)
        return {
            "t": utc_text(quote.t),
            "ax": venue,
            "ap": float(quote.ask),
            "as": LOT,
            "bx": venue,
            "bp": float(quote.bid),
            "bs": LOT,
            "c": ["R"],
            "z": tape,
        }

    def trade_row(self, symbol: str, quote: Quote) -> Row:
        """The trade that a quote stands for, of a round lot."""
        return {
            "t": utc_text(quote.t),
            "x": self._venue(symbol),
            "p": float(quote.last),
            "s": LOT,
            "c": ["@"],
            "i": quote.t % 2**53,
            "z": self._tape(symbol),
        }

    def snapshot(self, symbol: str, minute: Row | None) -> dict[str, Row | None] | None:
        """Everything at once; None for a symbol without prices. The running day's bar grows."""
        quote, (day, before) = self.newest(symbol), self._days(symbol)
        if quote is None and day is None:
            return None
        return {
            "latestTrade": self.trade_row(symbol, quote) if quote else None,
            "latestQuote": self.quote_row(symbol, quote) if quote else None,
            "minuteBar": minute,
            "dailyBar": day,
            "prevDailyBar": before,
        }

    def _days(self, symbol: str) -> tuple[Row | None, Row | None]:
        """The bars of the session that opened last and of the one before it."""
        times = self._prices.times
        series = self._prices.market.whole(self._prices.lineage(symbol, self.now))
        if series is None:
            return None, None
        session = int(np.searchsorted(times.opens, self.now, "right")) - 1
        last = int(np.searchsorted(series.day, times.days[session], "right")) - 1
        bars = [self._day(series, row) if row >= 0 else None for row in (last, last - 1)]
        return bars[0], bars[1]

    def _day(self, series: Series, row: int) -> Row:
        times = self._prices.times
        at = int(np.searchsorted(times.days, series.day[row]))
        elapsed = (self.now - times.opens[at]) / (times.closes[at] - times.opens[at])
        return {"t": utc_text(int(times.midnights[at]))} | so_far(series, row, float(elapsed))

    def _exchange(self, symbol: str) -> str:
        listing = self._prices.market.listings().get(symbol)
        told = self._prices.market.assets.get(symbol, {}).get("exchange")
        return str(told or exchange_of(listing.kind if listing else "stock", symbol))

    def _venue(self, symbol: str) -> str:
        return VENUES.get(self._exchange(symbol), "V")

    def _tape(self, symbol: str) -> str:
        return TAPES.get(self._exchange(symbol), "B")
