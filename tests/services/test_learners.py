"""One interface, five learners: each finds a plain signal, none finds noise, and folds share bins."""

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant50lib.errors import SettingsError
from quant50lib.services import label, learners, model, tuning, validation
from quant50lib.services.training import MOMENTUM, TrainingSet
from quant50lib.settings import LabelSettings, ModelSettings, Settings
from quant50lib.utils import dates

FAST = ModelSettings(
    trees=30, leaves=7, min_rows_per_leaf=50, threads=2, n_splits=3, min_training_sessions=100
)


def rows_with(skill: float, seed: int = 0, n_sessions: int = 160, names: int = 40) -> TrainingSet:
    """Three features per session and name, of which the first foretells the excess return."""
    rng = np.random.default_rng(seed)
    sessions = dates.sessions_between("2020-01-02", "2021-12-31")[: n_sessions + 6]
    n = n_sessions * names
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", MOMENTUM])
    X = X.astype("float32")
    excess = pd.Series(0.02 * (skill * X["a"] + rng.normal(size=n)))
    return TrainingSet(
        X,
        pd.Series(np.repeat(sessions[:n_sessions], names)),
        pd.Series(
            np.tile([f"N{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(names)], n_sessions)
        ),
        pd.Series(np.repeat(sessions[6:], names)),
        excess,
        excess > 0,
        pd.Series(0.0, X.index),
        X[MOMENTUM].astype(float),
        sessions[-1],
    )


@pytest.mark.parametrize("learner", ["lightgbm", "regressor", "ranker", "logistic"])
def test_every_learner_finds_a_plain_signal_and_stands_beside_the_baselines(learner):
    rows = rows_with(0.15)
    trained = model.train(rows, FAST.model_copy(update={"learner": learner}), LabelSettings())
    oracle = validation.rank_ic(rows.session, rows.X["a"], rows.excess_return).mean()
    assert trained.metrics["rank_ic"] == pytest.approx(oracle, abs=0.05)
    assert trained.importance.feature[0] == "a"
    assert set(trained.folds.model) == {learner, "logistic", "momentum"}
    assert trained.predictions.score.between(0, 1).all()
    slope, error = (trained.metrics[f"calibration_slope{e}"] for e in ("", "_error"))
    assert abs(slope - 1) < 3 * error + 0.1
    base = trained.metrics["brier_of_base_rate"]
    assert trained.metrics["brier"] < base


@pytest.mark.parametrize("learner", ["lightgbm", "regressor", "ranker"])
def test_in_noise_no_learner_finds_anything(learner):
    """Four samples, none chosen. With few features, fold i learns from j what j learns from i: the
    error allows for it."""
    settings = FAST.model_copy(update={"learner": learner})
    found = [model.train(rows_with(0.0, k), settings, LabelSettings()).metrics for k in range(4)]
    mean, error = (np.array([m[name] for m in found]) for name in ("rank_ic", "rank_ic_error"))
    assert abs(mean.mean()) < 2.5 * np.sqrt((error**2).sum()) / 4
    assert abs(mean.mean()) < 0.02


def test_momentum_as_the_learner_is_the_feature_itself():
    rows = rows_with(0.0)
    settings = FAST.model_copy(update={"learner": "momentum"})
    trained = model.train(rows, settings, LabelSettings())
    table = trained.folds.query("fold == 'all'").set_index("model")
    daily = validation.rank_ic(rows.session, rows.momentum, rows.excess_return)
    assert table.rank_ic["momentum"] == pytest.approx(daily.mean(), abs=1e-6)
    without = replace(rows, X=rows.X.drop(columns=MOMENTUM))
    with pytest.raises(SettingsError, match=MOMENTUM):
        model.train(without, settings, LabelSettings())


def test_shared_bins_carry_no_skill_and_change_little():
    """Each fold binned alone by plain LightGBM: the same trees up to the placing of borders."""
    rows = rows_with(0.15)
    prepared = learners.prepare(rows.X, rows, "lightgbm", FAST)
    shared = model.out_of_fold(rows, prepared, FAST)
    alone = np.empty(len(rows.X))
    for at, unseen in validation.PurgedKFold(3, 5).split(rows.X, groups=rows.windows):
        data = lgb.Dataset(rows.X.iloc[at], rows.positive.iloc[at].astype(int))
        booster = lgb.train(learners.parameters(FAST), data, FAST.trees)
        alone[unseen] = booster.predict(rows.X.iloc[unseen], raw_score=True)
    ics = [
        validation.rank_ic(rows.session, pd.Series(score), rows.excess_return)
        for score in (shared["lightgbm"].to_numpy(), alone)
    ]
    gap = validation.session_mean(ics[0] - ics[1], 5)
    assert abs(gap.value) < 2.5 * gap.error
    assert np.corrcoef(shared["lightgbm"], alone)[0, 1] > 0.97


def test_seeds_are_averaged():
    rows = rows_with(0.1)
    prepared = learners.prepare(rows.X, rows, "lightgbm", FAST)
    at = np.arange(len(rows.X))
    both = learners.fit(prepared, at, FAST.model_copy(update={"seeds": 2}))
    each = [
        learners.fit(prepared, at, FAST.model_copy(update={"seed": FAST.seed + k})).raw(
            prepared.matrix
        )
        for k in (0, learners.SEED_STEP)
    ]
    assert len(both.boosters) == 2 and not np.allclose(*each)
    np.testing.assert_allclose(both.raw(prepared.matrix), np.mean(each, axis=0), atol=1e-12)


def test_the_search_sees_training_rows_alone():
    """Whatever becomes of the labels of the outer test fold, the choice stays the same."""
    rows = rows_with(0.15)
    settings = FAST.model_copy(update={"search": "small", "trees": 12})
    at, unseen = next(validation.PurgedKFold(3, 5).split(rows.X, groups=rows.windows))
    poisoned = rows.excess_return.copy()
    poisoned.iloc[unseen] = -poisoned.iloc[unseen]
    other = replace(rows, excess_return=poisoned, positive=poisoned > 0)
    found = [
        tuning.choose(learners.prepare(r.X, r, "lightgbm", settings), r, at, settings)
        for r in (rows, other)
    ]
    assert found[0] == found[1] and found[0] in tuning.grid(settings)


def test_the_search_finds_what_is_better():
    """Stumps of one tree tie nearly all names: where all is signal, more of both is better."""
    rows = rows_with(0.5, n_sessions=120)
    settings = FAST.model_copy(update={"search": "small", "trees": 6, "leaves": 2})
    prepared = learners.prepare(rows.X, rows, "lightgbm", settings)
    chosen = tuning.choose(prepared, rows, np.arange(len(rows.X)), settings)
    assert chosen.leaves == 4 and chosen.trees > 2
    assert settings in tuning.grid(settings) and len(tuning.grid(settings)) == 18


def test_a_score_that_is_no_probability_must_be_calibrated():
    with pytest.raises(ValidationError, match="needs calibration"):
        ModelSettings(learner="ranker", calibration="none")


@pytest.mark.parametrize(
    "learner, kind, wanted",
    [
        ("lightgbm", None, lambda y, session: y > 0),
        ("regressor", None, lambda y, session: (y.groupby(session).rank() - 0.5) / 20 - 0.5),
        ("regressor", "excess", lambda y, session: y),
        ("ranker", "rank", lambda y, session: (y.groupby(session).rank() - 0.5) // 4),  # of 20
    ],
)
def test_a_learner_is_given_the_kind_of_label_that_is_set(learner, kind, wanted):
    rows = rows_with(0.1, n_sessions=30, names=20)
    asked = label.kind_of(LabelSettings(kind=kind), learner)
    prepared = learners.prepare(rows.X, rows, learner, FAST, asked)
    target = wanted(rows.excess_return, rows.session).astype(float)
    np.testing.assert_allclose(prepared.target, target, atol=1e-12)


def test_the_kind_of_label_reaches_the_trees_of_a_training():
    """Half of the returns ten times as wild: ranks do not see it, returns do."""
    rows = rows_with(0.15, n_sessions=100)
    wild = rows.excess_return.where(
        rows.session < rows.session[len(rows.X) // 2], 10 * rows.excess_return
    )
    settings = FAST.model_copy(update={"learner": "regressor"})
    found = {
        (kind, k): model.train(replace(rows, excess_return=y), settings, LabelSettings(kind=kind))
        for kind in ("rank", "excess")
        for k, y in enumerate((rows.excess_return, wild))
    }
    text = {key: trained.learnt.text() for key, trained in found.items()}
    assert text["rank", 0] == text["rank", 1] != text["excess", 0] != text["excess", 1]


def test_a_kind_of_label_that_the_learner_cannot_learn_is_refused():
    with pytest.raises(
        ValidationError, match='label.kind = "rank".*regressor, ranker, momentum do'
    ):
        Settings(label=LabelSettings(kind="rank"))
    with pytest.raises(SettingsError, match="cannot be learnt"):
        model.train(rows_with(0.0), FAST, LabelSettings(kind="excess"))
    assert (
        Settings(
            label=LabelSettings(kind="excess"), model=ModelSettings(learner="regressor")
        ).label.kind
        == "excess"
    )
