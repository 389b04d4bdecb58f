"""One session carried on is what the whole panel says of it, whatever happened meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant50lib.errors import ContractError
from quant50lib.services import features, features_day, features_registry, features_state
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings
from tests import factories

PANEL = factories.panel(9, 330, seed=6)
SECTORS = pd.Series(["Energy", "Utilities", "Energy"] * 3, PANEL.symbols)
CORE = FeatureSettings(min_dollar_volume=0)


def until(n: int, panel: Panel = PANEL) -> Panel:
    return panel.each(lambda values: values.iloc[:n])


def of_day(panel, kept=None, settings=CORE, version="1", check=True):
    return features_day.of_day(
        panel, SECTORS, settings, "SPY", kept, "nothing kept", version, check
    )


def kept_of(panel, settings=CORE, version="1"):
    return of_day(panel, None, settings, version).state


def assert_is_the_whole(day, panel, settings=CORE):
    """To the last bit, raw and standardised."""
    whole = features.describe(panel, SECTORS, settings, "SPY")
    for ours, theirs in (
        (day.described.raw, whole.raw),
        (day.described.standardised, whole.standardised),
    ):
        assert list(ours) == list(theirs)
        for name, found in ours.items():
            pd.testing.assert_frame_equal(
                found, theirs[name].iloc[-1:], check_exact=True, check_freq=False
            )


HOW = [
    {},
    {"standardise": "zscore", "winsorise": 0.1},
    {"standardise": "sector_rank", "neutralise": True},
    {"set": "alpha158"},
]


@pytest.mark.parametrize("how", HOW)
def test_sessions_in_a_row_are_the_whole_panel(how):
    settings = CORE.model_copy(update=how)
    day = of_day(until(300), settings=settings)
    assert day.how == "anew: nothing kept"
    assert_is_the_whole(day, until(300), settings)
    for n in (301, 302, 303):
        day = of_day(until(n), day.state, settings)
        before = PANEL.sessions[n - 2].date()
        assert day.how == f"carried on from {before}; equal to the panel computed anew"
        assert_is_the_whole(day, until(n), settings)


def split(panel: Panel, symbol: str, factor: float) -> Panel:
    """The symbol's history before the last session on another unit."""

    def rescaled(values, by):
        values = values.copy()
        values.loc[values.index[:-1], symbol] *= by
        return values

    prices = {
        name: rescaled(getattr(panel, name), factor) for name in ("open", "high", "low", "close")
    }
    return replace(panel, **prices, volume=rescaled(panel.volume, 1 / factor))


def restated(panel: Panel, symbol: str, field: str = "open", back: int = 15) -> Panel:
    values = getattr(panel, field).copy()
    values.iloc[-back, values.columns.get_loc(symbol)] *= 1.01
    return replace(panel, **{field: values})


def filled(panel: Panel, symbol: str) -> Panel:
    holed = panel.each(lambda v: v.copy())
    holed.close.iloc[-30, holed.symbols.get_loc(symbol)] = np.nan
    return holed


A, B = PANEL.symbols[1], PANEL.symbols[4]


@pytest.mark.parametrize(
    "change, names",
    [
        (lambda p: split(p, A, 0.25), A),
        (lambda p: split(p, A, 1 - 0.37 / 41), A),  # a dividend
        (lambda p: restated(p, B), B),
        (lambda p: restated(restated(p, B), A, "volume", 2), f"{A}, {B}"),
        (lambda p: filled(p, A), A),
    ],
)
def test_other_bars_of_a_name_are_taken_in_anew(change, names):
    now = change(until(301))
    day = of_day(now, kept_of(until(300)))
    assert f"names anew: {names};" in day.how
    assert_is_the_whole(day, now)
    again = change(until(301)).each(lambda v: v)  # the next session knows the same bars
    assert of_day(again, kept_of(until(300))).how == day.how


