"""The model: from features and labels to a score per name, and an honest account of its worth.

1. `training_set` lines up standardised features with labels that are known.
2. `train` scores every row out of fold (purged) by the learner chosen and by two baselines,
   calibrates the scores, and fits the final model (`learners`, `tuning`, `calibration`).
3. `gate.judge` says whether a challenger may replace the champion.
4. `predict` scores the names of a day; `usable` says whether a model is young enough to be asked.

Training is a function of its inputs: seeds are settings, LightGBM is told to be deterministic,
and `threads` folds are fitted at a time, each in one thread, so that their number changes nothing.
(LightGBM's own threads wait for each other by spinning: on a machine that is busy otherwise, five
folds took ten times as long.)

*What stays the same.* Trained again on the same machine, a model gives the same predictions to 1e-12.
A model that is kept gives them on any machine, by construction: the same leaves are summed in the same order,
and only the exponential of the calibration may differ, in its last bit. Trained again on *another*
machine no tolerance is promised: LightGBM's histograms are summed in an order that its compiler and the
processor choose; where two splits gain the same but for rounding, another may win, and then every score
below it differs by as much as its leaves do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from quant50lib.contracts import TIME, Prediction
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import calibration, evaluation
from quant50lib.services import label as labels
from quant50lib.services import learners, tuning, validation
from quant50lib.services.evaluation import Evaluation, Metrics
from quant50lib.services.evaluation_folds import fold_table
from quant50lib.services.learners import Learnt, Prepared
from quant50lib.services.scaler import Scaler
from quant50lib.services.training import MISSING_MAX, TrainingSet, training_set
from quant50lib.settings import LabelSettings, ModelSettings
from quant50lib.utils import dates

__all__ = [
    "LoadedModel",
    "Scaler",
    "Trained",
    "TrainingSet",
    "predict",
    "train",
    "training_set",
    "usable",
]

#: newest sessions whose features are held against the others, for drift
RECENT_SESSIONS = 21
#: training rows, about, whose scores those of a day are held against
SCORED_ROWS = 20_000
Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trained:
    """A fitted model and what is known of its worth."""

    learnt: Learnt
    scaler: Scaler
    metrics: Metrics
    predictions: pd.DataFrame  # table Prediction, out of fold
    folds: pd.DataFrame  # table Fold: the learner, logistic, momentum
    scores: pd.DataFrame  # out of fold, one column a model; see `out_of_fold`
    evaluation: Evaluation
    importance: pd.DataFrame  # feature, gain (share), splits
    settings: ModelSettings  # of the final fit, after the search
    drift: pd.Series  # stability index of each feature, newest sessions against all
    score_deciles: tuple[float, ...]  # inner borders of its scores of training rows
    first_session: pd.Timestamp
    last_session: pd.Timestamp  # last decision learnt from
    known_at: pd.Timestamp  # when the last label became known

    def as_loaded(self, model_id: str, trained_at: pd.Timestamp) -> LoadedModel:
        """The model as the registry would give it back."""
        metrics, deciles = dict(self.metrics), self.score_deciles
        return LoadedModel(model_id, self.learnt, self.scaler, metrics, trained_at, deciles)

    @property
    def booster(self) -> lgb.Booster:
        """The trees of the first seed."""
        return self.learnt.boosters[0]

    @property
    def ic_by_session(self) -> pd.DataFrame:
        return self.evaluation.ic_by_session

    @property
    def calibration(self) -> pd.DataFrame:
        return self.evaluation.calibration

    @property
    def decile_returns(self) -> pd.DataFrame:
        return self.evaluation.decile_returns


@dataclass(frozen=True)
class LoadedModel:
    """A model as the registry gives it back."""

    model_id: str
    learnt: Learnt
    scaler: Scaler
    metrics: dict[str, Any]
    trained_at: pd.Timestamp
    score_deciles: tuple[float, ...] = ()  # inner borders of its scores of training rows

    @property
    def ic(self) -> float:
        """Out-of-fold rank IC; zero where it could not be measured."""
        return float(self.metrics.get("rank_ic") or 0.0)

    @property
    def ic_error(self) -> float:
        """Standard error of `ic`; infinite where it could not be measured."""
        return float(self.metrics.get("rank_ic_error") or np.inf)

    def score(self, matrix: pd.DataFrame) -> pd.Series:
        """See `predict`."""
        return predict(self.learnt, self.scaler, matrix)


# ---- out of fold ---------------------------------------------------------------------------------


def models_of(settings: ModelSettings) -> tuple[learners.LearnerName, ...]:
    """The learner chosen, and the baselines beside it."""
    return tuple(dict.fromkeys((settings.learner, *learners.BASELINES)))


def out_of_fold(
    rows: TrainingSet,
    prepared: Prepared,
    settings: ModelSettings,
    each: Callable[..., Iterable[Any]] = map,
) -> pd.DataFrame:
    """Scores of every row by models that saw neither it nor a label overlapping its own.

    Columns session, symbol, fold, excess_return, benchmark_return, momentum (which learns nothing),
    one of raw scores per other model, and `score`: the learner's, as a probability. `each` applies a
    function to folds: `map`, or that of a pool of threads.
    """
    splits = _splits(rows, settings)
    linear = Prepared("logistic", prepared.features, prepared.matrix, _classes(rows), None)

    def scored(split: Split) -> pd.DataFrame:
        at, unseen = split
        chosen = tuning.choose(prepared, rows, at, settings)
        known = {m.learner: learners.fit(m, at, chosen) for m in (linear, prepared)}
        return pd.DataFrame({n: m.raw(prepared.matrix[unseen]) for n, m in known.items()}, unseen)

    parts = pd.concat(dict(enumerate(each(scored, splits))), names=["fold"])
    known = pd.DataFrame(
        {
            "session": rows.session,
            "symbol": rows.symbol,
            "excess_return": rows.excess_return,
            "benchmark_return": rows.benchmark_return,
            "momentum": rows.momentum.fillna(0.0),
        }
    )
    scores = known.join(parts.reset_index(level="fold").drop(columns="momentum", errors="ignore"))
    return scores.assign(score=_cross_fitted(scores[settings.learner], rows, splits, settings))


def _splits(rows: TrainingSet, settings: ModelSettings) -> list[Split]:
    splitter = validation.PurgedKFold(settings.n_splits, settings.embargo_sessions)
    return list(splitter.split(rows.X, groups=rows.windows))


def _classes(rows: TrainingSet) -> np.ndarray:
    return rows.positive.to_numpy(dtype=float)


def _cross_fitted(
    raw: pd.Series, rows: TrainingSet, splits: list[Split], settings: ModelSettings
) -> np.ndarray:
    """Probabilities of raw out-of-fold scores, each fold's by a calibrator of the others.

    Purged as the folds are. The scores of the other folds come from models that learnt from this
    one: what that lets through is two numbers (platt), or a few steps (isotonic).
    """
    values, positive, found = raw.to_numpy(), _classes(rows), np.empty(len(raw))
    for at, unseen in splits:
        fitted = calibration.fit(values[at], positive[at], settings.calibration)
        found[unseen] = fitted.probability(values[unseen])
    return found


# ---- training ------------------------------------------------------------------------------------


def train(
    rows: TrainingSet, settings: ModelSettings, label: LabelSettings, trials: int = 1
) -> Trained:
    """Validate out of fold, then fit on everything.

    Parameters
    ----------
    trials
        Configurations tried so far, this one included.

    Raises
    ------
    DataQualityError
        Fewer labelled sessions than `settings.min_training_sessions`, or labels of one class.
    SettingsError
        The learner needs a feature that is not there, or cannot learn `label.kind`.
    """
    _enough(rows, settings)
    scaler = Scaler.fit(rows.X)
    kind = labels.kind_of(label, settings.learner)
    prepared = learners.prepare(scaler.transform(rows.X), rows, settings.learner, settings, kind)
    with ThreadPoolExecutor(settings.threads) as pool:
        final = pool.submit(_final, prepared, rows, settings)
        scores = out_of_fold(rows, prepared, settings, pool.map)
        learnt, chosen = final.result()
    judged = evaluation.evaluate(scores, label.horizon_sessions, trials, settings.seed)
    drift = scaler.drift(rows.X[rows.session.isin(rows.session.unique()[-RECENT_SESSIONS:])])
    fitted = calibration.fit(
        scores[settings.learner].to_numpy(), _classes(rows), settings.calibration
    )
    learnt = learnt.calibrated(fitted)
    return Trained(
        learnt,
        scaler,
        judged.metrics | _extent(rows) | _drifted(drift),
        _prediction_table(scores),
        fold_table(scores, models_of(settings), label.horizon_sessions, judged.ic_by_session),
        scores,
        judged,
        learnt.importance(),
        chosen,
        drift,
        _score_deciles(learnt, prepared),
        rows.session.min(),
        rows.session.max(),
        rows.known_at.max(),
    )


def _enough(rows: TrainingSet, settings: ModelSettings) -> None:
    sessions = rows.session.nunique()
    if sessions < settings.min_training_sessions or rows.positive.nunique() < 2:
        raise DataQualityError(
            f"{sessions} labelled sessions, of which {rows.positive.mean():.0%} of rows are "
            f"positive, cannot train a model; model.min_training_sessions is "
            f"{settings.min_training_sessions}: fetch more history, or lower it"
        )


def _final(
    prepared: Prepared, rows: TrainingSet, settings: ModelSettings
) -> tuple[Learnt, ModelSettings]:
    every = np.arange(len(rows.X))
    chosen = tuning.choose(prepared, rows, every, settings)
    return learners.fit(prepared, every, chosen), chosen


def _extent(rows: TrainingSet) -> Metrics:
    return {
        "rows": len(rows.X),
        "sessions": rows.session.nunique(),
        "names": rows.symbol.nunique(),
        "first_session": str(rows.session.min().date()),
        "last_session": str(rows.session.max().date()),
    }


def _score_deciles(learnt: Learnt, prepared: Prepared) -> tuple[float, ...]:
    """Of evenly spaced training rows, by the final model: out of fold, each fold has its own level."""
    step = max(1, len(prepared.matrix) // SCORED_ROWS)
    scores = learnt.probability(prepared.matrix[::step])
    return Scaler.fit(pd.DataFrame({"score": scores})).edges[0]


def _drifted(drift: pd.Series) -> Metrics:
    return {"drift_largest": float(drift.max()), "drift_feature": str(drift.idxmax())}


def _prediction_table(scores: pd.DataFrame) -> pd.DataFrame:
    table = scores[Prediction.columns()]
    return Prediction.check(table.astype({"session": TIME, "fold": "int64"}))


# ---- using it ------------------------------------------------------------------------------------


def predict(learnt: Learnt, scaler: Scaler, matrix: pd.DataFrame) -> pd.Series:
    """Score of each row of (n_symbols, n_features): the probability of a positive label.

    Missing where more than half of the model's features are.
    """
    complete = scaler.transform(matrix)
    known = matrix[list(scaler.features)].isna().mean(axis=1) <= MISSING_MAX
    score = pd.Series(np.nan, index=matrix.index, name="score")
    if known.any():
        score[known] = learnt.probability(complete[known].to_numpy())
    return score


def usable(
    model: LoadedModel | None, run_date: pd.Timestamp, settings: ModelSettings
) -> LoadedModel | None:
    """The model, if there is one and it is young enough; None where zero alpha is allowed instead.

    Raises
    ------
    SettingsError
        There is none, or it is too old, and `settings.without_model` is "stop".
    """
    if model and dates.distance(model.trained_at, run_date) <= settings.max_age_sessions:
        return model
    if settings.without_model == "zero":
        return None
    found = f"the newest is {model.model_id}" if model else "there is none"
    raise SettingsError(
        f"no accepted model of the last {settings.max_age_sessions} sessions for "
        f"{run_date.date()} ({found}): run `quant50 train`, or set model.without_model "
        'to "zero" to trade without alpha'
    )
