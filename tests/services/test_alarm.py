"""The alarm on volatility: its validity under any stopping, its power, and its edges."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from quant50lib.services import alarm
from quant50lib.utils import dates

YEAR, PATHS, ERROR = 252, 4000, 0.05


def normal(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(YEAR, PATHS))


def fat(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_t(3, (YEAR, PATHS)) / math.sqrt(3)


def clustered(rng: np.random.Generator) -> np.ndarray:
    """The forecast is right on average only: three times in four too high, else far too low."""
    calm = rng.random((YEAR, PATHS)) < 0.75
    return rng.normal(size=(YEAR, PATHS)) * np.where(calm, math.sqrt(0.5), math.sqrt(2.5))


@pytest.mark.parametrize("law", [normal, fat, clustered], ids=lambda law: law.__name__)
def test_looking_every_day_of_a_year_rarely_alarms_without_cause(law: object) -> None:
    """The worst of all stopping rules, the maximum: at most 5 % of the years of a right forecast."""
    squares = law(np.random.default_rng(1)) ** 2  # type: ignore[operator]
    false = (alarm.fortune(squares).max(axis=0) >= 1 / ERROR).mean()
    assert false <= ERROR + 2 * math.sqrt(ERROR * (1 - ERROR) / PATHS)


def test_the_naive_alarm_would_not_be_valid() -> None:
    """The same days judged by a chi-squared test at 5 % each evening: half the years or so."""
    from scipy.stats import chi2

    squares = normal(np.random.default_rng(1)) ** 2
    n = np.arange(1, YEAR + 1)[:, None]
    naive = (np.cumsum(squares, axis=0) > chi2.ppf(0.95, n)).any(axis=0).mean()
    assert naive > 4 * ERROR


def test_the_fortune_is_fair_at_every_session() -> None:
    """Its mean is 1 where the forecast is exactly right, and never negative."""
    fortunes = alarm.fortune(normal(np.random.default_rng(2))[:60] ** 2)
    assert (fortunes >= 0).all()
    error = fortunes.std(axis=1) / math.sqrt(PATHS)
    assert (np.abs(fortunes.mean(axis=1) - 1) < 4.5 * error + 1e-12).all()


@pytest.mark.parametrize(
    ("ratio", "power", "within"), [(1.3, 0.5, 252), (1.5, 0.9, 160), (2.0, 0.95, 60)]
)
def test_a_forecast_too_low_is_found(ratio: float, power: float, within: int) -> None:
    """Realised over forecast volatility of `ratio`: the share of years that alarm in time."""
    squares = (ratio * normal(np.random.default_rng(3))) ** 2
    found = (alarm.fortune(squares)[:within] >= 1 / ERROR).any(axis=0).mean()
    assert found > power


def test_a_change_in_summer_is_found_before_the_year_ends() -> None:
    squares = normal(np.random.default_rng(4)) ** 2
    squares[126:] *= 4
    late = alarm.fortune(squares)
    assert (late[:126] >= 1 / ERROR).any(axis=0).mean() < ERROR
    assert (late[:200] >= 1 / ERROR).any(axis=0).mean() > 0.9


def test_one_session_by_hand() -> None:
    """Half and 1/504 of every fortune are at work, the rest waits."""
    z2, at_work = 9.0, 0.5 + 0.5 / 252
    expected = np.mean([at_work * (1 + b * (z2 - 1)) for b in alarm.BETS]) + 1 - at_work
    assert alarm.fortune(np.array([z2]))[0] == pytest.approx(expected)
    assert alarm.fortune(np.array([np.nan, np.nan])) == pytest.approx([1.0, 1.0])


def test_every_year_begins_anew_and_an_alarm_stays_until_it_ends() -> None:
    sessions = dates.sessions_between("2019-10-01", "2020-03-31")
    wild = pd.Series(np.where(sessions < "2019-11-15", 4.0, 0.0), index=sessions)
    on = alarm.raised(wild, ERROR)
    assert not on.iloc[0] and on[sessions.year == 2019].iloc[-1]
    assert not on[sessions.year == 2020].any()
    first = alarm.evidence(wild)[sessions.year == 2020].iloc[0]
    assert first == pytest.approx(alarm.fortune(np.array([0.0]))[0])
    assert alarm.realised_over_forecast(wild) == 0.0
    assert alarm.realised_over_forecast(wild, len(wild)) == pytest.approx(
        4 * math.sqrt((sessions < "2019-11-15").mean())
    )
    assert math.isnan(alarm.realised_over_forecast(wild[:0]))


@pytest.mark.parametrize(("excess", "on"), [(0.0, True), (-1e-9, False)])
def test_the_alarm_is_on_exactly_at_its_limit(excess: float, on: bool) -> None:
    sessions = dates.sessions_between("2019-01-02", "2019-02-28")
    surprises = pd.Series(2.0, index=sessions)
    limit = alarm.evidence(surprises).max()
    assert alarm.raised(surprises, 1 / (limit - excess)).iloc[-1] == on
