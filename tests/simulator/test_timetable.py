"""Instants of the exchange day against the calendar's own answers and known dates."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from quant50lib.simulator import timetable as tt
from quant50lib.simulator.refusals import Refusal
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


@pytest.mark.parametrize("word", ["now", "today", "NaT", "1717416000", "noon"])
def test_no_word_means_the_clock_of_the_machine(word: str) -> None:
    for read in (tt.parse_instant, lambda text: tt.parse_bound(text, last=False)):
        with pytest.raises(ValueError, match=f"{word}|month"):
            read(word)


def test_a_date_is_a_day_of_new_york() -> None:
    first, last = (tt.parse_bound("2024-12-31", last=x) for x in (False, True))
    assert tt.utc_text(first) == "2024-12-31T05:00:00Z"
    assert last - first == 24 * 3600 * tt.SECOND - 1
    assert tt.parse_bound("2024-12-31T05:00:00", last=False) == first  # a naive instant is UTC


# ---- half days, daylight saving, closures

YEARS = range(2016, 2030)


def test_every_short_session_is_one_that_the_server_must_know() -> None:
    """3 July before a 4 July on a weekday but Monday's, after Thanksgiving, 24 December."""
    wanted = set()
    for year in YEARS:
        july, christmas = dt.date(year, 7, 4), dt.date(year, 12, 25)
        if july.weekday() in (1, 2, 3, 4):
            wanted.add(july - dt.timedelta(1))
        november = dt.date(year, 11, 1)
        thursday = november + dt.timedelta((3 - november.weekday()) % 7 + 21)
        wanted.add(thursday + dt.timedelta(1))
        if christmas.weekday() in (1, 2, 3, 4):
            wanted.add(christmas - dt.timedelta(1))
    rows = tt.calendar_rows(TIMES, "2016-01-01", "2029-12-31")
    short = {dt.date.fromisoformat(row["date"]) for row in rows if row["close"] != "16:00"}
    assert short == wanted
    assert {(r["close"], r["session_close"]) for r in rows} == {
        ("16:00", "2000"),
        ("13:00", "1700"),
    }
    assert {(r["open"], r["session_open"]) for r in rows} == {("09:30", "0400")}


@pytest.mark.parametrize("day", ["2025-01-09", "2018-12-05", "2026-07-03", "2026-11-26"])
def test_days_without_a_session(day: str) -> None:
    assert tt.calendar_rows(TIMES, day, day) == []


@pytest.mark.parametrize(("change", "hours"), [("2026-03-08", 1), ("2026-11-01", -1)])
def test_the_close_moves_with_the_clocks_of_new_york(change: str, hours: int) -> None:
    sunday = dt.date.fromisoformat(change)
    friday, monday = (TIMES.index_of(sunday + dt.timedelta(days)) for days in (-2, 1))
    apart = TIMES.closes[monday] - TIMES.closes[friday]
    assert apart == (3 * 24 - hours) * 3600 * tt.SECOND
    assert TIMES.closes[monday] - TIMES.early[monday] == 12 * 3600 * tt.SECOND


def test_settlement_is_a_session_later() -> None:
    rows = tt.calendar_rows(TIMES, "2026-11-23", "2026-11-30")
    assert [(r["date"][-2:], r["settlement_date"][-2:]) for r in rows] == [
        ("23", "24"), ("24", "25"), ("25", "27"), ("27", "30"), ("30", "01"),
    ]  # fmt: skip
    assert tt.calendar_rows(TIMES, "2026-11-25", "2026-11-30", settled=True) == rows[1:4]


# ---- a calendar of one's own


def test_sessions_that_differ() -> None:
    given = {
        "2026-11-24": "13:00",
        "2026-11-25": None,
        "2026-11-27": "16:00",
        "2026-11-28": "12:15",
    }
    made = tt.timetable(given)
    rows = tt.calendar_rows(made, "2026-11-23", "2026-11-30")
    assert [(r["date"][-2:], r["close"]) for r in rows] == [
        ("23", "16:00"), ("24", "13:00"), ("27", "16:00"), ("28", "12:15"), ("30", "16:00"),
    ]  # fmt: skip
    assert made.without.astype(str).tolist() == ["2026-11-25"]
    assert made.next_open(at("2026-11-24T18:00:00Z")) == at("2026-11-27T14:30:00Z")
    assert not made.is_open(at("2026-11-24T18:00:00Z"))
    assert made.is_open(at("2026-11-28T17:14:59Z"))
    for name in ("midnights", "early", "opens", "closes"):
        usual, changed = getattr(TIMES, name), getattr(made, name)
        assert set(usual.tolist()) - set(changed.tolist()) <= set(usual[8000:10_000].tolist())
        assert (changed[1:] > changed[:-1]).all() and len(changed) == len(usual)
    assert tt.timetable({}) is TIMES


@pytest.mark.parametrize(
    "wrong", [{"soon": None}, {"2026-11-24": "9:99"}, {"2026-11-24": "17:00"}, {"2026-11-24": 13}]
)
def test_a_calendar_that_is_none(wrong: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        tt.timetable(wrong)
    assert caught.value.status == 422 and "calendar: " in caught.value.body["message"]
