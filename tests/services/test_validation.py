"""Errors against closed forms, repetition and other libraries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.fft import dct
from sklearn.metrics import roc_auc_score

from quant50lib.services import inference, validation
from quant50lib.utils import dates

CALENDAR = dates.sessions_between("2020-01-02", "2020-12-31")


# ---- means -----------------------------------------------------------------------------------------


def by_definition(x: np.ndarray, count: int) -> float:
    """The error of a mean from the lowest `count` terms of scipy's cosine transform (type II)."""
    waves = dct(x, norm="ortho")[1 : count + 1]
    scale = stats.t.ppf(0.975, count) / 1.959963984540054
    return scale * np.sqrt(np.mean(waves**2) / len(x))


@pytest.mark.parametrize(("n", "horizon"), [(60, 1), (750, 5), (1000, 42), (21, 5)])
def test_the_error_of_a_mean_is_scipys_cosine_transform_and_students_t(n, horizon):
    x = np.random.default_rng(2).normal(size=n).cumsum()
    found = validation.session_mean(x, horizon)
    assert found.value == pytest.approx(x.mean())
    wanted = by_definition(x, inference.frequencies(n, horizon))
    assert found.error == pytest.approx(wanted) and found.t == pytest.approx(x.mean() / wanted)


@pytest.mark.parametrize(("n", "horizon"), [(750, 5), (84, 5), (1000, 21), (250, 1)])
def test_an_interval_covers_the_mean_of_labels_that_overlap(n, horizon):
    """Sums over the horizon, rolled, of 400 samples: 95 % ± 3 deviations."""
    rng, hits = np.random.default_rng(3), 0
    for _ in range(400):
        x = np.convolve(rng.normal(size=n + horizon - 1), np.ones(horizon), "valid")
        found = validation.session_mean(x, horizon)
        hits += abs(found.value) <= 1.96 * found.error
    assert abs(hits - 380) <= 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("n", "horizon", "count"), [(1000, 5, 41), (1000, 42, 11), (21, 5, 2), (5, 5, 1)]
)
def test_frequencies(n, horizon, count):
    assert inference.frequencies(n, horizon) == count


@pytest.mark.parametrize("series", [[], [1.0], [np.nan, 1.0], [1.0, 2.0]])
def test_two_values_have_no_error(series):
    found = validation.session_mean(series, 1)
    assert np.isnan(found.error) and np.isnan(found.t)


# ---- folds that learn from each other --------------------------------------------------------------


def in_folds(counts: list[int]) -> tuple[pd.Series, pd.Series]:
    fold = pd.Series(np.repeat(np.arange(len(counts)), counts))
    return pd.Series(np.arange(len(fold))), fold


def linear(rng: np.random.Generator, folds: int, n: int = 40) -> np.ndarray:
    """Daily products of a linear learner on noise, (folds, n): label times features, summed."""
    x = rng.normal(size=(folds, n, 3))
    total = x.sum(axis=1)
    return np.stack([x[f] @ (total.sum(axis=0) - total[f]) for f in range(folds)])


@pytest.mark.parametrize("taken", [[40] * 5, [40, 0, 0, 0, 0], [20, 40, 0, 0, 0], [20] * 5])
def test_the_variance_over_folds_is_as_many_times_as_it_says(taken):
    """Of a linear learner without skill, over 4000 samples; `taken`: sessions of each fold averaged."""
    rng, total, alone = np.random.default_rng(8), [], []
    for _ in range(4000):
        daily = linear(rng, 5)
        used = np.concatenate([daily[f, :k] for f, k in enumerate(taken)])
        total.append(used.sum())
        alone.append(np.sum(used**2))  # independent given the other folds
    kept = [k for k in taken if k]
    session, fold = in_folds(kept)
    sizes = pd.Series([40] * 5)
    said = validation.shared_learning(session, fold, sizes)
    assert np.mean(np.square(total)) / np.mean(alone) == pytest.approx(said, rel=0.1)


def test_all_folds_share_twice_and_one_not_at_all():
    assert validation.shared_learning(*in_folds([40, 41, 40])) == 2
    assert validation.shared_learning(*in_folds([40])) == 1
    assert validation.shared_learning(*in_folds([30]), pd.Series([40, 40])) == 1


def test_walking_forward_shares_nothing():
    rng, back = np.random.default_rng(8), []
    for _ in range(500):
        x = rng.normal(size=(5, 60, 3))
        total = x.sum(axis=1)
        walk = [x[f] @ total[:f].sum(axis=0) for f in range(1, 5)]
        back.append(validation.session_mean(np.concatenate(walk), 1).t)
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


def test_an_interval_of_auc_covers_it():
    """Names share a shock within a session: rows are not independent, and the error knows."""
    rng, found = np.random.default_rng(5), []
    session = np.repeat(np.arange(60), 15)
    for _ in range(150):
        shock = rng.normal(size=60)[session]
        score = rng.normal(size=900) + rng.normal(size=60)[session]
        outcome = shock + rng.normal(size=900) + 0.2 * score
        found.append(validation.auc(score, outcome > 0, session, np.zeros(900), 1))
    value, error = np.array([(f.value, f.error) for f in found]).T
    hits = (np.abs(value - value.mean()) <= 1.96 * error).sum()
    assert abs(hits - 142.5) <= 3 * np.sqrt(150 * 0.05 * 0.95)


def test_folds_are_not_compared_with_each_other():
    """Each fold is ordered perfectly; the second has a lower level, which must not count."""
    score, positive = np.array([0.8, 0.9, 0.1, 0.2]), np.array([False, True, False, True])
    found = validation.auc(score, positive, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 1)
    assert found.value == 1 and roc_auc_score(positive, score) < 1


def test_auc_of_one_class_is_missing():
    found = validation.auc(np.ones(3), np.ones(3), np.arange(3), np.zeros(3), 1)
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


def test_an_interval_that_is_shared_is_wider_about_the_same_middle():
    x = np.random.default_rng(9).normal(size=(80, 1))
    found = [
        np.array(validation.block_bootstrap(x, lambda s: s.mean(axis=(1, 2)), 5, 1, shared=k))
        for k in (1.0, 2.0)
    ]
    np.testing.assert_allclose(found[1] - x.mean(), np.sqrt(2) * (found[0] - x.mean()))


@pytest.mark.parametrize("sample", [np.empty((0, 1)), np.full((9, 1), np.nan)])
def test_the_bootstrap_of_nothing_is_missing(sample):
    found = validation.block_bootstrap(sample, lambda s: s.mean(axis=(1, 2)), 5, 1)
    assert np.isnan(found).all()


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
