"""GET /v2/stocks/bars: bars of any length, raw or adjusted for what had happened by the clock.

Daily bars are the market's; weeks and months are made of them. Bars within a day exist where the
control plane set some, or shorter ones that they can be made of. A bar is hidden until its end,
but for the weeks and months, which grow with every session.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from quant50lib.simulator.adjustment import factors
from quant50lib.simulator.market import Action, Series
from quant50lib.simulator.overlay import Part
from quant50lib.simulator.pages import (
    FRAME,
    PageQuery,
    Row,
    Rows,
    cut_page,
    read_page_query,
)
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.query import Query, check_names
from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.timeframes import (
    MINUTE,
    Frame,
    Timeframe,
    in_longer_bars,
    in_weeks_or_months,
    new_york_days,
    read_timeframe,
)
from quant50lib.simulator.timetable import Timetable, parse_bound, parse_instant, utc_text

KNOWN = FRAME | {"timeframe", "adjustment"}
ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
IEX_SHARE, IEX_FROM = 0.025, parse_bound("2020-07-27", last=False)  # of the volume; of its history


@dataclass(frozen=True)
class BarQuery(PageQuery):
    """A request for bars."""

    timeframe: Timeframe
    adjustment: frozenset[str]

    @property
    def mark(self) -> str:
        """What a page token says of its bars."""
        return "M" if self.timeframe.is_within_a_day else "D"


def read_bar_query(query: Query, now: int, plan: str = "paid") -> BarQuery:
    """Check a request for bars.

    Raises
    ------
    Refusal
        With status 400, or 403 where the plan does not suffice; the message alone.
    """
    check_names(query, KNOWN)
    timeframe = read_timeframe(query.get("timeframe", ""))
    adjustment = frozenset((query.get("adjustment") or "raw").split(","))
    if not adjustment <= ADJUSTMENTS:
        raise bad_query(f"invalid adjustment: {query['adjustment']}")
    common = read_page_query(query, now, plan)
    return BarQuery(**vars(common), timeframe=timeframe, adjustment=adjustment)


@dataclass(frozen=True)
class Scale:
    """What the columns of bars are multiplied with: prices, shares, and the feed's part of both."""

    factors: tuple[np.ndarray, np.ndarray] | None = None
    traded: float = 1.0

    def columns(self, series: Series, part: slice) -> list[np.ndarray]:
        """Open, high, low, close, volume, trades and vwap of some rows."""
        prices = [series.open, series.high, series.low, series.close, series.vwap]
        cut, volume, trades = [x[part] for x in prices], series.volume[part], series.trades[part]
        if self.factors is not None:
            price, share = (factor[part] for factor in self.factors)
            cut = [np.round(values * price, 4) for values in cut]
            volume = np.round(volume / share).astype(np.int64)
        if self.traded != 1:
            volume, trades = (np.ceil(x * self.traded).astype(np.int64) for x in (volume, trades))
        return [*cut[:4], volume, trades, cut[4]]


def _rows(labels: list[Any], columns: list[np.ndarray], rows: range) -> list[Row]:
    made = [
        {"t": t, "o": o, "h": h, "l": low, "c": c, "v": v, "n": n, "vw": vw}
        for t, o, h, low, c, v, n, vw in zip(labels, *(values.tolist() for values in columns))
    ]
    return made[::-1] if rows.step < 0 else made


def _slice(rows: range) -> slice:
    return slice(min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1)


class Daily:
    """Bars of whole sessions; nothing is made of them before it is sent."""

    def __init__(self, series: Series, scale: Scale, clock: Labels, stop: int) -> None:
        self._series, self._scale, self._clock, self.stop = series, scale, clock, stop

    def find(self, t: int, side: Literal["left", "right"]) -> int:
        session = int(np.searchsorted(self._clock.times.midnights, t, side))
        days = self._clock.times.days
        return int(np.searchsorted(self._series.day, days[min(session, len(days) - 1)]))

    def label(self, row: int) -> str:
        session = np.searchsorted(self._clock.times.days, self._series.day[row])
        return str(self._clock.midnights[session])

    def make(self, rows: range) -> list[Row]:
        part = _slice(rows)
        session = np.searchsorted(self._clock.times.days, self._series.day[part])
        labels = self._clock.midnights[session].tolist()
        return _rows(labels, self._scale.columns(self._series, part), rows)


