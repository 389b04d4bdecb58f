"""One more session from a state equals the whole panel computed anew."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant50lib.errors import ContractError
from quant50lib.services import features, features_state
from quant50lib.services.features_registry import together
from quant50lib.services.panel import Panel
from tests import factories

PANEL = factories.panel(6, 330, seed=5)
FORMULAS = [spec.formula for spec in features.FEATURES.values() if spec.formula]
PRICES = ("open", "high", "low", "close")


def until(panel: Panel, n: int) -> Panel:
    return panel.each(lambda values: values.iloc[:n])


def anew(panel: Panel) -> np.ndarray:
    """The last session of the whole panel: (n_symbols, n_formulas)."""
    return np.array([v.iloc[-1] for v in together(panel, FORMULAS, "SPY")]).T


def begun(panel: Panel) -> features_state.State:
    return features_state.begin(FORMULAS, panel, "SPY")


def rescaled(panel: Panel, symbol: str, price: float, shares: float) -> Panel:
    """The panel as it looks when an action of the last session has rescaled what came before."""
    factor = pd.DataFrame(1.0, panel.sessions, panel.symbols)
    factor.loc[factor.index[:-1], symbol] = price
    volume = panel.volume.copy()
    volume.loc[volume.index[:-1], symbol] *= shares
    changed = {name: getattr(panel, name) * factor for name in PRICES}
    return replace(panel, **changed, volume=volume)


def test_forty_sessions_one_by_one_are_equal_to_the_last_bit():
    state = begun(until(PANEL, 290))
    for n in range(291, 331):
        state, found = features_state.advance(FORMULAS, state, until(PANEL, n), "SPY")
        np.testing.assert_array_equal(found, anew(until(PANEL, n)))


def test_a_short_history_warms_up_as_a_panel_does():
    state = features_state.begin(FORMULAS, until(PANEL, 254), "SPY")
    whole = until(PANEL, 255)
    np.testing.assert_array_equal(
        features_state.advance(FORMULAS, state, whole, "SPY")[1], anew(whole)
    )


@pytest.mark.parametrize("price, shares", [(0.5, 2.0), (1 - 0.37 / 41, 1.0), (10.0, 0.1)])
def test_a_split_or_a_dividend_rescales_what_is_kept(price, shares):
    state, symbol = begun(until(PANEL, 300)), PANEL.symbols[1]
    now = rescaled(until(PANEL, 301), symbol, price, shares)
    state, found = features_state.advance(FORMULAS, state, now, "SPY")
    np.testing.assert_allclose(found, anew(now), rtol=1e-9, atol=1e-12)
    after = rescaled(until(PANEL, 302), symbol, 1.0, 1.0)
    early = after.each(lambda values: values.copy())
    for name in PRICES:
        getattr(early, name).loc[early.sessions[:300], symbol] *= price
    early.volume.loc[early.sessions[:300], symbol] *= shares
    found = features_state.advance(FORMULAS, state, early, "SPY")[1]
    np.testing.assert_allclose(found, anew(early), rtol=1e-9, atol=1e-12)


def test_the_benchmark_pays_a_dividend():
    state, now = begun(until(PANEL, 300)), rescaled(until(PANEL, 301), "SPY", 0.995, 1.0)
    found = features_state.advance(FORMULAS, state, now, "SPY")[1]
    np.testing.assert_allclose(found, anew(now), rtol=1e-9, atol=1e-12)


def test_a_missing_bar_is_missing_and_so_is_what_needs_it_later():
    def holed(panel: Panel) -> Panel:
        def hole(values):
            values = values.copy()
            values.loc[PANEL.sessions[300], PANEL.symbols[0]] = np.nan
            return values

        return panel.each(hole)

    state = begun(until(PANEL, 300))
    for n in (301, 302, 303):
        now = holed(until(PANEL, n))
        state, found = features_state.advance(FORMULAS, state, now, "SPY")
        np.testing.assert_array_equal(found, anew(now))


def test_names_that_come_and_go():
    state = begun(until(PANEL, 300).only(PANEL.symbols[[0, 2, 4, 5]]))
    other = until(PANEL, 301).only(PANEL.symbols[[1, 2, 3, 5]])
    state, found = features_state.advance(FORMULAS, state, other, "SPY")
    np.testing.assert_array_equal(found, anew(other))
    again = until(PANEL, 302).only(PANEL.symbols[[1, 2, 3, 5]])
    np.testing.assert_array_equal(
        features_state.advance(FORMULAS, state, again, "SPY")[1], anew(again)
    )


def test_a_state_survives_its_file():
    kept = io.BytesIO()
    np.savez(kept, **features_state.as_arrays(begun(until(PANEL, 300))))
    kept.seek(0)
    state = features_state.from_arrays(np.load(kept))
    now = until(PANEL, 301)
    np.testing.assert_array_equal(features_state.advance(FORMULAS, state, now, "SPY")[1], anew(now))


def revised(panel: Panel) -> Panel:
    close = panel.close.copy()
    close.iloc[-40, 0] *= 1.01
    return replace(panel, close=close)


@pytest.mark.parametrize(
    "formulas, panel, says",
    [
        (FORMULAS[:-1], until(PANEL, 301), "other features"),
        (FORMULAS, until(PANEL, 302), "not of the session before"),
        (FORMULAS, until(PANEL, 300), "not of the session before"),
        (FORMULAS, revised(until(PANEL, 301)), "revised since: close"),
    ],
)
def test_a_stale_state_is_refused(formulas, panel, says):
    with pytest.raises(ContractError, match=says):
        features_state.advance(formulas, begun(until(PANEL, 300)), panel, "SPY")
