"""Training and test rows that share nothing: splitters with scikit-learn's interface.

A row is decided at the close of `session`, and its label lives in the sessions after it up to
`known_at`, both ends included. Every splitter is given these two columns as `groups`, a row for each
row of X, in any order; X and y are not looked at. What counts as a session is what occurs in either
column.

1. `PurgedKFold`: each block of sessions is tested once, by a model that learnt from both sides of it.
2. `CombinatorialPurgedKFold`: each combination of blocks is tested, so that every block has several
   scores, of different models; `paths` puts them together into whole back-tests.
3. `WalkForward`: each block is tested by a model that learnt from what was known before it.

No label of a training row shares a session with a label of a test row, on either side; `purge_sessions`
widens that gap, and `embargo_sessions` bars the rows decided just after a test block became known,
whose features still hold it. López de Prado (2018), chapters 7 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from quant50lib.errors import DataQualityError

Split: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Windows:
    """Label windows as half-open intervals (begin, end] of places among all sessions."""

    begin: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, groups: pd.DataFrame | None) -> Windows:
        """From columns `session` and `known_at`; TypeError where there are none."""
        if groups is None:
            raise TypeError("a splitter needs groups: a frame with session and known_at")
        begin, end = groups["session"].to_numpy(), groups["known_at"].to_numpy()
        timeline = np.unique(np.concatenate([begin, end]))
        return cls(np.searchsorted(timeline, begin), np.searchsorted(timeline, end))

    def blocks(self, n: int) -> list[np.ndarray]:
        """The sessions with decisions in n contiguous parts of equal length, longer ones first."""
        decided = np.unique(self.begin)
        if len(decided) < n:
            raise DataQualityError(f"{len(decided)} sessions cannot make {n} folds")
        return np.array_split(decided, n)

    def within(self, block: np.ndarray) -> np.ndarray:
        """Which rows are decided in a block of sessions; booleans."""
        return (self.begin >= block[0]) & (self.begin <= block[-1])

    def kept(self, blocks: list[np.ndarray], purge: int, embargo: int) -> np.ndarray:
        """Which rows may be learnt from when these blocks are tested; booleans."""
        kept = np.ones(len(self.begin), dtype=bool)
        for block in blocks:
            test = self.within(block)
            known = self.end[test].max()
            barred = (self.begin > block[-1]) & (self.begin < known + embargo)
            touched = overlapping(
                self.begin - purge, self.end + purge, self.begin[test], self.end[test]
            )
            kept &= ~(test | touched | barred)
        return kept


def overlapping(
    begin: np.ndarray, end: np.ndarray, other_begin: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """Which of the half-open windows (begin, end] meet any of the others; booleans."""
    order = np.argsort(other_begin, kind="stable")
    latest = np.maximum.accumulate(other_end[order])
    before = np.searchsorted(other_begin[order], end, side="left")
    return (before > 0) & (latest[np.maximum(before - 1, 0)] > begin)


@dataclass(frozen=True)
class PurgedKFold:
    """K contiguous blocks of sessions, purged on both sides.

    A training row is dropped if its label, widened by `purge_sessions` at both ends, shares a session
    with that of any test row, or if its session is one of `embargo_sessions` from the one at which
    the last label of the test block became known. López de Prado (2018), chapter 7.
    """

    n_splits: int = 5
    embargo_sessions: int = 0
    purge_sessions: int = 0

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: pd.DataFrame | None = None) -> Iterator[Split]:
        """Positions of training and test rows, fold by fold.

        Raises
        ------
        DataQualityError
            There are fewer sessions than folds.
        """
        windows = Windows.of(groups)
        for block in windows.blocks(self.n_splits):
            train = windows.kept([block], self.purge_sessions, self.embargo_sessions)
            yield np.flatnonzero(train), np.flatnonzero(windows.within(block))


@dataclass(frozen=True)
class CombinatorialPurgedKFold:
    """Every choice of `n_test_folds` among `n_folds` blocks of sessions as test rows.

    Each of the blocks is purged and embargoed as by `PurgedKFold`. A block is tested in
    C(n_folds - 1, n_test_folds - 1) splits; the j-th of these gives its part of path j. López de
    Prado (2018), chapter 12.
    """

    n_folds: int = 6
    n_test_folds: int = 2
    embargo_sessions: int = 0
    purge_sessions: int = 0

    @property
    def n_paths(self) -> int:
        """Whole back-tests that the splits make up."""
        return comb(self.n_folds - 1, self.n_test_folds - 1)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of combinations."""
        return comb(self.n_folds, self.n_test_folds)

    def split(self, X: Any, y: Any = None, groups: pd.DataFrame | None = None) -> Iterator[Split]:
        """Positions of training and test rows, in the order of `itertools.combinations`.

        Raises
        ------
        DataQualityError
            There are fewer sessions than folds.
        """
        windows = Windows.of(groups)
        for tested in combinations(windows.blocks(self.n_folds), self.n_test_folds):
            train = windows.kept(list(tested), self.purge_sessions, self.embargo_sessions)
            test = np.any([windows.within(block) for block in tested], axis=0)
            yield np.flatnonzero(train), np.flatnonzero(test)

    def paths(self, groups: pd.DataFrame) -> np.ndarray:
        """Of each path and row the number of the split that scores it, (n_paths, n_rows)."""
        windows = Windows.of(groups)
        chosen = list(combinations(range(self.n_folds), self.n_test_folds))
        found = np.empty((self.n_paths, len(windows.begin)), dtype=int)
        for k, block in enumerate(windows.blocks(self.n_folds)):
            splits = [i for i, tested in enumerate(chosen) if k in tested]
            found[:, windows.within(block)] = np.array(splits)[:, None]
        return found

    def assemble(self, scores: np.ndarray, groups: pd.DataFrame) -> np.ndarray:
        """Scores along each path, (n_paths, n_rows), from (n_splits, n_rows) of any sort.

        What `scores` holds for a row in a split that does not test it is not looked at.
        """
        return np.take_along_axis(np.asarray(scores), self.paths(groups), axis=0)


