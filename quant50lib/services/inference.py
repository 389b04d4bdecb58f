"""How sure we may be of what is measured: means, rank ICs, areas, intervals and Sharpe ratios.

Labels overlap in time and names move together within a session, so that neither rows nor sessions
are independent. Every error here is of a series over sessions, with autocorrelation allowed for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

EULER_GAMMA = float(np.euler_gamma)


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float

    @property
    def t(self) -> float:
        """Value in units of its error; missing where the error is."""
        return self.value / self.error if self.error > 0 else float("nan")


def hac_lags(n: int, horizon: int) -> int:
    """Lags for `n` sessions of labels that overlap over `horizon`.

    At least 2 horizon - 1: Bartlett weights fall linearly, and the overlap itself should keep more
    than half of its weight. Not less than 4 (n / 100)^(2/9), Newey and West (1994).
    """
    return min(max(2 * horizon - 1, int(4 * (n / 100) ** (2 / 9))), max(n - 1, 0))


def hac_mean(series: np.ndarray | pd.Series, lags: int) -> Estimate:
    """Mean of a series and its Newey-West (1987) standard error; missing values are left out."""
    values = np.asarray(series, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return Estimate(float(values.mean()) if n else float("nan"), float("nan"))
    centred = values - values.mean()
    lags = min(lags, n - 1)
    covariances = np.array([centred[k:] @ centred[: n - k] for k in range(lags + 1)]) / n
    weights = np.array([1.0, *(2 * (1 - k / (lags + 1)) for k in range(1, lags + 1))])
    variance = max(float(weights @ covariances) / (n - 1), 0.0)
    return Estimate(float(values.mean()), variance**0.5)


def cross_fitted(estimate: Estimate) -> Estimate:
    """The same number with the error of a mean over folds of which each learnt from the others.

    Fold i is scored by what was learnt from j, and j by what was learnt from i: of a learner that is
    linear in its labels, without skill, both hold the same product. Every product is counted twice,
    so that the variance of the mean is twice that of independent folds. For other learners, and where
    there is skill, that is an upper bound. Not for walk-forward scores, nor for what learns nothing.
    """
    return Estimate(estimate.value, estimate.error * float(np.sqrt(2)))


def rank_ic(session: pd.Series, score: pd.Series, outcome: pd.Series) -> pd.Series:
    """Spearman correlation of score and outcome within each session, by session.

    Missing where a session has fewer than three names or one side does not vary.
    """
    ranks = pd.DataFrame({"score": score, "outcome": outcome}).groupby(session.to_numpy()).rank()
    ranks = ranks.set_axis(pd.Index(session, name="session"))
    centred = ranks - ranks.groupby(level=0).transform("mean")
    sums = pd.DataFrame(
        {
            "both": centred.score * centred.outcome,
            "score": centred.score**2,
            "outcome": centred.outcome**2,
        }
    )
    total, count = sums.groupby(level=0).sum(), sums.groupby(level=0).size()
    scale = (total.score * total.outcome) ** 0.5
    return (total.both / scale.where((scale > 0) & (count >= 3))).rename("rank_ic")


def auc_parts(score: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under the ROC curve and each row's share in its error (they sum to zero).

    The shares are DeLong's placements (1988): how a row fares against all rows of the other class,
    less the area, over the count of its own class. Missing where a class is absent.
    """
    positive = np.asarray(positive, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan"), np.zeros(len(positive))
    within = np.empty(len(positive))
    for side in (positive, ~positive):
        within[side] = stats.rankdata(score[side])
    below = stats.rankdata(score) - within
    placed = np.where(positive, below / n_negative, 1 - below / n_positive)
    area = float(placed[positive].mean())
    return area, (placed - area) / np.where(positive, n_positive, n_negative)


def auc(
    score: np.ndarray, positive: np.ndarray, session: np.ndarray, fold: np.ndarray, lags: int
) -> Estimate:
    """ROC-AUC over pairs within a fold, with an error that allows for dependence.

    Scores of different folds come from different models and are not compared: that would punish a
    model for its training share of positives. Folds count by their pairs. The error sums the shares
    of `auc_parts` by session (Obuchowski 1997) and applies Newey-West to these sums; before, each
    fold's shares are raised to sum to its distance from the whole, half by either class, so that
    the spread between folds is not lost.
    """
    positive = np.asarray(positive, dtype=bool)
    parts = []
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        own = np.where(positive[rows], positive[rows].sum(), (~positive[rows]).sum())
        pairs = float(positive[rows].sum()) * float((~positive[rows]).sum())
        parts.append((rows, own, pairs, *auc_parts(score[rows], positive[rows])))
    total = sum(pairs for _, _, pairs, _, _ in parts)
    if not total:
        return Estimate(float("nan"), float("nan"))
    value = sum(pairs * area for _, _, pairs, area, _ in parts if pairs) / total
    shares = np.zeros(len(score))
    for rows, own, pairs, area, share in parts:
        if pairs:
            shares[rows] = (share + (area - value) / 2 / own) * pairs / total
    by_session = pd.Series(shares).groupby(np.asarray(session)).sum()
    return Estimate(value, hac_mean(by_session, lags).error * len(by_session))


def block_bootstrap(
    sample: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    block: int,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic by moving blocks. Künsch (1989).

    Parameters
    ----------
    sample
        (n_sessions, n_series), in order of time.
    statistic
        From (draws, n_sessions, n_series) to (draws,).
    block
        Sessions in a block; more than the overlap of the data.
    """
    n = len(sample)
    block = min(block, n)
    starts = np.random.default_rng(seed).integers(0, n - block + 1, (draws, -(-n // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n]
    low, high = np.nanquantile(statistic(sample[rows]), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expected_maximum_sharpe(trials: int, n: float) -> float:
    """Largest Sharpe ratio (per period) to expect of `trials` without skill over `n` periods."""
    if trials < 2:
        return 0.0
    usual, rare = (float(stats.norm.ppf(1 - 1 / k)) for k in (trials, trials * np.e))
    return ((1 - EULER_GAMMA) * usual + EULER_GAMMA * rare) / float(np.sqrt(n))


def deflated_sharpe(returns: np.ndarray, trials: int, periods: float | None = None) -> float:
    """Probability that the Sharpe ratio beats the best of `trials` without skill.

    Bailey and López de Prado (2014); the variance among trials is that of a Sharpe ratio of zero,
    one over the number of periods.

    Parameters
    ----------
    returns
        Excess returns a period, simple.
    trials
        Configurations tried, this one included.
    periods
        Independent periods in `returns`, where they overlap; None: as many as there are.
    """
    n = float(len(returns) if periods is None else periods)
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    if n < 3 or deviation == 0.0:
        return float("nan")
    sharpe = float(np.mean(returns)) / deviation
    skew, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    excess = sharpe - expected_maximum_sharpe(trials, n)
    return float(stats.norm.cdf(excess * np.sqrt((n - 1) / spread)))
