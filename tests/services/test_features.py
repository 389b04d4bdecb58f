"""Features against a plain loop over one name, and the promises about time and scale."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant50lib.contracts import Feature
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import features
from quant50lib.services.features_registry import together
from quant50lib.services.panel import Panel
from quant50lib.services.rolling import windowed
from quant50lib.settings import FeatureSettings
from tests import factories

CORE = FeatureSettings()
PANEL = factories.panel(6, 300, seed=3)
SECTORS = pd.Series(dict(zip(PANEL.symbols, ["Energy", "Energy", "", "Utilities"] * 2)))


def changed(panel: Panel, change) -> Panel:
    """The panel with `change` applied to each matrix."""
    return panel.each(lambda values: change(values.copy()))


# ---- each feature a second way ---------------------------------------------------------------------


def _changes(close):
    return [b / a - 1 for a, b in zip(close, close[1:])]


def _slope_and_rest(own, market):
    beta, intercept = statistics.linear_regression(market, own)[:2]
    rest = [y - intercept - beta * x for x, y in zip(market, own)]
    return beta, math.sqrt(sum(e * e for e in rest) / (len(own) - 2) * 252)


def _rsi(close):
    """Wilder's own recursion, step by step, over 252 closes."""
    change = [b - a for a, b in zip(close[-252:], close[-251:])]
    up = sum(max(c, 0) for c in change[:14]) / 14
    down = sum(max(-c, 0) for c in change[:14]) / 14
    for c in change[14:]:
        up, down = (13 * up + max(c, 0)) / 14, (13 * down + max(-c, 0)) / 14
    return 100 - 100 / (1 + up / down)


def _skew(x):
    mean = sum(x) / len(x)
    second, third = (sum((v - mean) ** k for v in x) / len(x) for k in (2, 3))
    return third / second**1.5


def naive(name: str, symbol: str, panel: Panel) -> float:
    """Value at the last session, from lists of one name."""
    c, o, d = (list(getattr(panel, f)[symbol]) for f in ("close", "open", "dollar_volume"))
    r, m = _changes(c), _changes(list(panel.close["SPY"]))
    ways = {
        "ret_1": lambda: c[-1] / c[-2] - 1,
        "ret_5": lambda: c[-1] / c[-6] - 1,
        "ret_21": lambda: c[-1] / c[-22] - 1,
        "mom_12_1": lambda: c[-22] / c[-253] - 1,
        "mom_6_1": lambda: c[-22] / c[-127] - 1,
        "high_52w": lambda: c[-1] / max(c[-252:]) - 1,
        "vol_21": lambda: statistics.stdev(r[-21:]) * math.sqrt(252),
        "vol_63": lambda: statistics.stdev(r[-63:]) * math.sqrt(252),
        "beta_60": lambda: _slope_and_rest(r[-60:], m[-60:])[0],
        "residual_vol_60": lambda: _slope_and_rest(r[-60:], m[-60:])[1],
        "max_21": lambda: max(r[-21:]),
        "skew_63": lambda: _skew(r[-63:]),
        "rsi_14": lambda: _rsi(c),
        "overnight_21": lambda: sum(math.log(o[-k] / c[-k - 1]) for k in range(1, 22)),
        "intraday_21": lambda: sum(math.log(c[-k] / o[-k]) for k in range(1, 22)),
        "log_dollar_volume_21": lambda: math.log(sum(d[-21:]) / 21),
        "amihud_21": lambda: sum(abs(r[-k]) / d[-k] for k in range(1, 22)) / 21 * 1e6,
        "volume_trend_5_63": lambda: math.log(sum(d[-5:]) / 5 / (sum(d[-63:]) / 63)),
    }
    return ways[name]()


@pytest.mark.parametrize("name", features.FEATURES)
def test_a_feature_equals_a_plain_loop(name):
    found = features.FEATURES[name].function(PANEL, "SPY").iloc[-1]
    wanted = [naive(name, symbol, PANEL) for symbol in PANEL.symbols]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_benchmark_has_beta_one_and_nothing_left():
    found = features.compute(PANEL, CORE, "SPY")
    assert found["beta_60"].loc[PANEL.sessions[-1], "SPY"] == pytest.approx(1.0, abs=1e-12)
    assert found["residual_vol_60"].loc[PANEL.sessions[-1], "SPY"] == pytest.approx(0, abs=1e-6)


