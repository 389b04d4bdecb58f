"""Whether the day still looks like what the model learnt from, and whether the model still works.

Three measures, of what is known at the close:

- `feature`: the population stability index of each feature of the day against training
  (`Scaler.drift`);
- `score`: that of the day's scores against the same model's scores of training rows;
- `ic`: the mean rank IC of the model's scores since its training, with a band that holds at every
  session at once, however often it is looked at.

*What chance does.* Under no change an index over B shares of n values is, n times, about a chi-square
variable with B - 1 degrees of freedom (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(4)): of
forty names it is 0.23 on average. Its mean (B - 1) / n is deducted, and the limit is not below what
chance exceeds on one day in a hundred, all features and the score looked at (of forty names: on two).
A *ranked* feature is spread evenly by construction: its index sees what is missing, tied or fallen out
of the universe, and not that its values have grown, which a model of ranks does not see either.

*The band.* Labels of neighbouring sessions overlap; read at every `horizon`-th session they do not.
Each of the `horizon` interleaved series so gained is its own sequence of batches; the first is taken,
which starts at the model's first session. Its ICs are taken for sub-Gaussian about their mean with the
deviation that the daily ICs had out of fold. The two-sided normal mixture of Robbins (1970), as in
Howard, Ramdas, McAuliffe and Sekhon (2021), eq. 14, then covers the mean at all times with probability
1 - α:

    |mean_n - IC| <= √((nσ² + ρ) ln((nσ² + ρ) / (ρ α²))) / n,   ρ = σ² × BEST_AT

tightest near `BEST_AT` batches. The alarm sounds when the whole band lies below zero: the model then
did harm, beyond what bad luck at any time explains.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from quant50lib.contracts import Drift
from quant50lib.services import features, label, validation
from quant50lib.services.model import LoadedModel
from quant50lib.services.panel import Panel
from quant50lib.services.scaler import QUANTILES, Scaler
from quant50lib.services.training import MISSING_MAX
from quant50lib.settings import Settings

ALPHA = 0.05
#: share of days on which chance alone may sound the alarm of a feature or the score
RARE = 0.01
#: batches at which the band is tightest: what a model lives to see within its allowed age
BEST_AT = 6
#: fewer scores or values say nothing of a distribution
NAMES_MIN = 30


def band(ics: np.ndarray, deviation: float, alpha: float = ALPHA) -> tuple[float, float, float]:
    """Mean of non-overlapping ICs (n,) and an interval for it that holds at every n at once."""
    n = len(ics)
    if n == 0 or not deviation > 0:
        return float("nan"), float("nan"), float("nan")
    rho = deviation**2 * BEST_AT
    total = n * deviation**2 + rho
    half = float(np.sqrt(total * np.log(total / (rho * alpha**2)))) / n
    mean = float(np.mean(ics))
    return mean, mean - half, mean + half


def chance(n: int, looks: int) -> tuple[float, float]:
    """Mean of a stability index of n values that nothing has changed, and what it exceeds that mean by
    on a share `RARE` of days, `looks` of them being looked at."""
    free = QUANTILES - 1
    most = float(stats.chi2.ppf(1 - RARE / looks, free))
    return free / max(n, 1), (most - free) / max(n, 1)


def of_day(
    session: pd.Timestamp,
    panel: Panel,
    matrix: pd.DataFrame,
    sectors: pd.Series,
    benchmark: str,
    model: LoadedModel | None,
    settings: Settings,
) -> pd.DataFrame:
    """Table `Drift` at the close of `session`; empty without a model.

    Parameters
    ----------
    panel
        Bars up to `session`.
    matrix
        Standardised features of the day, (n_symbols, n_features).
    sectors
        Group of each name (index: symbol).
    """
    if model is None:
        return Drift.empty()
    columns = list(model.scaler.features)
    matrix = matrix[matrix[columns].isna().mean(axis=1) <= MISSING_MAX]  # names that are scored
    mean_of_chance, most_of_chance = chance(len(matrix), len(columns) + 1)
    limit = max(settings.model.drift_max, most_of_chance)
    indices = {("feature", name): psi for name, psi in _features(model, matrix).items()}
    indices["score", "score"] = _score(model, matrix)
    rows = [
        _row(*key, psi if np.isnan(psi) else max(psi - mean_of_chance, 0.0), limit)
        for key, psi in indices.items()
    ]
    ics = since_training(session, panel, sectors, benchmark, model, settings)
    mean, low, high = band(ics.to_numpy(), _deviation(model))
    worked = _row("ic", "rank_ic", mean, 0.0)
    rows.append(worked | {"low": low, "high": high, "alarm": bool(high < 0), "n": len(ics)})
    table = pd.DataFrame(rows).assign(session=session)
    return Drift.check(table[Drift.columns()].astype({"session": "datetime64[us]", "n": "int64"}))


def _row(measure: str, name: str, value: float, limit: float) -> dict[str, object]:
    missing = float("nan")
    alarm = measure != "ic" and value > limit
    return {
        "measure": measure,
        "name": name,
        "value": value,
        "low": missing,
        "high": missing,
        "limit": limit,
        "alarm": bool(alarm),
        "n": 1,
    }


def _features(model: LoadedModel, matrix: pd.DataFrame) -> pd.Series:
    if len(matrix) < NAMES_MIN:
        return pd.Series(np.nan, list(model.scaler.features))
    return model.scaler.drift(matrix)


def _score(model: LoadedModel, matrix: pd.DataFrame) -> float:
    if len(matrix) < NAMES_MIN or not model.score_deciles:
        return float("nan")
    scores = model.score(matrix).dropna()
    known = Scaler(("score",), (0.0,), (model.score_deciles,), (0.0,))
    return float(known.drift(scores.to_frame())["score"])


def _deviation(model: LoadedModel) -> float:
    """Of a session's rank IC out of fold: its mean over the ICIR."""
    icir = float(model.metrics.get("icir") or 0.0)
    return abs(model.ic / icir) if icir else 0.0


def since_training(
    session: pd.Timestamp,
    panel: Panel,
    sectors: pd.Series,
    benchmark: str,
    model: LoadedModel,
    settings: Settings,
) -> pd.Series:
    """Rank IC of the model at every horizon-th session since its training whose label is known."""
    horizon = settings.label.horizon_sessions
    later = panel.sessions[(panel.sessions >= model.trained_at) & (panel.sessions <= session)]
    known = later[: max(len(later) - 1 - horizon, 0)][::horizon]
    if known.empty:
        return pd.Series(dtype=float)
    needed = features.sessions_needed(settings.features) + len(later)
    recent = panel.until(session).each(lambda values: values.iloc[-needed:])
    described = features.describe(recent, sectors, settings.features, benchmark).standardised
    excess = label.excess_return(recent, benchmark, horizon)
    rows = [_ic(model, described, excess, day) for day in known]
    return pd.Series(rows, known).dropna()


def _ic(
    model: LoadedModel, described: dict[str, pd.DataFrame], excess: pd.DataFrame, day: pd.Timestamp
) -> float:
    matrix = pd.DataFrame({name: values.loc[day] for name, values in described.items()})
    score = model.score(matrix)
    keys = pd.Series(day, score.index)
    both = score.notna() & excess.loc[day].reindex(score.index).notna()
    outcome = excess.loc[day].reindex(score.index)[both]
    found = validation.rank_ic(keys[both], score[both], outcome)
    return float(found.iloc[0]) if len(found) else float("nan")
