"""Table `Fold`: each model beside the others, fold by fold and in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from quant50lib.contracts import Fold
from quant50lib.services.inference import rank_ic, session_mean, shared_learning

ALL = "all"
#: scores of these are the same whatever was learnt
UNLEARNT = ("momentum",)


def fold_table(
    scores: pd.DataFrame, models: Sequence[str], horizon: int, ic_by_session: pd.DataFrame
) -> pd.DataFrame:
    """Table `Fold`: quality of each model in each fold, and in all.

    Parameters
    ----------
    scores
        See `model.out_of_fold`: a column of scores for each of `models`.
    ic_by_session
        Of the first model, from `evaluation.evaluate`: session and rank_ic. Calibrated scores rise
        with raw ones within a fold, so that nothing need be ranked again.
    """
    known = ic_by_session.set_index("session")["rank_ic"]
    fold = scores.drop_duplicates("session").set_index("session")["fold"]
    found = []
    for name in models:
        first = name == models[0]
        daily = known if first else rank_ic(scores.session, scores[name], scores.excess_return)
        found.append(_of_model(scores, name, daily, fold, horizon))
    return Fold.check(pd.concat(found).astype({"model": "str", "fold": "str"}))


def _of_model(
    scores: pd.DataFrame, name: str, daily: pd.Series, fold: pd.Series, horizon: int
) -> pd.DataFrame:
    areas = [_area(part[name], part.excess_return > 0) for _, part in scores.groupby("fold")]
    lines = [
        _line(str(k), part, daily.loc[part.session.min() : part.session.max()], horizon)
        | {"auc": area}
        for (k, part), (area, _) in zip(scores.groupby("fold"), areas)
    ]
    shared = 1.0 if name in UNLEARNT else shared_learning(fold.index.to_series(), fold)
    value, pairs = np.array(areas).T
    some = pairs > 0
    area = float(np.average(value[some], weights=pairs[some])) if some.any() else np.nan
    lines.append(_line(ALL, scores, daily, horizon, shared) | {"auc": area})
    return pd.DataFrame(lines).assign(model=name)[Fold.columns()]


def _area(score: pd.Series, positive: pd.Series) -> tuple[float, float]:
    """Area under the ROC curve by the rank sum of Mann and Whitney, and the pairs it is of."""
    n, truth = len(score), positive.to_numpy()
    pairs = float(truth.sum()) * float(n - truth.sum())
    if not pairs:
        return float("nan"), 0.0
    above = stats.rankdata(score)[truth].sum() - truth.sum() * (truth.sum() + 1) / 2
    return float(above / pairs), pairs


def _line(
    fold: str, part: pd.DataFrame, daily: pd.Series, horizon: int, shared: float = 1.0
) -> dict[str, Any]:
    mean = session_mean(daily, horizon, shared)
    return {
        "fold": fold,
        "first_session": part.session.min().as_unit("us"),
        "last_session": part.session.max().as_unit("us"),
        "rows": len(part),
        "rank_ic": mean.value,
        "rank_ic_error": mean.error,
    }
