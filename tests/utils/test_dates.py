"""Sessions of the NYSE, against facts of the exchange's published calendar."""

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.errors import SettingsError
from quant50lib.utils import dates


def test_a_holiday_is_refused_naming_the_sessions_around_it():
    with pytest.raises(SettingsError, match="2026-11-25 and 2026-11-27"):
        dates.as_session("2026-11-26")


@pytest.mark.parametrize("wrong", ["2026-13-01", "yesterday", "20/11/2026", ""])
def test_text_that_is_no_date_is_refused(wrong):
    with pytest.raises(SettingsError, match="YYYY-MM-DD"):
        dates.as_date(wrong)


def test_a_date_outside_the_calendar_is_refused():
    with pytest.raises(SettingsError, match="outside the calendar"):
        dates.as_session("1970-01-02")


@pytest.mark.parametrize(
    ("instant", "session"),
    [
        ("2026-11-20T20:59:59Z", "2026-11-19"),
        ("2026-11-20T21:00:00Z", "2026-11-20"),  # 16:00 in winter
        ("2026-06-18T20:00:00Z", "2026-06-18"),  # 16:00 in summer
        ("2026-11-27T18:00:00Z", "2026-11-27"),  # half day: 13:00
        ("2026-11-27T17:59:00Z", "2026-11-25"),
        ("2026-11-22T12:00:00+09:00", "2026-11-20"),  # a Sunday, told in Tokyo
    ],
)
def test_the_newest_closed_session(instant, session):
    assert dates.last_closed(pd.Timestamp(instant)) == pd.Timestamp(session)


def test_an_instant_needs_a_timezone():
    with pytest.raises(ValueError, match="timezone"):
        dates.last_closed(pd.Timestamp("2026-11-20 22:00"))


def test_the_daily_run_is_due_after_every_close_of_thirty_years():
    sessions = dates.sessions_between("2000-01-03", "2030-12-31")
    for session in sessions[::37]:
        assert dates.close_of(session) < dates.scheduled(session)
        assert dates.open_of(session) < dates.close_of(session)


def test_the_calendar_of_a_known_month():
    month = dates.sessions_between("2026-11-01", "2026-11-30")
    assert len(month) == 20 and pd.Timestamp("2026-11-26") not in month
    assert not dates.is_session(dt.date(2026, 11, 28))
    assert dates.week_of(pd.Timestamp("2026-11-20")) == "2026-W47"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 6000), st.integers(-200, 200))
def test_shift_and_distance_undo_each_other(start, n):
    session = dates.sessions_between("2000-01-03", "2024-12-31")[start]
    moved = dates.shift(session, n)
    assert dates.distance(session, moved) == n and dates.shift(moved, -n) == session
