"""The model: from features and labels to a score per name, and an honest account of its worth.

1. `training_set` lines up standardised features with labels that are known.
2. `train` scores every row out of fold (purged), beside two baselines, and fits the final booster.
3. `gate` says whether a challenger may replace the champion.
4. `predict` scores the names of a day; `usable` says whether a model is young enough to be asked.

Training is a function of its inputs: the seed is a setting, LightGBM is told to be deterministic,
and `threads` folds are fitted at a time, each in one thread, so that their number changes nothing.
(LightGBM's own threads wait for each other by spinning: on a machine that is busy otherwise, five
folds took ten times as long.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from quant50lib.contracts import TIME, Fold, Prediction
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import evaluation, validation
from quant50lib.services.evaluation import Evaluation, Metrics
from quant50lib.services.scaler import Scaler
from quant50lib.services.training import MISSING_MAX, TrainingSet, training_set
from quant50lib.settings import LabelSettings, ModelSettings
from quant50lib.utils import dates

__all__ = [
    "LoadedModel",
    "Scaler",
    "Trained",
    "TrainingSet",
    "Verdict",
    "gate",
    "predict",
    "train",
    "training_set",
    "usable",
]

#: Published out-of-sample rank ICs at a week's horizon in liquid names are 0.01 to 0.05. On real
#: bars (2013-2018, 300 names) honest folds gave an AUC of 0.50; folds that leaked by shuffling gave
#: 0.565 and an IC of 0.128. What lies above these limits is taken for a leak until explained.
PLAUSIBLE_AUC = 0.56
PLAUSIBLE_IC = 0.10
#: mean score against observed share of positives: beyond sampling error, and beyond this
CALIBRATION_GAP_MAX = 0.05
GATE_ERRORS = 3.0


@dataclass(frozen=True)
class Trained:
    """A fitted model and what is known of its worth."""

    booster: lgb.Booster
    scaler: Scaler
    metrics: Metrics
    predictions: pd.DataFrame  # table Prediction, out of fold
    folds: pd.DataFrame  # table Fold: lightgbm, logistic, momentum
    evaluation: Evaluation
    importance: pd.DataFrame  # feature, gain (share), splits
    first_session: pd.Timestamp
    last_session: pd.Timestamp  # last decision learnt from
    known_at: pd.Timestamp  # when the last label became known

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
    booster: lgb.Booster
    scaler: Scaler
    metrics: dict[str, Any]
    trained_at: pd.Timestamp

    @property
    def ic(self) -> float:
        """Out-of-fold rank IC; zero where it could not be measured."""
        return float(self.metrics.get("rank_ic") or 0.0)

    @property
    def ic_error(self) -> float:
        """HAC standard error of `ic`; infinite where it could not be measured."""
        return float(self.metrics.get("rank_ic_error") or np.inf)

    def score(self, matrix: pd.DataFrame) -> pd.Series:
        """See `predict`."""
        return predict(self.booster, self.scaler, matrix)


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger becomes the champion, and why."""

    accepted: bool
    reason: str


# ---- fitting -------------------------------------------------------------------------------------