class Timed:
    """Bars that carry their instants."""

    def __init__(self, frame: Frame, scale: Scale, stop: int) -> None:
        self._frame, self._scale, self.stop = frame, scale, stop

    def find(self, t: int, side: Literal["left", "right"]) -> int:
        return int(np.searchsorted(self._frame.at, t, side))

    def label(self, row: int) -> str:
        return str(utc_text(int(self._frame.at[row])))

    def make(self, rows: range) -> list[Row]:
        part = _slice(rows)
        labels = [utc_text(int(at)) for at in self._frame.at[part]]
        return _rows(labels, self._scale.columns(self._frame, part), rows)


class Labels:
    """The spellings of all midnights, made once for a timetable."""

    def __init__(self, times: Timetable) -> None:
        self.times = times
        self.midnights = np.array([utc_text(int(at)) for at in times.midnights], object)


class Bars:
    """Pages of bars, and the newest ones."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._clock = Labels(prices.times)
        self._factors: dict[Any, tuple[Series, Any, tuple[np.ndarray, np.ndarray]]] = {}

    def page(self, query: BarQuery, now: int, stale_days: int = 0) -> dict[str, Any]:
        """The body of one page; `stale_days` hides the newest sessions, a fault of the service."""
        if self._clock.times is not self._prices.times:
            self._clock = Labels(self._prices.times)
        if query.feed == "iex":
            query = replace(query, start=max(query.start, IEX_FROM))
        return cut_page(
            "bars", query.mark, query, lambda symbol: self._rows_of(symbol, query, now, stale_days)
        )

    def _rows_of(self, symbol: str, query: BarQuery, now: int, stale_days: int) -> Rows | None:
        if not self._is_carried(symbol, query.feed):
            return None
        parts = self._prices.lineage(symbol, now, query.asof)
        times = self._clock.times
        first_hidden = times.last_closed(now) + 1 - stale_days
        if (frame := self._set_frame(parts, query.timeframe)) is not None:
            end = min(now, int(times.midnights[first_hidden])) if stale_days else now
            stop = int(np.searchsorted(frame.at, end - query.timeframe.length, "right"))
            return Timed(frame, self._scale(parts, frame, query, now), stop)
        series = self._prices.market.whole(parts)
        if series is None or query.timeframe.is_within_a_day:
            return None
        stop = int(np.searchsorted(series.day, times.days[first_hidden]))
        scale = self._scale(parts, series, query, now)
        if query.timeframe.is_daily:
            return Daily(series, scale, self._clock, stop)
        grown = in_weeks_or_months(_scaled(series, scale, stop), query.timeframe)
        return Timed(grown, Scale(), len(grown.at))

    def _is_carried(self, symbol: str, feed: str) -> bool:
        """Names listed OTC are on that feed only, and the night's feed has nothing."""
        listed = self._prices.market.assets.get(symbol, {}).get("exchange")
        return feed != "boats" and (feed == "otc") == (listed == "OTC")

    def _set_frame(self, parts: list[Part], timeframe: Timeframe) -> Frame | None:
        """Bars that were set for this very timeframe, or for a shorter one within a day."""
        if timeframe.is_daily:
            return None
        every = [self._prices.market.frames(name) for name, *_ in parts]
        within = sorted(
            (read_timeframe(text) for text in {text for texts in every for text in texts}),
            key=lambda found: (found != timeframe, found.is_within_a_day and found.length),
        )
        for found in within:
            if found == timeframe:
                return self._joined(parts, found)
            if timeframe.is_within_a_day and found.is_within_a_day:
                if timeframe.length % found.length == 0:
                    return in_longer_bars(self._joined(parts, found), timeframe)
        return None

    def _joined(self, parts: list[Part], timeframe: Timeframe) -> Frame:
        columns = []
        for name, first, end in parts:
            frame = dict(self._prices.market.frame(name, str(timeframe)))
            frame["at"] = frame.pop("t")
            frame["day"] = new_york_days(frame["at"])
            kept = (frame["day"] >= np.datetime64(first)) & (frame["day"] < np.datetime64(end))
            columns.append({key: values[kept] for key, values in frame.items()})
        return Frame(**{key: np.concatenate([c[key] for c in columns]) for key in columns[0]})

    def _scale(self, parts: list[Part], series: Series, query: BarQuery, now: int) -> Scale:
        traded = IEX_SHARE if query.feed == "iex" else 1.0
        if query.adjustment == {"raw"}:
            return Scale(None, traded)
        return Scale(self._factors_of(parts, series, query, now), traded)

    def _factors_of(
        self, parts: list[Part], series: Series, query: BarQuery, now: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The factors by the clock; made anew when an action took effect or bars were added."""
        known = self._prices.happened_to(parts, now)
        worth = {id(a): self._worth(a, now) for a in known if a.kind == "spin_off"}
        key = (tuple(parts), query.adjustment, str(query.timeframe))
        state = (len(known), self._prices.market.version, *worth.values())
        kept = self._factors.get(key)
        if kept is None or kept[0] is not series or kept[1] != state:
            made = factors(series, known, query.adjustment, lambda a: worth.get(id(a)))
            kept = self._factors[key] = (series, state, made)
        return kept[2]

    def _worth(self, action: Action, now: int) -> float | None:
        """What the shares spun off for one old share cost when they first traded."""
        first = int(np.searchsorted(self._clock.times.days, np.datetime64(action.ex_date)))
        series = self._prices.market.series(action.other_symbol)
        if series is None or self._clock.times.opens[first] > now:
            return None
        row = int(np.searchsorted(series.day, self._clock.times.days[first]))
        if row == len(series.day) or series.day[row] > self._clock.times.days[first]:
            return None
        return float(series.open[row]) * float(action.new / action.old)

    def latest(self, symbols: list[str], now: int) -> dict[str, Row]:
        """The last minute in which each symbol traded, one that was set or one of a single price."""
        found = {symbol: self._minute(symbol, now) for symbol in symbols}
        return {symbol: row for symbol, row in found.items() if row}

    def _minute(self, symbol: str, now: int) -> Row | None:
        latest = self._prices.latest(symbol, now)
        made = None if latest is None else _single(float(latest[0]), self._last_minute(latest[1]))
        parts = self._prices.lineage(symbol, now)
        frame = self._set_frame(parts, read_timeframe("1Min"))
        stop = 0 if frame is None else int(np.searchsorted(frame.at, now - MINUTE, "right"))
        if frame is None or not stop or (made and frame.at[stop - 1] < parse_instant(made["t"])):
            return made
        [row] = Timed(frame, Scale(), stop).make(range(stop - 1, stop))
        return row

    def _last_minute(self, t: int) -> int:
        """The start of the minute that ends at a close, else of the one that holds the moment."""
        return (t - MINUTE if t in self._prices.times.closes else t) // MINUTE * MINUTE


def _single(price: float, at: int) -> Row:
    p, t = price, utc_text(at)
    return {"t": t, "o": p, "h": p, "l": p, "c": p, "v": 100, "n": 1, "vw": p}


def _scaled(series: Series, scale: Scale, stop: int) -> Series:
    """The first rows, adjusted."""
    names = ("open", "high", "low", "close", "volume", "trades", "vwap")
    columns = dict(zip(names, scale.columns(series, slice(0, stop))))
    return Series(day=series.day[:stop], **columns)
