"""Errors against closed forms, repetition and other libraries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from quant50lib.services import validation
from quant50lib.utils import dates

CALENDAR = dates.sessions_between("2020-01-02", "2020-12-31")


# ---- means -----------------------------------------------------------------------------------------


def test_without_lags_the_error_is_the_textbook_one():
    x = np.random.default_rng(1).normal(2, 3, 500)
    found = validation.hac_mean(x, 0)
    assert found.value == pytest.approx(x.mean())
    assert found.error == pytest.approx(x.std(ddof=1) / np.sqrt(500))
    assert found.t == pytest.approx(stats.ttest_1samp(x, 0).statistic)


def test_newey_west_by_its_double_sum():
    x = np.random.default_rng(2).normal(size=60).cumsum()
    lags, c = 7, x - x.mean()
    total = sum(
        max(0, 1 - abs(i - j) / (lags + 1)) * c[i] * c[j] for i in range(60) for j in range(60)
    )
    assert validation.hac_mean(x, lags).error == pytest.approx(np.sqrt(total / 60 / 59))


def test_overlap_is_allowed_for():
    """Means over five sessions, rolled: the true error of their mean is that of the noise."""
    rng = np.random.default_rng(3)
    means = [np.convolve(rng.normal(size=804), np.ones(5) / 5, "valid") for _ in range(200)]
    true = np.std([m.mean() for m in means])
    honest = np.mean([validation.hac_mean(m, validation.hac_lags(800, 5)).error for m in means])
    naive = np.mean([m.std() / np.sqrt(800) for m in means])
    assert honest == pytest.approx(true, rel=0.2) and naive < 0.6 * true


@pytest.mark.parametrize(
    ("n", "horizon", "lags"), [(1000, 5, 9), (1000, 1, 6), (5, 5, 4), (1, 5, 0)]
)
def test_lags(n, horizon, lags):
    assert validation.hac_lags(n, horizon) == lags


@pytest.mark.parametrize("series", [[], [1.0], [np.nan, 1.0]])
def test_one_value_has_no_error(series):
    found = validation.hac_mean(series, 3)
    assert np.isnan(found.error) and np.isnan(found.t)


def test_folds_that_learn_from_each_other_count_their_products_twice():
    """A linear learner on noise: its t has a deviation of sqrt(2) over folds, of one looking back."""
    rng, both, back = np.random.default_rng(8), [], []
    for _ in range(500):
        x = rng.normal(size=(5, 60, 3))  # label times features, of each session of five folds
        total = x.sum(axis=1)
        folds = [x[f] @ (total.sum(axis=0) - total[f]) for f in range(5)]
        both.append(validation.cross_fitted(validation.hac_mean(np.concatenate(folds), 0)).t)
        walk = [x[f] @ total[:f].sum(axis=0) for f in range(1, 5)]
        back.append(validation.hac_mean(np.concatenate(walk), 0).t)
    assert np.std(both) == pytest.approx(1, abs=0.1)
    assert np.std(back) == pytest.approx(1, abs=0.1)


# ---- ranks -----------------------------------------------------------------------------------------


def test_rank_ic_is_scipys_spearman_by_session():
    rng = np.random.default_rng(4)
    session = pd.Series(np.repeat(CALENDAR[:6], 20))
    score = pd.Series(rng.integers(0, 8, 120).astype(float))  # ties
    outcome = pd.Series(rng.normal(size=120)) + 0.1 * score
    found = validation.rank_ic(session, score, outcome)
    for day in CALENDAR[:6]:
        at = session == day
        wanted = stats.spearmanr(score[at], outcome[at]).statistic
        assert found[day] == pytest.approx(wanted, abs=1e-12)


def test_rank_ic_is_missing_where_nothing_varies():
    session = pd.Series(CALENDAR[[0, 0, 0, 1, 1]])
    found = validation.rank_ic(session, pd.Series([1.0, 1, 1, 1, 2]), pd.Series([1.0, 2, 3, 1, 2]))
    assert found.isna().all()


@settings(max_examples=40, deadline=None)
@given(
    score=st.lists(st.integers(0, 6), min_size=8, max_size=30),
    seed=st.integers(0, 1000),
)
def test_auc_is_scikit_learns_and_its_shares_sum_to_zero(score, seed):
    score = np.array(score, dtype=float)
    positive = np.random.default_rng(seed).random(len(score)) < 0.5
    positive[:2] = True, False
    area, shares = validation.auc_parts(score, positive)
    assert area == pytest.approx(roc_auc_score(positive, score))
    assert shares.sum() == pytest.approx(0, abs=1e-12)


def test_the_error_of_auc_is_the_spread_over_repetitions():
    """Names share a shock within a session: rows are not independent, and the error knows."""
    rng, found = np.random.default_rng(5), []
    session = np.repeat(np.arange(60), 15)
    for _ in range(150):
        shock = rng.normal(size=60)[session]
        score = rng.normal(size=900) + rng.normal(size=60)[session]
        outcome = shock + rng.normal(size=900) + 0.2 * score
        found.append(validation.auc(score, outcome > 0, session, np.zeros(900), 0))
    spread = np.std([f.value for f in found])
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.2)


def test_folds_are_not_compared_with_each_other():
    """Each fold is ordered perfectly; the second has a lower level, which must not count."""
    score, positive = np.array([0.8, 0.9, 0.1, 0.2]), np.array([False, True, False, True])
    found = validation.auc(score, positive, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0)
    assert found.value == 1 and roc_auc_score(positive, score) < 1


def test_auc_of_one_class_is_missing():
    found = validation.auc(np.ones(3), np.ones(3), np.arange(3), np.zeros(3), 0)
    assert np.isnan(found.value) and np.isnan(found.error)


# ---- intervals and trials --------------------------------------------------------------------------


def test_the_bootstrap_covers_the_mean_of_a_dependent_series():
    hits = 0
    for seed in range(60):
        x = np.convolve(np.random.default_rng(seed).normal(size=404), np.ones(5) / 5, "valid")
        low, high = validation.block_bootstrap(
            x[:, None], lambda s: s.mean(axis=(1, 2)), 20, seed, draws=300
        )
        hits += low <= 0 <= high
    assert hits >= 50  # 95 % of 60 is 57; five below is three deviations


def test_the_bootstrap_is_a_function_of_its_seed():
    x = np.random.default_rng(0).normal(size=(50, 1))
    a, b, c = (
        validation.block_bootstrap(x, lambda s: s.mean(axis=(1, 2)), 5, seed) for seed in (1, 1, 2)
    )
    assert a == b != c


def test_the_best_of_many_without_skill_is_as_expected():
    sharpes = np.random.default_rng(6).normal(0, 1 / np.sqrt(250), (4000, 50))
    found = validation.expected_maximum_sharpe(50, 250)
    assert found == pytest.approx(sharpes.max(axis=1).mean(), rel=0.02)
    assert validation.expected_maximum_sharpe(1, 250) == 0


def test_one_trial_of_normal_returns_is_the_probabilistic_sharpe_ratio():
    x = np.random.default_rng(7).normal(0.05, 1, 100_000)
    sharpe = x.mean() / x.std(ddof=1)
    wanted = stats.norm.cdf(sharpe * np.sqrt(399) / np.sqrt(1 + sharpe**2 / 2))
    assert validation.deflated_sharpe(x, 1, periods=400) == pytest.approx(wanted, abs=2e-3)


def test_more_trials_deflate_more():
    x = np.random.default_rng(8).normal(0.1, 1, 500)
    found = [validation.deflated_sharpe(x, n) for n in (1, 2, 10, 1000)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_the_deflated_sharpe_of_nothing_is_missing():
    assert np.isnan(validation.deflated_sharpe(np.zeros(50), 1))
    assert np.isnan(validation.deflated_sharpe(np.array([0.1]), 1))
