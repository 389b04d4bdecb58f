"""Does a probability mean what it says? Reliability in bins, and the slope of Cox."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from quant50lib.services.inference import Estimate, sum_error

BINS = 10


def calibration(rows: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Reliability: mean score and observed share of positive labels in bins of equal count."""
    order = rows.score.rank(method="first", pct=True)
    bins = np.minimum((order * BINS).astype(int), BINS - 1).to_numpy()
    found = []
    for k in np.unique(bins):
        inside = rows[bins == k]
        positive = (inside.excess_return > 0).to_numpy(dtype=float)
        share = float(positive.mean())
        error = sum_error((positive - share) / len(inside), inside.session, horizon)
        found.append((float(inside.score.mean()), share, error, len(inside)))
    return pd.DataFrame(found, columns=["score", "positive", "error", "rows"])


def calibration_slope(
    score: np.ndarray,
    positive: np.ndarray,
    session: pd.Series,
    horizon: int,
    shared: float = 1.0,
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
    return Estimate(float(at[1]), sum_error(influence, session, horizon, shared))