def test_names_come_and_go():
    few = PANEL.only([s for s in PANEL.symbols if s not in (A, B)])
    some = PANEL.only([s for s in PANEL.symbols if s != B])
    day = of_day(until(301, some), kept_of(until(300, few)))
    assert f"1 new, restated or rescaled names anew: {A};" in day.how
    assert_is_the_whole(day, until(301, some))
    day = of_day(until(302, few), day.state)
    assert "names anew" not in day.how
    assert_is_the_whole(day, until(302, few))


@pytest.mark.parametrize(
    "now, settings, version, says",
    [
        (until(301), CORE.model_copy(update={"names": ("ret_5", "vol_21")}), "1", "other features"),
        (until(301), CORE, "2", "other code"),
        (until(302), CORE, "1", "not of the session before"),
        (until(300), CORE, "1", "not of the session before"),
        (split(until(301), "SPY", 0.99), CORE, "1", "bars of SPY"),
        (until(301).each(lambda v: v * 2), CORE, "1", "bars of SPY"),
        (until(301).each(lambda v: v.iloc[-253:]), CORE, "1", "shorter"),
    ],
)
def test_a_stale_state_is_not_used_and_the_reason_is_told(now, settings, version, says):
    day = of_day(now, kept_of(until(300)), settings, version)
    assert day.how.startswith("anew: ") and says in day.how
    assert_is_the_whole(day, now, settings)


def test_when_most_names_changed_all_begin_anew():
    now = until(301)
    for symbol in [s for s in PANEL.symbols if s != "SPY"][:6]:
        now = split(now, symbol, 0.5)
    day = of_day(now, kept_of(until(300)))
    assert day.how == "anew: 6 of 9 names are new, restated or rescaled"
    assert_is_the_whole(day, now)


def test_a_state_that_is_wrong_stops_the_day_when_it_is_checked():
    kept = kept_of(until(300))
    kept.memory[:, 3] *= 1 + 1e-7
    with pytest.raises(ContractError, match=f"{PANEL.symbols[2]}, carried on.*carry_features"):
        of_day(until(301), kept)
    kept = kept_of(until(300))
    kept.memory[:, 3] *= 1 + 1e-7
    assert of_day(until(301), kept, check=False).how.startswith("carried on")


def test_own_functions_are_called_and_alone_they_leave_no_state(tmp_path, monkeypatch):
    gap = features_registry.own_function(
        "gap", 2, lambda p, b: p.open / p.close.shift(1) - 1, "Gap."
    )
    monkeypatch.setattr(features, "registry", lambda settings: {**features.FEATURES, "gap": gap})
    both = CORE.model_copy(update={"names": ("ret_1", "gap")})
    day = of_day(until(301), kept_of(until(300), both), both)
    assert day.how.startswith("carried on")
    assert_is_the_whole(day, until(301), both)
    alone = CORE.model_copy(update={"names": ("gap",)})
    day = of_day(until(301), None, alone)
    assert day.state is None and day.how == "anew: no feature is a formula"
    assert_is_the_whole(day, until(301), alone)


def test_sums_see_any_one_bit_and_which_session_it_is_of():
    plain = features_state.sums(PANEL, "SPY", 253)
    for field, row in (("close", -1), ("volume", -253), ("dollar_volume", -100)):
        values = getattr(PANEL, field).copy()
        values.iloc[row, 2] = np.nextafter(values.iloc[row, 2], np.inf)
        changed = features_state.sums(replace(PANEL, **{field: values}), "SPY", 253)
        assert np.flatnonzero(changed != plain).tolist() == [3]
    older = PANEL.close.copy()
    older.iloc[-254, 2] *= 2
    assert (features_state.sums(replace(PANEL, close=older), "SPY", 253) == plain).all()
    swapped = PANEL.close.copy()
    swapped.iloc[[-9, -8], 2] = swapped.iloc[[-8, -9], 2].to_numpy()
    assert features_state.sums(replace(PANEL, close=swapped), "SPY", 253)[3] != plain[3]
