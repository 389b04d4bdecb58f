"""The protocol of `benchmarks/research.py`, on rows small enough to know the answers."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from benchmarks import research as bench
from quant50lib.services.training import TrainingSet
from quant50lib.settings import FeatureSettings
from tests.planted import planted_panel, planted_rows

NAMES = ("purged K-fold", "combinatorial", "walk-forward", "shuffled (leaks)")


@pytest.fixture
def research(monkeypatch):
    small = bench.SETTINGS.model_copy(update={"trees": 10, "min_rows_per_leaf": 50})
    monkeypatch.setattr(bench, "SETTINGS", small)
    return bench


@lru_cache
def rows() -> TrainingSet:
    panel, sectors = planted_panel(0.0, 3, 2, "2014-01-02", "2015-06-30")
    return planted_rows(panel, sectors, 5, FeatureSettings(names=("ret_1", "ret_5", "vol_21")))


def test_only_the_shuffled_scheme_learns_from_labels_that_it_is_tested_on(research):
    known = rows()
    for name, (splits, _) in research.schemes(known).items():
        touched = []
        for train, test in splits:
            begin, end = (known.windows[c].to_numpy() for c in ("session", "known_at"))
            some = test[:: max(len(test) // 40, 1)]
            touched += [((begin[train] < end[j]) & (begin[j] < end[train])).any() for j in some]
        assert any(touched) == (name == NAMES[3]), name


@pytest.mark.parametrize("name", NAMES)
def test_a_score_that_is_the_label_has_an_ic_of_one_and_chance_has_none(research, name):
    told = replace(rows(), momentum=rows().excess_return)
    splits, which = research.schemes(told)[name]
    assert which.shape[0] == (5 if name == NAMES[1] else 1)
    area, ic = research.judge(
        told, research.paths(told, research.by_momentum, splits, which), which, 1.0
    )
    assert ic.value == pytest.approx(1) and area.value == pytest.approx(1)
    scores = research.paths(told, research.by_chance, splits, which)
    area, ic = research.judge(told, scores, which, 1.0)
    assert abs(ic.value) < 3 * ic.error and abs(area.value - 0.5) < 3 * area.error
    np.testing.assert_array_equal(np.isfinite(scores[0]), which[0] >= 0)


def test_every_model_scores_what_it_has_not_seen(research):
    known = rows()
    train, test = research.schemes(known)["purged K-fold"][0][0]
    assert list(research.MODELS)[:4] == [
        "LightGBM classifier",
        "LightGBM regression on rank",
        "logistic",
        "ridge on rank",
    ]
    for name, learner in research.MODELS.items():
        found = learner(known, train, test)
        assert found.shape == (len(test),) and np.isfinite(found).all(), name
        forged = known.excess_return.copy()
        forged.iloc[test] = -forged.iloc[test]
        blind = replace(known, excess_return=forged, positive=forged > 0)
        np.testing.assert_array_equal(found, learner(blind, train, test), err_msg=name)
