"""The gates on five years of real bars: what is published as wrong is found, and news is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import quality as bench
from quant50lib.services import quality
from quant50lib.services.data import findings
from quant50lib.settings import DataSettings
from tests.real_bars import FOLDER, real_bars

pytestmark = pytest.mark.real
SETTINGS = DataSettings()
ALL = pd.Timestamp("2018-02-07")


@pytest.fixture(scope="module")
def real() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    real_bars()  # skips where there are none
    return bench.load(FOLDER)


@pytest.fixture(scope="module")
def flagged(real) -> pd.DataFrame:
    scan = quality.scanned(*real, ALL, SETTINGS)
    return bench.flags(scan, quality.all_hits(scan))


@pytest.fixture(scope="module")
def listed(real) -> pd.DataFrame:
    return bench.kinds(FOLDER)


def pairs(table: pd.DataFrame) -> set[tuple]:
    return set(zip(table["symbol"], table["session"], strict=True))


@pytest.mark.parametrize(
    ("gate", "kind"), [("ohlc", "ohlc_inconsistent"), ("zero_volume", "zero_volume")]
)
def test_a_bar_that_contradicts_itself_is_found_and_nothing_else(flagged, listed, gate, kind):
    assert pairs(flagged[flagged["gate"] == gate]) == pairs(listed[listed["kind"] == kind])


def test_recall_and_false_alarms_are_what_the_benchmark_publishes(real, flagged, listed):
    found = bench.recall(listed, flagged)
    assert found.loc["row_equals_next_session", "next bar"] == 1.0
    far = found.loc["close differs by more than 2%"]
    assert far["rows"] == 333
    assert far["same day"] > 0.52 and far["next bar"] > 0.6 and far["ever"] > 0.9
    false = bench.alarms(flagged, listed, len(real[0])).loc["rows flagged by any"]
    assert false["open"] == 0, "look at the new flags and add the verdicts"
    assert false["false per 10,000"] < 1.5


@pytest.mark.parametrize(
    ("symbol", "day"), [("AMD", "2016-04-22"), ("VRTX", "2013-04-19"), ("VRTX", "2014-06-24")]
)
def test_news_is_no_defect(flagged, symbol, day):
    assert (symbol, pd.Timestamp(day)) not in pairs(flagged)


def test_of_a_bad_row_and_the_way_back_only_the_row_is_flagged(flagged):
    for symbol, day, after in (
        ("LNT", "2016-05-19", "2016-05-20"),
        ("NWL", "2017-09-14", "2017-09-15"),
    ):
        assert (symbol, pd.Timestamp(day)) in pairs(flagged)
        assert (symbol, pd.Timestamp(after)) not in pairs(flagged)


def test_forgotten_actions_are_noticed(real):
    """Without the list, the spin-offs that the file does not contain are jumps or bars apart."""
    bars, acts, universe = real
    scan = quality.scanned(bars, acts[:0], universe, ALL, SETTINGS)
    found = pairs(bench.flags(scan, quality.all_hits(scan)))
    expected = [("EBAY", "2015-07-20"), ("BAX", "2015-07-01"), ("DISCA", "2014-08-07")]
    assert all((symbol, pd.Timestamp(day)) in found for symbol, day in expected)


@pytest.mark.parametrize(
    ("ratio", "least"), [(3 / 2, 0.85), (5 / 4, 0.85), (1 / 8, 0.85)], ids=["3:2", "5:4", "1:8"]
)
def test_splits_planted_in_real_bars_are_recognised(real, ratio, least):
    """One split in each of ninety stocks, at random sessions, without its action."""
    bars, acts, universe = real
    rng = np.random.default_rng(7)
    names = sorted(universe.loc[universe["type"] == "stock", "symbol"])[::6]
    bars = bars[bars["symbol"].isin([*names, "SPY"])].astype({"volume": float})
    sessions = np.sort(bars["session"].unique())
    plan = {name: sessions[rng.integers(150, 1200)] for name in names}
    before = bars["session"] < bars["symbol"].map(plan).fillna(sessions[0])
    bars.loc[before, ["open", "high", "low", "close"]] *= ratio
    bars.loc[before, "volume"] /= ratio
    universe = universe[universe["symbol"].isin(names)]
    scan = quality.scanned(bars, acts[:0], universe, ALL, SETTINGS)
    hits = bench.flags(scan, {"unexplained_split": quality.all_hits(scan)["unexplained_split"]})
    found = pairs(hits[hits["gate"] == "unexplained_split"])
    recognised = sum((name, pd.Timestamp(day)) in found for name, day in plan.items())
    assert recognised / len(plan) > least


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        ("2014-10-30", "disorder"),  # rows of two weeks later: seen on the day itself
        ("2017-08-01", "disorder"),
        ("2014-07-18", "disorder"),  # the day before is a copy of this one
        ("2014-07-21", None),
        ("2015-08-24", None),  # a crash is no defect
        ("2017-06-14", None),
    ],
)
def test_a_day_in_disorder_stops_and_a_crash_goes_on(real, day, reason):
    bars, acts, universe = real
    run = pd.Timestamp(day)
    bars = bars[bars["session"].between(run - pd.Timedelta("300D"), run)]
    found = findings(bars, acts, universe, run, SETTINGS, "SPY")
    stops = set(found.loc[found["severity"] == "stop", "gate"])
    assert (reason in stops) if reason else not stops


def test_what_was_said_on_a_day_is_what_the_full_pass_says_of_it(real, flagged):
    sessions = pd.DatetimeIndex(np.sort(real[0]["session"].unique()))
    assert bench.check_causal(real, flagged, sessions, 2) == 2
