"""The demo market: made-up prices for real names, generated from a seed, year by year.

A stock's log return is beta x market + sector + own shock, each with a volatility that clusters
(a log-AR(1), partly common) and heavy tails (Student t), split into a night and a day part; four
times a year the own shock carries an earnings jump. Funds are made of the stocks or of factors of
their own (`funds`). Highs and lows are the extremes of a Brownian bridge between open and close.

A known edge is planted: the expected return of the next session rises with minus the excess log
return of the last five sessions over the market. `planted_ic` is about the rank correlation of
that public feature with the excess return from the next open over five sessions; 0 takes the edge
away and a model that still finds one is wrong.

The market is stable: each calendar year is drawn from generators keyed by (seed, year, name) on
top of the state carried over, so that asking for a later session never changes an earlier bar.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from decimal import Decimal
from functools import partial

import numpy as np

from quant50lib.errors import SettingsError
from quant50lib.simulator import funds
from quant50lib.simulator.demo_year import (
    EDGE_WINDOW,
    MARKET_VOL,
    SECTOR_VOL,
    YEAR,
    Names,
    State,
    Year,
    generator,
    make_year,
)
from quant50lib.simulator.market import Action, Listing, Series
from quant50lib.simulator.timetable import timetable

DRIFT, DRIFT_PER_BETA = 0.085, 0.03  # expected simple return a year at beta one, and its slope

#: one listing, one halt and one delisting, so that the desk meets each of them
LISTED, HALTED, DELISTED = dt.date(2023, 6, 7), dt.date(2024, 8, 13), dt.date(2025, 5, 21)
HALT_SESSIONS = 5

BETA = {
    "Utilities": 0.65,
    "Consumer Staples": 0.70,
    "Health Care": 0.82,
    "Real Estate": 0.88,
    "Communication Services": 0.95,
    "Energy": 1.08,
    "Materials": 1.08,
    "Industrials": 1.05,
    "Financials": 1.10,
    "Consumer Discretionary": 1.14,
    "Information Technology": 1.18,
}
YIELD = {"Utilities": 0.034, "Consumer Staples": 0.028, "Real Estate": 0.036, "Energy": 0.032}
GIANTS = {"AAPL", "MSFT", "GOOGL", "GOOG", "AMZN", "NVDA", "META", "BRK.B", "XOM", "JNJ", "JPM"}


class DemoMarket:
    """Simulated daily bars for every listing, without end, from `first_session` on.

    Raises
    ------
    SettingsError
        There is no stock among the listings.
    """

    name = "demo"
    simulated = True
    last_day = None

    def __init__(
        self, seed: int, first_session: str, listings: list[Listing], planted_ic: float = 0.03
    ) -> None:
        if not any(listing.kind == "stock" for listing in listings):
            raise SettingsError("the demo market needs at least one stock in its universe")
        self._times = timetable()
        self._first = self._times.index_of(dt.date.fromisoformat(first_session))
        self._seed, self._planted_ic = seed, planted_ic
        self._all = {listing.symbol: listing for listing in listings}
        self._names = _names(seed, listings)
        self._state = _opening_state(seed, self._names)
        self._events = _events(seed, self._names, self.first_day)
        self._years: list[Year] = []
        self._next = self._first
        self._actions: list[Action] = []
        self._cache: dict[str, Series] = {}
        text = repr((sorted(self._all.items()), first_session, planted_ic)).encode()
        self.identity = f"demo seed={seed} universe={hashlib.sha256(text).hexdigest()[:12]}"

    @property
    def first_day(self) -> dt.date:
        return self._times.day(self._first)

    def listings(self) -> dict[str, Listing]:
        return self._all

    def actions(self) -> list[Action]:
        return self._actions

    def extend(self, day: dt.date) -> None:
        """Generate whole calendar years until the date is covered."""
        while self._times.day(self._next) <= day:
            self._add_year()

    def _add_year(self) -> None:
        year = self._times.day(self._next).year
        whole = self._times.index_of(dt.date(year, 1, 1))
        after = self._times.index_of(dt.date(year + 1, 1, 1))
        made, self._state = make_year(
            self._names,
            self._state,
            partial(generator, self._seed, year),
            after - whole,
            self._next - whole,
            self._trading(whole, after)[:, : len(self._names.stocks)],
            self._planted_ic,
        )
        self._years.append(made)
        self._actions.extend(self._actions_of(made, self._next))
        self._next = after
        self._cache.clear()

    def _trading(self, first: int, last: int) -> np.ndarray:
        """Which names have bars, sessions x names: listed, not delisted, not halted."""
        days = self._times.days[first:last]
        mask = np.ones((len(days), len(self._names.symbols)), bool)
        listed, halted, delisted = self._events
        mask[:, listed] &= days[:, None] >= np.datetime64(LISTED)
        at = self._times.index_of(HALTED)
        inside = np.isin(days, self._times.days[at : at + HALT_SESSIONS])
        mask[:, halted] &= ~inside[:, None]
        mask[:, delisted] &= days[:, None] < np.datetime64(DELISTED)
        return mask

    def series(self, symbol: str) -> Series | None:
        if symbol not in self._all or not self._years:
            return None
        if symbol not in self._cache:
            self._cache[symbol] = self._make_series(symbol)
        return self._cache[symbol]

    def _make_series(self, symbol: str) -> Series:
        column = self._names.symbols.index(symbol)
        kept = self._trading(self._first, self._next)[:, column]
        values = {
            name: np.concatenate([getattr(year, name)[:, column] for year in self._years])[kept]
            for name in ("open", "high", "low", "close", "volume")
        }
        typical = (values["open"] + values["high"] + values["low"] + values["close"]) / 4
        return Series(
            day=self._times.days[self._first : self._next][kept],
            trades=np.maximum(values["volume"] // 120, 1),
            vwap=np.round(typical, 4),
            **values,
        )

    def _actions_of(self, year: Year, first: int) -> list[Action]:
        symbols, found = self._names.symbols, []
        trading = self._trading(first, first + len(year.close))
        for t, column in np.argwhere(((year.ratio != 1) | (year.dividend > 0)) & trading):
            day, ratio = self._times.day(first + t), float(year.ratio[t, column])
            if ratio != 1:
                found.append(_split(symbols[column], day, ratio))
            if year.dividend[t, column] > 0:
                cash = Decimal(f"{year.dividend[t, column]:.4f}").normalize()
                found.append(Action("cash_dividend", symbols[column], day, cash=cash))
        return sorted(found + self._merger(year, first), key=lambda a: (a.ex_date, a.symbol))

    def _merger(self, year: Year, first: int) -> list[Action]:
        """Whoever holds the delisted name is paid its last price."""
        at = self._times.index_of(DELISTED) - first
        if not 0 < at < len(year.close):
            return []
        return [
            Action(
                "cash_merger",
                self._names.symbols[column],
                DELISTED,
                cash=Decimal(f"{year.close[at - 1, column]:.2f}"),
            )
            for column in self._events[2]
        ]


def _split(symbol: str, day: dt.date, ratio: float) -> Action:
    if ratio > 1:
        return Action("forward_split", symbol, day, new=Decimal(round(ratio)))
    return Action("reverse_split", symbol, day, old=Decimal(round(1 / ratio)))


def _names(seed: int, listings: list[Listing]) -> Names:
    stocks = [listing for listing in listings if listing.kind == "stock"]
    etfs = [listing for listing in listings if listing.kind == "etf"]
    sectors = sorted({stock.sector for stock in stocks})
    recipes = [funds.recipe(etf, set(sectors)) for etf in etfs]
    drawn = {x.symbol: generator(seed, "traits:" + x.symbol).random(6) for x in listings}
    u = np.array([drawn[x.symbol] for x in (*stocks, *etfs)]).reshape(-1, 6)
    mine = u[: len(stocks)]
    beta = np.array([BETA.get(s.sector, 1.0) for s in stocks]) * (0.75 + 0.5 * mine[:, 0])
    own = 0.125 + 0.13 * mine[:, 1] ** 1.5
    variance = (beta * MARKET_VOL) ** 2 + SECTOR_VOL**2 + own**2
    payout = np.array([YIELD.get(s.sector, 0.018) for s in stocks])
    pays = np.where(mine[:, 2] < 0.78, payout * (0.5 + mine[:, 3]), 0.0)
    size = _opening_size(seed, stocks)
    return Names(
        stocks=stocks,
        etfs=etfs,
        recipes=recipes,
        sectors=sectors,
        sector=np.array([sectors.index(s.sector) for s in stocks], int),
        beta=beta,
        own=own,
        drift=(np.log1p(DRIFT + DRIFT_PER_BETA * (beta - 1)) - variance / 2) / YEAR,
        split_above=200 * np.exp(0.9 * mine[:, 4]),
        split_into=np.choose((mine[:, 5] * 4).astype(int), [2.0, 2.0, 3.0, 4.0]),
        pays=np.concatenate([pays, [recipe.dividend for recipe in recipes]]),
        pay_day=5 + (50 * u[:, 3]).astype(int),
        book=_books(recipes, stocks, size),
        loads=np.array(
            [[recipe.loadings.get(name, 0.0) for name in funds.FACTORS] for recipe in recipes]
        ).reshape(-1, len(funds.FACTORS)),
    )


def _books(recipes: list[funds.Fund], stocks: list[Listing], size: np.ndarray) -> np.ndarray:
    rows = [funds.membership(recipe, stocks, size) for recipe in recipes]
    return np.array(rows).reshape(-1, len(stocks))


def _opening_size(seed: int, stocks: list[Listing]) -> np.ndarray:
    """Market values in US dollars: log-normal, the giants at the top."""
    drawn = [generator(seed, "size:" + s.symbol).standard_normal() for s in stocks]
    giant = np.array([s.symbol in GIANTS for s in stocks], float)
    found: np.ndarray = 2.2e10 * np.exp(0.85 * np.array(drawn) + 1.5 * giant)
    return found


def _opening_state(seed: int, names: Names) -> State:
    n, every = len(names.stocks), len(names.symbols)
    drawn = np.array([generator(seed, "price:" + s).standard_normal() for s in names.symbols])
    price = np.round(np.where(np.arange(every) < n, 48, 90) * np.exp(0.55 * drawn), 2)
    return State(
        close=price,
        size=_opening_size(seed, names.stocks),
        calm=np.zeros(1 + len(names.sectors) + n),
        busy=np.zeros(every),
        recent=np.zeros((EDGE_WINDOW, n)),
    )


def _events(seed: int, names: Names, first: dt.date) -> tuple[list[int], list[int], list[int]]:
    """Columns of the stocks that are listed, halted and delisted on the fixed days."""
    small = [s.symbol for s in names.stocks if s.symbol not in GIANTS]
    order = sorted(small, key=lambda symbol: zlib.crc32(f"{seed}{symbol}".encode()))
    chosen = [[names.symbols.index(s)] for s in order[:3]] if len(order) >= 10 else [[], [], []]
    listed, halted, delisted = chosen
    return (listed if first < LISTED else []), halted, (delisted if first < DELISTED else [])
