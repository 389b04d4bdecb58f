"""What out-of-fold scores are worth: skill, calibration and money, each with its uncertainty.

All functions take rows of scores that a model gave to sessions it had not seen, with columns
`session`, `fold`, `score`, `excess_return`, and for the books also `benchmark_return` and `momentum`.
Nothing here is net of cost: the back-test charges that. The parts have modules of their own:
`evaluation_calibration`, `evaluation_books`, `evaluation_groups` (fold, year, sector, horizon),
`evaluation_signal` (turnover), `evaluation_attribution` (SHAP) and `overfitting` (PBO).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.services.evaluation_books import (
    books,
    by_decile,
    decile_returns,
    decile_spread,
    sharpe_annual,
)
from quant50lib.services.evaluation_calibration import calibration, calibration_slope
from quant50lib.services.inference import (
    Estimate,
    auc,
    block_bootstrap,
    deflated_sharpe,
    rank_ic,
    session_mean,
    shared_learning,
    sum_error,
)
from quant50lib.services.training import TrainingSet

__all__ = [
    "Evaluation",
    "Metrics",
    "books",
    "by_decile",
    "calibration",
    "calibration_slope",
    "decile_returns",
    "evaluate",
    "scored_rows",
]

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

    Errors and intervals are those of `inference.session_mean` and `inference.shared_learning`.

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
    shared = shared_learning(rows.session, rows.fold)
    positive = (rows.excess_return > 0).to_numpy()
    daily = rank_ic(rows.session, rows.score, rows.excess_return)
    session, folds = rows.session.to_numpy(), rows.fold.to_numpy()
    area = auc(rows.score.to_numpy(), positive, session, folds, horizon, shared)
    book, deciles, bins = books(rows), by_decile(rows), calibration(rows, horizon)
    metrics: Metrics = {
        **_named("auc", area),
        **_ic_metrics(daily, session_mean(daily, horizon, shared)),
        **_calibration_metrics(rows, bins, positive, horizon, shared),
        **_named("decile_spread", decile_spread(deciles, horizon, shared)),
        **_sharpe_metrics(book, horizon, seed, shared),
        "deflated_sharpe": _deflated(book, horizon, trials, shared),
        "trials": trials,
    }
    fold = rows.drop_duplicates("session").set_index("session").fold
    return Evaluation(
        metrics,
        pd.DataFrame({"rank_ic": daily, "fold": fold}).rename_axis("session").reset_index(),
        bins,
        decile_returns(deciles, horizon, shared),
        book,
    )


def scored_rows(rows: TrainingSet, predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows that all functions here take, from what was learnt from and its scores.

    `predictions` is a table `Prediction`, out of fold. Columns session, symbol, fold, score,
    excess_return, benchmark_return, momentum; indexed as `rows.X`; rows without a score are left out.
    """
    keys = ["session", "symbol"]
    known = pd.DataFrame(
        {
            "session": rows.session,
            "symbol": rows.symbol,
            "excess_return": rows.excess_return,
            "benchmark_return": rows.benchmark_return,
            "momentum": rows.momentum.fillna(0.0),
        }
    )
    scores = predictions.set_index(keys)[["fold", "score"]]
    return known.join(scores, on=keys).dropna(subset=["score"]).astype({"fold": "int64"})


def _named(name: str, estimate: Estimate) -> Metrics:
    return {name: estimate.value, f"{name}_error": estimate.error}


def _ic_metrics(daily: pd.Series, mean: Estimate) -> Metrics:
    return {
        **_named("rank_ic", mean),
        "rank_ic_t": mean.t,
        "icir": mean.value / float(daily.std()) if daily.std() > 0 else float("nan"),
    }


def _calibration_metrics(
    rows: pd.DataFrame, table: pd.DataFrame, positive: np.ndarray, horizon: int, shared: float
) -> Metrics:
    score, truth = rows.score.to_numpy(), positive.astype(float)
    gap = truth - score
    return {
        "brier": float(np.mean(gap**2)),
        "brier_of_base_rate": float(truth.mean() * (1 - truth.mean())),
        "calibration_gap": float(gap.mean()),
        "calibration_gap_error": sum_error((gap - gap.mean()) / len(gap), rows.session, horizon),
        "calibration_error": float(
            ((table.score - table.positive).abs() * table.rows).sum() / table.rows.sum()
        ),
        **_named(
            "calibration_slope", calibration_slope(score, truth, rows.session, horizon, shared)
        ),
    }


def _sharpe_metrics(book: pd.DataFrame, horizon: int, seed: int, shared: float) -> Metrics:
    values = book[["top", "equal_weight", "momentum"]].to_numpy()
    top, equal, momentum = (float(s) for s in sharpe_annual(values, horizon))
    out: Metrics = {
        "sharpe_top": top,
        "sharpe_equal_weight": equal,
        "sharpe_momentum": momentum,
    }
    for k, name in ((1, "equal_weight"), (2, "momentum")):

        def gain(drawn: np.ndarray, k: int = k) -> np.ndarray:
            sharpes = sharpe_annual(drawn, horizon)
            return np.asarray(sharpes[..., 0] - sharpes[..., k])

        low, high = block_bootstrap(values, gain, 4 * horizon, seed, shared=shared)
        out[f"sharpe_gain_{name}"] = float(gain(values))
        out[f"sharpe_gain_{name}_low"], out[f"sharpe_gain_{name}_high"] = low, high
    return out


def _deflated(book: pd.DataFrame, horizon: int, trials: int, shared: float) -> float:
    """Deflated Sharpe ratio of the top book's return over the equally weighted one's.

    Returns overlap and folds share what they learnt: so many fewer periods are independent.
    """
    active = (book.top - book.equal_weight).to_numpy()
    return deflated_sharpe(active, trials, periods=len(active) / horizon / shared)
