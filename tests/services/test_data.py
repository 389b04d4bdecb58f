"""The names of the day, and the reason of each that may not be bought."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import Finding, Universe
from quant50lib.services.data import day_universe
from quant50lib.settings import DataSettings, FeatureSettings
from tests import factories

DATA = DataSettings(min_history_sessions=200)
FEATURES = FeatureSettings(min_dollar_volume=1e6)
PANEL = factories.panel(n_symbols=8, n_sessions=260)
RUN = PANEL.sessions[-1]
NAMES = pd.DataFrame(
    {"symbol": [*PANEL.symbols, "ZZZZ"][::-1], "name": "Some name", "sector": "X", "kind": "stock"}
)
ASSETS = pd.DataFrame(
    {"symbol": list(PANEL.symbols), "tradable": True, "fractionable": True, "status": "active"}
)
A, B, C, D, E, F, G, H = PANEL.symbols


def found(*rows: tuple) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=Finding.columns())
    return Finding.check(frame.astype(Finding.empty().dtypes))


def judged(panel=PANEL, assets=ASSETS, findings=None) -> pd.DataFrame:
    findings = Finding.empty() if findings is None else findings
    return day_universe(NAMES, panel, findings, assets, RUN, DATA, FEATURES).set_index("symbol")


def test_sound_names_are_tradable_and_one_without_bars_is_not_listed():
    table = judged()
    Universe.check(table.reset_index()[Universe.columns()])
    assert table["tradable"].to_dict() == {s: s != "ZZZZ" for s in table.index}
    assert table["reason"].to_dict() == {
        s: "" if s != "ZZZZ" else "not listed" for s in table.index
    }
    assert table.loc[A, "close"] == PANEL.traded_close.loc[RUN, A]
    assert np.isnan(table.loc["ZZZZ", "close"]) and not table.loc["ZZZZ", "fractionable"]


def test_each_reason_in_turn():
    closes, dollars = PANEL.traded_close.copy(), PANEL.dollar_volume.copy()
    closes.loc[PANEL.sessions[:100], A] = np.nan
    dollars.loc[PANEL.sessions[-21:], B] = 9e5
    closes.loc[PANEL.sessions[-21:], C] = np.nan
    closes.loc[RUN, G] = -1.0
    panel = type(PANEL)(**{**vars(PANEL), "traded_close": closes, "dollar_volume": dollars})
    assets = ASSETS.set_index("symbol")
    assets.loc[D, "tradable"] = False
    assets.loc[E, ["status", "tradable"]] = "inactive", False
    assets.loc[F, "fractionable"] = False
    notes = found(
        ("jump", G, PANEL.sessions[-5], "quarantine", "x"),
        ("stale", G, RUN, "quarantine", "x"),
        ("ohlc", C, RUN, "quarantine", "x"),
        ("ohlc", F, PANEL.sessions[0], "note", "x"),
        ("coverage", "", RUN, "stop", "x"),
    )
    table = judged(panel, assets.reset_index(), notes)
    assert table["reason"].to_dict() == {
        A: "too short a history",
        B: "too thin",
        C: "not listed",
        D: "not tradable at the broker",
        E: "not listed",
        F: "",
        G: "quarantined: stale",
        H: "",
        "ZZZZ": "not listed",
    }
    assert table.index[~table["fractionable"]].tolist() == [F, "ZZZZ"]
    assert np.isnan(table.loc[G, "close"])


def test_what_the_broker_never_spoke_of_is_not_listed():
    assert set(judged(assets=ASSETS.iloc[:0])["reason"]) == {"not listed"}


def test_thinness_is_measured_over_21_sessions():
    dollars = PANEL.dollar_volume.copy()
    dollars.iloc[-21:, 0] = [2e6] * 11 + [0.0] * 10  # the median is large
    panel = type(PANEL)(**{**vars(PANEL), "dollar_volume": dollars})
    assert judged(panel).loc[A, "reason"] == ""
    dollars.iloc[-1, 0] = dollars.iloc[-21, 0] = 0.0
    assert judged(panel).loc[A, "reason"] == "too thin"


def test_a_day_that_is_no_session_is_refused():
    with pytest.raises(Exception, match="not a session"):
        day_universe(
            NAMES, PANEL, Finding.empty(), ASSETS, pd.Timestamp("2024-06-29"), DATA, FEATURES
        )
