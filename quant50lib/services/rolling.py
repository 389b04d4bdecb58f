"""Sums over the last n rows, free of what came before them (a running sum, pandas' own, is not)."""

from __future__ import annotations

import numpy as np


def shift(values: np.ndarray, n: int) -> np.ndarray:
    """Rows moved `n` down; the first `n` are missing."""
    if n == 0:
        return values
    out = np.full_like(values, np.nan)
    out[n:] = values[:-n]
    return out


def windowed(values: np.ndarray, n: int, decay: float = 1.0) -> np.ndarray:
    """Sum of the last `n` rows, the k-th last times decay^k; (n_sessions, n_symbols).

    Sums of 1, 2, 4, 8 … rows are each made of two of the size before, and `n` is composed of them:
    log2(n) passes, and the additions behind a value are the same ones wherever the panel begins. A
    running sum would be a little faster, and drag the rounding of all earlier rows along.
    """
    total, done, block, size = None, 0, values, 1
    while True:
        if n & size:
            part = shift(block, done) * decay**done
            total = part if total is None else total + part
            done += size
        if done == n:
            return np.asarray(total)
        block = block + shift(block, size) * decay**size
        size *= 2
