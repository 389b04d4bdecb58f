"""How sure we may be of what is measured: means, rank ICs, areas, intervals and Sharpe ratios.

Labels overlap in time and names move together within a session, so that neither rows nor sessions
are independent; and models of different folds learn from each other's sessions. Every error of an
out-of-fold figure is that of `session_mean`, over a series of sessions, and allows for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

EULER_GAMMA = float(np.euler_gamma)
#: an interval of 95 % ends here
HIGH = 0.975


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float

    @property
    def t(self) -> float:
        """Value in units of its error; missing where the error is."""
        return self.value / self.error if self.error > 0 else float("nan")


def frequencies(n: int, horizon: int) -> int:
    """Cosines that tell the variance of a mean of `n` sessions whose labels overlap over `horizon`.

    0.41 n^(2/3), Lazarus, Lewis, Stock and Watson (2018); at most n / (2 horizon), so that the
    overlap, an average over `horizon` sessions, passes nine tenths of the variance that they carry.
    """
    return max(1, min(round(0.41 * n ** (2 / 3)), n // (2 * max(horizon, 1))))


def session_mean(series: np.ndarray | pd.Series, horizon: int, shared: float = 1.0) -> Estimate:
    """Mean over sessions and its standard error; missing values are left out.

    The long-run variance is the mean square of the series' B lowest cosine transforms, which is
    spread as chi squared with B degrees of freedom: the mean follows Student's t. Müller (2007);
    Lazarus, Lewis, Stock and Watson (2018), "HAR inference: recommendations for practice". The error
    is scaled by the t of B degrees over the normal one, so that ± 1.96 of it is the 95 % interval.
    (Newey and West's Bartlett weights lose a sixth of the variance that an overlap of five sessions
    makes, and normal quantiles ignore that the variance is estimated.)

    Parameters
    ----------
    series
        One value a session, in order of time.
    horizon
        Sessions over which neighbouring values overlap; 1: not at all.
    shared
        See `shared_learning`.
    """
    values = np.asarray(series, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 3:
        return Estimate(float(values.mean()) if n else float("nan"), float("nan"))
    count = min(frequencies(n, horizon), n - 1)
    waves = np.cos(np.pi / n * np.outer(np.arange(1, count + 1), np.arange(n) + 0.5))
    variance = float(np.mean((waves @ (values - values.mean())) ** 2)) * 2 / n**2
    widened = float(stats.t.ppf(HIGH, count) / stats.norm.ppf(HIGH))
    return Estimate(float(values.mean()), widened * float(np.sqrt(variance * shared)))


def shared_learning(session: pd.Series, fold: pd.Series, sizes: pd.Series | None = None) -> float:
    """How many times the variance of a mean over folds is that of folds scored independently.

    Fold i is scored by what was learnt from j, and j by what was learnt from i: of a learner that is
    linear in its labels, without skill, both hold the same product, so that of K folds

        variance = sum_i f_i (K - 1) + sum_{i != j} f_i f_j     instead of     sum_i f_i (K - 1)

    with f_i the share of fold i's sessions that is averaged: 2 over all folds, 1 within one. With
    skill it is less, since what the folds share is then mostly true. A learner that picks the best of
    many features shares as much of 5 folds and more of many (simulated: 3 of 10 folds). No estimator
    tells it from the scores alone: Bengio and Grandvalet (2004); Bates, Hastie and Tibshirani (2024)
    for what it costs to measure it. `benchmarks/power.py` counts how many intervals cover zero.
    Walk-forward scores, and what learns nothing, share nothing: 1.

    Parameters
    ----------
    session, fold
        Of the rows averaged.
    sizes
        Sessions of every fold (index: fold) where the rows are a part; None: they are all.
    """
    part = session.groupby(fold.to_numpy()).nunique()
    whole = part if sizes is None else sizes
    if len(whole) < 2 or part.empty:
        return 1.0
    share = (part / whole.reindex(part.index)).to_numpy(dtype=float)
    return float(1 + (share.sum() ** 2 - share @ share) / ((len(whole) - 1) * share.sum()))


def fold_sizes(rows: pd.DataFrame) -> pd.Series:
    """Sessions of each fold (index: fold) of rows with columns `session` and `fold`."""
    return rows.groupby("fold")["session"].nunique()


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
    score: np.ndarray,
    positive: np.ndarray,
    session: np.ndarray,
    fold: np.ndarray,
    horizon: int,
    shared: float = 1.0,
) -> Estimate:
    """ROC-AUC over pairs within a fold, with an error that allows for dependence.

    Scores of different folds come from different models and are not compared: that would punish a
    model for its training share of positives. Folds count by their pairs. The error sums the shares
    of `auc_parts` by session (Obuchowski 1997) and takes the error of these sums as `session_mean`
    does; before, each fold's shares are raised to sum to its distance from the whole, half by either class, so that
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
    return Estimate(value, sum_error(shares, session, horizon, shared))


def sum_error(
    shares: np.ndarray, session: np.ndarray | pd.Series, horizon: int, shared: float = 1.0
) -> float:
    """Standard error of the sum of `shares`, (n_rows,), rows of one session being dependent."""
    by_session = pd.Series(shares).groupby(np.asarray(session)).sum()
    return session_mean(by_session, horizon, shared).error * len(by_session)


def block_bootstrap(
    sample: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    block: int,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
    shared: float = 1.0,
) -> tuple[float, float]:
    """Percentile interval of a statistic by moving blocks; missing where there is none. Künsch (1989).

    Parameters
    ----------
    sample
        (n_sessions, n_series), in order of time.
    statistic
        From (draws, n_sessions, n_series) to (draws,).
    block
        Sessions in a block; more than the overlap of the data.
    shared
        See `shared_learning`: its root widens the interval about the statistic of the sample.
    """
    n = len(sample)
    centre = float(statistic(sample[None])[0]) if n else float("nan")
    if not np.isfinite(centre):
        return float("nan"), float("nan")
    block = min(block, n)
    starts = np.random.default_rng(seed).integers(0, n - block + 1, (draws, -(-n // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n]
    low, high = np.nanquantile(statistic(sample[rows]), [(1 - level) / 2, (1 + level) / 2])
    wide = float(np.sqrt(shared))
    return centre + wide * float(low - centre), centre + wide * float(high - centre)


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
