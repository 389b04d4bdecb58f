"""The alarm on volatility: its validity under any stopping, its power, and its edges."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import RiskEvent
from quant50lib.services import alarm
from quant50lib.utils import dates
from quant50lib.utils.frames import typed

YEAR, PATHS, ERROR = 252, 4000, 0.05


def normal(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(YEAR, PATHS))


def fat(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_t(3, (YEAR, PATHS)) / math.sqrt(3)


def clustered(rng: np.random.Generator) -> np.ndarray:
    """The forecast is right on average only: three times in four too high, else far too low."""
    calm = rng.random((YEAR, PATHS)) < 0.75
    return rng.normal(size=(YEAR, PATHS)) * np.where(calm, math.sqrt(0.5), math.sqrt(2.5))


def heavy(rng: np.random.Generator) -> np.ndarray:
    """Student's t with 4 degrees of freedom: what the calm side is held against."""
    return rng.standard_t(4, (YEAR, PATHS)) / math.sqrt(2)


def test_the_clipped_mean_is_that_of_students_t_with_four_degrees() -> None:
    from scipy import integrate, stats

    law = stats.t(4, scale=1 / math.sqrt(2))
    inner = 2 * integrate.quad(lambda z: z**2 * law.pdf(z), 0, math.sqrt(alarm.CLIP))[0]
    outer = 2 * alarm.CLIP * law.sf(math.sqrt(alarm.CLIP))
    assert inner + outer == pytest.approx(alarm.CLIPPED_MEAN, abs=1e-4)
    assert inner + outer >= alarm.CLIPPED_MEAN  # rounded to the safe side
    assert all(1 + bet * (alarm.CLIPPED_MEAN - alarm.CLIP) > 0 for bet in alarm.CALM_BETS)


@pytest.mark.parametrize("law", [normal, heavy, clustered], ids=lambda law: law.__name__)
def test_a_right_forecast_is_rarely_called_too_high(law: object) -> None:
    squares = law(np.random.default_rng(6)) ** 2  # type: ignore[operator]
    false = (alarm.fortune(squares, "too high").max(axis=0) >= 1 / ERROR).mean()
    assert false <= ERROR + 2 * math.sqrt(ERROR * (1 - ERROR) / PATHS)


@pytest.mark.parametrize(
    ("ratio", "power", "within"), [(0.75, 0.5, 252), (0.65, 0.9, 200), (0.5, 0.95, 110)]
)
def test_a_forecast_too_high_is_found(ratio: float, power: float, within: int) -> None:
    squares = (ratio * normal(np.random.default_rng(7))) ** 2
    found = (alarm.fortune(squares, "too high")[:within] >= 1 / ERROR).any(axis=0).mean()
    assert found > power
    too_low = (alarm.fortune(squares).max(axis=0) >= 1 / ERROR).mean()
    assert too_low < ERROR / 10


def test_one_calm_session_by_hand() -> None:
    """A surprise of 5 counts as 3: nine tenths and more of the stake at work are lost."""
    at_work = 0.5 + 0.5 / 252
    for z2, counted in ((25.0, 9.0), (0.25, 0.25)):
        edge = alarm.CLIPPED_MEAN - counted
        expected = np.mean([at_work * (1 + b * edge) for b in alarm.CALM_BETS]) + 1 - at_work
        assert alarm.fortune(np.array([z2]), "too high")[0] == pytest.approx(expected)


@pytest.mark.parametrize(("size", "side"), [(2.5, "too low"), (0.2, "too high")])
def test_an_alarm_is_told_once_a_year_on_either_side(size: float, side: alarm.Side) -> None:
    """Seen evening by evening, with one evening missed, as the ledger remembers it."""
    sessions = dates.sessions_between("2019-09-03", "2020-04-30")
    surprises = pd.Series(size, index=sessions)
    told, missed = RiskEvent.empty(), []
    for n, session in enumerate(sessions):
        known = surprises.iloc[: n + 1]
        rows = typed(RiskEvent, alarm.events(known, session, ERROR, told))
        if len(rows) and not missed:
            missed.append(session)  # the desk did not run on the evening of the alarm
            continue
        told = pd.concat([told, rows], ignore_index=True) if len(rows) else told
    told = RiskEvent.check(told)
    first = [alarm.raised(surprises[str(year)], ERROR, side).idxmax() for year in (2019, 2020)]
    assert list(told["rule"]) == [alarm.RULES[side]] * 2
    assert list(told["session"]) == [dates.shift(first[0], 1), first[1]]
    assert (told["value"] >= told["limit"]).all() and (told["limit"] == 20).all()
    standing = alarm.standing(surprises["2020"], ERROR)
    assert standing.raised == side and standing.realised_over_forecast == pytest.approx(size)
    assert alarm.standing(surprises[:0], ERROR).raised == ""
    assert alarm.events(pd.Series(dtype=float), sessions[0], ERROR, RiskEvent.empty()) == []


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
