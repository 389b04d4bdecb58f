"""What out-of-fold scores are worth: skill, calibration and money, each with its uncertainty.

All functions take rows of scores that a model gave to sessions it had not seen, with columns
`session`, `fold`, `score`, `excess_return`, and for the books also `benchmark_return` and `momentum`.
Nothing here is net of cost: the back-test charges that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from quant50lib.services.validation import (
    Estimate,
    auc,
    block_bootstrap,
    deflated_sharpe,
    hac_lags,
    hac_mean,
    rank_ic,
)

SESSIONS_A_YEAR = 252
TOP = 0.2
BINS = 10

Metrics = dict[str, float | int | str]


@dataclass(frozen=True)
class Evaluation:
    """Headline figures, and the frames behind the figures of the notebook."""

    metrics: Metrics
    ic_by_session: pd.DataFrame  # session, rank_ic, fold
    calibration: pd.DataFrame  # score, positive, error, rows: one row per bin of scores
    decile_returns: pd.DataFrame  # decile, excess_return, error: over the horizon
    books: pd.DataFrame  # by session: top, momentum, equal_weight; returns over the horizon


def evaluate(rows: pd.DataFrame, horizon: int, trials: int, seed: int) -> Evaluation:
    """Everything that is reported of out-of-fold scores.

    Parameters
    ----------
    rows
        See above; one row per session and name.
    horizon
        Sessions of a label; neighbouring labels overlap by horizon - 1.
    trials
        Configurations tried so far, this one included; deflates the Sharpe ratio.
    seed
        Of the bootstrap.
    """
    lags = hac_lags(rows.session.nunique(), horizon)
    positive = (rows.excess_return > 0).to_numpy()
    daily = rank_ic(rows.session, rows.score, rows.excess_return)
    area = auc(rows.score.to_numpy(), positive, rows.session.to_numpy(), rows.fold.to_numpy(), lags)
    book = books(rows)
    metrics: Metrics = {
        **_named("auc", area),
        **_ic_metrics(daily, lags),
        **_calibration_metrics(rows, positive, lags),
        **_sharpe_metrics(book, horizon, seed),
        "deflated_sharpe": _deflated(book, horizon, trials),
        "trials": trials,
    }
    fold = rows.drop_duplicates("session").set_index("session").fold
    return Evaluation(
        metrics,
        pd.DataFrame({"rank_ic": daily, "fold": fold}).rename_axis("session").reset_index(),
        calibration(rows, lags),
        decile_returns(rows, lags),
        book,
    )


def _named(name: str, estimate: Estimate) -> Metrics:
    return {name: estimate.value, f"{name}_error": estimate.error}


def _ic_metrics(daily: pd.Series, lags: int) -> Metrics:
    mean = hac_mean(daily, lags)
    return {
        **_named("rank_ic", mean),
        "rank_ic_t": mean.t,
        "icir": mean.value / float(daily.std()) if daily.std() > 0 else float("nan"),
    }


# ---- calibration ---------------------------------------------------------------------------------


def _sum_error(shares: np.ndarray, session: pd.Series, lags: int) -> float:
    """Standard error of the sum of `shares`, rows of one session being dependent."""
    by_session = pd.Series(shares).groupby(session.to_numpy()).sum()
    return hac_mean(by_session, lags).error * len(by_session)


def calibration(rows: pd.DataFrame, lags: int) -> pd.DataFrame:
    """Reliability: mean score and observed share of positive labels in bins of equal count."""
    order = rows.score.rank(method="first", pct=True)
    bins = np.minimum((order * BINS).astype(int), BINS - 1).to_numpy()
    found = []
    for k in np.unique(bins):
        inside = rows[bins == k]
        positive = (inside.excess_return > 0).to_numpy(dtype=float)
        share = float(positive.mean())
        error = _sum_error((positive - share) / len(inside), inside.session, lags)
        found.append((float(inside.score.mean()), share, error, len(inside)))
    return pd.DataFrame(found, columns=["score", "positive", "error", "rows"])


def calibration_slope(
    score: np.ndarray, positive: np.ndarray, session: pd.Series, lags: int
) -> Estimate:
    """Slope of a logistic regression of the label on the log odds of the score; ideally one.

    Cox (1958). A slope below one: the scores claim too much. Newton's method; the error is the
    sandwich over sessions.
    """
    odds = special.logit(np.clip(score, 1e-6, 1 - 1e-6))
    if np.ptp(odds) < 1e-9:
        return Estimate(float("nan"), float("nan"))
    design = np.column_stack([np.ones_like(odds), odds - odds.mean()])
    at = np.zeros(2)
    for _ in range(25):
        fitted = special.expit(design @ at)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.solve(hessian, design.T @ (positive - fitted))
        at = at + step
        if np.abs(step).max() < 1e-10:
            break
    influence = design @ np.linalg.inv(hessian)[1] * (positive - special.expit(design @ at))
    return Estimate(float(at[1]), _sum_error(influence, session, lags))


def _calibration_metrics(rows: pd.DataFrame, positive: np.ndarray, lags: int) -> Metrics:
    score, truth = rows.score.to_numpy(), positive.astype(float)
    gap = truth - score
    table = calibration(rows, lags)
    return {
        "brier": float(np.mean(gap**2)),
        "brier_of_base_rate": float(truth.mean() * (1 - truth.mean())),
        "calibration_gap": float(gap.mean()),
        "calibration_gap_error": _sum_error((gap - gap.mean()) / len(gap), rows.session, lags),
        "calibration_error": float(
            ((table.score - table.positive).abs() * table.rows).sum() / table.rows.sum()
        ),
        **_named("calibration_slope", calibration_slope(score, truth, rows.session, lags)),
    }


# ---- money ---------------------------------------------------------------------------------------


def _place(rows: pd.DataFrame, column: str) -> pd.Series:
    """Place of each row within its session, in (0, 1)."""
    grouped = rows.groupby("session")[column]
    return (grouped.rank() - 0.5) / grouped.transform("count")


def decile_returns(rows: pd.DataFrame, lags: int) -> pd.DataFrame:
    """Mean excess return over the horizon by decile of the score within its session."""
    decile = np.minimum((_place(rows, "score") * 10).astype(int), 9) + 1
    daily = rows.groupby([rows.session, decile.rename("decile")]).excess_return.mean().unstack()
    means = [(int(d), hac_mean(daily[d], lags)) for d in daily.columns]
    return pd.DataFrame(
        [(d, m.value, m.error) for d, m in means], columns=["decile", "excess_return", "error"]
    )


def books(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns over the horizon of three long-only books, by session of decision.

    `top`: the fifth of the names with the highest scores, `momentum`: the same by 12-1 momentum,
    `equal_weight`: all names; each equally weighted, before cost, the benchmark's return included.
    """
    total = rows.excess_return + rows.benchmark_return

    def book(chosen: pd.Series) -> pd.Series:
        return total[chosen].groupby(rows.session[chosen]).mean()

    return pd.DataFrame(
        {
            "top": book(_place(rows, "score") > 1 - TOP),
            "momentum": book(_place(rows, "momentum") > 1 - TOP),
            "equal_weight": total.groupby(rows.session).mean(),
        }
    ).dropna()


