"""Instants of the exchange day against the calendar's own answers and known dates."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from quant50lib.simulator import timetable as tt
from quant50lib.utils import dates

TIMES = tt.timetable()


def at(text: str) -> int:
    return tt.parse_instant(text)


@pytest.mark.parametrize(
    ("session", "opens", "closes"),
    [
        ("2026-03-06", "2026-03-06T14:30:00Z", "2026-03-06T21:00:00Z"),  # before summer time
        ("2026-03-09", "2026-03-09T13:30:00Z", "2026-03-09T20:00:00Z"),  # after it began
        ("2026-11-27", "2026-11-27T14:30:00Z", "2026-11-27T18:00:00Z"),  # half day
    ],
)
def test_instants_of_known_sessions(session: str, opens: str, closes: str) -> None:
    i = TIMES.index_of(dt.date.fromisoformat(session))
    assert tt.utc_text(int(TIMES.opens[i])) == opens
    assert tt.utc_text(int(TIMES.closes[i])) == closes
    early = tt.moment(int(TIMES.early[i])).astimezone(ZoneInfo("America/New_York"))
    assert (early.hour, str(early.date())) == (4, session)
    assert tt.micros(dates.close_of(session)) == TIMES.closes[i]


@pytest.mark.parametrize(
    ("now", "open_now", "live", "current"),
    [
        ("2026-11-20T20:59:59Z", True, "2026-11-20", "2026-11-20"),
        ("2026-11-20T21:00:00Z", False, "2026-11-23", "2026-11-20"),  # the close belongs to after
        ("2026-11-22T12:00:00Z", False, "2026-11-23", "2026-11-20"),  # a Sunday
        ("2026-11-23T05:00:00Z", False, "2026-11-23", "2026-11-23"),  # midnight in New York
        ("2026-11-23T14:30:00Z", True, "2026-11-23", "2026-11-23"),  # the open belongs to the day
    ],
)
def test_where_a_moment_lies(now: str, open_now: bool, live: str, current: str) -> None:
    assert TIMES.is_open(at(now)) is open_now
    assert str(TIMES.day(TIMES.live(at(now)))) == live
    assert str(TIMES.day(TIMES.current(at(now)))) == current


def test_spellings() -> None:
    assert tt.utc_text(at("2024-06-03T12:00:00.123400Z")) == "2024-06-03T12:00:00.1234Z"
    assert tt.utc_text(None) is None
    assert tt.new_york_text(at("2024-06-03T12:00:00Z")) == "2024-06-03T08:00:00-04:00"
    with pytest.raises(ValueError, match="zone"):
        tt.parse_instant("2024-06-03T12:00:00")


def test_a_date_is_a_day_of_new_york() -> None:
    first, last = (tt.parse_bound("2024-12-31", last=x) for x in (False, True))
    assert tt.utc_text(first) == "2024-12-31T05:00:00Z"
    assert last - first == 24 * 3600 * tt.SECOND - 1
    assert tt.parse_bound("2024-12-31T05:00:00", last=False) == first  # a naive instant is UTC