def parameters(settings: ModelSettings) -> dict[str, Any]:
    """LightGBM's parameters; the same settings give the same model, bit for bit, on a machine."""
    return {
        "objective": "binary",
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


def fit(X: pd.DataFrame, positive: pd.Series, settings: ModelSettings) -> lgb.Booster:
    """A booster of `settings.trees` trees on complete features, (n_rows, n_features)."""
    data = lgb.Dataset(X, positive.astype("int8"), free_raw_data=True)
    return lgb.train(parameters(settings), data, num_boost_round=settings.trees)


def _by_lightgbm(
    X: pd.DataFrame, y: pd.Series, test: pd.DataFrame, settings: ModelSettings
) -> np.ndarray:
    return np.asarray(fit(X, y, settings).predict(test, num_threads=1))


def _by_logistic(
    X: pd.DataFrame, y: pd.Series, test: pd.DataFrame, settings: ModelSettings
) -> np.ndarray:
    return np.asarray(LogisticRegression(max_iter=200).fit(X, y).predict_proba(test)[:, 1])


#: each learns from rows it is given and scores rows it has not seen
MODELS: dict[str, Callable[..., np.ndarray]] = {
    "lightgbm": _by_lightgbm,
    "logistic": _by_logistic,
}


def out_of_fold(
    rows: TrainingSet, settings: ModelSettings, each: Callable[..., Iterable[Any]] = map
) -> pd.DataFrame:
    """Scores of every row by models that saw neither it nor a label overlapping its own.

    Columns session, symbol, fold, excess_return, benchmark_return, and one of scores per model:
    lightgbm, logistic, momentum (which learns nothing). Scaling is learnt inside each fold.
    `each` applies a function to folds: `map`, or that of a pool of threads.
    """

    def scored(split: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
        learnt, unseen = (rows.X.iloc[at] for at in split)
        scaler, positive = Scaler.fit(learnt), rows.positive.iloc[split[0]]
        learnt, unseen = scaler.transform(learnt), scaler.transform(unseen)
        given = {name: by(learnt, positive, unseen, settings) for name, by in MODELS.items()}
        return pd.DataFrame(given, index=split[1])

    splitter = validation.PurgedKFold(settings.n_splits, settings.embargo_sessions)
    parts = list(each(scored, splitter.split(rows.X, groups=rows.windows)))
    known = pd.DataFrame(
        {
            "session": rows.session,
            "symbol": rows.symbol,
            "excess_return": rows.excess_return,
            "benchmark_return": rows.benchmark_return,
            "momentum": rows.momentum.fillna(0.0),
        }
    )
    return known.join(pd.concat(dict(enumerate(parts)), names=["fold"]).reset_index(level="fold"))


def fold_table(scores: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Table `Fold`: quality of each model in each fold, and in all."""
    found = []
    for name in (*MODELS, "momentum"):
        daily = validation.rank_ic(scores.session, scores[name], scores.excess_return)
        parts = {str(k): part for k, part in scores.groupby("fold")} | {"all": scores}
        for fold, part in parts.items():
            found.append({"model": name, "fold": fold} | _quality(part, name, daily, horizon))
    return Fold.check(pd.DataFrame(found).astype({"model": "str", "fold": "str"}))


def _quality(part: pd.DataFrame, model: str, daily: pd.Series, horizon: int) -> dict[str, Any]:
    first, last = part.session.min(), part.session.max()
    lags = validation.hac_lags(part.session.nunique(), horizon)
    ic = validation.hac_mean(daily.loc[first:last], lags)
    area = validation.auc(
        part[model].to_numpy(),
        (part.excess_return > 0).to_numpy(),
        part.session.to_numpy(),
        part.fold.to_numpy(),
        lags,
    )
    return {
        "first_session": first.as_unit("us"),
        "last_session": last.as_unit("us"),
        "rows": len(part),
        "auc": area.value,
        "rank_ic": ic.value,
        "rank_ic_error": ic.error,
    }


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
    """
    sessions = rows.session.nunique()
    if sessions < settings.min_training_sessions or rows.positive.nunique() < 2:
        raise DataQualityError(
            f"{sessions} labelled sessions, of which {rows.positive.mean():.0%} of rows are "
            f"positive, cannot train a model; model.min_training_sessions is "
            f"{settings.min_training_sessions}: fetch more history, or lower it"
        )
    scaler = Scaler.fit(rows.X)
    with ThreadPoolExecutor(settings.threads) as pool:
        final = pool.submit(fit, scaler.transform(rows.X), rows.positive, settings)
        scores = out_of_fold(rows, settings, pool.map)
        booster = final.result()
    judged = evaluation.evaluate(
        scores.rename(columns={"lightgbm": "score"}), label.horizon_sessions, trials, settings.seed
    )
    extent = {
        "rows": len(rows.X),
        "sessions": sessions,
        "names": rows.symbol.nunique(),
        "first_session": str(rows.session.min().date()),
        "last_session": str(rows.session.max().date()),
    }
    return Trained(
        booster,
        scaler,
        judged.metrics | extent,
        _prediction_table(scores),
        fold_table(scores, label.horizon_sessions),
        judged,
        importance(booster),
        rows.session.min(),
        rows.session.max(),
        rows.known_at.max(),
    )


def _prediction_table(scores: pd.DataFrame) -> pd.DataFrame:
    table = scores.rename(columns={"lightgbm": "score"})[Prediction.columns()]
    return Prediction.check(table.astype({"session": TIME, "fold": "int64"}))


def importance(booster: lgb.Booster) -> pd.DataFrame:
    """Share of the total gain and number of splits of each feature, largest first."""
    gain = booster.feature_importance("gain")
    table = pd.DataFrame(
        {
            "feature": booster.feature_name(),
            "gain": gain / max(gain.sum(), 1e-300),
            "splits": booster.feature_importance("split"),
        }
    )
    return table.sort_values("gain", ascending=False, ignore_index=True)


# ---- using it ------------------------------------------------------------------------------------


def predict(booster: lgb.Booster, scaler: Scaler, matrix: pd.DataFrame) -> pd.Series:
    """Score of each row of (n_symbols, n_features): the probability of a positive label.

    Missing where more than half of the model's features are.
    """
    complete = scaler.transform(matrix)
    known = matrix[list(scaler.features)].isna().mean(axis=1) <= MISSING_MAX
    score = pd.Series(np.nan, index=matrix.index, name="score")
    if known.any():
        score[known] = booster.predict(complete[known], num_threads=1)
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


def gate(challenger: Metrics, champion: Metrics | None) -> Verdict:
    """Whether the challenger may decide over money.

    It must be sound: no AUC or IC that is too good to be true, a measured error, mean score near
    the observed share of positives. Against a champion its rank IC must not be lower by more than
    its own standard error: the newer data are worth that much. A model without skill passes, since
    the forecast shrinks its IC to zero; the gate keeps out what is broken, not what is modest.
    """
    for fault in _faults(challenger):
        return Verdict(False, fault)
    ic, error = float(challenger["rank_ic"]), float(challenger["rank_ic_error"])
    if champion is None:
        return Verdict(True, f"first sound model, rank IC {ic:+.4f} ± {error:.4f}")
    floor = float(champion["rank_ic"]) - error
    relation = "not below" if ic >= floor else "below"
    return Verdict(
        ic >= floor,
        f"rank IC {ic:+.4f} ± {error:.4f} is {relation} the champion's "
        f"{float(champion['rank_ic']):+.4f} by its error",
    )


def _faults(metrics: Metrics) -> list[str]:
    auc, ic = float(metrics["auc"]), float(metrics["rank_ic"])
    gap, gap_error = float(metrics["calibration_gap"]), float(metrics["calibration_gap_error"])
    faults = []
    if not np.isfinite([auc, ic, float(metrics["rank_ic_error"]), gap, gap_error]).all():
        faults.append("its quality could not be measured")
    if auc > PLAUSIBLE_AUC or ic > PLAUSIBLE_IC:
        faults.append(
            f"AUC {auc:.3f}, rank IC {ic:.3f}: above {PLAUSIBLE_AUC} or {PLAUSIBLE_IC} it is taken "
            "for a leak; look at labels and splits"
        )
    if abs(gap) > max(CALIBRATION_GAP_MAX, GATE_ERRORS * gap_error):
        faults.append(f"{gap:+.3f} more positive labels than the scores say: not calibrated")
    return faults