def test_a_name_that_never_moves_is_in_the_middle():
    flat = changed(PANEL, lambda f: f.assign(**{PANEL.symbols[0]: 10.0}))
    found = {k: v.iloc[-1, 0] for k, v in features.compute(flat, CORE, "SPY").items()}
    assert found["rsi_14"] == 50 and found["vol_63"] == 0 and found["ret_21"] == 0
    assert np.isnan(found["skew_63"])


def test_a_name_without_volume_has_no_liquidity_features():
    still = replace(PANEL, dollar_volume=PANEL.dollar_volume * 0.0)
    found = features.compute(still, CORE, "SPY")
    for name in ("amihud_21", "log_dollar_volume_21", "volume_trend_5_63"):
        assert found[name].isna().all(axis=None)
    assert found["ret_5"].iloc[-1].notna().all()


# ---- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", features.FEATURES)
def test_the_window_is_exactly_what_is_needed(name):
    spec = features.FEATURES[name]
    found = spec.function(PANEL, "SPY").notna().all(axis=1)
    assert list(found) == [k >= spec.window - 1 for k in range(len(found))]


@pytest.mark.parametrize("name", features.FEATURES)
def test_more_history_changes_nothing_to_the_last_bit(name):
    spec = features.FEATURES[name]
    whole = spec.function(PANEL, "SPY").iloc[-1]
    tail = changed(PANEL, lambda f: f.iloc[-spec.window :])
    pd.testing.assert_series_equal(spec.function(tail, "SPY").iloc[-1], whole, check_exact=True)


@pytest.mark.parametrize("poison", [np.nan, 1e12])
def test_the_future_changes_nothing_at_or_before_a_session(poison):
    cut = PANEL.sessions[280]

    def poisoned(frame):
        frame.loc[frame.index > cut] = poison
        return frame

    clean = features.describe(PANEL, SECTORS, CORE, "SPY")
    other = features.describe(changed(PANEL, poisoned), SECTORS, CORE, "SPY")
    for name in clean.raw:
        for a, b in ((clean.raw, other.raw), (clean.standardised, other.standardised)):
            pd.testing.assert_frame_equal(a[name].loc[:cut], b[name].loc[:cut], check_exact=True)


@pytest.mark.parametrize("name", features.FEATURES)
def test_a_missing_bar_is_not_filled(name):
    holed = changed(PANEL, lambda f: f.mask(f.index.to_series().eq(f.index[-1]), np.nan))
    spec = features.FEATURES[name]
    if name in ("mom_12_1", "mom_6_1"):  # they end 21 sessions earlier
        assert spec.function(holed, "SPY").iloc[-1].notna().all()
    else:
        assert spec.function(holed, "SPY").iloc[-1].isna().all()


# ---- scale -----------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(0.01, 1000), seed=st.integers(0, 99))
def test_the_unit_of_price_does_not_matter(factor, seed):
    panel = factories.panel(3, 260, seed)
    prices = ("open", "high", "low", "close")
    dearer = replace(panel, **{f: getattr(panel, f) * factor for f in prices})
    a, b = (features.compute(p, CORE, "SPY") for p in (panel, dearer))
    for name in a:
        np.testing.assert_allclose(a[name].iloc[-1], b[name].iloc[-1], rtol=1e-6, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(0.01, 1000), seed=st.integers(0, 99))
