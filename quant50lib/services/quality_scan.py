"""What the quality gates look at, all at once, and the form in which they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from quant50lib.services import adjust
from quant50lib.services.adjust import Raw
from quant50lib.services.quality_moves import Moves, measured
from quant50lib.settings import DataSettings


class Hits(NamedTuple):
    """Where a gate found something: row and column in the matrices, and what.

    `seen` is the row of the session whose bar brought it to light: the row itself, or a later one.
    """

    rows: np.ndarray
    cols: np.ndarray
    details: list[str]
    seen: np.ndarray


def hits(mask: np.ndarray, say: Callable[[int, int], str], looks_ahead_sessions: int = 0) -> Hits:
    """The places of a mask, each with a sentence, known so many sessions after the place."""
    rows, cols = np.nonzero(mask)
    details = [say(int(r), int(c)) for r, c in zip(rows, cols, strict=True)]
    return Hits(rows, cols, details, rows + looks_ahead_sessions)


@dataclass(frozen=True)
class Scan:
    """The universe's bars up to the day. Matrices are (n_sessions, n_symbols).

    `groups` numbers the sector of each column; what moves with its sector is nobody's defect.
    """

    bars: pd.DataFrame
    actions: pd.DataFrame
    raw: Raw
    groups: np.ndarray
    settings: DataSettings

    @property
    def n_sessions(self) -> int:
        return len(self.raw.sessions)

    def field(self, name: str) -> np.ndarray:
        """Prices as traded, or shares."""
        return self.raw.fields[name]

    def day(self, row: int) -> str:
        return str(self.raw.sessions[row].date())

    @cached_property
    def factors(self) -> adjust.Factors:
        return adjust.adjustment(self.raw, self.actions)

    @cached_property
    def unexplained(self) -> np.ndarray:
        """Where an action stands that the adjustment does not apply: prices may jump there."""
        mask = np.zeros(self.raw.present.shape, dtype=bool)
        rows, cols, _ = adjust.placed(self.raw, self.actions[~adjust.applied(self.actions)])
        mask[rows, cols] = True
        return mask

    @cached_property
    def moves(self) -> Moves:
        """How far each bar stands from the ones before it, on adjusted prices."""
        price, shares = self.factors
        prices = {name: self.field(name) * price for name in adjust.PRICES}
        return measured(prices, self.field("volume") * shares, self.groups)
