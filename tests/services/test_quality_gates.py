"""Gates on the path of prices: each with a planted defect, and with news that looks like one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from quant50lib.services import quality, quality_moves
from quant50lib.services.data import findings
from quant50lib.settings import DataSettings
from quant50lib.utils import dates
from tests.adapters.market_frames import actions

SESSIONS = dates.sessions_between("2024-01-02", "2024-06-28")[-100:]
RUN, BEFORE = SESSIONS[-1], SESSIONS[-2]
NAMES = [f"N{n:02d}" for n in range(40)]
UNIVERSE = pd.DataFrame({"symbol": NAMES, "sector": ["Energy"] * 8 + ["Utilities"] * 32})
PRICES = ["open", "high", "low", "close"]
NONE = actions([])


def ordinary() -> pd.DataFrame:
    """Random walks around 200 dollars with small gaps overnight, by symbol and session."""
    rng = np.random.default_rng(8)
    shape = len(NAMES), len(SESSIONS)
    night, daytime = rng.normal(0, 0.003, shape), rng.normal(0, 0.008, shape)
    close = 200 * np.exp(np.cumsum(night + daytime, axis=1))
    opening = close / np.exp(daytime)
    wide = {
        "open": opening,
        "high": np.maximum(opening, close) * 1.004,
        "low": np.minimum(opening, close) * 0.996,
        "close": close,
        "volume": np.round(rng.lognormal(13, 0.15, shape)),
    }
    index = pd.MultiIndex.from_product([NAMES, SESSIONS], names=["symbol", "session"])
    return pd.DataFrame({name: np.round(v, 2).ravel() for name, v in wide.items()}, index=index)


@pytest.fixture
def market() -> pd.DataFrame:
    return ordinary()


def judge(frame, acts=NONE, run=RUN) -> pd.DataFrame:
    bars = frame.reset_index().astype({"symbol": "str", "session": "datetime64[us]"})
    return findings(bars, acts, UNIVERSE, run, DataSettings())


def seen(found: pd.DataFrame) -> set[tuple]:
    return set(found[["gate", "symbol", "session", "severity"]].itertuples(index=False, name=None))


def scaled(frame, names, first, factor, last=RUN, volume=1.0) -> pd.DataFrame:
    """Prices of some names over some sessions times a factor, volume on the first of them."""
    frame = frame.copy()
    names = [names] if isinstance(names, str) else names
    frame.loc[(names, slice(first, last)), PRICES] *= factor
    frame.loc[(names, slice(first, first)), "volume"] *= volume
    return frame


def test_an_ordinary_market_raises_nothing(market):
    assert all(judge(market, run=run).empty for run in SESSIONS[[70, 85, -1]])


def test_a_bar_far_away_without_trade_is_displaced_until_the_next_bar_tells(market):
    apart = scaled(market, "N09", BEFORE, 1.12, BEFORE)
    stays = scaled(market, "N09", BEFORE, 1.12)
    suspicion = {("displaced", "N09", BEFORE, "quarantine")}
    assert seen(judge(apart, run=BEFORE)) == seen(judge(stays, run=BEFORE)) == suspicion
    assert judge(stays).empty, "the price is where it was said to be"
    assert seen(judge(apart)) == {("island", "N09", BEFORE, "quarantine")}, "and here it is not"


@pytest.mark.parametrize(
    ("names", "volume"), [("N09", 3.0), (NAMES[:8], 1.0), (NAMES, 1.0)], ids=str
)
def test_news_a_sector_and_the_market_may_move_as_far(market, names, volume):
    assert judge(scaled(market, names, RUN, 1.12, volume=volume)).empty


def test_the_way_back_from_two_wrong_bars_is_not_displaced(market):
    frame = scaled(market, "N09", SESSIONS[-3], 1.12, BEFORE)
    assert not (judge(frame)["session"] == RUN).any()


def test_what_is_usual_is_the_names_own(market):
    wild = market.copy()
    nights = np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.05, len(SESSIONS))))
    for name in PRICES:
        wild.loc["N09", name] = (wild.loc["N09", name] * nights).to_numpy()
    assert not (judge(scaled(wild, "N09", RUN, 1.12))["gate"] == "displaced").any()


def test_many_bars_out_of_place_make_the_day_unfit_and_a_few_do_not(market):
    stop = ("disorder", "", RUN, "stop")
    four = judge(scaled(market, NAMES[10:14], RUN, 1.12))
    five = judge(scaled(market, NAMES[10:15], RUN, 1.12))
    assert stop not in seen(four) and stop in seen(five)
    assert "N10, N11, N12, N13, N14" in five.set_index("gate").loc["disorder", "detail"]


def test_on_a_day_in_disorder_less_is_enough_to_be_suspected(market):
    alone = scaled(market, "N25", RUN, 1.025)
    assert judge(alone).empty
    among = judge(scaled(alone, NAMES[10:15], RUN, 1.12))
    assert ("displaced", "N25", RUN, "quarantine") in seen(among)


@pytest.mark.parametrize(("new", "old"), [(3, 2), (5, 4), (2, 1), (10, 1), (1, 8), (1, 4)])
def test_a_split_without_its_action_is_recognised(market, new, old):
    at = SESSIONS[-3]
    frame = scaled(market, "N09", at, old / new)
    frame.loc[("N09", slice(at, RUN)), "volume"] *= new / old
    (found,) = judge(frame).itertuples()
    assert (found.gate, found.symbol, found.session) == ("unexplained_split", "N09", at)
    assert found.detail == f"looks like a {new}:{old} split"
    kind = "forward_split" if new > old else "reverse_split"
    assert judge(frame, actions([("N09", kind, at, new, old, np.nan)])).empty


def test_a_fall_by_a_third_on_heavy_trade_is_news(market):
    frame = scaled(market, "N09", SESSIONS[-3], 2 / 3, volume=10)
    assert judge(frame).empty


def test_a_jump_is_excused_by_trade_and_so_is_the_way_back_from_one(market):
    at = SESSIONS[-4]
    jump = ("jump", "N09", at, "quarantine")
    assert seen(judge(scaled(market, "N09", at, 1.6))) == {jump}
    assert judge(scaled(market, "N09", at, 1.6, volume=4)).empty, "news"
    there_and_back = judge(scaled(market, "N09", at, 1.6, at))
    assert {s for g, _, s, _ in seen(there_and_back) if g == "jump"} == {at}


def copied(frame, names, first, second) -> pd.DataFrame:
    """The earlier bar replaced by the later one."""
    frame = frame.copy()
    for name in names:
        frame.loc[(name, first)] = frame.loc[(name, second)].to_numpy()
    return frame


def test_a_bar_of_another_session_is_found_when_that_one_arrives(market):
    first = SESSIONS[-40]
    frame = copied(market, ["N09"], first, RUN)
    assert ("copied_row", "N09", first, "quarantine") in seen(judge(frame))
    assert f"equal to the bar of {RUN.date()}" in set(judge(frame)["detail"])
    assert "copied_row" not in set(judge(frame, run=BEFORE)["gate"])
    many = judge(copied(market, NAMES[:6], first, RUN))
    assert {g for g, _, _, s in seen(many) if s == "stop"} == {"coverage", "disorder"}


def test_few_ticks_are_equal_by_chance_unless_the_volume_is_too(market):
    frame, place = market.copy(), ("N09", SESSIONS[-40])
    frame.loc[place, PRICES] = frame.loc[("N09", RUN), PRICES] = [9.00, 9.05, 8.98, 9.01]
    frame.loc[place, "volume"], frame.loc[("N09", RUN), "volume"] = 1_000, 1_051
    assert "copied_row" not in set(judge(frame)["gate"])
    frame.loc[("N09", RUN), "volume"] = 1_050
    assert ("copied_row", *place, "quarantine") in seen(judge(frame))


@examples(max_examples=8, deadline=None)
@given(st.integers(70, 98), st.integers(0, 2**16))
def test_nothing_is_judged_with_bars_that_come_later(cut, seed):
    """Hits seen up to a session are those of a run on which nothing later exists."""
    rng = np.random.default_rng(seed)
    frame = defective(ordinary(), rng)
    whole, then = (hits_of(frame, SESSIONS[at]) for at in (-1, cut))
    assert {hit for hit in whole if hit[-1] <= cut} == then
    assert whole


def defective(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    for name in rng.choice(NAMES, 12, replace=False):
        at, other = sorted(rng.choice(np.arange(70, 100), 2, replace=False))
        kind = rng.integers(3)
        if kind == 0:
            frame = copied(frame, [name], SESSIONS[at], SESSIONS[other])
        elif kind == 1:
            frame = scaled(frame, name, SESSIONS[at], rng.choice([1.1, 0.9, 1.6]), SESSIONS[other])
        else:
            frame = frame.drop([(name, SESSIONS[at])])
    return frame


def hits_of(frame: pd.DataFrame, run: pd.Timestamp) -> set[tuple]:
    bars = frame.reset_index().astype({"symbol": "str", "session": "datetime64[us]"})
    scan = quality.scanned(bars, NONE, UNIVERSE, run, DataSettings())
    return {
        (name, int(row), int(col), int(at))
        for name, hits in quality.all_hits(scan).items()
        for row, col, at in zip(hits.rows, hits.cols, hits.seen, strict=True)
        if name != "stale"  # of the last session only
    }


def test_the_usual_size_of_normal_moves_is_their_standard_deviation():
    rng = np.random.default_rng(4)
    moves = rng.normal(0, 0.02, (400, 50))
    found = quality_moves.usual(moves)
    assert np.isnan(found[:63]).all()
    assert np.nanmean(found) == pytest.approx(0.02, rel=0.02)
    spoilt = moves.copy()
    spoilt[200] = 1.0  # fifty standard deviations
    assert np.nanmax(quality_moves.usual(spoilt)[201:260]) < 2 * np.nanmax(found)


def test_the_median_across_names_is_numpys():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(30, 7))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[3] = np.nan
    expected = pd.DataFrame(values).median(axis=1)
    np.testing.assert_allclose(quality_moves.middle(values)[:, 0], expected)
