"""Four ways to learn a score, and one that learns nothing, behind one small interface.

    prepared = prepare(rows, "lightgbm", settings)     features complete, binned once
    learnt = fit(prepared, at, settings)               from the rows at these positions
    learnt.raw(matrix)                                 a score on the learner's own scale

`lightgbm` classifies the sign of the excess return, `regressor` fits its rank within the session
(or, by `label.kind`, itself), `ranker` orders the names of a session (lambdarank on fifths); `logistic` is linear, and `momentum`
is the 12-1 momentum itself. Every fit is a function of its inputs: seeds are settings, LightGBM is
`deterministic` and has one thread.

*What the shared bins see.* LightGBM sorts each feature into at most 255 bins. They are laid once
over the rows given to `prepare`, the tested ones included, and shared by all folds. No label is
looked at, and features are standardised within their session, so that bins of all sessions and of
the training ones differ by sampling noise only; `tests/services/test_learners.py` measures that it
carries no skill. Everything else is learnt from training rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from quant50lib.errors import SettingsError
from quant50lib.services import label
from quant50lib.services.calibration import AS_IS, Calibrator
from quant50lib.services.label import LabelKind
from quant50lib.services.training import MOMENTUM, TrainingSet
from quant50lib.settings import ASKED, ModelSettings

LearnerName = Literal["lightgbm", "regressor", "ranker", "logistic", "momentum"]

#: beside the learner chosen, in the same table
BASELINES: tuple[LearnerName, ...] = ("logistic", "momentum")
TREES: tuple[LearnerName, ...] = ("lightgbm", "regressor", "ranker")
#: of names in a session, from worst to best: what the ranker is told
GRADES = 5
#: between the seeds that are averaged
SEED_STEP = 1009


@dataclass(frozen=True)
class Learnt:
    """What was learnt from some rows; `raw` scores others."""

    learner: LearnerName
    features: tuple[str, ...]
    boosters: tuple[lgb.Booster, ...] = ()  # one a seed, averaged
    weights: tuple[float, ...] = ()  # linear: the intercept, then one a feature
    calibrator: Calibrator = AS_IS

    def raw(self, matrix: np.ndarray, trees: int | None = None) -> np.ndarray:
        """Scores of complete rows, (n_rows, n_features): log odds, or a scale of its own."""
        if not self.boosters:
            return np.asarray(matrix @ np.array(self.weights[1:]) + self.weights[0])
        each = [
            booster.predict(matrix, raw_score=True, num_threads=1, num_iteration=trees)
            for booster in self.boosters
        ]
        return np.mean(each, axis=0)

    def probability(self, matrix: np.ndarray) -> np.ndarray:
        """Calibrated probability of a positive label."""
        return self.calibrator.probability(self.raw(matrix))

    def calibrated(self, calibrator: Calibrator) -> Learnt:
        return replace(self, calibrator=calibrator)

    def text(self) -> str:
        """All of it but the calibrator, for readers."""
        if self.boosters:
            return "\n".join(booster.model_to_string() for booster in self.boosters)
        named = zip(("intercept", *self.features), self.weights)
        return "\n".join([self.learner, *(f"{name} {weight!r}" for name, weight in named)])

    def importance(self) -> pd.DataFrame:
        """Share of the gain (linear: of the absolute weights) of each feature, largest first."""
        if self.boosters:
            gain = np.sum([b.feature_importance("gain") for b in self.boosters], axis=0)
            splits = np.sum([b.feature_importance("split") for b in self.boosters], axis=0)
        else:
            gain = np.abs(self.weights[1:])
            splits = np.zeros(len(gain), dtype=int)
        table = pd.DataFrame(
            {"feature": self.features, "gain": gain / max(gain.sum(), 1e-300), "splits": splits}
        )
        return table.sort_values("gain", ascending=False, ignore_index=True)


@dataclass(frozen=True)
class Prepared:
    """Rows in the form a learner wants, shared by all folds."""

    learner: LearnerName
    features: tuple[str, ...]
    matrix: np.ndarray  # (n_rows, n_features) float32, complete
    target: np.ndarray  # (n_rows,)
    data: lgb.Dataset | None  # binned once; trees only


def prepare(
    X: pd.DataFrame,
    rows: TrainingSet,
    learner: LearnerName,
    settings: ModelSettings,
    kind: LabelKind | None = None,
) -> Prepared:
    """Complete features `X` of the rows beside what the learner is asked (`label.kind_of`; None: what
    it is made for); see the module's text."""
    matrix, target = X.to_numpy(dtype="float32"), _target(rows, learner, kind)
    data = None
    if learner in TREES:
        groups = rows.session.groupby(rows.session).size() if learner == "ranker" else None
        data = lgb.Dataset(
            matrix,
            target,
            group=groups,
            feature_name=list(X.columns),
            params=parameters(settings, learner),
            free_raw_data=True,
        ).construct()
    return Prepared(learner, tuple(X.columns), matrix, target, data)


