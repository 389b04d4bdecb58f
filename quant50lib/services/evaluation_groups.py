"""Skill by part: by fold, by year, by sector, and by how far ahead the outcome lies.

Rows are as in `evaluation`; each function gives a frame with one row a part and columns `sessions`,
`rows`, `auc`, `auc_error`, `rank_ic`, `rank_ic_error`, `t` (`inference.session_mean`, and
`inference.shared_learning` as far as a part spans folds). Parts are looked at after the fact: of
twenty, one lies beyond two errors by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quant50lib.services import label
from quant50lib.services.inference import (
    auc,
    fold_sizes,
    rank_ic,
    session_mean,
    shared_learning,
)
from quant50lib.services.panel import Panel

#: sessions ahead at which the decay of a signal is read
HORIZONS = (1, 2, 3, 5, 10, 15, 21, 42)


def skill(
    rows: pd.DataFrame, horizon: int, sizes: pd.Series | None = None
) -> dict[str, float | int]:
    """AUC within folds and mean rank IC of some rows, with their errors.

    `sizes`: sessions of every fold, where the rows are a part of them.
    """
    shared = shared_learning(rows.session, rows.fold, sizes)
    ic = session_mean(rank_ic(rows.session, rows.score, rows.excess_return), horizon, shared)
    area = auc(
        rows.score.to_numpy(),
        (rows.excess_return > 0).to_numpy(),
        rows.session.to_numpy(),
        rows.fold.to_numpy(),
        horizon,
        shared,
    )
    return {
        "sessions": rows.session.nunique(),
        "rows": len(rows),
        "auc": area.value,
        "auc_error": area.error,
        "rank_ic": ic.value,
        "rank_ic_error": ic.error,
        "t": ic.t,
    }


def _by(rows: pd.DataFrame, part: pd.Series, name: str, horizon: int) -> pd.DataFrame:
    sizes = fold_sizes(rows)
    return pd.DataFrame(
        [{name: key} | skill(own, horizon, sizes) for key, own in rows.groupby(part.to_numpy())]
    )


def by_fold(rows: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Skill in each fold; column `fold`."""
    return _by(rows, rows.fold, "fold", horizon)


def by_year(rows: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Skill in each calendar year of decision; column `year`."""
    return _by(rows, rows.session.dt.year, "year", horizon)


def by_sector(rows: pd.DataFrame, sectors: pd.Series, horizon: int) -> pd.DataFrame:
    """Skill among the names of each sector (index of `sectors`: symbol); column `sector`.

    Names are compared within their sector only: a score that picks sectors has no skill here.
    """
    return _by(rows, rows.symbol.map(sectors).fillna("unknown"), "sector", horizon)


def ic_decay(
    rows: pd.DataFrame,
    panel: Panel,
    benchmark: str,
    horizon: int,
    horizons: Sequence[int] = HORIZONS,
) -> pd.DataFrame:
    """Mean rank IC of the scores with the excess return over each of `horizons` sessions.

    Columns `horizon`, `sessions`, `rank_ic`, `rank_ic_error`, `t`.

    The folds were purged for labels of `horizon`. An outcome further ahead that ends after the last
    label of its fold was in part learnt from, by the model that scored it, and is left out.
    """
    found, sizes = [], fold_sizes(rows)
    fold = rows.drop_duplicates("session").set_index("session").fold
    for ahead in horizons:
        daily = _ic_ahead(rows, panel, benchmark, horizon, ahead)
        sessions = daily.index.to_series()
        shared = shared_learning(sessions, fold.reindex(daily.index), sizes)
        mean = session_mean(daily, ahead, shared)
        found.append(
            {
                "horizon": ahead,
                "sessions": len(daily),
                "rank_ic": mean.value,
                "rank_ic_error": mean.error,
                "t": mean.t,
            }
        )
    return pd.DataFrame(found)


def _ic_ahead(
    rows: pd.DataFrame, panel: Panel, benchmark: str, horizon: int, ahead: int
) -> pd.Series:
    """Rank IC by session with the excess return over `ahead` sessions, where it is honest."""
    excess = label.excess_return(panel, benchmark, ahead)
    at = panel.sessions.get_indexer(rows.session)
    last = pd.Series(at, rows.index).groupby(rows.fold).transform("max").to_numpy()
    outcome = excess.to_numpy()[at, panel.symbols.get_indexer(rows.symbol)]
    honest = (at + ahead <= last + horizon) & np.isfinite(outcome)
    kept = rows[honest]
    return rank_ic(kept.session, kept.score, pd.Series(outcome[honest], kept.index)).dropna()
