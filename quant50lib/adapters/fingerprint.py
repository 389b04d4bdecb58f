"""The digest of a frame's content: equal content, equal digest, however it lies in memory."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 of column names and values; the index and the order of the rows do not count.

    Missing values are all alike, and so are 0.0 and -0.0.
    """
    columns = [_canonical(frame[name]) for name in frame.columns]
    order = _order([numbers for numbers, _ in columns], len(frame))
    state = hashlib.sha256(json.dumps([[str(c) for c in frame.columns], len(frame)]).encode())
    for numbers, words in columns:
        state.update(words)
        state.update(np.ascontiguousarray(numbers[order]).data)
    return state.hexdigest()


def _canonical(column: pd.Series) -> tuple[np.ndarray, bytes]:
    """A column as 64-bit integers, and the words that they number."""
    kind = column.dtype.kind
    if kind == "M":
        return column.to_numpy().astype("datetime64[us]").view(np.int64), b"M"
    if kind in "biu":
        return column.to_numpy().astype(np.int64), b"i"
    if kind == "f":
        values = column.to_numpy().astype(np.float64) + 0.0
        return np.where(np.isnan(values), np.nan, values).view(np.int64), b"f"
    codes, words = pd.factorize(column, sort=True)
    return codes.astype(np.int64), json.dumps([str(word) for word in words]).encode()


def _order(keys: list[np.ndarray], n_rows: int) -> np.ndarray:
    """Row order by the first columns, as many of them as it takes to tell all rows apart."""
    order = np.arange(n_rows)
    for count in range(1, len(keys) + 1):
        order = np.lexsort(keys[:count][::-1])
        changes = [key[order][1:] != key[order][:-1] for key in keys[:count]]
        if np.logical_or.reduce(changes).all():
            break
    return order
