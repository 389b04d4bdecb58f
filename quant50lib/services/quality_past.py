"""What the gates said at the close of every past session, from one look at all bars.

A gate's verdict on a session never depends on later bars (`Hits.seen` says when it was known), so
that the whole history can be scanned once and asked afterwards what was known when. The answers are
those of `quality.findings` of that session; a back-test asks it for each of its sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from quant50lib.contracts import TIME
from quant50lib.services import quality
from quant50lib.services import quality_prices as of_prices
from quant50lib.services.quality import GATES, LIVE_SESSIONS
from quant50lib.services.quality_scan import Hits, Scan

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Past:
    """The verdicts on every session of a scan."""

    scan: Scan

    @cached_property
    def _found(self) -> dict[str, Hits]:
        return {name: gate.find(self.scan) for name, gate in GATES.items() if name != "stale"}

    @cached_property
    def _hits(self) -> pd.DataFrame:
        """Every quarantine: gate, row, col, and the rows from which and until which it holds."""
        parts = []
        for name, hits in self._found.items():
            gate = GATES[name]
            if not gate.quarantines or not len(hits.rows):
                continue
            until = hits.seen + self.scan.settings.quarantine_sessions - 1
            until = np.minimum(until, hits.rows + (gate.holds_sessions or NEVER // 2) - 1)
            part = {"row": hits.rows, "col": hits.cols, "seen": hits.seen, "until": until}
            parts.append(pd.DataFrame(part).assign(gate=name))
        columns = ["row", "col", "seen", "until", "gate"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

    @cached_property
    def _last_bar(self) -> np.ndarray:
        """The row of the newest bar up to each session, -1 before the first."""
        at = np.where(self.scan.raw.present, np.arange(self.scan.n_sessions)[:, None], -1)
        return np.maximum.accumulate(at, axis=0)

    def quarantined(self, row: int) -> pd.DataFrame:
        """The findings that keep names out of trading at the close of a session.

        Columns symbol, session, gate and severity, as `data.day_universe` reads them.
        """
        hits = self._hits
        now = hits[(hits["seen"] <= row) & (row <= hits["until"])] if len(hits) else hits
        gone = row - self._last_bar[row]
        quiet = (gone > 0) & (self._last_bar[row] >= 0)
        quiet &= gone <= self.scan.settings.quarantine_sessions
        stale = np.flatnonzero(quiet)
        cols = np.concatenate([now["col"].to_numpy(dtype=int), stale])
        rows = np.concatenate([now["row"].to_numpy(dtype=int), np.full(len(stale), row)])
        return pd.DataFrame(
            {
                "symbol": self.scan.raw.symbols[cols].astype("str"),
                "session": self.scan.raw.sessions[rows].astype(TIME),
                "gate": [*now["gate"], *["stale"] * len(stale)],
                "severity": "quarantine",
            }
        )

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
            "missing_session": quality.lacking(present[: row + 1], self.scan.settings).any(),
            "disorder": self._disorder[row],
            "benchmark": not self._sound[row, at],
        }
        return ", ".join(name for name, applies in verdicts.items() if applies)
