"""How fast a score changes its mind: what trading on it would turn over, before any is traded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quant50lib.services.inference import rank_ic, session_mean

LAGS = (1, 5, 10, 21)
TOP = 0.2


def signal_turnover(rows: pd.DataFrame, lags: Sequence[int] = LAGS) -> pd.DataFrame:
    """Persistence of the scores of `rows` (session, symbol, fold, score) over some sessions.

    Columns `lag` (sessions with scores), `rank_autocorrelation` and `error`: the mean Spearman
    correlation of a session's scores with those of the same names `lag` later, and its error;
    `top_turnover`: share of the top fifth that is no longer in it, or scored, by then.

    Sessions of different folds are scored by different models and are not compared.
    """
    wide = [
        fold.pivot(index="session", columns="symbol", values="score")
        for _, fold in rows.groupby("fold")
    ]
    return pd.DataFrame([_persistence(wide, lag) for lag in lags])


def _persistence(folds: list[pd.DataFrame], lag: int) -> dict[str, float | int]:
    daily = pd.concat([_autocorrelation(scores, lag) for scores in folds])
    replaced = np.concatenate([_replaced(scores, lag) for scores in folds])
    mean = session_mean(daily, lag)
    return {
        "lag": lag,
        "rank_autocorrelation": mean.value,
        "error": mean.error,
        "top_turnover": float(replaced.mean()) if len(replaced) else float("nan"),
    }


def _autocorrelation(scores: pd.DataFrame, lag: int) -> pd.Series:
    """Spearman correlation with the scores `lag` sessions later, over names that have both."""
    pairs = pd.concat({"now": scores.stack(), "later": scores.shift(-lag).stack()}, axis=1).dropna()
    session = pairs.index.get_level_values(0).to_series(index=pairs.index)
    return rank_ic(session, pairs["now"], pairs["later"]) if len(pairs) else pd.Series(dtype=float)


def _replaced(scores: pd.DataFrame, lag: int) -> np.ndarray:
    """Share of each session's top fifth that is not in that of `lag` sessions later."""
    count = scores.notna().sum(axis=1)
    top = scores.rank(axis=1).sub(0.5).div(count, axis=0).gt(1 - TOP).to_numpy()
    held = top[:-lag].sum(axis=1)
    stayed = (top[:-lag] & top[lag:]).sum(axis=1)
    return 1 - stayed[held > 0] / held[held > 0]
