"""What a model's columns were in training, so that a day can be brought into the same form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.errors import SettingsError

QUANTILES = 10
#: an empty share would make the index infinite
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Scaler:
    """What the model's columns were in training: their order, means and deciles.

    A value that is missing is replaced by zero, the middle of the cross-section of a standardised
    feature. Nothing that is learnt enters the model's columns: folds can share them.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    edges: tuple[tuple[float, ...], ...]  # inner decile borders of each feature
    missing: tuple[float, ...]  # share of rows in training

    @classmethod
    def fit(cls, X: pd.DataFrame) -> Scaler:
        """Learn from (n_rows, n_features)."""
        levels = np.arange(1, QUANTILES) / QUANTILES
        edges = X.quantile(levels).to_numpy(dtype=float).T
        return cls(
            tuple(X.columns),
            tuple(X.mean().fillna(0.0).astype(float)),
            tuple(tuple(row) for row in edges.tolist()),
            tuple(X.isna().mean().astype(float)),
        )

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """The model's columns in its order, float32, complete.

        Raises
        ------
        SettingsError
            A feature that the model knows is not there.
        """
        lacking = [name for name in self.features if name not in X.columns]
        if lacking:
            raise SettingsError(
                f"the model was trained with {lacking}, which today's features lack: "
                "restore features.names, or train anew (quant50 train)"
            )
        return X[list(self.features)].astype("float32").fillna(0.0)

    def drift(self, X: pd.DataFrame) -> pd.Series:
        """Population stability index of each feature against training; above 0.25 is a change.

        Shares of the training deciles, and of what is missing, floored at 1e-4 and at half a value.
        """
        return pd.Series(
            {name: self._stability(X[name], k) for k, name in enumerate(self.features)}
        )

    def _stability(self, values: pd.Series, k: int) -> float:
        inside = np.searchsorted(self.edges[k], values.dropna(), side="right")
        now = np.bincount(inside, minlength=QUANTILES) / max(len(values), 1)
        then = np.full(QUANTILES, (1 - self.missing[k]) / QUANTILES)
        least = max(LEAST_SHARE, 0.5 / max(len(values), 1))
        now = np.maximum([*now, values.isna().mean()], least)
        then = np.maximum([*then, self.missing[k]], least)
        return float(np.sum((now - then) * np.log(now / then)))
