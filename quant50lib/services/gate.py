"""Whether a challenger may decide over money.

It must be *sound*: measured, without leak or drift, calibrated, not too good to be true. Against a
champion it must then be

- *better* by more than its error, on the sessions after the champion's training that both scored
  without having learnt from them (mean paired difference of their daily rank ICs, `inference.session_mean`); or
- a *renewal*: the champion has reached `renew_after_sessions`, and the challenger is not worse by
  more than that error. Newer data are worth that much; and without this door a desk without skill,
  where nothing is ever better, would stand still once its model is too old to be used.

A model without skill may pass, since the forecast shrinks its IC to zero: the gate keeps out what is
broken, not what is modest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.services import validation
from quant50lib.services.evaluation import Metrics
from quant50lib.services.inference import Estimate
from quant50lib.services.model import LoadedModel, Trained, TrainingSet
from quant50lib.settings import ModelSettings
from quant50lib.utils import dates

#: Published out-of-sample rank ICs at a week's horizon in liquid names are 0.01 to 0.05. On real
#: bars (2013-2018, 300 names) honest folds gave an AUC of 0.50; folds that leaked by shuffling gave
#: 0.565 and an IC of 0.128. What lies above these limits is taken for a leak until explained.
PLAUSIBLE_AUC = 0.56
PLAUSIBLE_IC = 0.10
#: a bound on calibration is broken when it is by more than so many errors
GATE_ERRORS = 3.0
#: fewer sessions after the champion's training compare nothing
COMMON_SESSIONS_MIN = 21


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger becomes the champion, and why.

    `sound`: nothing is wrong with it, so that a person may promote it against the verdict.
    """

    accepted: bool
    reason: str
    sound: bool = False


@dataclass(frozen=True)
class Champion:
    """The model in use, as the gate sees it."""

    metrics: Metrics
    age_sessions: int
    ahead: Estimate | None = None  # the challenger's rank IC less its own, out of sample of both
    common_sessions: int = 0


def compare(
    challenger: pd.DataFrame, champion: pd.DataFrame, horizon: int
) -> tuple[Estimate | None, int]:
    """The challenger's daily rank IC less the champion's, over sessions that neither learnt from.

    Parameters
    ----------
    challenger
        Table `Prediction`, out of fold.
    champion
        Its scores of the same rows (session, symbol, score), of sessions after its training only.

    Returns
    -------
    The mean difference with its error, None below `COMMON_SESSIONS_MIN`; and the sessions.
    """
    both = challenger.merge(champion, on=["session", "symbol"], suffixes=("", "_champion")).dropna()
    if both["session"].nunique() < COMMON_SESSIONS_MIN:
        return None, int(both["session"].nunique())
    ours, theirs = (
        validation.rank_ic(both.session, both[name], both.excess_return)
        for name in ("score", "score_champion")
    )
    ahead = (ours - theirs).dropna()
    sizes = validation.fold_sizes(challenger)
    shared = validation.shared_learning(both.session, both.fold, sizes)
    return validation.session_mean(ahead, horizon, shared), len(ahead)


def standing(
    champion: LoadedModel, trained: Trained, rows: TrainingSet, run_date: pd.Timestamp, horizon: int
) -> Champion:
    """The model in use beside a challenger trained on `rows` at the close of `run_date`."""
    age = dates.distance(champion.trained_at, run_date)
    ahead, common = compare(trained.predictions, _since(champion, rows), horizon)
    return Champion(champion.metrics, age, ahead, common)


def _since(champion: LoadedModel, rows: TrainingSet) -> pd.DataFrame:
    """The champion's scores of the rows decided since its training: none of them did it learn from.

    Empty where the rows no longer hold its features: then nothing can be compared.
    """
    later = (rows.session >= champion.trained_at).to_numpy()
    keys = pd.DataFrame({"session": rows.session[later], "symbol": rows.symbol[later]})
    if not later.any() or not set(champion.scaler.features) <= set(rows.X.columns):
        return keys.iloc[:0].assign(score=pd.Series(dtype=float))
    return keys.assign(score=champion.score(rows.X[later]))


