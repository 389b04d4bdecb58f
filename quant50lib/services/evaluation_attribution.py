"""Which features a score comes from: Shapley values of the trees, by LightGBM's own `pred_contrib`."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd

from quant50lib.services.learners import Learnt

BASE = "base"
SAMPLE = 5000


def contributions(booster: lgb.Booster, X: pd.DataFrame) -> pd.DataFrame:
    """What each feature adds to the raw score (log odds) of each row, (n_rows, n_features + 1).

    The last column, `base`, is the mean score in training; a row sums to the booster's raw score.
    TreeSHAP: Lundberg et al. (2018). X is complete, as `Scaler.transform` gives it.
    """
    values = np.asarray(booster.predict(X, pred_contrib=True, num_threads=1))
    return pd.DataFrame(values, index=X.index, columns=[*X.columns, BASE])


def explained(learnt: Learnt, X: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`shap` of what was learnt: of the trees of its first seed, or of a linear score.

    In a linear score a feature adds its weight times its distance from its mean.
    """
    if learnt.boosters:
        return shap(learnt.boosters[0], X, seed)
    weights = pd.Series(learnt.weights[1:], list(learnt.features))
    mean_abs = ((X - X.mean()).abs().mean() * weights.abs()).reindex(weights.index)
    share = mean_abs / max(mean_abs.sum(), 1e-300)
    table = pd.DataFrame({"mean_abs": mean_abs, "share": share, "direction": np.sign(weights)})
    table = table.rename_axis("feature").reset_index()
    return table.sort_values("mean_abs", ascending=False, ignore_index=True)


def shap(booster: lgb.Booster, X: pd.DataFrame, seed: int, sample: int = SAMPLE) -> pd.DataFrame:
    """Mean absolute contribution of each feature over a sample of the rows, largest first.

    Columns `feature`, `mean_abs` (log odds), `share` of their sum, and `direction`: the Spearman
    correlation of the feature with its own contribution: 1, more of it always raises the score.
    """
    rows = X.sample(min(sample, len(X)), random_state=seed)
    found = contributions(booster, rows).drop(columns=BASE)
    mean_abs = found.abs().mean()
    table = pd.DataFrame(
        {
            "feature": list(found.columns),
            "mean_abs": mean_abs.to_numpy(),
            "share": (mean_abs / max(mean_abs.sum(), 1e-300)).to_numpy(),
            "direction": [_direction(rows[name], found[name]) for name in found.columns],
        }
    )
    return table.sort_values("mean_abs", ascending=False, ignore_index=True)


def _direction(value: pd.Series, contribution: pd.Series) -> float:
    """Spearman correlation; zero where either side does not vary."""
    if value.nunique() < 2 or contribution.nunique() < 2:
        return 0.0
    return float(value.rank().corr(contribution.rank()))
