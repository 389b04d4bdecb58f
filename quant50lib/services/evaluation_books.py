"""Is there money in a score? Deciles, and simple books of equal weights; nothing is net of cost.

Rows are as in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quant50lib.services.inference import Estimate, session_mean

SESSIONS_A_YEAR = 252
TOP = 0.2


def place(rows: pd.DataFrame, column: str) -> pd.Series:
    """Place of each row within its session, in (0, 1)."""
    grouped = rows.groupby("session")[column]
    return (grouped.rank() - 0.5) / grouped.transform("count")


def by_decile(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess return of each decile of the score, (n_sessions, 10), numbered from the lowest."""
    decile = np.minimum((place(rows, "score") * 10).astype(int), 9) + 1
    return rows.groupby([rows.session, decile.rename("decile")]).excess_return.mean().unstack()


def decile_returns(daily: pd.DataFrame, horizon: int, shared: float = 1.0) -> pd.DataFrame:
    """Mean excess return over the horizon by decile of the score: of `by_decile`, with errors.

    `shared` as in `inference.shared_learning`.
    """
    means = [(int(d), session_mean(daily[d], horizon, shared)) for d in daily.columns]
    return pd.DataFrame(
        [(d, m.value, m.error) for d, m in means], columns=["decile", "excess_return", "error"]
    )


def decile_spread(daily: pd.DataFrame, horizon: int, shared: float = 1.0) -> Estimate:
    """Return over the horizon of the highest decile less that of the lowest, and its error.

    Its error is of the daily difference: the two deciles move together, their own errors do not add.
    """
    spread = daily[daily.columns.max()] - daily[daily.columns.min()]
    return session_mean(spread, horizon, shared)


def _top(rows: pd.DataFrame, column: str, returns: pd.Series) -> pd.Series:
    """Mean by session of the returns of the fifth of the names that is highest in a column."""
    chosen = place(rows, column) > 1 - TOP
    return returns[chosen].groupby(rows.session[chosen]).mean()


def books(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns over the horizon of three long-only books, by session of decision.

    `top`: the fifth of the names with the highest scores, `momentum`: the same by 12-1 momentum,
    `equal_weight`: all names; each equally weighted, before cost, the benchmark's return included.
    Sessions at which one of them is missing are left out, unless momentum is missing at all of them.
    """
    total = rows.excess_return + rows.benchmark_return
    made = pd.DataFrame(
        {
            "top": _top(rows, "score", total),
            "momentum": _top(rows, "momentum", total),
            "equal_weight": total.groupby(rows.session).mean(),
        }
    )
    known = made.columns[made.notna().any()]
    return made.astype(float).dropna(subset=list(known))


def sharpe_annual(returns: np.ndarray, horizon: int) -> np.ndarray:
    """Annualised Sharpe ratios along the sessions (second axis from the end)."""
    deviation = returns.std(axis=-2, ddof=1)
    scale = np.sqrt(SESSIONS_A_YEAR / horizon)
    return scale * returns.mean(axis=-2) / np.where(deviation > 0, deviation, np.nan)


def active_returns(scores: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Return of each model's top fifth over that of all names, (n_sessions, n_models).

    `scores` has the columns of rows and one of scores for each of `models`: trials, to be compared.
    """
    excess = scores.excess_return
    every = excess.groupby(scores.session).mean()
    return pd.DataFrame({name: _top(scores, name, excess) - every for name in models})
