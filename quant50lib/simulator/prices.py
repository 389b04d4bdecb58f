"""What a market says at a moment of the clock: prices, assets and actions known by then."""

from __future__ import annotations

import bisect
import datetime as dt
from decimal import Decimal

import numpy as np

from quant50lib.simulator.market import Action, Listing, Market, Series
from quant50lib.simulator.records import TICK, identifier
from quant50lib.simulator.timetable import Timetable, new_york_date

ANNOUNCED_DAYS = 14  # an action is known this many calendar days before its ex-date
LEGS = (0.0, 1 / 3, 2 / 3, 1.0)


def cents(price: float) -> Decimal:
    """A price of the market, exactly as printed."""
    return Decimal(repr(float(price)))


def path_price(series: Series, row: int, share: float) -> float:
    """A price within the session, `share` of it elapsed.

    Straight lines from open over both extremes to close, the nearer extreme to a loss first, so
    that it starts at the open, ends at the close and stays in the day's range.
    """
    extremes = (series.low[row], series.high[row])
    rising = series.close[row] >= series.open[row]
    legs = (series.open[row], *(extremes if rising else extremes[::-1]), series.close[row])
    return round(float(np.interp(share, LEGS, legs)), 2)


class Prices:
    """The market seen through the clock. No method tells what the moment could not know."""

    def __init__(self, market: Market, times: Timetable) -> None:
        self.market, self.times = market, times
        self._known = -1
        self._by_symbol: dict[str, tuple[list[int], list[Action]]] = {}

    def prepare(self, now: int) -> None:
        """Have the market ready up to a moment and the announcements around it."""
        self.market.extend(new_york_date(now) + dt.timedelta(days=ANNOUNCED_DAYS + 7))

    def happened(self, symbol: str, now: int) -> list[Action]:
        """The actions of a symbol that took effect by now, by date."""
        self._group()
        moments, found = self._by_symbol.get(symbol, ([], []))
        return found[: bisect.bisect_right(moments, now)]

    def _group(self) -> None:
        """Sort the actions made so far by symbol, anew when there are more of them."""
        every = self.market.actions()
        if self._known == len(every):
            return
        self._by_symbol, self._known = {}, len(every)
        for action in every:
            moments, found = self._by_symbol.setdefault(action.symbol, ([], []))
            moments.append(self._effective(action))
            found.append(action)

    def _effective(self, action: Action) -> int:
        """The moment at which an action changes positions: 04:00 in New York on its ex-date."""
        return int(self.times.early[self.times.index_of(action.ex_date)])

    def on(self, day: dt.date) -> list[Action]:
        return [action for action in self.market.actions() if action.ex_date == day]

    def announced(self, now: int) -> list[Action]:
        horizon = new_york_date(now) + dt.timedelta(days=ANNOUNCED_DAYS)
        return [action for action in self.market.actions() if action.ex_date <= horizon]

    def listing(self, key: str) -> Listing | None:
        """By symbol or by asset id."""
        found = self.market.listings()
        if key in found:
            return found[key]
        return next((x for x in found.values() if identifier("asset", x.symbol) == key), None)

    def is_known(self, symbol: str, now: int) -> bool:
        """Whether it has been listed by now."""
        series = self.market.series(symbol)
        if series is None or not len(series.day):
            return False
        return bool(series.day[0] <= np.datetime64(new_york_date(now)))

    def is_active(self, symbol: str, now: int) -> bool:
        """Whether it trades at all by now: listed, and not paid off by a merger."""
        gone = any(action.kind == "cash_merger" for action in self.happened(symbol, now))
        return self.is_known(symbol, now) and not gone

    def has_bar(self, symbol: str, session: int) -> int | None:
        """The row of the symbol's bar of a session."""
        series = self.market.series(symbol)
        if series is None:
            return None
        row = int(np.searchsorted(series.day, self.times.days[session]))
        found = row < len(series.day) and series.day[row] == self.times.days[session]
        return row if found else None

    def trade(self, symbol: str, now: int) -> Decimal | None:
        """The price in the running session; None where it is closed or the symbol halted."""
        session = self.times.live(now)
        row = self.has_bar(symbol, session) if self.times.is_open(now) else None
        series = self.market.series(symbol)
        if row is None or series is None:
            return None
        length = self.times.closes[session] - self.times.opens[session]
        return cents(path_price(series, row, float((now - self.times.opens[session]) / length)))

    def last(self, symbol: str, now: int) -> Decimal | None:
        """The latest price: of the running session, else the last close, on today's share basis."""
        return self.trade(symbol, now) or self.close_before(symbol, now, self.times.live(now))

    def close_before(self, symbol: str, now: int, session: int) -> Decimal | None:
        """The last close before a session, divided by splits that took effect since."""
        series = self.market.series(symbol)
        if series is None:
            return None
        row = int(np.searchsorted(series.day, self.times.days[session])) - 1
        if row < 0:
            return None
        price = cents(series.close[row])
        for action in self.happened(symbol, now):
            if action.is_split and np.datetime64(action.ex_date) > series.day[row]:
                price = (price * action.old / action.new).quantize(TICK)
        return price
