"""What the control plane puts on top of a market: assets, bars, quotes, halts, corporate actions.

The overlay is itself a market. It knows names but no clock: bars stand under the name that a
company has on their day, so that a change of name ends one series and begins another; `lineage`
says which series make up a company's history.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from typing import Any

import numpy as np

from quant50lib.simulator.market import Action, Listing, Market, Series
from quant50lib.simulator.quotes import Told
from quant50lib.simulator.records import Addition
from quant50lib.simulator.timetable import new_york_date

DAILY = "1Day"
ROW = ("t", "open", "high", "low", "close", "volume", "trades", "vwap")
WHOLE = ("volume", "trades")  # columns of whole numbers

Rename = tuple[dt.date, str, str]  # day, old name, new name
Part = tuple[str, dt.date, dt.date]  # a name, and the days on which it counts: first, end


class Overlay:
    """A market, and what was set on top of it."""

    def __init__(self, base: Market) -> None:
        self.base = base
        self.name, self.identity, self.simulated = base.name, base.identity, base.simulated
        self.without = np.array([], "datetime64[D]")  # days that the rules took from the calendar
        self.version = 0  # grows with every change, so that others know when to forget
        self.clear()

    # ---- what was set

    def clear(self) -> None:
        """The market as it was started."""
        self.assets: dict[str, dict[str, Any]] = {}
        self.quotes: dict[str, list[Told]] = {}
        self.halts: dict[str, int] = {}  # symbol and since when
        self._rows: dict[tuple[str, str], dict[int, list[float]]] = {}
        self._set: dict[str, Action] = {}
        self._forget()

    def _forget(self) -> None:
        self.version += 1
        self._frames: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._own: dict[str, tuple[Series | None, Series]] = {}
        self._named: dict[str, tuple[list[Series | None], Series | None]] = {}
        self._listings: dict[str, Listing] | None = None
        self._actions: tuple[int, list[Action], list[Rename]] | None = None

    def load(self, additions: Iterable[Addition]) -> None:
        """Exactly these, nothing else."""
        self.clear()
        for addition in additions:
            self.put(addition)

    def put(self, addition: Addition) -> None:
        """Set one thing, in place of what was set under its name before."""
        getattr(self, f"_put_{addition.sort}")(addition.name, addition.body)
        if addition.sort in ("quote", "halt"):
            self._listings = None  # the symbol may be new; all else stays
        else:
            self._forget()

    def _put_asset(self, symbol: str, body: dict[str, Any]) -> None:
        self.assets[symbol] = body

    def _put_bars(self, name: str, body: dict[str, Any]) -> None:
        symbol, timeframe = name.split("|")
        self._rows[symbol, timeframe] = {int(row[0]): row[1:] for row in body["rows"]}

    def _put_quote(self, name: str, body: dict[str, Any]) -> None:
        symbol, t = name.split("|")
        prices = [Decimal(body[k]) if body[k] is not None else None for k in ("bid", "ask", "last")]
        kept = [told for told in self.quotes.get(symbol, []) if told.t != int(t)]
        bisect.insort(kept, Told(int(t), *prices), key=lambda told: told.t)
        self.quotes[symbol] = kept

    def _put_halt(self, symbol: str, body: dict[str, Any]) -> None:
        self.halts.pop(symbol, None)
        if body["since"] is not None:
            self.halts[symbol] = int(body["since"])

    def _put_action(self, name: str, body: dict[str, Any]) -> None:
        exact = {key: Decimal(body[key]) for key in ("new", "old", "cash")}
        day = dt.date.fromisoformat(body["ex_date"])
        self._set[name] = Action(**body | exact | {"ex_date": day})

    def bars_set(self, symbol: str, timeframe: str) -> dict[int, list[float]]:
        """The rows that were set, by instant: open, high, low, close, volume, trades, vwap."""
        return dict(self._rows.get((symbol, timeframe), {}))

    def frames(self, symbol: str) -> list[str]:
        """The timeframes of which bars were set for a symbol."""
        return [timeframe for name, timeframe in self._rows if name == symbol]

    def frame(self, symbol: str, timeframe: str) -> dict[str, np.ndarray]:
        """The set bars as columns named as in `ROW`, in order of time."""
        key = (symbol, timeframe)
        if key not in self._frames:
            rows = sorted([t, *rest] for t, rest in self._rows.get(key, {}).items())
            columns = dict(zip(ROW, np.array(rows, float).reshape(-1, len(ROW)).T))
            whole = {name: columns[name].astype(np.int64) for name in WHOLE}
            at = np.array([row[0] for row in rows], np.int64)
            self._frames[key] = columns | whole | {"t": at}
        return self._frames[key]

    def keep_out(self, without: np.ndarray) -> None:
        """Drop the bars of days on which the calendar has no session."""
        self.without = without
        self._forget()

    # ---- the market

    @property
    def first_day(self) -> dt.date:
        return self.base.first_day

    @property
    def last_day(self) -> dt.date | None:
        return self.base.last_day

    def extend(self, day: dt.date) -> None:
        self.base.extend(day)

    def listings(self) -> dict[str, Listing]:
        """By symbol; what has been given bars, quotes or a name by a rename is listed too."""
        if self._listings is None:
            found = dict(self.base.listings())
            named = [*self.quotes, *(symbol for symbol, _ in self._rows)]
            for symbol in named:
                found.setdefault(symbol, Listing(symbol, symbol, "", "stock"))
            for _, old, new in self.renames():
                was = found.get(old, Listing(old, old, "", "stock"))
                found.setdefault(new, Listing(new, was.name, was.sector, was.kind))
            for symbol, body in self.assets.items():
                found[symbol] = _listing(symbol, body, found.get(symbol))
            self._listings = found
        return self._listings

    def actions(self) -> list[Action]:
        """All actions, by date and symbol."""
        return self._all_actions()[1]

    def renames(self) -> list[Rename]:
        return self._all_actions()[2]

    def _all_actions(self) -> tuple[int, list[Action], list[Rename]]:
        made = self.base.actions()
        if self._actions is None or self._actions[0] != len(made):
            every = made
            if self._set:
                every = sorted([*made, *self._set.values()], key=lambda a: (a.ex_date, a.symbol))
            changes = [a for a in every if a.kind == "name_change" and a.other_symbol]
            names = [(a.ex_date, a.symbol, a.other_symbol) for a in changes]
            self._actions = (len(made), every, names)
        return self._actions

    def is_set(self, action: Action) -> bool:
        """Whether an action was set, and is known before its time therefore."""
        return any(action is kept for kept in self._set.values())

    def series(self, symbol: str) -> Series | None:
        """The daily bars that stand under a name on their day."""
        if not (renames := self.renames()):
            return self._own_series(symbol)
        names = {symbol, *(name for _, old, new in renames for name in (old, new))}
        made = [self.base.series(name) for name in sorted(names)]
        kept = self._named.get(symbol)
        if kept is None or any(a is not b for a, b in zip(kept[0], made)):
            kept = self._named[symbol] = (made, self._renamed(symbol))
        return kept[1]

    def _renamed(self, symbol: str) -> Series | None:
        found = self._under(symbol, dt.date.max)
        for day, old, _ in self.renames():
            if old == symbol and found is not None:
                again = [d for d, _, new in self.renames() if new == symbol and d > day]
                found = _cut(found, day, min(again, default=dt.date.max), inside=False)
        return found if found is not None and len(found.day) else None

    def _under(self, symbol: str, before: dt.date) -> Series | None:
        """Own bars and, from a change of name on, those made under the old name."""
        found = self._own_series(symbol)
        for day, old, new in self.renames():
            if new == symbol and day < before:
                more = self._under(old, day)
                if more is not None:
                    found = _merge(_cut(more, day, dt.date.max), found)
        return found

    def _own_series(self, symbol: str) -> Series | None:
        made = self.base.series(symbol)
        if (symbol, DAILY) not in self._rows and not len(self.without):
            return made
        kept = self._own.get(symbol)
        if kept is None or kept[0] is not made:
            found = _merge(made, self._set_series(symbol))
            found = _rows(found, ~np.isin(found.day, self.without))
            kept = self._own[symbol] = (made, found)
        return kept[1]

    def _set_series(self, symbol: str) -> Series:
        columns = dict(self.frame(symbol, DAILY))
        days = [new_york_date(int(t)) for t in columns.pop("t")]
        return Series(day=np.array(days, "datetime64[D]"), **columns)

    # ---- companies that changed their names

    def lineage(self, symbol: str, asof: dt.date, through: dt.date) -> list[Part]:
        """The names under which the company called `symbol` before `asof` has stood, in order.

        A change of name on a date counts from the day after; changes after `through` are unknown.
        """
        known = [rename for rename in self.renames() if rename[0] <= through]
        parts: list[Part] = [(symbol, dt.date.min, dt.date.max)]
        gone = max((d for d, old, _ in known if old == symbol and d < asof), default=dt.date.min)
        come = max((d for d, _, new in known if new == symbol and d < asof), default=dt.date.min)
        if gone > come:
            return parts  # nobody was called so any more: the bars under the name, no others
        limit = asof
        while earlier := [r for r in known if r[2] == parts[0][0] and r[0] < limit]:
            limit, old, new = earlier[-1]
            parts[:1] = [(old, dt.date.min, limit), (new, limit, parts[0][2])]
        limit = asof
        while later := [r for r in known if r[1] == parts[-1][0] and r[0] >= limit]:
            day, old, new = later[0]
            parts[-1:] = [(old, parts[-1][1], day), (new, day, dt.date.max)]
            limit = day + dt.timedelta(days=1)
        return parts

    def whole(self, parts: list[Part]) -> Series | None:
        """The daily bars of a company under all its names."""
        if len(parts) == 1:
            return self.series(parts[0][0])
        found: Series | None = None
        for name, first, end in parts:
            series = self.series(name)
            if series is not None:
                found = _merge(_cut(series, first, end), found)
        return found


def _listing(symbol: str, body: dict[str, Any], known: Listing | None) -> Listing:
    was = known or Listing(symbol, symbol, "", "stock")
    return Listing(symbol, body.get("name") or was.name, was.sector, was.kind)


def _rows(series: Series, kept: np.ndarray) -> Series:
    return Series(**{f.name: getattr(series, f.name)[kept] for f in fields(Series)})


def _cut(series: Series, first: dt.date, end: dt.date, *, inside: bool = True) -> Series:
    """The days from `first` on and before `end`, or all the others."""
    kept = (series.day >= np.datetime64(first)) & (series.day < np.datetime64(end))
    return _rows(series, kept if inside else ~kept)


def _merge(under: Series | None, over: Series | None) -> Series:
    """The days of both; `over` counts where both have one."""
    if under is None or over is None:
        found = under if over is None else over
        assert found is not None
        return found
    kept = _rows(under, ~np.isin(under.day, over.day))
    order = np.argsort(np.concatenate([kept.day, over.day]), kind="stable")
    return Series(
        **{
            f.name: np.concatenate([getattr(kept, f.name), getattr(over, f.name)])[order]
            for f in fields(Series)
        }
    )
