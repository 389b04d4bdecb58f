"""One more session from a state equals the whole panel computed anew."""

from __future__ import annotations

import io

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


def until(panel: Panel, n: int) -> Panel:
    return panel.each(lambda values: values.iloc[:n])


def anew(panel: Panel) -> np.ndarray:
    """The last session of the whole panel: (n_symbols, n_formulas)."""
    return np.array([v.iloc[-1] for v in together(panel, FORMULAS, "SPY")]).T


def begun(panel: Panel) -> features_state.State:
    return features_state.begin(FORMULAS, panel, "SPY")[0]


def test_forty_sessions_one_by_one_are_equal_to_the_last_bit():
    state = begun(until(PANEL, 290))
    for n in range(291, 331):
        state, found, _ = features_state.advance(FORMULAS, state, until(PANEL, n), "SPY")
        np.testing.assert_array_equal(found, anew(until(PANEL, n)))


def test_a_short_history_warms_up_as_a_panel_does():
    state = begun(until(PANEL, 254))
    whole = until(PANEL, 255)
    np.testing.assert_array_equal(
        features_state.advance(FORMULAS, state, whole, "SPY")[1], anew(whole)
    )


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
        state, found, _ = features_state.advance(FORMULAS, state, now, "SPY")
        np.testing.assert_array_equal(found, anew(now))


def test_a_state_survives_its_file():
    kept = io.BytesIO()
    np.savez(kept, **features_state.as_arrays(begun(until(PANEL, 300))))
    kept.seek(0)
    state = features_state.from_arrays(np.load(kept))
    now = until(PANEL, 301)
    np.testing.assert_array_equal(features_state.advance(FORMULAS, state, now, "SPY")[1], anew(now))


@pytest.mark.parametrize(
    "formulas, panel, says",
    [
        (FORMULAS[:-1], until(PANEL, 301), "other features"),
        (FORMULAS, until(PANEL, 302), "not of the session before"),
        (FORMULAS, until(PANEL, 300), "not of the session before"),
    ],
)
def test_a_stale_state_is_refused(formulas, panel, says):
    with pytest.raises(ContractError, match=says):
        features_state.advance(formulas, begun(until(PANEL, 300)), panel, "SPY")
