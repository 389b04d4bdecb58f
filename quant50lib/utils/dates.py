"""The only owner of the exchange calendar: sessions of the New York Stock Exchange.

A *session* is a trading day, held as a naive midnight `pandas.Timestamp` in microseconds, the
label under which its bars are stored. An *instant* is a timezone-aware moment. Nothing here asks
for the current time.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import exchange_calendars as xcals
import pandas as pd

from quant50lib.errors import SettingsError

NEW_YORK = "America/New_York"
FIRST, LAST = "1990-01-01", "2045-12-31"


@lru_cache(maxsize=1)
def calendar() -> xcals.ExchangeCalendar:
    """The XNYS calendar over a fixed range, so that it never depends on today."""
    return xcals.get_calendar("XNYS", start=FIRST, end=LAST)


@lru_cache(maxsize=1)
def _all_sessions() -> pd.DatetimeIndex:
    return pd.DatetimeIndex(calendar().sessions.to_numpy().astype("datetime64[us]"))


@lru_cache(maxsize=1)
def _all_closes() -> pd.DatetimeIndex:
    return pd.DatetimeIndex(calendar().closes).tz_convert("UTC")


def as_date(value: str | dt.date | pd.Timestamp) -> pd.Timestamp:
    """A calendar date (session or not) as a naive midnight; text must be ISO, YYYY-MM-DD."""
    if isinstance(value, str):
        try:
            value = dt.date.fromisoformat(value)
        except ValueError as error:
            raise SettingsError(f"{value!r} is not a date; write it as YYYY-MM-DD") from error
    stamp = pd.Timestamp(value)
    return stamp.tz_localize(None).normalize().as_unit("us")


def is_session(day: str | dt.date | pd.Timestamp) -> bool:
    """Whether the exchange trades on that date."""
    return as_date(day) in _all_sessions()


@lru_cache(maxsize=8192)
def as_session(day: str | dt.date | pd.Timestamp) -> pd.Timestamp:
    """The date as a session.

    Raises
    ------
    SettingsError
        The exchange is closed on that date; names the sessions before and after.
    """
    date, sessions = as_date(day), _all_sessions()
    at = int(sessions.searchsorted(date))
    if not 0 < at < len(sessions) - 1:
        raise SettingsError(f"{date.date()} is outside the calendar, {FIRST} to {LAST}")
    if sessions[at] != date:
        raise SettingsError(
            f"{date.date()} ({date.day_name()}) is not a session of the NYSE; "
            f"the sessions around it are {sessions[at - 1].date()} and {sessions[at].date()}"
        )
    return sessions[at]


def sessions_between(
    first: str | dt.date | pd.Timestamp, last: str | dt.date | pd.Timestamp
) -> pd.DatetimeIndex:
    """All sessions from `first` to `last`, both included."""
    every = _all_sessions()
    return every[every.searchsorted(as_date(first)) : every.searchsorted(as_date(last), "right")]


@lru_cache(maxsize=8192)
def shift(session: str | dt.date | pd.Timestamp, n: int) -> pd.Timestamp:
    """The session `n` sessions after (before, where negative) the given session."""
    sessions = _all_sessions()
    return sessions[sessions.get_loc(as_session(session)) + n]


def distance(first: pd.Timestamp, last: pd.Timestamp) -> int:
    """How many sessions `last` lies after `first`; both must be sessions."""
    sessions = _all_sessions()
    return int(sessions.get_loc(as_session(last)) - sessions.get_loc(as_session(first)))


@lru_cache(maxsize=8192)
def open_of(session: str | dt.date | pd.Timestamp) -> pd.Timestamp:
    """The instant (UTC) at which the session opens."""
    return calendar().session_open(as_session(session)).tz_convert("UTC")


def close_of(session: str | dt.date | pd.Timestamp) -> pd.Timestamp:
    """The instant (UTC) at which the session closes; half days close early."""
    return calendar().session_close(as_session(session)).tz_convert("UTC")


def last_closed(instant: pd.Timestamp | dt.datetime) -> pd.Timestamp:
    """The newest session whose close is at or before the instant (timezone-aware)."""
    moment = pd.Timestamp(instant)
    if moment.tzinfo is None:
        raise ValueError("an instant needs a timezone")
    at = int(_all_closes().searchsorted(moment.tz_convert("UTC"), "right"))
    return _all_sessions()[at - 1]


def scheduled(session: str | dt.date | pd.Timestamp) -> pd.Timestamp:
    """When the daily run of a session is due: 22:00 UTC, after every close of the year."""
    return as_session(session).tz_localize("UTC") + pd.Timedelta(hours=22)


def week_of(session: pd.Timestamp) -> str:
    """ISO year and week of a session, as '2026-W47'."""
    year, week, _ = session.isocalendar()
    return f"{year}-W{week:02d}"