def _sharpe(returns: np.ndarray, horizon: int) -> np.ndarray:
    """Annualised Sharpe ratios along the sessions (second axis from the end)."""
    deviation = returns.std(axis=-2, ddof=1)
    scale = np.sqrt(SESSIONS_A_YEAR / horizon)
    return scale * returns.mean(axis=-2) / np.where(deviation > 0, deviation, np.nan)


def _sharpe_metrics(book: pd.DataFrame, horizon: int, seed: int) -> Metrics:
    values = book[["top", "equal_weight", "momentum"]].to_numpy()
    top, equal, momentum = (float(s) for s in _sharpe(values, horizon))
    out: Metrics = {
        "sharpe_top": top,
        "sharpe_equal_weight": equal,
        "sharpe_momentum": momentum,
    }
    for k, name in ((1, "equal_weight"), (2, "momentum")):

        def gain(drawn: np.ndarray, k: int = k) -> np.ndarray:
            sharpes = _sharpe(drawn, horizon)
            return np.asarray(sharpes[..., 0] - sharpes[..., k])

        low, high = block_bootstrap(values, gain, 4 * horizon, seed)
        out[f"sharpe_gain_{name}"] = float(gain(values))
        out[f"sharpe_gain_{name}_low"], out[f"sharpe_gain_{name}_high"] = low, high
    return out


def _deflated(book: pd.DataFrame, horizon: int, trials: int) -> float:
    """Deflated Sharpe ratio of the top book's return over the equally weighted one's."""
    active = (book.top - book.equal_weight).to_numpy()
    return deflated_sharpe(active, trials, periods=len(active) / horizon)
