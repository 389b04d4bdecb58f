"""Instants of the exchange day, as whole microseconds of UTC, and their spellings.

The twin keeps all time as integers, so that state files, comparisons and replies agree exactly.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from quant50lib.utils import dates

SECOND = 1_000_000
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
    found = pd.Timestamp(text)
    if found is pd.NaT or found.tzinfo is None:
        raise ValueError(f"{text!r} is not an RFC 3339 instant with a zone")
    return micros(found.to_pydatetime(warn=False))


def parse_bound(text: str, *, last: bool) -> int:
    """A date of New York (its first or last moment) or an instant (a naive one means UTC)."""
    if len(text) == 10:
        day = dt.date.fromisoformat(text)
        start = dt.datetime.combine(day + dt.timedelta(days=int(last)), dt.time(), NEW_YORK)
        return micros(start) - int(last)
    found = pd.Timestamp(text)
    if found is pd.NaT:
        raise ValueError(text)
    zoned = found if found.tzinfo is not None else found.tz_localize("UTC")
    return micros(zoned.to_pydatetime(warn=False))


@dataclass(frozen=True)
class Timetable:
    """The instants of every session; arrays of equal length, in order of time.

    `days` are datetime64[D]; `midnights`, `early` (04:00), `opens` and `closes` are microseconds.
    """

    days: np.ndarray
    midnights: np.ndarray
    early: np.ndarray
    opens: np.ndarray
    closes: np.ndarray

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


@lru_cache(maxsize=1)
def timetable() -> Timetable:
    """The sessions of the NYSE, 1990 to 2045."""
    calendar = dates.calendar()
    sessions = pd.DatetimeIndex(calendar.sessions).tz_localize(None)
    early = sessions + pd.Timedelta(hours=4)
    return Timetable(
        days=sessions.to_numpy().astype("datetime64[D]"),
        midnights=_instants(sessions.tz_localize(NEW_YORK)),
        early=_instants(early.tz_localize(NEW_YORK)),
        opens=_instants(pd.DatetimeIndex(calendar.opens)),
        closes=_instants(pd.DatetimeIndex(calendar.closes)),
    )
