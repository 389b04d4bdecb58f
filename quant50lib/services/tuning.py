"""A small search for hyper-parameters that never sees what it will be judged on.

Nested: each outer fold chooses on purged inner folds of its own training rows, and so does the
final model on all rows. The out-of-fold score is then that of the whole procedure, search included,
and needs no correction for the number of configurations looked at.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from quant50lib.services import learners, validation
from quant50lib.services.learners import Prepared
from quant50lib.services.training import TrainingSet
from quant50lib.settings import ModelSettings

INNER_FOLDS = 3
#: times the settings' own
LEAVES = (0.5, 1.0, 2.0)
LEARNING_RATES = (0.5, 1.0)
TREES = (1 / 3, 2 / 3, 1.0)


def grid(settings: ModelSettings) -> list[ModelSettings]:
    """The configurations looked at, the settings' own among them."""
    found = []
    for leaves, rate, trees in product(LEAVES, LEARNING_RATES, TREES):
        change = {
            "leaves": max(2, round(settings.leaves * leaves)),
            "learning_rate": settings.learning_rate * rate,
            "trees": max(1, round(settings.trees * trees)),
        }
        found.append(settings.model_copy(update=change))
    return found


def choose(
    prepared: Prepared, rows: TrainingSet, at: np.ndarray, settings: ModelSettings
) -> ModelSettings:
    """The settings with the best mean rank IC on inner folds of the rows at `at`.

    The settings as they are, where `settings.search` is "off" or the learner has no trees. A tie
    goes to the first of the grid.
    """
    if settings.search == "off" or prepared.data is None:
        return settings
    splitter = validation.PurgedKFold(INNER_FOLDS, settings.embargo_sessions)
    windows = rows.windows.iloc[at].reset_index(drop=True)
    splits = [(at[a], at[b]) for a, b in splitter.split(windows, groups=windows)]
    tried = grid(settings)
    scores = [
        _inner_ic(prepared, rows, splits, [c for c in tried if _alike(c, one)])
        for one in tried
        if one.trees == settings.trees
    ]
    return max((pair for group in scores for pair in group), key=lambda pair: pair[0])[1]


def _alike(a: ModelSettings, b: ModelSettings) -> bool:
    """Whether one is the other with fewer trees: then one fit serves both."""
    return a.leaves == b.leaves and a.learning_rate == b.learning_rate


def _inner_ic(
    prepared: Prepared,
    rows: TrainingSet,
    splits: list[tuple[np.ndarray, np.ndarray]],
    configurations: list[ModelSettings],
) -> list[tuple[float, ModelSettings]]:
    """Mean rank IC over the inner folds of configurations that differ by their trees only."""
    most = max(configurations, key=lambda c: c.trees)
    daily: dict[int, list[pd.Series]] = {c.trees: [] for c in configurations}
    for learnt_at, tested in splits:
        learnt = learners.fit(prepared, learnt_at, most)
        for trees, parts in daily.items():
            score = pd.Series(learnt.raw(prepared.matrix[tested], trees), tested)
            parts.append(
                validation.rank_ic(
                    rows.session.iloc[tested], score, rows.excess_return.iloc[tested]
                )
            )
    return [(float(pd.concat(daily[c.trees]).fillna(0.0).mean()), c) for c in configurations]