def judge(
    challenger: Metrics,
    champion: Champion | None,
    settings: ModelSettings,
    leaks: Sequence[str] = (),
) -> Verdict:
    """The verdict on a challenger; `leaks` are findings of the leak canary on its own training."""
    for fault in faults(challenger, settings, leaks):
        return Verdict(False, fault)
    if champion is None:
        ic, error = float(challenger["rank_ic"]), float(challenger["rank_ic_error"])
        return Verdict(True, f"first sound model, rank IC {ic:+.4f} ± {error:.4f}")
    ahead, where = _ahead(challenger, champion)
    said = f"rank IC {ahead.value:+.4f} ± {ahead.error:.4f} against the champion's, {where}"
    if champion.ahead is not None and ahead.value > ahead.error:
        return Verdict(True, f"better: {said}")
    if not ahead.value >= -ahead.error:
        return Verdict(False, f"worse: {said}", sound=True)
    age, due = champion.age_sessions, settings.renew_after_sessions
    if age >= due:
        return Verdict(True, f"renewal of a champion {age} sessions old, and not worse: {said}")
    young = f"and the champion is young ({age} of {due} sessions)"
    return Verdict(False, f"not better by more than its error, {young}: {said}", sound=True)


def _ahead(challenger: Metrics, champion: Champion) -> tuple[Estimate, str]:
    """The difference in rank IC: paired where it can be, else of the two out-of-fold figures.

    The latter share most of their rows; the challenger's own error is taken for that of the
    difference. It can show that a model is worse, never that it is better.
    """
    if champion.ahead is not None:
        return champion.ahead, f"over {champion.common_sessions} sessions that neither learnt from"
    gap = float(challenger["rank_ic"]) - float(champion.metrics["rank_ic"] or 0.0)
    return Estimate(gap, float(challenger["rank_ic_error"])), "each out of fold"


def faults(metrics: Metrics, settings: ModelSettings, leaks: Sequence[str] = ()) -> list[str]:
    """Why a model may not decide over money, the gravest first; empty: it is sound."""
    auc, ic = float(metrics["auc"]), float(metrics["rank_ic"])
    gap = Estimate(float(metrics["calibration_gap"]), float(metrics["calibration_gap_error"]))
    drift = float(metrics.get("drift_largest", 0.0))
    found = [f"a leak: {leak}" for leak in leaks]
    if not np.isfinite([auc, ic, float(metrics["rank_ic_error"]), gap.value, gap.error]).all():
        found.append("its quality could not be measured")
    if auc > PLAUSIBLE_AUC or ic > PLAUSIBLE_IC:
        found.append(
            f"AUC {auc:.3f}, rank IC {ic:.3f}: above {PLAUSIBLE_AUC} or {PLAUSIBLE_IC} it is taken "
            "for a leak; look at labels and splits"
        )
    if drift > settings.drift_max:
        found.append(
            f"{metrics.get('drift_feature')} has drifted: its stability index of the newest sessions "
            f"against all is {drift:.2f}, above {settings.drift_max:g}; look at the feature"
        )
    if abs(gap.value) > max(settings.calibration_gap_max, GATE_ERRORS * gap.error):
        found.append(f"{gap.value:+.3f} more positive labels than the scores say: not calibrated")
    return found + _slope_faults(metrics, settings)


def _slope_faults(metrics: Metrics, settings: ModelSettings) -> list[str]:
    """Log odds of the labels on those of the scores: ideally one; missing where scores are flat."""
    slope = float(metrics.get("calibration_slope", np.nan))
    room = GATE_ERRORS * float(metrics.get("calibration_slope_error", np.nan))
    said = f"calibration slope {slope:.2f} ± {room:.2f}"
    if slope + room < settings.calibration_slope_min:
        return [f"{said}, below {settings.calibration_slope_min:g}: scores claim too much"]
    if slope - room > settings.calibration_slope_max:
        return [f"{said}, above {settings.calibration_slope_max:g}: scores claim too little"]
    return []