def test_dollars_shift_volume_and_divide_amihud(factor, seed):
    panel = factories.panel(3, 70, seed)
    richer = replace(panel, dollar_volume=panel.dollar_volume * factor)
    chosen = FeatureSettings(names=("log_dollar_volume_21", "amihud_21", "volume_trend_5_63"))
    a, b = (
        {k: v.iloc[-1] for k, v in features.compute(p, chosen, "SPY").items()}
        for p in (panel, richer)
    )
    np.testing.assert_allclose(
        b["log_dollar_volume_21"], a["log_dollar_volume_21"] + math.log(factor), rtol=1e-9
    )
    np.testing.assert_allclose(b["amihud_21"], a["amihud_21"] / factor, rtol=1e-9)
    np.testing.assert_allclose(b["volume_trend_5_63"], a["volume_trend_5_63"], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    values=arrays(float, (40, 2), elements=st.floats(-100, 100)),
    n=st.integers(1, 40),
    decay=st.sampled_from([1.0, 0.9]),
)
def test_sums_of_rows_equal_their_definition(values, n, decay):
    total = windowed(values, n, decay)
    assert np.isnan(total[: n - 1]).all()
    for t in range(n - 1, len(values)):
        window = values[t - n + 1 : t + 1]
        weights = decay ** np.arange(n)[::-1]
        np.testing.assert_allclose(total[t], weights @ window, rtol=1e-12, atol=1e-9)


# ---- the cross-section -----------------------------------------------------------------------------

ROW = arrays(float, (1, 9), elements=st.integers(-50, 50).map(float) | st.just(np.nan))
NINE = list("ABCDEFGHI")


def wide(values) -> pd.DataFrame:
    return pd.DataFrame(
        values, index=PANEL.sessions[: len(values)], columns=NINE[: values.shape[1]]
    )


@settings(max_examples=60, deadline=None)
@given(values=ROW, method=st.sampled_from(["rank", "zscore", "sector_rank"]))
def test_standardised_values_are_centred_bounded_ordered_and_missing_where_missing(values, method):
    groups = pd.Series(["x"] * 9, NINE)
    found = features.standardise({"f": wide(values)}, groups, None, method)["f"].to_numpy()[0]
    known = ~np.isnan(values[0])
    assert (np.isnan(found) == ~known).all()
    if known.any():
        assert found[known].mean() == pytest.approx(0, abs=1e-9)
        assert np.abs(found[known]).max() <= (3.7 if method == "zscore" else 0.5)
        order = np.argsort(values[0][known], kind="stable")
        assert (np.diff(found[known][order]) >= -1e-12).all()


def test_ranks_of_four_names_by_hand():
    values = wide(np.array([[30.0, 10.0, 20.0, 20.0], [5.0, np.nan, np.nan, 1.0]]))
    found = features.standardise({"f": values}, pd.Series(dtype=str), None, "rank")["f"]
    np.testing.assert_allclose(found, [[0.375, -0.375, 0, 0], [0.25, np.nan, np.nan, -0.25]])


@settings(max_examples=20, deadline=None)
@given(values=arrays(float, (1, 9), elements=st.integers(-9, 9).map(float)))
def test_a_sector_rank_is_the_rank_among_its_own(values):
    groups = pd.Series(["x", "x", "y", "y", "y", "x", "y"], NINE[:7])  # the last two have none
    found = features.standardise({"f": wide(values)}, groups, None, "sector_rank")["f"]
    for members in (list("ABF"), list("CDEG"), list("HI")):
        alone = features.standardise({"f": wide(values)[members]}, groups, None, "rank")["f"]
        pd.testing.assert_frame_equal(found[members], alone)


@settings(max_examples=20, deadline=None)
@given(values=ROW, scale=st.sampled_from([0.5, 4.0]), shift=st.sampled_from([0.0, 8.0]))
def test_zscores_ignore_unit_and_origin(values, scale, shift):
    one = features.standardise({"f": wide(values)}, pd.Series(dtype=str), None, "zscore")["f"]
    two = features.standardise(
        {"f": wide(values) * scale + shift}, pd.Series(dtype=str), None, "zscore"
    )["f"]
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_names_that_are_not_allowed_neither_get_nor_influence_a_value():
    values = wide(np.array([[1.0, 2.0, 3.0, 1e9]]))
    allowed = pd.DataFrame(True, values.index, values.columns)
    allowed["D"] = False
    found = features.standardise({"f": values}, pd.Series(dtype=str), allowed, "zscore")["f"]
    assert np.isnan(found["D"].iloc[0])
    np.testing.assert_allclose(found[["A", "B", "C"]], [[-math.sqrt(1.5), 0, math.sqrt(1.5)]])


