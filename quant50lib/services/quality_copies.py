"""Gates on bars that are copies of another session's.

Vendors that rebuild a history have filled whole dates with rows of other dates. That four prices
of two sessions agree by chance is next to impossible where the bar spans many ticks; with few
ticks the volume has to agree as well. Which of the two is the copy cannot be told from the bars:
on the real file it was always the earlier one, so the hit stands there, and the later bar is not
trusted on its day either.
"""

from __future__ import annotations

import numpy as np

from quant50lib.services.adjust import PRICES
from quant50lib.services.quality_scan import Hits, Scan

#: a tick of US stocks above one dollar, US dollars (Regulation NMS, rule 612)
TICK = 0.01
#: four equal prices of a bar that spans so many ticks are no chance
TICKS = 50
#: the two volumes differ by less, relative; vendors revise volumes of late prints
VOLUME_SLACK = 0.05
#: of the four prices in the mix that is sorted; without a common measure, so that mixes differ
WEIGHTS = np.sqrt([1.0, 2.0, 3.0, 5.0])


def repeated_row(scan: Scan) -> Hits:
    """A bar equal to the next session's. Judged when that one has arrived."""
    same = np.ones((max(scan.n_sessions - 1, 0), scan.raw.present.shape[1]), dtype=bool)
    for name in PRICES:
        same &= scan.field(name)[:-1] == scan.field(name)[1:]
    rows, cols = np.nonzero(same)
    return _said(scan, rows, rows + 1, cols)


def copied_row(scan: Scan) -> Hits:
    """A bar equal to one of a session further away. Judged when the later one has arrived.

    Equal bars are neighbours when each name's are sorted by a mix of their four prices.
    """
    prices = np.stack([scan.field(name) for name in PRICES])
    mixed = np.tensordot(WEIGHTS, prices, 1)
    order = np.argsort(mixed, axis=0, kind="stable")
    ranked = np.take_along_axis(mixed, order, 0)
    at, cols = np.nonzero(ranked[1:] == ranked[:-1])
    rows, later = order[at, cols], order[at + 1, cols]
    same = (prices[:, rows, cols] == prices[:, later, cols]).all(axis=0) & (later > rows + 1)
    return _said(scan, rows[same], later[same], cols[same])


def _said(scan: Scan, rows: np.ndarray, later: np.ndarray, cols: np.ndarray) -> Hits:
    """The pairs whose equality means something, in the order of sessions."""
    found = np.flatnonzero(_telling(scan, rows, later, cols))
    found = found[np.lexsort((cols[found], rows[found]))]
    details = [f"equal to the bar of {scan.day(at)}" for at in later[found]]
    return Hits(rows[found], cols[found], details, later[found])


def _telling(scan: Scan, rows: np.ndarray, later: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Whether equal prices mean anything: many ticks, or the same volume; and shares did trade."""
    volume, high, low = (scan.field(name) for name in ("volume", "high", "low"))
    first, second = volume[rows, cols], volume[later, cols]
    ticks = np.round((high - low)[rows, cols] / TICK)
    near = np.abs(first - second) <= VOLUME_SLACK * np.minimum(first, second)
    return (first > 0) & (second > 0) & (near | (ticks >= TICKS))
