"""A weekly training beside bare LightGBM: what validation, calibration and evaluation add.

300 names × 5 years of the demo's kind of noise, the core set (ranked within its session), 5 purged
folds and a final fit. *Ours* is `model.train`: the folds, two baselines, calibration, the final model
and the whole evaluation with its bootstrap. *Theirs* is `lightgbm.Dataset`, `lightgbm.train` and
`predict` on the same folds and on all rows, with the same parameters, and nothing else. One thread;
medians of alternating repetitions; the ratio is theirs over ours, so that 0.87 is an overhead of 15 %.

Prints JSON: rows for `benchmarks/peers.py`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import lightgbm as lgb
import numpy as np
import pandas as pd

from quant50lib.services import features, learners, model
from quant50lib.services.splitters import PurgedKFold
from quant50lib.services.training import MOMENTUM, TrainingSet
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings
from quant50lib.utils import dates

NAMES, SESSIONS, REPEATS = 300, 1260, 3
SETTINGS, LABEL = ModelSettings(threads=1), LabelSettings()
TARGET = 0.87


def rows(seed: int = 50) -> TrainingSet:
    """As many rows as a desk has, with ranked features that move slowly and no signal."""
    rng = np.random.default_rng(seed)
    columns = [spec.name for spec in features.chosen(FeatureSettings())]
    every = dates.sessions_between("2015-01-02", "2020-12-31")
    sessions, known = every[:SESSIONS], every[1 + LABEL.horizon_sessions :][:SESSIONS]
    made = {name: _ranked(rng) for name in columns}
    excess = pd.Series(rng.standard_t(4, SESSIONS * NAMES) * 0.03)
    return TrainingSet(
        pd.DataFrame(made),
        pd.Series(np.repeat(sessions, NAMES)),
        pd.Series(np.tile([f"N{k // 26:02d}{chr(65 + k % 26)}" for k in range(NAMES)], SESSIONS)),
        pd.Series(np.repeat(known, NAMES)),
        excess,
        excess > 0,
        pd.Series(np.repeat(rng.normal(0, 0.02, SESSIONS), NAMES)),
        pd.Series(made[MOMENTUM].astype(float)),
        known[-1],
    )


def _ranked(rng: np.random.Generator) -> np.ndarray:
    """(SESSIONS * NAMES,) float32: the place of an AR(1) of each name within its session."""
    level = np.zeros((SESSIONS, NAMES))
    for t in range(1, SESSIONS):
        level[t] = 0.95 * level[t - 1] + rng.normal(size=NAMES)
    place = level.argsort(axis=1).argsort(axis=1)
    return ((place + 0.5) / NAMES - 0.5).astype("float32").ravel()


def bare(given: TrainingSet) -> None:
    """The same folds and the final fit by LightGBM alone."""
    options, X, y = learners.parameters(SETTINGS), given.X.to_numpy(), given.positive.astype(int)
    splitter = PurgedKFold(SETTINGS.n_splits, SETTINGS.embargo_sessions)
    for at, unseen in splitter.split(given.X, groups=given.windows):
        data = lgb.Dataset(X[at], y.iloc[at])
        lgb.train(options, data, SETTINGS.trees).predict(X[unseen], num_threads=1)
    lgb.train(options, lgb.Dataset(X, y), SETTINGS.trees)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    given = rows()
    ours, theirs = [], []
    for _ in range(REPEATS):
        theirs.append(timed(lambda: bare(given)))
        ours.append(timed(lambda: model.train(given, SETTINGS, LABEL)))
    found = []
    for k, kind in ((0, "wall"), (1, "CPU")):
        a, b = (statistics.median(run[k] for run in runs) for runs in (ours, theirs))
        found.append(
            {
                "measure": f"weekly training, {NAMES} × {SESSIONS} × {given.X.shape[1]}, {kind}",
                "ours": a,
                "peer": "bare lightgbm.train",
                "theirs": b,
                "unit": "s",
                "ratio": b / a,
                "target": TARGET,
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
