"""The risk forecast against scikit-learn, plain numpy and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from quant50lib.errors import OptimizationError
from quant50lib.services import covariance
from quant50lib.services.covariance import Risk
from quant50lib.services.panel import Panel
from quant50lib.settings import OptimizeSettings
from tests import factories

SETTINGS = OptimizeSettings()


def closes(panel: Panel, frame: pd.DataFrame) -> Panel:
    return replace(panel, close=frame)


def by_hand(panel: Panel, horizon: int, feedback: float, least: float) -> np.ndarray:
    """Shape by scikit-learn, level by a loop."""
    returns = panel.close.pct_change().iloc[-252:]
    market = returns.mean(axis=1).to_numpy()
    squares = (market - market.mean()) ** 2
    now = total = 0.0
    for age, square in enumerate(reversed(squares)):
        now += np.exp(-age / 10) * square
        total += np.exp(-age / 10)
    level = max(least, now / total / squares.mean())
    return LedoitWolf().fit(returns.to_numpy()).covariance_ * horizon * level * feedback**2


@given(
    n=st.integers(3, 60), p=st.integers(2, 60), seed=st.integers(0, 10_000), common=st.floats(0, 3)
)
@settings(max_examples=40, deadline=None)
def test_ledoit_wolf_is_that_of_scikit_learn(n: int, p: int, seed: int, common: float) -> None:
    rng = np.random.default_rng(seed)
    returns = 0.01 * (rng.normal(size=(n, p)) + common * rng.normal(size=(n, 1)) + 1)
    shrinkage, factors, diagonal = covariance.ledoit_wolf(returns)
    theirs = LedoitWolf().fit(returns)
    assert shrinkage == pytest.approx(theirs.shrinkage_, abs=1e-12)
    ours = factors.T @ factors + diagonal * np.eye(p)
    np.testing.assert_allclose(ours, theirs.covariance_, rtol=0, atol=1e-12 * ours.max())


def test_ledoit_wolf_of_one_name_is_its_variance() -> None:
    """The target is the sample variance itself: any shrinkage gives the same."""
    returns = np.random.default_rng(3).normal(size=(20, 1))
    _, factors, diagonal = covariance.ledoit_wolf(returns)
    assert (factors.T @ factors + diagonal).item() == pytest.approx(returns.var(), rel=1e-12)


def test_ledoit_wolf_of_returns_that_never_move_is_zero() -> None:
    shrinkage, factors, diagonal = covariance.ledoit_wolf(np.zeros((10, 3)))
    assert shrinkage == 0 and diagonal == 0 and not factors.any()


@given(n=st.integers(3, 40), p=st.integers(1, 40), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_ledoit_wolf_with_a_half_life_is_that_of_the_definition(n: int, p: int, seed: int) -> None:
    """The weighted covariance, and its error summed session by session."""
    returns = np.random.default_rng(seed).normal(size=(n, p)) + 0.1
    weights = np.array([2.0 ** (-(n - 1 - t) / 7) for t in range(n)])
    weights /= weights.sum()
    centred = returns - np.average(returns, axis=0, weights=weights)
    sample = sum(w * np.outer(x, x) for w, x in zip(weights, centred, strict=True))
    error = sum(
        w**2 * np.sum((np.outer(x, x) - sample) ** 2) for w, x in zip(weights, centred, strict=True)
    )
    target = np.trace(sample) / p * np.eye(p)
    distance = np.sum((sample - target) ** 2)
    shrinkage, factors, diagonal = covariance.ledoit_wolf(returns, half_life_sessions=7)
    estimate = factors.T @ factors + diagonal * np.eye(p)
    if distance > 1e-12:
        assert shrinkage == pytest.approx(min(1.0, error / distance), rel=1e-8)
    np.testing.assert_allclose(
        estimate, shrinkage * target + (1 - shrinkage) * sample, atol=1e-12 * np.trace(sample)
    )


def test_an_endless_half_life_is_none() -> None:
    returns = np.random.default_rng(1).normal(size=(60, 90))
    ours = covariance.ledoit_wolf(returns, half_life_sessions=1e9)
    assert ours[0] == pytest.approx(LedoitWolf().fit(returns).shrinkage_, rel=1e-6)


def test_the_fast_scale_is_a_setting() -> None:
    panel = factories.panel(12, 300)
    plain = OptimizeSettings(fast_scale=False, covariance_half_life_sessions=60)
    risk = covariance.risk_model(panel, panel.symbols, plain, horizon=5)
    returns = panel.close.pct_change().iloc[-252:].to_numpy()
    _, factors, diagonal = covariance.ledoit_wolf(returns, 60)
    shape = factors.T @ factors + diagonal * np.eye(12)
    np.testing.assert_allclose(risk.matrix(), 5 * shape, rtol=1e-10)
    market = pd.Series(returns.mean(axis=1))
    scaled = plain.model_copy(update={"fast_scale": True})
    ratio = covariance.risk_model(panel, panel.symbols, scaled, 5).diagonal / risk.diagonal
    np.testing.assert_allclose(ratio, covariance.fast_scale(market, scaled), rtol=1e-10)


@pytest.mark.parametrize("least", [0.0, 1.0, 1.5])
def test_risk_model_is_shape_times_level(least: float) -> None:
    panel = factories.panel(20, 300)
    asked = SETTINGS.model_copy(update={"fast_scale_min": least})
    risk = covariance.risk_model(panel, panel.symbols, asked, horizon=5, feedback=1.2)
    np.testing.assert_allclose(risk.matrix(), by_hand(panel, 5, 1.2, least), rtol=1e-10)
    assert risk.horizon_sessions == 5


def test_level_is_of_the_whole_universe_whatever_is_asked_for() -> None:
    panel = factories.panel(20, 300)
    few = panel.symbols[[3, 7]]
    ratio = (
        covariance.risk_model(panel, few, SETTINGS, 5, 1.0).matrix().to_numpy()
        / LedoitWolf().fit(panel.close[few].pct_change().iloc[-252:].to_numpy()).covariance_
    )
    market = panel.close.pct_change().iloc[-252:].mean(axis=1)
    np.testing.assert_allclose(ratio, 5 * covariance.fast_scale(market, SETTINGS), rtol=1e-10)


def test_where_no_name_has_history_enough_the_error_says_what_to_do() -> None:
    short = factories.panel(3, 20)
    with pytest.raises(OptimizationError, match="fetch more history"):
        covariance.risk_model(short, [], SETTINGS, 5)


def two_halves(before: float, after: float) -> pd.Series:
    """Fluctuations of one size for 42 sessions, then of another for 42."""
    return pd.Series(np.tile([1.0, -1.0], 42) * np.repeat([before, after], 42))


def now_over_slow(before: float, after: float, memory: float) -> float:
    """The closed form: two geometric sums over the mean of the squares."""
    tail, total = 1 - np.exp(-42 / memory), 1 - np.exp(-84 / memory)
    now = (after**2 * tail + before**2 * (total - tail)) / total
    return now / ((before**2 + after**2) / 2)


def test_fast_scale_of_a_market_that_woke_up() -> None:
    expected = now_over_slow(1, 2, 10)
    assert covariance.fast_scale(two_halves(1, 2), SETTINGS) == pytest.approx(expected, rel=1e-12)
    longer = SETTINGS.model_copy(update={"fast_scale_sessions": 21})
    expected = now_over_slow(1, 2, 21)
    assert covariance.fast_scale(two_halves(1, 2), longer) == pytest.approx(expected, rel=1e-12)


def test_fast_scale_of_a_market_that_calmed_down_is_one_unless_it_may_fall() -> None:
    calmed = two_halves(2, 1)
    assert covariance.fast_scale(calmed, SETTINGS) == 1.0
    both_ways = SETTINGS.model_copy(update={"fast_scale_min": 0.0})
    expected = now_over_slow(2, 1, 10)
    assert expected < 0.5
    assert covariance.fast_scale(calmed, both_ways) == pytest.approx(expected, rel=1e-12)
    half = SETTINGS.model_copy(update={"fast_scale_min": 0.7})
    assert covariance.fast_scale(calmed, half) == 0.7


def test_fast_scale_of_a_market_that_never_moved_is_one() -> None:
    assert covariance.fast_scale(pd.Series(np.zeros(30)), SETTINGS) == 1.0


def test_nothing_after_the_last_close_matters() -> None:
    panel = factories.panel(10, 320)
    cut = panel.sessions[-21]
    poisoned = panel.close.copy()
    poisoned.loc[poisoned.index > cut] = 1e9
    clean = covariance.risk_model(panel.until(cut), panel.symbols, SETTINGS, 5)
    again = covariance.risk_model(closes(panel, poisoned).until(cut), panel.symbols, SETTINGS, 5)
    pd.testing.assert_frame_equal(clean.matrix(), again.matrix(), check_exact=True)


def test_eligible_from_four_fifths_of_the_window_on() -> None:
    panel = factories.panel(6, 320)
    young = panel.close.copy()
    known = int(np.ceil(0.8 * 252))  # returns; one price more
    young.iloc[: -known - 1, 0] = np.nan
    young.iloc[:-known, 1] = np.nan
    found = covariance.eligible(closes(panel, young), SETTINGS)
    assert list(found) == [s for i, s in enumerate(panel.symbols) if i != 1]


def test_a_symbol_without_history_is_refused_by_name() -> None:
    panel = factories.panel(6, 150)
    with pytest.raises(OptimizationError, match=f"{panel.symbols[0]}.*eligible"):
        covariance.risk_model(panel, panel.symbols, SETTINGS, 5)


@pytest.mark.parametrize("feedback", [0.0, -1.0, np.nan, np.inf])
def test_feedback_must_be_a_positive_number(feedback: float) -> None:
    panel = factories.panel(3, 260)
    with pytest.raises(OptimizationError, match="feedback"):
        covariance.risk_model(panel, panel.symbols, SETTINGS, 5, feedback)


def test_gaps_are_filled_by_the_market_model_and_lower_no_variance() -> None:
    """The variance of a name with gaps: beta squared times the market's, plus the residual's."""
    rng = np.random.default_rng(4)
    market = pd.Series(rng.normal(0, 0.01, 250))
    own = 1.5 * market + rng.normal(0, 0.02, 250)
    gappy = own.copy()
    gappy[rng.choice(250, 40, replace=False)] = np.nan
    frame = pd.DataFrame({"A": own, "B": gappy})
    full = covariance.filled(frame, market)

    known = gappy.notna()
    design = np.column_stack([np.ones(known.sum()), market[known]])
    fit, *_ = np.linalg.lstsq(design, gappy[known], rcond=None)
    residual = gappy[known] - design @ fit
    expected = fit[1] ** 2 * market.var(ddof=0) + (residual**2).mean()

    pd.testing.assert_series_equal(full["A"], own, check_names=False, check_exact=True)
    assert full.notna().all(axis=None)
    np.testing.assert_allclose(full.loc[~known, "B"], fit[1] * market[~known], rtol=1e-12)
    # the residuals are orthogonal to the market where known: only their mean product is left
    assert full["B"].var(ddof=0) == pytest.approx(expected, rel=5e-3)


def test_a_gap_hardly_changes_the_forecast() -> None:
    panel = factories.panel(12, 300)
    holes = panel.close.copy()
    holes.iloc[-60:-40, 5] = np.nan
    whole = covariance.risk_model(panel, panel.symbols, SETTINGS, 5).matrix()
    with_gap = covariance.risk_model(closes(panel, holes), panel.symbols, SETTINGS, 5).matrix()
    assert np.abs(with_gap / whole - 1).to_numpy().max() < 0.35
    others = [s for i, s in enumerate(panel.symbols) if i != 5]
    assert np.abs(with_gap.loc[others, others] / whole.loc[others, others] - 1).max(axis=None) < 0.1


def test_book_figures_are_those_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(1)
    symbols = pd.Index(["A", "B", "C"], dtype="str")
    risk = Risk(symbols, rng.normal(size=(7, 3)), rng.uniform(size=3), horizon_sessions=5)
    dense = risk.matrix().to_numpy()
    weights = pd.Series({"C": 0.2, "A": 0.3, "Z": 0.0})
    w = np.array([0.3, 0.0, 0.2])
    assert risk.variance(weights) == pytest.approx(w @ dense @ w)
    assert risk.volatility_annual(weights) == pytest.approx(np.sqrt(w @ dense @ w * 252 / 5))
    shares = risk.shares(weights)
    np.testing.assert_allclose(shares, w * (dense @ w) / (w @ dense @ w))
    assert shares.sum() == pytest.approx(1)
    assert not risk.shares(weights * 0).any()
    pd.testing.assert_frame_equal(
        risk.only(["C", "A"]).matrix(), risk.matrix().loc[["C", "A"], ["C", "A"]]
    )


def test_a_name_without_risk_is_not_counted_as_safe() -> None:
    risk = Risk(pd.Index(["A"], dtype="str"), np.ones((1, 1)), np.ones(1), 5)
    with pytest.raises(OptimizationError, match="ZZ"):
        risk.variance(pd.Series({"A": 0.1, "ZZ": 0.1}))
    with pytest.raises(OptimizationError, match="ZZ"):
        risk.only(["A", "ZZ"])
