"""Calibration: the likeliest line or steps, cross-checked, and never an order turned round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from quant50lib.services import calibration


def sample(n=4000, slope=0.7, shift=-0.4, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(2.0, 3.0, n)
    return score, rng.random(n) < expit(slope * (score - 2) + shift)


def test_platt_is_scikit_learns_logistic_regression():
    score, positive = sample()
    found = calibration.fit(score, positive, "platt").probability(score)
    line = LogisticRegression(C=1e12, tol=1e-12).fit(score[:, None], positive)
    # Platt's targets move two counts in four thousand
    np.testing.assert_allclose(found, line.predict_proba(score[:, None])[:, 1], atol=2e-3)


def test_isotonic_is_scikit_learns_up_to_a_thousandth():
    score, positive = sample()
    found = calibration.fit(score, positive, "isotonic").probability(score)
    steps = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4).fit_transform(score, positive)
    assert np.abs(found - steps).max() <= calibration.TIE_BREAK + 1e-12


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_what_was_biased_becomes_calibrated_on_unseen_rows(kind):
    fitted = calibration.fit(*sample(seed=1), kind)
    score, positive = sample(20000, seed=2)
    said = fitted.probability(score)
    raw_error = np.mean((expit(score) - positive) ** 2)
    assert np.mean((said - positive) ** 2) < raw_error - 0.02
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
        inside = (said > low) & (said < high)
        assert positive[inside].mean() == pytest.approx(said[inside].mean(), abs=0.04)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(["platt", "isotonic"]), st.sampled_from([-1.0, 0.0, 1.0])
)
def test_the_order_is_kept_whatever_the_truth(seed, kind, slope):
    score, positive = sample(200, slope, 0.0, seed)
    said = calibration.fit(score, positive, kind).probability(np.sort(score))
    assert (np.diff(said) > 0).all() and ((said > 0) & (said < 1)).all()


@pytest.mark.parametrize("positive", [np.ones(50), np.zeros(50)])
def test_one_class_and_constant_scores_stay_finite(positive):
    for score in (np.full(50, 3.0), np.arange(50.0)):
        said = calibration.fit(score, positive, "platt").probability(score)
        assert np.isfinite(said).all() and ((said > 0) & (said < 1)).all()


def test_without_calibration_log_odds_become_probabilities():
    p = np.array([0.2, 0.5, np.nan])
    np.testing.assert_allclose(calibration.AS_IS.probability(logit(p)), p)
