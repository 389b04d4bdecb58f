"""What the gates said at the close of every past session, from one look at all bars.

A gate's verdict on a session never depends on later bars (`Hits.seen` says when it was known), so
that the whole history can be scanned once and asked afterwards what was known when. The answers are
those of `quality.findings` of that session; a back-test asks it for each of its sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from quant50lib.services import quality
from quant50lib.services import quality_prices as of_prices
from quant50lib.services.eligibility import newest_gates
from quant50lib.services.quality import GATES, LIVE_SESSIONS
from quant50lib.services.quality_scan import Hits, Scan

NEVER = np.iinfo(np.int64).max


class Quarantines(NamedTuple):
    """What was found, and at which rows of sessions it holds; arrays (n_findings,)."""

    row: np.ndarray
    col: np.ndarray
    seen: np.ndarray  # from then on
    until: np.ndarray
    gate: np.ndarray

    def held(self, row: int) -> np.ndarray:
        """Which hold at a row."""
        return np.flatnonzero((self.seen <= row) & (row <= self.until))


@dataclass(frozen=True)
class Past:
    """The verdicts on every session of a scan."""

    scan: Scan

    @cached_property
    def _found(self) -> dict[str, Hits]:
        return {name: gate.find(self.scan) for name, gate in GATES.items() if name != "stale"}

    @cached_property
    def _hits(self) -> Quarantines:
        """Every quarantine of the history."""
        parts = [(*np.zeros((4, 0), dtype=np.int64), np.zeros(0, dtype=object))]
        for name, hits in self._found.items():
            gate = GATES[name]
            if not gate.quarantines or not len(hits.rows):
                continue
            until = hits.seen + self.scan.settings.quarantine_sessions - 1
            until = np.minimum(until, hits.rows + (gate.holds_sessions or NEVER // 2) - 1)
            gates = np.full(len(until), name, dtype=object)
            parts.append((hits.rows, hits.cols, hits.seen, until, gates))
        return Quarantines(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @cached_property
    def _last_bar(self) -> np.ndarray:
        """The row of the newest bar up to each session, -1 before the first."""
        at = np.where(self.scan.raw.present, np.arange(self.scan.n_sessions)[:, None], -1)
        return np.maximum.accumulate(at, axis=0)

    def quarantines(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The findings that keep names out of trading at the close of a session.

        Returns
        -------
        cols, rows, gates : arrays, (n_findings,)
            Of the name, of the session found wanting, and of the gate.
        """
        hits = self._hits
        now = hits.held(row)
        gone = row - self._last_bar[row]
        quiet = (gone > 0) & (self._last_bar[row] >= 0)
        quiet &= gone <= self.scan.settings.quarantine_sessions
        stale = np.flatnonzero(quiet)
        return (
            np.concatenate([hits.col[now], stale]),
            np.concatenate([hits.row[now], np.full(len(stale), row)]),
            np.concatenate([hits.gate[now], np.full(len(stale), "stale", dtype=object)]),
        )

    def gates(self, row: int) -> np.ndarray:
        """The gate that keeps each name out at the close of a session, (n_symbols,); "": none."""
        return newest_gates(*self.quarantines(row), len(self.scan.raw.symbols))

    @cached_property
    def _sound(self) -> np.ndarray:
        """Bars of a session that no gate objected to at its close."""
        sound = self.scan.raw.present.copy()
        for name, hits in self._found.items():
            gate = GATES[name]
            if gate.doubts_later:
                sound[hits.seen, hits.cols] = False
            elif gate.quarantines:
                at_once = hits.seen == hits.rows
                sound[hits.rows[at_once], hits.cols[at_once]] = False
        return sound

    @cached_property
    def _disorder(self) -> np.ndarray:
        mask = of_prices.suspect(self.scan)
        for name in ("repeated_row", "copied_row"):
            mask[self._found[name].seen, self._found[name].cols] = True
        return of_prices.many(self.scan, mask.sum(axis=1))

    def unfit(self, row: int, benchmark: str) -> str:
        """Why a session was unfit to trade at its close; empty where it was not."""
        present = self.scan.raw.present
        live = present[max(0, row + 1 - LIVE_SESSIONS) : row + 1].any(axis=0)
        share = (self._sound[row] & live).sum() / max(live.sum(), 1)
        at = self.scan.raw.symbols.get_loc(benchmark)
        verdicts = {
            "coverage": share < self.scan.settings.coverage_min,
            "missing_session": quality.lacking(
                present[max(0, row + 1 - LIVE_SESSIONS) : row + 1], self.scan.settings
            ).any(),
            "disorder": self._disorder[row],
            "benchmark": not self._sound[row, at],
        }
        return ", ".join(name for name, applies in verdicts.items() if applies)
