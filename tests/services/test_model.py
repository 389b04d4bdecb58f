"""The model: planted signal is found, noise is not, and nothing of the future gets in."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from quant50lib.contracts import Fold, Prediction
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import (
    evaluation,
    features,
    forecast,
    gate,
    label,
    learners,
    model,
    validation,
)
from quant50lib.services.panel import Panel
from quant50lib.services.scaler import Scaler
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings
from quant50lib.utils import dates
from tests import factories
from tests.real_bars import real_panel

FAST = ModelSettings(trees=40, leaves=7, min_rows_per_leaf=100, threads=2, n_splits=4)
FEW = FeatureSettings(names=("ret_5", "vol_21", "log_dollar_volume_21", "max_21"))
LABEL = LabelSettings()


def planted(strength: float, seed: int, n_symbols: int = 60, n_sessions: int = 420) -> Panel:
    """Returns whose drift follows the volume of the days before, at a known strength.

    Volume is a slow process of each name, independent of prices; tomorrow's daily return has a
    mean of `strength` x volatility x (place of today's smoothed volume among the names).
    """
    base = factories.panel(n_symbols, n_sessions, seed)
    rng = np.random.default_rng(seed + 1)
    slow = np.zeros((n_sessions, n_symbols))
    for t in range(1, n_sessions):
        slow[t] = 0.99 * slow[t - 1] + rng.normal(0, 0.14, n_symbols)
    volume = pd.DataFrame(np.exp(slow + 15), base.sessions, base.symbols)
    smooth = volume.rolling(21, min_periods=1).mean()
    place = (smooth.rank(axis=1, pct=True) - 0.5) * np.sqrt(12)
    drift = (strength * 0.012 * place).shift(1).fillna(0.0)
    drift["SPY"] = 0.0
    growth = np.exp(drift.cumsum())
    prices = {f: getattr(base, f) * growth for f in ("high", "low", "close")}
    # the night before carries no drift of the day it begins
    prices["open"] = base.open * growth.shift(1).fillna(1.0)
    return replace(base, **prices, dollar_volume=volume * 20)


def sectors_of(panel: Panel) -> pd.Series:
    return pd.Series("Energy", panel.symbols)


def rows_of(panel: Panel, chosen: FeatureSettings = FEW) -> model.TrainingSet:
    excess = label.excess_return(panel, "SPY", 5)
    table = label.to_table(excess, 5, panel.sessions[-1])
    known = label.KnownLabels(table, panel.sessions[-1], 5)
    return model.training_set(panel, known, sectors_of(panel), chosen, "SPY")


@lru_cache(maxsize=8)
def trained_on(strength: float, seed: int) -> tuple[model.TrainingSet, model.Trained]:
    rows = rows_of(planted(strength, seed))
    return rows, model.train(rows, FAST, LABEL)


def oracle_ic(rows: model.TrainingSet) -> float:
    """Rank IC of the planted variable itself."""
    daily = validation.rank_ic(rows.session, rows.X["log_dollar_volume_21"], rows.excess_return)
    return float(daily.mean())


# ---- power and honesty -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_signal_is_found(seed):
    rows, trained = trained_on(0.10, seed)
    ic, error = trained.metrics["rank_ic"], trained.metrics["rank_ic_error"]
    assert oracle_ic(rows) > 0.1
    assert abs(ic - oracle_ic(rows)) < 2 * error + 0.15 * oracle_ic(rows)
    assert trained.metrics["rank_ic_t"] > 4 and trained.metrics["auc"] > 0.53
    assert trained.importance.feature[0] == "log_dollar_volume_21"
    assert trained.metrics["sharpe_gain_equal_weight_low"] > 0
    assert trained.metrics["calibration_slope"] > 0.5
    assert trained.decile_returns.excess_return.iloc[-1] > trained.decile_returns.excess_return[0]


def test_in_noise_nothing_is_found():
    """Four seeds, none chosen. (Over 30 others: mean IC 0.0000, its t has deviation 1.05.)"""
    found = [trained_on(0.0, seed)[1].metrics for seed in range(4)]
    for m in found:
        assert abs(m["rank_ic"]) < 2.5 * m["rank_ic_error"]
        assert abs(m["auc"] - 0.5) < 2.5 * m["auc_error"]
    shrunk = [forecast.shrunk_ic(m["rank_ic"], m["rank_ic_error"], 0.02) for m in found]
    assert np.mean(shrunk) < 0.008 and min(shrunk) == 0


def test_shuffled_labels_leak_nothing():
    """Labels dealt out anew within each session: what is left of the signal is chance."""
    rows, _ = trained_on(0.10, 0)
    dealt = rows.excess_return.groupby(rows.session).transform(
        lambda x: np.random.default_rng(len(x)).permutation(x.to_numpy())
    )
    noise = replace(rows, excess_return=dealt, positive=dealt > 0)
    found = model.train(noise, FAST, LABEL).metrics
    assert abs(found["rank_ic"]) < 2.5 * found["rank_ic_error"]


def test_the_gate_takes_shuffled_folds_for_a_leak_and_honest_ones_not():
    """Folds by row, not by block of sessions: neighbours of a test row are learnt by heart."""
    rows, honest = trained_on(0.0, 0)
    deep = ModelSettings(trees=60, leaves=63, min_rows_per_leaf=20, learning_rate=0.2, threads=1)
    fold = np.random.default_rng(0).integers(0, 2, len(rows.X))
    complete = Scaler.fit(rows.X).transform(rows.X)
    prepared = learners.prepare(complete, rows, "lightgbm", deep)
    score = np.empty(len(rows.X))
    for k in (0, 1):
        learnt = learners.fit(prepared, np.flatnonzero(fold != k), deep)
        score[fold == k] = learnt.probability(prepared.matrix[fold == k])
    leaky = pd.DataFrame(
        {
            "session": rows.session,
            "fold": fold,
            "score": score,
            "excess_return": rows.excess_return,
            "benchmark_return": rows.benchmark_return,
            "momentum": rows.momentum,
        }
    )
    found = evaluation.evaluate(leaky, 5, 1, 0).metrics
    verdict = gate.judge(found, None, deep)
    assert not verdict.accepted and "leak" in verdict.reason
    assert gate.judge(honest.metrics, None, FAST).accepted


# ---- the rows --------------------------------------------------------------------------------------


def test_each_row_holds_what_was_known_and_what_came():
    panel = planted(0.0, 3, 8, 300)
    rows = rows_of(panel, FeatureSettings())
    described = features.describe(panel, sectors_of(panel), FeatureSettings(), "SPY")
    at = 77
    session, symbol = rows.session[at], rows.symbol[at]
    for name in rows.X:
        wanted = described.standardised[name].loc[session, symbol]
        assert rows.X[name][at] == pytest.approx(wanted, abs=1e-7)
    o, after = panel.open["SPY"], dates.shift(session, 6)
    assert rows.known_at[at] == after
    assert rows.benchmark_return[at] == pytest.approx(o[after] / o[dates.shift(session, 1)] - 1)
    total = panel.open[symbol][after] / panel.open[symbol][dates.shift(session, 1)] - 1
    assert rows.excess_return[at] + rows.benchmark_return[at] == pytest.approx(total)
    assert "SPY" not in set(rows.symbol) and rows.session.min() == panel.sessions[252]
    assert rows.X.dtypes.eq("float32").all() and len(rows.X) == 7 * (300 - 252 - 6)


def test_the_future_changes_no_row_to_learn_from():
    panel = planted(0.0, 4, 8, 330)
    cut = panel.sessions[310]

    def poisoned(frame):
        return frame.mask((frame.index > cut)[:, None] & np.ones(frame.shape, bool), 1e9)

    wild = panel.each(poisoned)
    known = label.KnownLabels(label.to_table(label.excess_return(panel, "SPY", 5), 5, cut), cut, 5)
    sets = [
        model.training_set(p, known, sectors_of(panel), FeatureSettings(), "SPY")
        for p in (panel, wild, panel.until(cut))
    ]
    for other in sets[1:]:
        for field in fields(other):
            a, b = getattr(sets[0], field.name), getattr(other, field.name)
            assert a.equals(b) if hasattr(a, "equals") else a == b, field.name


def test_rows_that_lack_most_features_are_left_out():
    panel = planted(0.0, 5, 8, 300)
    thin = panel.symbols[0]
    volume = panel.dollar_volume.assign(**{thin: 10.0})
    rows = rows_of(replace(panel, dollar_volume=volume))
    assert thin not in set(rows.symbol) and panel.symbols[1] in set(rows.symbol)


# ---- training --------------------------------------------------------------------------------------


def test_no_fold_learns_from_a_label_that_overlaps_the_tested(monkeypatch):
    rows, _ = trained_on(0.0, 0)
    learnt = []

    def spy(prepared, at, settings):
        if prepared.learner == "lightgbm":
            learnt.append(set(at))
        return learners.Learnt(prepared.learner, prepared.features, weights=(0.0,) * 5)

    monkeypatch.setattr(learners, "fit", spy)
    prepared = learners.prepare(Scaler.fit(rows.X).transform(rows.X), rows, "lightgbm", FAST)
    scores = model.out_of_fold(rows, prepared, FAST)
    assert len(learnt) == 4 and scores.fold.nunique() == 4
    for k, train in enumerate(learnt):
        test = set(scores.index[scores.fold == k])
        assert not train & test
        first, last = (getattr(rows.session[list(test)], f)() for f in ("min", "max"))
        end = rows.known_at[list(test)].max()
        kept = rows.windows.loc[list(train)]
        before, after = kept[kept.session < first], kept[kept.session > last]
        assert len(before) + len(after) == len(kept)
        assert (before.known_at <= first).all()
        assert (after.session >= dates.shift(end, FAST.embargo_sessions)).all()


def test_training_again_gives_the_same_model_whatever_the_threads():
    rows, first = trained_on(0.0, 1)
    again = model.train(rows, FAST.model_copy(update={"threads": 1}), LABEL)
    assert first.booster.model_to_string() == again.booster.model_to_string()
    pd.testing.assert_frame_equal(first.predictions, again.predictions, check_exact=True)
    assert first.metrics == again.metrics


def test_the_tables_keep_their_contracts_and_agree():
    rows, trained = trained_on(0.10, 0)
    Prediction.check(trained.predictions)
    Fold.check(trained.folds)
    assert len(trained.predictions) == len(rows.X) == trained.metrics["rows"]
    assert set(trained.folds.model) == {"lightgbm", "logistic", "momentum"}
    assert set(trained.folds.fold) == {"0", "1", "2", "3", "all"}
    pooled = trained.folds.query("model == 'lightgbm' and fold == 'all'").iloc[0]
    for name in ("auc", "rank_ic", "rank_ic_error"):
        assert pooled[name] == pytest.approx(trained.metrics[name])
    one = trained.folds.query("model == 'lightgbm' and fold == '2'").iloc[0]
    part = trained.predictions.query("fold == 2")
    assert one.auc == pytest.approx(roc_auc_score(part.excess_return > 0, part.score))
    assert (one.first_session, one.last_session) == (part.session.min(), part.session.max())


def test_a_planted_signal_shows_in_the_logistic_baseline_too():
    _, trained = trained_on(0.10, 0)
    ics = trained.folds.query("fold == 'all'").set_index("model").rank_ic
    assert ics["logistic"] > 0.08 and abs(ics["momentum"]) < 0.08


def test_too_little_history_is_refused():
    rows = rows_of(planted(0.0, 6, 8, 260))
    with pytest.raises(DataQualityError, match="233 labelled sessions.*252"):
        model.train(rows, FAST, LABEL)


# ---- evaluation ------------------------------------------------------------------------------------


def evaluated(n_sessions=120, names=30, seed=0, skill=0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_sessions * names
    truth = rng.normal(size=n)
    score = 1 / (1 + np.exp(-skill * truth))
    return pd.DataFrame(
        {
            "session": np.repeat(
                dates.sessions_between("2020-01-02", "2021-12-31")[:n_sessions], names
            ),
            "fold": 0,
            "score": score,
            "excess_return": np.where(rng.random(n) < score, 0.01, -0.01),
            "benchmark_return": np.repeat(rng.normal(0, 0.02, n_sessions), names),
            "momentum": rng.normal(size=n),
        }
    )


def test_scores_that_are_probabilities_are_calibrated():
    rows = evaluated()
    found = evaluation.evaluate(rows, 1, 1, 0)
    m = found.metrics
    assert m["calibration_slope"] == pytest.approx(1, abs=3 * m["calibration_slope_error"])
    assert abs(m["calibration_gap"]) < 3 * m["calibration_gap_error"]
    assert m["brier"] == pytest.approx(brier_score_loss(rows.excess_return > 0, rows.score))
    assert m["brier"] < m["brier_of_base_rate"]
    table = found.calibration
    assert table.rows.sum() == len(rows) and len(table) == 10
    assert ((table.score - table.positive).abs() < 4 * table.error).all()
    student = 2.228 / 1.96  # of ten degrees of freedom: 0.41 × 120^(2/3)
    assert table.error.mean() == pytest.approx(student * np.sqrt(0.25 / 360), rel=0.25)


def test_the_calibration_slope_is_scikit_learns_logistic_regression():
    rows = evaluated(skill=1.0)
    odds = 2 * np.log(rows.score / (1 - rows.score)) + 0.3  # claims twice too much
    y = (rows.excess_return > 0).to_numpy(float)
    found = evaluation.calibration_slope(1 / (1 + np.exp(-odds)), y, rows.session, 1)
    wanted = LogisticRegression(C=1e12, tol=1e-10).fit(odds.to_frame(), y).coef_[0, 0]
    assert found.value == pytest.approx(wanted, abs=1e-4)
    assert found.value == pytest.approx(0.5, abs=3 * found.error)
    flat = evaluation.calibration_slope(np.full(9, 0.5), y[:9], rows.session[:9], 1)
    assert np.isnan(flat.value)


def test_books_and_deciles_by_hand():
    session = dates.sessions_between("2020-01-02", "2020-01-06")
    one = pd.DataFrame({"score": np.arange(10) / 10, "momentum": -np.arange(10.0)})
    rows = pd.concat([one.assign(session=s, fold=0) for s in session], ignore_index=True)
    rows["excess_return"], rows["benchmark_return"] = rows.score / 100, 0.05
    book = evaluation.books(rows)
    np.testing.assert_allclose(book.top, 0.05 + 0.0085)
    np.testing.assert_allclose(book.momentum, 0.05 + 0.0005)
    np.testing.assert_allclose(book.equal_weight, 0.05 + 0.0045)
    deciles = evaluation.decile_returns(evaluation.by_decile(rows), 1)
    np.testing.assert_allclose(deciles.excess_return, one.score / 100)


def test_without_any_momentum_the_other_books_are_still_judged():
    """Fewer than 253 sessions of bars: the column holds zeros, and no fifth stands out."""
    rows = evaluated(seed=1).assign(momentum=0.0)
    m = evaluation.evaluate(rows, 1, 1, 0).metrics
    assert np.isnan(m["sharpe_momentum"]) and np.isnan(m["sharpe_gain_momentum_low"])
    whole = evaluation.evaluate(evaluated(seed=1), 1, 1, 0).metrics
    assert m["sharpe_gain_equal_weight_low"] == whole["sharpe_gain_equal_weight_low"]


def test_sharpe_gains_are_differences_with_an_interval_around_them():
    m = evaluation.evaluate(evaluated(seed=1), 1, 1, 0).metrics
    for other in ("equal_weight", "momentum"):
        gain = m["sharpe_top"] - m[f"sharpe_{other}"]
        assert m[f"sharpe_gain_{other}"] == pytest.approx(gain)
        assert m[f"sharpe_gain_{other}_low"] < gain < m[f"sharpe_gain_{other}_high"]
        assert m[f"sharpe_gain_{other}_low"] > 0


def test_more_trials_lower_the_deflated_sharpe():
    rows = evaluated(seed=2, skill=0.02)
    few, many = (evaluation.evaluate(rows, 5, n, 0).metrics["deflated_sharpe"] for n in (1, 100))
    assert 0 <= many < few <= 1


def test_periods_that_overlap_or_share_what_was_learnt_deflate_the_sharpe_ratio():
    """120 sessions of five each, in two folds that learn from each other: twelve periods."""
    rows = evaluated(seed=2, skill=0.02)
    rows["fold"] = (rows.session > rows.session.unique()[59]).astype(int)
    found = evaluation.evaluate(rows, 5, 3, 0)
    active = (found.books.top - found.books.equal_weight).to_numpy()
    wanted = validation.deflated_sharpe(active, 3, periods=12)
    assert found.metrics["deflated_sharpe"] == pytest.approx(wanted)


# ---- scaler, prediction, age -----------------------------------------------------------------------


def test_the_scaler_keeps_order_and_fills_with_the_middle_of_the_cross_section():
    X = pd.DataFrame({"b": [1.0, 3.0, np.nan], "a": [0.0, 1.0, 2.0]})
    scaler = Scaler.fit(X)
    found = scaler.transform(pd.DataFrame({"a": [5.0], "z": [1.0], "b": [np.nan]}))
    assert list(found.columns) == ["b", "a"] and found.to_numpy().tolist() == [[0.0, 5.0]]
    with pytest.raises(SettingsError, match="trained with .*'b'"):
        scaler.transform(X[["a"]])


def test_drift_is_nothing_on_the_same_sample_and_large_on_another():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"same": rng.normal(size=5000), "moved": rng.normal(size=5000)})
    now = pd.DataFrame({"same": rng.normal(size=3000), "moved": rng.normal(1, 1, 3000)})
    found = Scaler.fit(X).drift(now)
    assert found["same"] < 0.02 and found["moved"] > 0.5
    gone = Scaler.fit(X).drift(now.assign(same=np.nan))
    assert gone["same"] > 0.25


def test_a_prediction_is_a_probability_and_missing_where_little_is_known():
    rows, trained = trained_on(0.10, 0)
    matrix = rows.X.iloc[:20].astype(float).set_axis(rows.symbol[:20])
    matrix.iloc[0, :] = np.nan
    matrix.iloc[1, 0] = np.nan
    found = model.predict(trained.learnt, trained.scaler, matrix)
    assert np.isnan(found.iloc[0]) and found.iloc[1:].between(0, 1).all()
    shuffled = matrix[sorted(matrix)].iloc[::-1]
    again = model.predict(trained.learnt, trained.scaler, shuffled)
    pd.testing.assert_series_equal(again.iloc[::-1], found, check_exact=True)
    assert model.predict(trained.learnt, trained.scaler, matrix.iloc[:1]).isna().all()


def loaded(trained_at: str) -> model.LoadedModel:
    return model.LoadedModel("20240102-x", None, None, {}, dates.as_session(trained_at))  # type: ignore


def test_only_a_young_model_is_used():
    run_date = dates.as_session("2024-06-28")
    young, old = loaded("2024-06-24"), loaded("2024-01-02")
    lax = ModelSettings(without_model="zero")
    assert model.usable(young, run_date, ModelSettings()) is young
    assert model.usable(old, run_date, lax) is None and model.usable(None, run_date, lax) is None
    with pytest.raises(SettingsError, match="newest is 20240102-x.*quant50 train"):
        model.usable(old, run_date, ModelSettings())
    with pytest.raises(SettingsError, match="there is none"):
        model.usable(None, run_date, ModelSettings())


# ---- real bars -------------------------------------------------------------------------------------


@pytest.mark.real
def test_on_real_bars_nothing_too_good_to_be_true_is_found():
    panel, sectors = real_panel("2014-12-31", n_symbols=80)
    table = label.to_table(label.excess_return(panel, "SPY", 5), 5, panel.sessions[-1])
    known = label.KnownLabels(table, panel.sessions[-1], 5)
    rows = model.training_set(panel, known, sectors, FeatureSettings(), "SPY")
    settings = ModelSettings(trees=30, min_training_sessions=200)
    found = model.train(rows, settings, LABEL).metrics
    assert 0.46 < found["auc"] < 0.54 and abs(found["rank_ic"]) < 3.5 * found["rank_ic_error"]
