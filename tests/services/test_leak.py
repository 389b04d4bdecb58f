"""The leak canary: it catches every planted leak and nothing else, and its noise is what it says."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.errors import LeakFound
from quant50lib.jobs import leak_check
from quant50lib.services import features, label, leak, leak_world, training, universe
from quant50lib.services.leak_planted import PLANTED
from quant50lib.services.leak_tables import first_difference
from quant50lib.settings import DataSettings, FeatureSettings, Settings
from quant50lib.utils import dates
from tests import factories

WHOLE = Settings()
SETTINGS = Settings(
    features=FeatureSettings(names=("ret_1", "vol_21", "beta_60", "amihud_21")),
    data=DataSettings(min_history_sessions=70),
)
LAST = dates.as_session("2024-06-28")


@lru_cache(maxsize=2)
def demo(settings: Settings = SETTINGS) -> leak.World:
    """Thirty names of the demo market; some have left the universe, and one came late."""
    known = leak_check.demo_world(settings, LAST, 1)
    symbols = sorted(set(known.bars["symbol"]) - {"SPY"})[::2]
    few = lambda frame: frame[
        frame["symbol"].isin([*symbols, "SPY", *leak_world.UNBORN])
    ]  # noqa: E731
    known = replace(
        known,
        bars=few(known.bars),
        actions=few(known.actions),
        membership=few(known.membership),
        sectors=known.sectors[[*symbols, "SPY", *leak_world.UNBORN]],
    )
    moved = universe.intervals(
        [(s, None, known.sessions[-30]) for s in symbols[:4]]
        + [(symbols[4], known.sessions[-50], None)]
    )
    others = known.membership[~known.membership["symbol"].isin(moved["symbol"])]
    return replace(known, membership=pd.concat([others, moved], ignore_index=True))


@lru_cache(maxsize=2)
def library(settings: Settings = SETTINGS) -> leak.Pipeline:
    return leak.remembering(leak.library(settings, demo(settings).sectors))


@lru_cache(maxsize=4)
def sides(seed: int = 50) -> list[leak.Sides]:
    return leak.sides(demo(), [LAST], "SPY", 1, seed)


# ---- the canary --------------------------------------------------------------------------------------


def test_the_librarys_pipeline_knows_nothing_of_the_future():
    assert leak.check(demo(WHOLE), library(WHOLE), [LAST], "SPY", n_futures=1) == ()
    for standardise in ("zscore", "sector_rank"):
        how = SETTINGS.features.model_copy(update={"standardise": standardise})
        pipeline = leak.library(SETTINGS.model_copy(update={"features": how}), demo().sectors)
        assert leak.check(demo(), pipeline, [demo().sessions[-9]], "SPY", 1) == ()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_caught_with_its_first_cell(name):
    planted = PLANTED[name]
    found = leak.compare(sides(), planted.plant(library(), SETTINGS))
    caught = [one for one in found if one.table == planted.table]
    assert caught, f"{name} was missed; seen: {found}"
    first = caught[0]
    assert first.session <= LAST and first.cells >= 1 and first.cut == LAST
    assert first.symbol in {*demo().sectors.index} and str(first.session.date()) in str(first)
    assert not (first.expected == first.found)
    with pytest.raises(LeakFound, match=f"{first.table}.{first.column} of"):
        leak.require_none(found)


@pytest.mark.parametrize("seed", range(2))
def test_no_leak_is_missed_by_luck(seed):
    """The leaks that show in the fewest cells, under other draws."""
    for name in ("backward_fill", "interpolated", "survivors_only"):
        planted = PLANTED[name].plant(library(), SETTINGS)
        found = leak.compare(sides(seed), planted)
        assert PLANTED[name].table in {one.table for one in found}, name


def test_a_pipeline_that_remembers_finds_the_same_and_does_nothing_twice():
    read = []
    plain = leak.library(SETTINGS, demo().sectors)
    counted = replace(plain, read=lambda *given: read.append(given) or plain.read(*given))
    remembering = leak.remembering(counted)
    found = [
        list(map(str, leak.compare(sides(), PLANTED[name].plant(remembering, SETTINGS))))
        for name in ("label_shifted", "centred_window")
    ]
    once = leak.check(demo(), PLANTED["centred_window"].plant(plain, SETTINGS), [LAST], "SPY", 1)
    assert found[1] == list(map(str, once)) and set(found[0]) - set(found[1])
    assert len(read) == 3  # the past, its revision, the later run: once for both


def test_the_first_cell_is_the_one_that_was_changed():
    """A single value of a single day, changed only where the future is there."""
    day, name = demo().sessions[-20], "SPY"

    def features_of(panel):
        found = library().features(panel)
        if panel.sessions[-1] == LAST:
            return found
        raw = dict(found.raw)
        raw["vol_21"] = raw["vol_21"].copy()
        raw["vol_21"].loc[day, name] += 1e-16 + raw["vol_21"].loc[day, name] * 2e-16
        return replace(found, raw=raw)

    (only,) = leak.check(demo(), replace(library(), features=features_of), [LAST], "SPY", 1)
    assert (only.table, only.column, only.session, only.symbol) == ("features", "vol_21", day, name)
    assert only.cells == 1 and only.found > only.expected


def test_the_list_of_planted_leaks_is_the_one_of_the_documentation():
    required = {
        "full_sample_scaling",
        "centred_window",
        "label_shifted",
        "future_universe",
        "revised_bars",
        "target_encoding",
        "backward_fill",
        "normalised_over_dates",
    }
    assert required <= set(PLANTED) and all(p.mistake.endswith(".") for p in PLANTED.values())


# ---- the noise ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), back=st.integers(1, 60))
def test_the_future_is_noise_and_the_past_is_the_past(seed, back):
    at, rng = demo().sessions[-back], np.random.default_rng(seed)
    past = leak_world.cut(demo(), at)
    future = leak_world.poisoned(past, at, "SPY", 45, rng)
    again = leak_world.cut(future, at)
    for name in ("bars", "actions", "membership"):
        ours, theirs = getattr(past, name), getattr(again, name)
        pd.testing.assert_frame_equal(
            ours.reset_index(drop=True), theirs.reset_index(drop=True), check_dtype=False
        )
    later = future.bars[future.bars["session"] > at]
    assert set(leak_world.UNBORN) <= set(later["symbol"]) and len(later) > 600
    gone = set(past.bars["symbol"]) - set(later["symbol"])
    assert gone and "SPY" not in gone
    assert (later["high"] >= later[["open", "close"]].max(axis=1)).all()
    assert (later["low"] <= later[["open", "close"]].min(axis=1)).all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_actions_to_come_scale_the_past_by_powers_of_two(seed):
    rng = np.random.default_rng(seed)
    past = leak_world.cut(demo(), LAST)
    future = leak_world.poisoned(past, LAST, "SPY", 45, rng)
    now, later = (leak_world.read(w, w.sessions[-1], 70) for w in (past, future))
    ratio = later.close.loc[:LAST, now.symbols] / now.close
    steps = np.log2(ratio.stack().dropna())
    assert (steps == np.round(steps)).all() and steps.nunique() > 2
    assert (ratio.max() == ratio.min()).all()  # one factor a name


def test_what_is_learnt_later_is_not_read_earlier():
    rng = np.random.default_rng(0)
    told = leak_world.revised(demo(), LAST, rng)
    assert len(told.bars) > len(demo().bars) and len(told.actions) == len(demo().actions) + 1
    a, b = (leak_world.read(w, LAST, 70) for w in (demo(), told))
    pd.testing.assert_frame_equal(a.close, b.close, check_exact=True)
    tomorrow = dates.shift(LAST, 1)
    c = leak_world.read(told, tomorrow, 70).traded_close.loc[LAST]
    assert (c[a.symbols] != a.traded_close.loc[LAST]).all()  # each was said anew


def test_a_missing_value_equals_a_missing_one_and_nothing_else():
    index = pd.DatetimeIndex([LAST])
    frame = lambda **v: pd.DataFrame(v, index=index)  # noqa: E731
    assert first_difference(frame(A=[np.nan]), frame(A=[np.nan])) is None
    assert first_difference(frame(A=[np.nan]), frame(B=[np.nan])) is None
    assert first_difference(frame(A=[0.0]), frame(A=[np.nan]))[:2] == (LAST, "A")
    assert first_difference(frame(A=[1.0], B=[2.0]), frame(B=[2.0]))[1] == "A"
    assert first_difference(frame(B=[1.0], A=[1.0]), frame(A=[2.0], B=[2.0]))[1] == "A"


# ---- before a model is offered -----------------------------------------------------------------------

PANEL = factories.panel(14, 330, seed=3)
SECTORS = pd.Series("Energy", PANEL.symbols)


def rows_of(panel=PANEL) -> training.TrainingSet:
    known = label.KnownLabels(
        label.to_table(label.excess_return(panel, "SPY", 5), 5, panel.sessions[-1]),
        panel.sessions[-1],
        5,
    )
    return training.training_set(panel, known, SECTORS, FeatureSettings(), "SPY")


def test_rows_of_the_library_may_be_learnt_from():
    assert leak.check_training(rows_of(), PANEL, SECTORS, WHOLE) == ()


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda r: {"X": r.X - r.X.mean()}, "training_set.ret_1 of"),
        (lambda r: {"X": r.X.assign(vol_21=r.X.vol_21.shift(-14))}, "training_set.vol_21 of"),
        (lambda r: {"X": r.X.assign(new=r.excess_return)}, "training_set.new of"),
        (lambda r: {"excess_return": r.excess_return.shift(-14).fillna(0)}, ".excess_return of"),
        (lambda r: {"positive": ~r.positive}, "training_set.positive of"),
    ],
)
def test_rows_that_could_not_have_been_known_are_named(spoil, said):
    rows = rows_of()
    found = leak.check_training(replace(rows, **spoil(rows)), PANEL, SECTORS, WHOLE)
    assert any(said in words for words in found) and "without" in found[0]


def test_a_check_of_nothing_finds_nothing():
    rows = rows_of()
    none = {name: value.iloc[:0] for name, value in vars(rows).items() if hasattr(value, "iloc")}
    assert leak.check_training(replace(rows, **none), PANEL, SECTORS, WHOLE) == ()
    assert features.sessions_needed(WHOLE.features) > 200  # or the rows above would be none
