"""From a score of any scale to the probability that a label is positive.

A calibrator is learnt on scores of rows that the scoring model had not seen. Both kinds rise
strictly with the score: no order is turned round and no tie is made, so that AUC, rank IC and books
of the probability are those of the score. Where the truth falls with the score, the probability is
all but flat: a model that was wrong is not turned round, it is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

CalibrationKind = Literal["none", "platt", "isotonic"]

#: of the log odds per standard deviation of the score
SLOPE_MIN = 1e-3
#: share of the score's own order in an isotonic fit, so that its steps hold no ties
TIE_BREAK = 1e-3
NEWTON_STEPS = 25


@dataclass(frozen=True)
class Calibrator:
    """`kind`, and what was learnt: an intercept and a slope, or the knots of a monotone line."""

    kind: CalibrationKind
    centre: float = 0.0
    scale: float = 1.0
    intercept: float = 0.0
    slope: float = 1.0
    knots: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()

    def probability(self, score: np.ndarray) -> np.ndarray:
        """Of a positive label, for raw scores (n,); missing stays missing."""
        z = (np.asarray(score, dtype=float) - self.centre) / self.scale
        odds = np.asarray(expit(self.intercept + self.slope * z))
        if self.kind != "isotonic":
            return odds
        steps = np.where(np.isfinite(z), np.interp(z, self.knots, self.heights), np.nan)
        return (1 - TIE_BREAK) * steps + TIE_BREAK * odds


#: for scores that are log odds already
AS_IS = Calibrator("none")


def fit(score: np.ndarray, positive: np.ndarray, kind: CalibrationKind) -> Calibrator:
    """Learn from raw scores and outcomes, (n_rows,).

    ``platt`` is a logistic line in the score (Platt 1999); ``isotonic`` the best rising step
    function (Zadrozny and Elkan 2002), for which thousands of rows are needed.
    """
    if kind == "none":
        return AS_IS
    y = np.asarray(positive, dtype=float)
    centre, scale = float(np.mean(score)), float(np.std(score)) or 1.0
    z = (np.asarray(score, dtype=float) - centre) / scale
    intercept, slope = _line(z, y)
    if kind == "platt":
        return Calibrator("platt", centre, scale, intercept, slope)
    found = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4).fit(z, y)
    knots, heights = found.X_thresholds_, found.y_thresholds_
    return Calibrator(
        "isotonic", centre, scale, intercept, slope, tuple(knots.tolist()), tuple(heights.tolist())
    )


def _line(z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of the most likely log odds, the slope not below `SLOPE_MIN`."""
    if not np.ptp(z) > 0:
        return float(_newton(np.ones((len(z), 1)), y, 0 * z)[0]), SLOPE_MIN
    both = _newton(np.column_stack([np.ones_like(z), z]), y, np.zeros_like(z))
    if both[1] >= SLOPE_MIN:
        return float(both[0]), float(both[1])
    return float(_newton(np.ones((len(z), 1)), y, SLOPE_MIN * z)[0]), SLOPE_MIN


def _newton(design: np.ndarray, y: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Logistic regression by Newton's method on Platt's targets, which keep it finite."""
    n_positive = y.sum()
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (len(y) - n_positive + 2)
    target, found = np.where(y > 0, high, low), np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        p = expit(design @ found + offset)
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design, design.T @ (target - p))
        found = found + step
        if np.abs(step).max() < 1e-10:
            break
    return found
