"""Values made comparable across the names of a session: winsorised, neutral to sectors, ranked, scored.

Every row (session) is treated by itself: no other session, past or future, enters. A missing value
stays missing and influences nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd

Wide: TypeAlias = pd.DataFrame
OUTLIER = 3.0


def standardise(
    values: Mapping[str, Wide],
    sectors: pd.Series,
    allowed: Wide | None,
    method: str,
    winsorise: float = 0.0,
    neutralise: bool = False,
) -> dict[str, Wide]:
    """Every feature made comparable, session by session, across the names that are compared.

    Parameters
    ----------
    values
        Features by name, each (n_sessions, n_symbols).
    sectors
        Group of each symbol (index); names without one form a group.
    allowed
        Booleans (n_sessions, n_symbols); other names get no value. None: all.
    method
        ``rank`` (uniform within ±1/2), ``zscore`` (clipped at ±3) or ``sector_rank`` (the rank
        within the name's own group). A missing value stays missing.
    winsorise
        Values beyond the quantiles `winsorise` and 1 - `winsorise` of their session are brought to
        them first; 0: none are.
    neutralise
        Whether the mean of the name's group is then subtracted.
    """
    return {
        name: pd.DataFrame(
            _row_by_row(v, sectors, allowed, method, winsorise, neutralise), v.index, v.columns
        )
        for name, v in values.items()
    }


def _row_by_row(
    values: Wide,
    sectors: pd.Series,
    allowed: Wide | None,
    method: str,
    winsorise: float,
    neutralise: bool,
) -> np.ndarray:
    found = values.to_numpy(dtype=float)
    if allowed is not None:
        found = np.where(allowed.to_numpy(), found, np.nan)
    found = np.ascontiguousarray(found)
    if winsorise:
        found = winsorised(found, winsorise)
    groups = _groups(values.columns, sectors) if neutralise or method == "sector_rank" else []
    if neutralise:
        found = neutral(found, groups)
    if method == "rank":
        return ranked(found)
    if method == "zscore":
        return scored(found)
    parts = np.full_like(found, np.nan)
    for members in groups:
        parts[:, members] = ranked(found[:, members])
    return parts


def _groups(symbols: pd.Index, sectors: pd.Series) -> list[np.ndarray]:
    """Columns of each group."""
    group = sectors.reindex(symbols).fillna("").to_numpy(dtype=str)
    return [np.flatnonzero(group == name) for name in np.unique(group)]


def ranked(values: np.ndarray) -> np.ndarray:
    """Rank across each row, (rank - 1/2) / count - 1/2, equals in the middle: symmetric within ±1/2.

    One sort of each row; a run of equal values shares the mean of its places.
    """
    rows, names = values.shape
    count = (values == values).sum(axis=1, keepdims=True)  # missing values sort behind
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.broadcast_to(np.arange(names, dtype=float), values.shape)
    equal = ordered[:, 1:] == ordered[:, :-1]
    if equal.any():
        place = _shared(place, equal)
    found = np.empty_like(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.put_along_axis(found, order, (place + 0.5) / count - 0.5, axis=1)
    return np.where(values == values, found, np.nan)


def _shared(place: np.ndarray, equal: np.ndarray) -> np.ndarray:
    """Places where runs of equal neighbours share the mean of theirs."""
    first, last = place.copy(), place.copy()
    first[:, 1:][equal] = -1.0
    last[:, :-1][equal] = np.inf
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return (first + last) / 2.0


def normed(values: np.ndarray) -> np.ndarray:
    """Each row less its mean, over its standard deviation; zero where a row does not vary."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    deviation = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / count)
    size = np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    varies = deviation > 1e-9 * size
    scores = np.where(varies, centred, 0.0) / np.where(varies, deviation, 1.0)
    return np.where(known, scores, np.nan)


def scored(values: np.ndarray) -> np.ndarray:
    """Standard scores across each row, clipped at three and standardised once more."""
    return normed(np.clip(normed(values), -OUTLIER, OUTLIER))


def winsorised(values: np.ndarray, share: float) -> np.ndarray:
    """Each row clipped to its own quantiles `share` and 1 - `share`, linear between two values."""
    count = (values == values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # missing values sort behind
    rows = np.arange(len(values))

    def quantile(q: float) -> np.ndarray:
        place = q * np.maximum(count - 1, 0)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        a, b = ordered[rows, low], ordered[rows, high]
        return np.asarray(a + (place - low) * (b - a))[:, None]

    return np.clip(values, quantile(share), quantile(1.0 - share))


def neutral(values: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Each value less the mean of its group in its row."""
    found = np.full_like(values, np.nan)
    for members in groups:
        part = values[:, members]
        known = part == part
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        found[:, members] = part - np.where(known, part, 0.0).sum(axis=1, keepdims=True) / count
    return found
