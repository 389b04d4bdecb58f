"""What a market says at a moment of the clock: prices, assets and actions known by then.

Within a session the price runs along straight lines through the daily bar. A quote that was set
stands in its place until another is set or until the market opens a later session with a bar.
"""

from __future__ import annotations

import bisect
import datetime as dt
from decimal import Decimal
from typing import Literal

import numpy as np

from quant50lib.simulator.market import Action, Listing, Market, Series
from quant50lib.simulator.overlay import Overlay, Part
from quant50lib.simulator.quotes import Quote, Told, around, cents, path_price
from quant50lib.simulator.records import TICK, identifier
from quant50lib.simulator.timetable import Timetable, new_york_date

ANNOUNCED_DAYS = 14  # an action of the market is known this many calendar days before its ex-date

Side = Literal["bid", "ask", "last"]


class Prices:
    """The market seen through the clock. No method tells what the moment could not know."""

    def __init__(self, market: Market, times: Timetable) -> None:
        self.market = market if isinstance(market, Overlay) else Overlay(market)
        self.renamed_asset = "same_id"  # as the rule of that name
        self.set_times(times)

    def set_times(self, times: Timetable) -> None:
        """Follow another timetable; days it lacks have no bars."""
        self.times = times
        self.market.keep_out(times.without)
        self._known: tuple[int, int] | None = None
        self._by_symbol: dict[str, tuple[list[int], list[Action]]] = {}

    def prepare(self, now: int) -> None:
        """Have the market ready up to a moment and the announcements around it."""
        self.market.extend(new_york_date(now) + dt.timedelta(days=ANNOUNCED_DAYS + 7))

    # ---- corporate actions

    def happened(self, symbol: str, now: int) -> list[Action]:
        """The actions of a symbol that took effect by now, by date."""
        self._group()
        moments, found = self._by_symbol.get(symbol, ([], []))
        return found[: bisect.bisect_right(moments, now)]

    def _group(self) -> None:
        """Sort the actions made so far by symbol, anew when there are others."""
        every = self.market.actions()
        if self._known == (len(every), self.market.version):
            return
        self._by_symbol, self._known = {}, (len(every), self.market.version)
        for action in every:
            moments, found = self._by_symbol.setdefault(action.symbol, ([], []))
            moments.append(self.effective(action))
            found.append(action)

    def effective(self, action: Action) -> int:
        """The moment at which an action changes positions: 04:00 in New York on its ex-date."""
        return int(self.times.early[self.times.index_of(action.ex_date)])

    def on(self, day: dt.date) -> list[Action]:
        return [action for action in self.market.actions() if action.ex_date == day]

    def announced(self, now: int) -> list[Action]:
        """What is known by now: of the market's own two weeks ahead, of those set everything."""
        horizon = new_york_date(now) + dt.timedelta(days=ANNOUNCED_DAYS)
        every = self.market.actions()
        return [a for a in every if a.ex_date <= horizon or self.market.is_set(a)]

    def lineage(self, symbol: str, now: int, asof: dt.date | None = dt.date.max) -> list[Part]:
        """The names of the company that is called `symbol` (by `asof`), oldest first.

        `asof` None: the name stands for itself alone.
        """
        if asof is None or not self.market.renames():
            return [(symbol, dt.date.min, dt.date.max)]
        session = int(np.searchsorted(self.times.early, now, "right")) - 1
        return self.market.lineage(symbol, asof, self.times.day(session))

    def happened_to(self, parts: list[Part], now: int) -> list[Action]:
        """The actions of a company under all its names, by date."""
        found = [
            action
            for name, first, end in parts
            for action in self.happened(name, now)
            if first <= action.ex_date < end
        ]
        return sorted(found, key=lambda action: action.ex_date) if len(parts) > 1 else found

    # ---- assets

    def listing(self, key: str, now: int | None = None) -> Listing | None:
        """By symbol or by asset id; an id means the name that the company has by now."""
        found = self.market.listings()
        if key in found:
            return found[key]
        same = [
            s for s in found if key in (self.asset_id(s), self.market.assets.get(s, {}).get("id"))
        ]
        by_now = [s for s in same if now is None or self.is_known(s, now)]
        return found[(by_now or same)[-1]] if same else None

    def asset_id(self, symbol: str) -> str:
        """A UUID; a company that changes its name keeps it under the rule `same_id`."""
        told = self.market.assets.get(symbol, {}).get("id")
        if told:
            return str(told)
        for _, old, new in self.market.renames():
            if new == symbol and self.renamed_asset == "same_id":
                return self.asset_id(old)
        return identifier("asset", symbol)

    def is_known(self, symbol: str, now: int) -> bool:
        """Whether it has been listed by now, and under this name still."""
        changes = self._changes_of_name(symbol)
        done = [action for action in changes if self.effective(action) <= now]
        if done:
            return done[-1].other_symbol == symbol
        if symbol in self.market.assets or symbol in self.market.quotes:
            return True
        series = self.market.series(symbol)
        if series is None or series.day[0] > np.datetime64(new_york_date(now)):
            return False
        to_come = (a.ex_date for a in changes if a.other_symbol == symbol)
        return all(series.day[0] < np.datetime64(day) for day in to_come)

    def _changes_of_name(self, symbol: str) -> list[Action]:
        """Those that begin or end with the symbol."""
        if not self.market.renames():
            return []
        return [
            action
            for action in self.market.actions()
            if action.kind == "name_change" and symbol in (action.symbol, action.other_symbol)
        ]

    def is_active(self, symbol: str, now: int) -> bool:
        """Whether it trades at all by now: listed, not set inactive, not ended by an action."""
        if self.market.assets.get(symbol, {}).get("status") == "inactive":
            return False
        return self.is_known(symbol, now) and not self.has_ended(symbol, now)

    def has_ended(self, symbol: str, now: int) -> bool:
        """Whether it was paid off, exchanged or written off by now; its bars remain."""
        return any(a.is_ending and a.kind != "name_change" for a in self.happened(symbol, now))

    # ---- prices

    def has_bar(self, symbol: str, session: int) -> int | None:
        """The row of the symbol's bar of a session."""
        series = self.market.series(symbol)
        if series is None:
            return None
        row = int(np.searchsorted(series.day, self.times.days[session]))
        found = row < len(series.day) and series.day[row] == self.times.days[session]
        return row if found else None

    def halted(self, symbol: str, now: int) -> bool:
        """Whether trading is stopped: by the control plane, or for want of a bar in the session."""
        if self.market.halts.get(symbol, now + 1) <= now:
            return True
        running = self.times.is_open(now) and self.is_known(symbol, now)
        return running and self._standing(symbol, now, 0.0) is None

    def quote(self, symbol: str, now: int, half_spread_bps: float) -> Quote | None:
        """The quote in the running session; None where it is closed, halted or has no price."""
        if not self.times.is_open(now) or self.market.halts.get(symbol, now + 1) <= now:
            return None
        return self._standing(symbol, now, half_spread_bps)

    def outside(self, symbol: str, now: int, half_spread_bps: float) -> Quote | None:
        """The quote in the hours around a session: only one that was set since the last close."""
        told = self._told(symbol, now)
        closed = int(self.times.closes[self.times.last_closed(now)])
        if told is None or told.t < closed or self.market.halts.get(symbol, now + 1) <= now:
            return None
        return told.whole(half_spread_bps)

    def trade(self, symbol: str, now: int) -> Decimal | None:
        """The price in the running session; None where it is closed or the symbol halted."""
        found = self.quote(symbol, now, 0.0)
        return found.last if found else None

    def last(self, symbol: str, now: int) -> Decimal | None:
        """The latest price: of the running session, else the last close, on today's share basis.

        Of a halted symbol the one at the moment of the halt.
        """
        found = self.latest(symbol, now)
        return found[0] if found else None

    def latest(self, symbol: str, now: int) -> tuple[Decimal, int] | None:
        """The latest price and its moment, in microseconds."""
        at = min(now, self.market.halts.get(symbol, now))
        found = self._standing(symbol, at, 0.0) if self.times.is_open(at) else None
        if found:
            return self._basis(symbol, found.last, found.t, now), found.t
        return self._close_before(symbol, now, self.times.live(at))

    def close_before(self, symbol: str, now: int, session: int) -> Decimal | None:
        """The last close before a session, divided by splits that took effect since."""
        found = self._close_before(symbol, now, session)
        return found[0] if found else None

    def _close_before(self, symbol: str, now: int, session: int) -> tuple[Decimal, int] | None:
        parts = self.lineage(symbol, now)
        told = self._told(symbol, min(int(self.times.opens[session]) - 1, now), parts)
        if told is not None:
            return self._basis(symbol, told.price, told.t, now), told.t
        series = self.market.whole(parts)
        row = -1 if series is None else np.searchsorted(series.day, self.times.days[session]) - 1
        if series is None or row < 0:
            return None
        closed = int(self.times.closes[np.searchsorted(self.times.days, series.day[row])])
        return self._basis(symbol, cents(series.close[row]), closed, now), closed

    def _basis(self, symbol: str, price: Decimal, since: int, now: int) -> Decimal:
        """A price of `since` on the share basis of now."""
        for action in self._splits(symbol, since, now):
            price = (price * action.old / action.new).quantize(TICK)
        return price

    def _splits(self, symbol: str, since: int, now: int) -> list[Action]:
        """Those that took effect after `since`, by now."""
        if since >= now:
            return []
        known = self.happened_to(self.lineage(symbol, now), now)
        return [action for action in known if action.is_split and self.effective(action) > since]

    def _told(self, symbol: str, at: int, parts: list[Part] | None = None) -> Told | None:
        """The set quote that stands at a moment: no session with a bar has opened since."""
        if not self.market.quotes:
            return None
        parts = parts or self.lineage(symbol, at)
        every = [q for name, _, _ in parts for q in self.market.quotes.get(name, []) if q.t <= at]
        found = max(every, key=lambda told: told.t, default=None)
        series = self.market.whole(parts)
        superseded = series is not None and found and found.t < self._opened(series, at)
        return None if superseded else found

    def _opened(self, series: Series, at: int) -> int:
        """When the latest session with a bar opened."""
        session = int(np.searchsorted(self.times.opens, at, "right")) - 1
        row = int(np.searchsorted(series.day, self.times.days[session], "right")) - 1
        if row < 0:
            return 0
        return int(self.times.opens[np.searchsorted(self.times.days, series.day[row])])

    def _standing(self, symbol: str, at: int, half_spread_bps: float) -> Quote | None:
        """The quote at a moment of a session, halted or not."""
        told = self._told(symbol, at)
        if told is None:
            price = self._on_path(symbol, at)
            return None if price is None else around(price, at, half_spread_bps)
        for action in self._splits(symbol, told.t, at):
            told = told.split(action.new, action.old)
        return told.whole(half_spread_bps)

    def _on_path(self, symbol: str, at: int) -> Decimal | None:
        session = self.times.live(at)
        row, series = self.has_bar(symbol, session), self.market.series(symbol)
        if row is None or series is None:
            return None
        length = self.times.closes[session] - self.times.opens[session]
        return cents(path_price(series, row, float((at - self.times.opens[session]) / length)))

    # ---- when a price is reached

    def touch(
        self,
        symbol: str,
        now: int,
        until: int,
        price: Decimal,
        above: bool,
        *,
        of: Side = "last",
        half_spread_bps: float = 0.0,
    ) -> int | None:
        """The first microsecond in (now, until] at which a price is reached in a session.

        `above`: from below, else from above; `of` says which price of the quote. Quotes that were
        set ahead of time count from their moment on. None: never, or halted.
        """
        if self.market.halts.get(symbol, now + 1) <= now:
            return None
        self.market.extend(new_york_date(until))

        def reached(at: int) -> bool:
            quote = self._standing(symbol, at, half_spread_bps)
            if quote is None:
                return False
            found: Decimal = getattr(quote, of)
            return found >= price if above else found <= price

        for first, last in self._pieces(symbol, now + 1, until):
            if reached(first):
                return first
            if reached(last):
                return first + 1 + bisect.bisect_left(range(first + 1, last), True, key=reached)
        return None

    def _pieces(self, symbol: str, first: int, last: int) -> list[tuple[int, int]]:
        """Spans of open sessions, ends included, in each of which the price does not turn."""
        told = {
            q.t
            for name, *_ in self.lineage(symbol, first)
            for q in self.market.quotes.get(name, [])
        }
        found = []
        for session in range(self.times.live(first), self.times.live(last) + 1):
            opens, closes = int(self.times.opens[session]), int(self.times.closes[session])
            a, b = max(opens, first), min(closes - 1, last)
            if a > b:
                continue
            turns = {opens - (opens - closes) * leg // 3 for leg in (1, 2)} | told
            marks = sorted({a, *(t for t in turns if a < t <= b), b + 1})
            found += [(x, y - 1) for x, y in zip(marks, marks[1:])]
        return found