@dataclass(frozen=True)
class WalkForward:
    """Blocks of `test_sessions`, each scored by a model of what was known before its first session.

    A training row's label is known, `purge_sessions` sessions before if so asked, at the session
    of the block's first decision. The first block begins after `train_sessions` sessions with
    decisions; a rolling model looks back over as many, an `expanding` one over all. A last block that
    would be shorter is left out, or tested with `reduce_test`.
    """

    test_sessions: int = 63
    train_sessions: int = 504
    expanding: bool = True
    purge_sessions: int = 0
    reduce_test: bool = False

    def get_n_splits(self, X: Any = None, y: Any = None, groups: pd.DataFrame | None = None) -> int:
        """The number of blocks in these rows."""
        return len(self._starts(np.unique(Windows.of(groups).begin)))

    def split(self, X: Any, y: Any = None, groups: pd.DataFrame | None = None) -> Iterator[Split]:
        """Positions of training and test rows, block by block.

        Raises
        ------
        DataQualityError
            No block is left after the first training sessions.
        """
        windows = Windows.of(groups)
        decided = np.unique(windows.begin)
        for at in self._starts(decided):
            test = windows.within(decided[at : at + self.test_sessions])
            oldest = decided[0 if self.expanding else at - self.train_sessions]
            known = windows.end + self.purge_sessions <= decided[at]
            train = known & (windows.begin >= oldest) & ~test
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _starts(self, decided: np.ndarray) -> range:
        whole = 1 if self.reduce_test else self.test_sessions
        starts = range(self.train_sessions, len(decided) - whole + 1, self.test_sessions)
        if not starts:
            raise DataQualityError(
                f"{len(decided)} sessions leave nothing to test after {self.train_sessions} to "
                f"learn from, in blocks of {self.test_sessions}: fetch more, or shorten either"
            )
        return starts