def test_thin_names_and_the_benchmark_are_not_compared():
    thin, other = PANEL.symbols[0], PANEL.symbols[1]
    volume = PANEL.dollar_volume.assign(**{thin: 9e5})
    found = features.describe(replace(PANEL, dollar_volume=volume), SECTORS, CORE, "SPY")
    last = {name: v.iloc[-1] for name, v in found.standardised.items()}
    assert all(np.isnan(v[thin]) and np.isnan(v["SPY"]) for v in last.values())
    assert all(np.isfinite(v[other]) for v in last.values())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), least=st.sampled_from([0.0, 3.0, 5.0]))
def test_a_name_is_liquid_where_the_median_of_21_sessions_is(seed, least):
    rng = np.random.default_rng(seed)
    traded = pd.DataFrame(rng.integers(0, 9, (60, 4)).astype(float))
    traded = traded.mask(rng.random(traded.shape) < 0.02)
    found = features._median_reaches(traded.to_numpy(), least)
    np.testing.assert_array_equal(found, traded.rolling(21).median() >= least)


def test_the_newest_sessions_alone_are_described_as_they_are_among_all():
    whole = features.describe(PANEL, SECTORS, CORE, "SPY")
    for last in (1, 30):
        part = features.describe(PANEL, SECTORS, CORE, "SPY", last)
        for name, values in whole.standardised.items():
            pd.testing.assert_frame_equal(
                part.standardised[name], values.iloc[-last:], check_exact=True
            )


# ---- the table and the settings --------------------------------------------------------------------


def test_the_table_keeps_the_contract_and_comes_back_as_a_matrix():
    session = PANEL.sessions[-1]
    found = features.describe(PANEL, SECTORS, CORE, "SPY")
    table = features.to_table(found.raw, found.standardised, session)
    Feature.check(table)
    assert len(table) == len(PANEL.symbols) * len(features.FEATURES)
    assert set(table.session) == {session}
    matrix = features.as_matrix(table)
    for name, values in found.standardised.items():
        np.testing.assert_array_equal(matrix.loc[PANEL.symbols, name], values.loc[session])


def test_only_the_named_features_are_computed():
    chosen = FeatureSettings(names=("vol_21", "ret_5"))
    assert list(features.compute(PANEL, chosen, "SPY")) == ["ret_5", "vol_21"]
    assert features.sessions_needed(chosen) == 22
    assert features.sessions_needed(CORE) == 253


def test_results_can_be_written_over_earlier_ones():
    formulas = [spec.formula for spec in features.chosen(CORE)]
    out = np.full((len(formulas), len(PANEL.symbols), len(PANEL.sessions)), 7.0)
    for panel in (PANEL, factories.panel(6, 300, seed=4)):
        into = together(panel, formulas, "SPY", out)
        assert all(np.shares_memory(v.to_numpy(), out) for v in into)
        for ours, afresh in zip(into, features.compute(panel, CORE, "SPY").values(), strict=True):
            pd.testing.assert_frame_equal(ours, afresh, check_exact=True)


@pytest.mark.parametrize(
    "spoil",
    [lambda x: x[1:], lambda x: x.astype("float32"), np.asfortranarray, lambda x: x[..., ::-1]],
)
def test_results_are_written_only_where_they_fit(spoil):
    formulas = [spec.formula for spec in features.chosen(CORE)]
    out = np.zeros((len(formulas), len(PANEL.symbols), len(PANEL.sessions)))
    with pytest.raises(ValueError, match="contiguous"):
        together(PANEL, formulas, "SPY", spoil(out))


def test_a_misspelt_feature_names_the_nearest():
    with pytest.raises(SettingsError, match="'vol_12' is no feature.*vol_21"):
        features.chosen(FeatureSettings(names=("vol_12",)))


def test_without_the_benchmark_there_are_no_features():
    with pytest.raises(DataQualityError, match="benchmark SPY"):
        features.compute(PANEL.only(PANEL.symbols.drop("SPY")), CORE, "SPY")


def test_every_feature_says_what_it_is_and_where_from():
    for spec in features.FEATURES.values():
        assert spec.meaning.endswith((".", "moved.")) and spec.reference