def _target(rows: TrainingSet, learner: LearnerName, kind: LabelKind | None) -> np.ndarray:
    asked: Any = kind or ASKED[learner][0]
    target = label.as_target(rows.session, rows.excess_return, asked).to_numpy()
    if learner != "ranker":
        return target
    return np.clip(np.floor((target + 0.5) * GRADES), 0, GRADES - 1)


def parameters(settings: ModelSettings, learner: LearnerName = "lightgbm") -> dict[str, Any]:
    """LightGBM's parameters; the same settings give the same model, bit for bit, on a machine."""
    objectives: dict[str, dict[str, Any]] = {
        "lightgbm": {"objective": "binary"},
        "regressor": {"objective": "regression"},
        "ranker": {
            "objective": "lambdarank",
            "label_gain": list(range(GRADES)),
            "lambdarank_truncation_level": 50,
        },
    }
    return objectives[learner] | {
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_rows_per_leaf,
        "feature_fraction": settings.feature_share,
        "bagging_fraction": settings.row_share,
        "bagging_freq": 1,
        "lambda_l2": settings.l2,
        "num_threads": 1,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def fit(prepared: Prepared, at: np.ndarray, settings: ModelSettings) -> Learnt:
    """Learn from the rows at positions `at` (ascending), once for each of `settings.seeds`.

    Raises
    ------
    SettingsError
        `momentum` is chosen, and is not among the features.
    """
    empty = Learnt(prepared.learner, prepared.features)
    if prepared.data is not None:
        return replace(empty, boosters=_boosters(prepared, at, settings))
    if prepared.learner == "momentum":
        return replace(empty, weights=_momentum(prepared.features))
    found = LogisticRegression(max_iter=200, solver="newton-cholesky")
    found.fit(prepared.matrix[at].astype(float), prepared.target[at])
    weights = (float(found.intercept_[0]), *(float(w) for w in found.coef_[0]))
    return replace(empty, weights=weights)


def _boosters(
    prepared: Prepared, at: np.ndarray, settings: ModelSettings
) -> tuple[lgb.Booster, ...]:
    assert prepared.data is not None
    every = len(at) == len(prepared.target)
    found = []
    for k in range(settings.seeds):
        chosen = parameters(settings, prepared.learner) | {"seed": settings.seed + SEED_STEP * k}
        data = prepared.data if every else prepared.data.subset(np.asarray(at).tolist())
        found.append(lgb.train(chosen, data, num_boost_round=settings.trees))
    return tuple(found)


def _momentum(features: tuple[str, ...]) -> tuple[float, ...]:
    if MOMENTUM not in features:
        raise SettingsError(
            f'model.learner = "momentum" needs the feature {MOMENTUM}: add it to features.names'
        )
    return (0.0, *(float(name == MOMENTUM) for name in features))
