"""Instants of the exchange day, as whole microseconds of UTC, and their spellings.

The twin keeps all time as integers, so that state files, comparisons and replies agree exactly.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from quant50lib.simulator.refusals import Refusal
from quant50lib.utils import dates

SECOND = 1_000_000
DATED = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d")
OPEN, LATEST = dt.time(9, 30), dt.time(16)
HALF_DAY = dt.timedelta(hours=6)  # a session shorter than it has a short evening too
NEW_YORK = ZoneInfo(dates.NEW_YORK)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def micros(instant: dt.datetime | pd.Timestamp) -> int:
    """Microseconds since the epoch of a timezone-aware moment."""
    return int((instant - EPOCH) // dt.timedelta(microseconds=1))


def moment(now: int) -> dt.datetime:
    """The same moment as a datetime in UTC."""
    return EPOCH + dt.timedelta(microseconds=now)


def utc_text(now: int | None) -> str | None:
    """RFC 3339 with `Z`, up to six fractional digits, trailing zeros dropped."""
    if now is None:
        return None
    whole, part = divmod(now, SECOND)
    stem = moment(whole * SECOND).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stem}.{part:06d}".rstrip("0") + "Z" if part else f"{stem}Z"


def new_york_text(now: int) -> str:
    """RFC 3339 with the offset of New York."""
    return moment(now).astimezone(NEW_YORK).isoformat()


def new_york_date(now: int) -> dt.date:
    return moment(now).astimezone(NEW_YORK).date()


def parse_instant(text: str) -> int:
    """An RFC 3339 instant; raises ValueError where the text is none or has no zone."""
    found = _stamp(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} is not an RFC 3339 instant with a zone")
    return micros(found.to_pydatetime(warn=False))


def _stamp(text: str) -> pd.Timestamp:
    """Only what is written as a date: "now" would be that of the machine."""
    if not DATED.match(text):
        raise ValueError(f"{text!r} is not an RFC 3339 instant")
    return pd.Timestamp(text)


def parse_bound(text: str, *, last: bool) -> int:
    """A date of New York (its first or last moment) or an instant (a naive one means UTC)."""
    if len(text) == 10:
        day = dt.date.fromisoformat(text)
        start = dt.datetime.combine(day + dt.timedelta(days=int(last)), dt.time(), NEW_YORK)
        return micros(start) - int(last)
    found = _stamp(text)
    zoned = found if found.tzinfo is not None else found.tz_localize("UTC")
    return micros(zoned.to_pydatetime(warn=False))


@dataclass(frozen=True)
class Timetable:
    """The instants of every session; arrays of equal length, in order of time.

    `days` are datetime64[D]; `midnights`, `early` (04:00), `opens` and `closes` are microseconds.
    `without` are the days that the exchange has a session on and this timetable has not.
    """

    days: np.ndarray
    midnights: np.ndarray
    early: np.ndarray
    opens: np.ndarray
    closes: np.ndarray
    without: np.ndarray = field(default_factory=lambda: np.array([], "datetime64[D]"))

    def current(self, now: int) -> int:
        """The session whose New York day began last; on a weekend the one before it."""
        return int(np.searchsorted(self.midnights, now, "right")) - 1

    def live(self, now: int) -> int:
        """The session in which a DAY order sent now may trade: the first not yet closed."""
        return int(np.searchsorted(self.closes, now, "right"))

    def last_closed(self, now: int) -> int:
        return self.live(now) - 1

    def is_open(self, now: int) -> bool:
        return bool(self.opens[self.live(now)] <= now)

    def next_open(self, now: int) -> int:
        return int(self.opens[np.searchsorted(self.opens, now, "right")])

    def next_close(self, now: int) -> int:
        return int(self.closes[self.live(now)])

    def next_early(self, now: int) -> int:
        return int(self.early[np.searchsorted(self.early, now, "right")])

    def index_of(self, day: dt.date) -> int:
        """The first session at or after the date."""
        return int(np.searchsorted(self.days, np.datetime64(day, "D")))

    def day(self, index: int) -> dt.date:
        found: dt.date = self.days[index].astype(object)
        return found


def _instants(index: pd.DatetimeIndex) -> np.ndarray:
    return index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]").astype(int)


def timetable(overrides: Mapping[str, str | None] | None = None) -> Timetable:
    """The sessions of the NYSE, 1990 to 2045, but for those that `overrides` changes.

    An override gives a date its close in New York ("13:00"), or null for no session at all.

    Raises
    ------
    Refusal
        422, where an override is none.
    """
    usual = _nyse()
    if not overrides:
        return usual
    closes = {_date(day, usual): _close(day, text) for day, text in overrides.items()}
    without = [day for day, at in closes.items() if at is None]
    days = {day: int(at) for day, at in zip(usual.days.tolist(), usual.closes)}
    days |= {day: at for day, at in closes.items() if at is not None}
    return _table({day: at for day, at in sorted(days.items()) if day not in without}, usual)


def _date(text: str, usual: Timetable) -> dt.date:
    try:
        found = dt.date.fromisoformat(text)
    except ValueError as error:
        raise Refusal(422, None, f"calendar: {text!r} is not a date") from error
    if not usual.day(0) < found < usual.day(-1):
        raise Refusal(422, None, f"calendar: {text} is not after 1990 and before 2045")
    return found


def _close(day: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = dt.time.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise Refusal(422, None, f'calendar: {text!r} is not a time like "13:00"') from error
    if not OPEN < at <= LATEST:
        raise Refusal(422, None, f"calendar: the session of {day} cannot close at {text}")
    return micros(dt.datetime.combine(dt.date.fromisoformat(day), at, NEW_YORK))


def _table(closes: dict[dt.date, int], usual: Timetable) -> Timetable:
    days = np.array(list(closes), "datetime64[D]")
    index = pd.DatetimeIndex(days)
    return Timetable(
        days=days,
        midnights=_instants(index.tz_localize(NEW_YORK)),
        early=_instants((index + pd.Timedelta(hours=4)).tz_localize(NEW_YORK)),
        opens=_instants((index + pd.Timedelta(hours=9, minutes=30)).tz_localize(NEW_YORK)),
        closes=np.array(list(closes.values()), np.int64),
        without=np.setdiff1d(usual.days, days),
    )


@lru_cache(maxsize=1)
def _nyse() -> Timetable:
    calendar = dates.calendar()
    days = pd.DatetimeIndex(calendar.sessions).tz_localize(None)
    closes = _instants(pd.DatetimeIndex(calendar.closes))
    early = days + pd.Timedelta(hours=4)
    return Timetable(
        days=days.to_numpy().astype("datetime64[D]"),
        midnights=_instants(days.tz_localize(NEW_YORK)),
        early=_instants(early.tz_localize(NEW_YORK)),
        opens=_instants(pd.DatetimeIndex(calendar.opens)),
        closes=closes,
    )


def calendar_rows(
    times: Timetable, start: str, end: str, *, settled: bool = False
) -> list[dict[str, str]]:
    """Sessions from `start` to `end` (dates, both included) as GET /v2/calendar shows them.

    `settled`: the bounds are dates of settlement, a session later. Times are of New York.
    """
    first, last = (np.datetime64(dt.date.fromisoformat(day), "D") for day in (start, end))
    a, b = np.searchsorted(times.days, first), np.searchsorted(times.days, last, "right")
    shift = int(settled)
    return [calendar_row(times, i) for i in range(max(int(a) - shift, 0), int(b) - shift)]


def calendar_row(times: Timetable, i: int) -> dict[str, str]:
    """One session; a short one ends its evening at 17:00."""
    opens, closes = (moment(int(x[i])).astimezone(NEW_YORK) for x in (times.opens, times.closes))
    short = closes - opens < HALF_DAY
    return {
        "date": str(times.days[i]),
        "open": opens.strftime("%H:%M"),
        "close": closes.strftime("%H:%M"),
        "session_open": "0400",
        "session_close": "1700" if short else "2000",
        "settlement_date": str(times.days[i + 1]),
    }
