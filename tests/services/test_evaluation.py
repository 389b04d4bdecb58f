"""Parts of the evaluation page, each against a second derivation: scipy, brute force or by hand."""

from __future__ import annotations

from itertools import combinations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quant50lib.errors import DataQualityError
from quant50lib.services import (
    evaluation,
)
from quant50lib.services import evaluation_attribution as attribution
from quant50lib.services import (
    evaluation_books,
    evaluation_groups,
    evaluation_signal,
    label,
    report,
)
from quant50lib.services.inference import fold_sizes, session_mean, shared_learning
from quant50lib.services.overfitting import probability_of_overfitting
from tests import factories


def scored(panel, horizon: int = 5, folds: int = 2, seed: int = 0, skill: float = 0.0):
    """Scores for every label of a panel, in contiguous folds."""
    excess = label.excess_return(panel, "SPY", horizon).drop(columns="SPY")
    rows = excess.rename_axis(index="session", columns="symbol").stack().rename("excess_return")
    rows = rows.dropna().reset_index()
    noise = np.random.default_rng(seed).normal(size=len(rows))
    rows["score"] = noise + skill * rows.excess_return / rows.excess_return.std()
    at = panel.sessions.get_indexer(rows.session)
    rows["fold"] = at * folds // (at.max() + 1)
    rows["benchmark_return"], rows["momentum"] = 0.0, 0.0
    return rows


PANEL = factories.panel(12, 160, 1)
ROWS = scored(PANEL, skill=0.3)


def spearman(rows: pd.DataFrame) -> float:
    return float(stats.spearmanr(rows.score, rows.excess_return).statistic)


# ---- parts -----------------------------------------------------------------------------------------


def test_skill_by_year_and_fold_is_scipys_spearman_of_those_sessions():
    for found, part in (
        (evaluation_groups.by_year(ROWS, 5), ROWS.session.dt.year),
        (evaluation_groups.by_fold(ROWS, 5), ROWS.fold),
    ):
        assert found.rows.sum() == len(ROWS) and found.sessions.sum() == ROWS.session.nunique()
        for _, line in found.iterrows():
            own = ROWS[part == line.iloc[0]]
            daily = own.groupby("session")[["score", "excess_return"]].apply(spearman)
            shared = shared_learning(own.session, own.fold, fold_sizes(ROWS))
            mean = session_mean(daily, 5, shared)
            assert line.rank_ic == pytest.approx(daily.mean())
            assert line.rank_ic_error == pytest.approx(mean.error)
            assert line.t == pytest.approx(line.rank_ic / line.rank_ic_error)


def test_a_score_that_picks_sectors_has_no_skill_within_them():
    sectors = pd.Series(["up"] * 6 + ["down"] * 5, sorted(ROWS.symbol.unique()))
    rows = ROWS.copy()
    lift = rows.symbol.map(sectors).eq("up")
    rows["excess_return"] += 1.0 * lift
    rows["score"] = np.random.default_rng(1).normal(size=len(rows)) + 10.0 * lift
    whole = evaluation_groups.skill(rows, 5)
    parts = evaluation_groups.by_sector(rows, sectors, 5)
    assert whole["rank_ic"] > 0.6 and whole["auc"] > 0.7
    assert list(parts.sector) == ["down", "up"]
    assert (parts.rank_ic.abs() < 3 * parts.rank_ic_error).all()


def test_an_unknown_sector_is_named():
    found = evaluation_groups.by_sector(ROWS, pd.Series(dtype=str), 5)
    assert list(found.sector) == ["unknown"]


# ---- decay -----------------------------------------------------------------------------------------


def test_the_decay_at_the_labels_horizon_is_the_rank_ic():
    found = evaluation_groups.ic_decay(ROWS, PANEL, "SPY", 5, (5,))
    whole = evaluation_groups.skill(ROWS, 5)
    assert found.rank_ic[0] == pytest.approx(whole["rank_ic"])
    assert found.rank_ic_error[0] == pytest.approx(whole["rank_ic_error"])


def test_the_decay_leaves_out_what_the_other_folds_learnt_from():
    """By hand: at 9 ahead the last 4 sessions of each fold end beyond its last label."""
    found = evaluation_groups.ic_decay(ROWS, PANEL, "SPY", 5, (9,))
    opens, wanted = PANEL.open, []
    for _, fold in ROWS.groupby("fold"):
        for session in sorted(fold.session.unique())[:-4]:
            own = fold[fold.session == session].set_index("symbol").score
            t = PANEL.sessions.get_loc(session)
            ahead = opens.iloc[t + 10] / opens.iloc[t + 1]
            wanted.append(stats.spearmanr(own, ahead[own.index]).statistic)
    assert found.sessions[0] == len(wanted)
    assert found.rank_ic[0] == pytest.approx(np.mean(wanted))


# ---- turnover of the signal ------------------------------------------------------------------------


def test_persistence_by_brute_force():
    found = evaluation_signal.signal_turnover(ROWS, (1, 3)).set_index("lag")
    for lag in (1, 3):
        alike, gone = [], []
        for _, fold in ROWS.groupby("fold"):
            wide = fold.pivot(index="session", columns="symbol", values="score")
            for now, later in zip(wide.to_numpy(), wide.to_numpy()[lag:]):
                alike.append(stats.spearmanr(now, later).statistic)
                best, then = (set(np.argsort(x)[-2:]) for x in (now, later))  # of eleven, two
                gone.append(len(best - then) / len(best))
        assert found.rank_autocorrelation[lag] == pytest.approx(np.mean(alike))
        assert found.top_turnover[lag] == pytest.approx(np.mean(gone))


def test_a_score_that_never_changes_turns_nothing_over():
    constant = ROWS.assign(score=ROWS.symbol.rank())
    found = evaluation_signal.signal_turnover(constant)
    np.testing.assert_allclose(found.rank_autocorrelation, 1)
    np.testing.assert_allclose(found.top_turnover, 0)


def test_folds_shorter_than_a_lag_say_nothing():
    short = ROWS[ROWS.session <= ROWS.session.unique()[3]]
    found = evaluation_signal.signal_turnover(short, (21,))
    assert found.rank_autocorrelation.isna().all() and found.top_turnover.isna().all()


# ---- money -----------------------------------------------------------------------------------------


def test_the_decile_spread_and_its_error_by_hand():
    daily = []
    for _, own in ROWS.groupby("session"):
        order = own.sort_values("score").excess_return.to_numpy()
        daily.append(order[-1] - order[0])  # eleven names: ranks 0.5/11 and 10.5/11
    found = evaluation_books.decile_spread(evaluation_books.by_decile(ROWS), 5, 2.0)
    place = evaluation_books.place(ROWS, "score")
    top, low = ROWS[place > 0.9], ROWS[place < 0.1]
    assert found.value == pytest.approx(top.excess_return.mean() - low.excess_return.mean())
    assert found.value == pytest.approx(np.mean(daily))
    assert found.error == pytest.approx(session_mean(np.array(daily), 5, 2.0).error)


def test_active_returns_are_the_top_fifth_over_all():
    found = evaluation_books.active_returns(ROWS.assign(a=ROWS.score, b=-ROWS.score), ["a", "b"])
    session = ROWS.session.unique()[7]
    own = ROWS[ROWS.session == session].sort_values("score").excess_return
    for name, few in (("a", own.iloc[-2:]), ("b", own.iloc[:2])):
        assert found.loc[session, name] == pytest.approx(few.mean() - own.mean())


# ---- attribution -----------------------------------------------------------------------------------


def booster(seed: int = 0) -> tuple[lgb.Booster, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(2000, 3)), columns=["strong", "weak", "idle"])
    y = rng.random(2000) < 1 / (1 + np.exp(-(2 * X.strong - 0.5 * X.weak)))
    settled = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    return lgb.train(settled, lgb.Dataset(X, y), num_boost_round=20), X


def test_contributions_sum_to_the_raw_score():
    model, X = booster()
    found = attribution.contributions(model, X)
    raw = model.predict(X, raw_score=True)
    np.testing.assert_allclose(found.sum(axis=1), raw, atol=1e-9)


def test_contributions_are_shapley_values_by_their_definition():
    """Two features, one tree of one split each: by conditional means over the tree's own counts."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"a": rng.integers(0, 2, 400) * 1.0, "b": rng.integers(0, 2, 400) * 1.0})
    y = X.a + 0.5 * X.b + X.a * X.b
    data = lgb.Dataset(X, y)
    options = {"num_leaves": 4, "learning_rate": 1.0, "min_data_in_leaf": 1, "verbosity": -1}
    model = lgb.train(options | {"num_threads": 1}, data, num_boost_round=1)
    mean = y.mean()
    of_a, of_b = y.groupby(X.a).mean(), y.groupby(X.b).mean()
    found = attribution.contributions(model, X)
    first = model.dump_model()["tree_info"][0]["tree_structure"]["split_feature"]
    of_first, first_name, other = (of_a, "a", "b") if first == 0 else (of_b, "b", "a")
    weight = X[first_name].value_counts(normalize=True)
    for (a, b), own in X.groupby(["a", "b"]):
        here = {"a": a, "b": b}
        full = y[own.index[0]]
        alone_first = of_first[here[first_name]]
        # the other feature alone: the tree is averaged over the root's split
        alone_other = sum(
            share * y[(X[first_name] == value) & (X[other] == here[other])].iloc[0]
            for value, share in weight.items()
        )
        wanted = ((alone_first - mean) + (full - alone_other)) / 2
        assert found.loc[own.index[0], first_name] == pytest.approx(wanted, abs=1e-6)


def test_shap_orders_the_features_and_says_which_way_they_point():
    model, X = booster()
    found = attribution.shap(model, X, seed=0).set_index("feature")
    assert list(found.index[:2]) == ["strong", "weak"] and found.share.sum() == pytest.approx(1)
    assert found.direction["strong"] > 0.9 and found.direction["weak"] < -0.9
    again = attribution.shap(model, X, seed=0, sample=500)
    pd.testing.assert_frame_equal(again, attribution.shap(model, X, seed=0, sample=500))


def test_a_constant_feature_points_nowhere():
    model, X = booster()
    found = attribution.shap(model, X.assign(idle=1.0), seed=0).set_index("feature")
    assert found.direction["idle"] == 0


# ---- overfitting -----------------------------------------------------------------------------------


def brute_force(returns: np.ndarray, blocks: int, overlap: int) -> list[tuple[int, float, float]]:
    """The recipe, choice by choice."""
    parts = [p[: len(p) - overlap] for p in np.array_split(returns, blocks)]
    found = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[k] for k in chosen])
        outside = np.concatenate([parts[k] for k in range(blocks) if k not in chosen])
        sharpe, then = (x.mean(axis=0) / x.std(axis=0, ddof=1) for x in (inside, outside))
        best = int(sharpe.argmax())
        place = stats.rankdata(then)[best] / (returns.shape[1] + 1)
        found.append((best, then[best], np.log(place / (1 - place))))
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([2, 4, 6]), st.integers(0, 3))
def test_overfitting_is_its_recipe(seed, trials, blocks, overlap):
    returns = np.random.default_rng(seed).normal(0.001, 0.02, (70, trials))
    found = probability_of_overfitting(pd.DataFrame(returns), blocks, overlap)
    wanted = brute_force(returns, blocks, overlap)
    assert found.trials == trials and len(found.choices) == len(wanted)
    for (_, line), (best, then, logit) in zip(found.choices.iterrows(), wanted):
        assert line.trial == best
        assert line.out_of_sample == pytest.approx(then)
        assert line.logit == pytest.approx(logit)
    assert found.probability == np.mean([logit <= 0 for *_, logit in wanted])
    assert found.probability_of_loss == np.mean([then < 0 for _, then, _ in wanted])


def test_a_trial_that_is_better_everywhere_is_not_overfit():
    returns = np.random.default_rng(0).normal(0, 0.01, (600, 8))
    returns[:, 3] += 0.01
    found = probability_of_overfitting(pd.DataFrame(returns))
    assert found.probability == 0 and set(found.choices.trial) == {3}


def test_the_best_of_trials_without_skill_comes_in_either_half():
    """Over many draws the place out of sample is a coin; below a half would be skill."""
    rng = np.random.default_rng(1)
    found = [
        probability_of_overfitting(pd.DataFrame(rng.normal(size=(240, 10))), 6).probability
        for _ in range(80)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / np.sqrt(80))


def test_trials_that_cannot_be_compared_are_refused():
    one = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 1)))
    with pytest.raises(DataQualityError, match="1 trials over 200 sessions"):
        probability_of_overfitting(one)
    with pytest.raises(DataQualityError, match="fewer blocks"):
        probability_of_overfitting(pd.DataFrame(np.zeros((30, 3))), 12)
    with pytest.raises(DataQualityError, match="over 13 sessions"):
        probability_of_overfitting(pd.DataFrame(np.zeros((13, 3))), overlap_sessions=4)
    with pytest.raises(ValueError, match="even"):
        probability_of_overfitting(one, 5)


@pytest.mark.parametrize(("sessions", "choices"), [(84, 924), (83, 252), (40, 6), (14, 2)])
def test_few_sessions_make_fewer_blocks(sessions, choices):
    """Of each block four sessions reach into the next and three are left."""
    returns = pd.DataFrame(np.random.default_rng(0).normal(size=(sessions, 3)))
    assert len(probability_of_overfitting(returns, overlap_sessions=4).choices) == choices


@pytest.mark.parametrize("sessions", [30, 60])
def test_the_whole_page_of_a_short_history_can_be_shown(sessions):
    """What notebook 04 asks, of so few sessions out of fold in five folds, without momentum."""
    panel = factories.panel(12, sessions + 6, 1)
    rows = scored(panel, folds=5)
    found = evaluation.evaluate(rows, 5, 1, 0)
    sectors = pd.Series("one", sorted(rows.symbol.unique()))
    columns = ["score", "other", "momentum"]
    trials = evaluation_books.active_returns(rows.assign(other=-rows.score), columns)
    spread = found.metrics["decile_spread_error"]
    for shown in (
        report.rank_ic_figure(found.ic_by_session, 5),
        report.skill_figure(evaluation_groups.by_year(rows, 5), "year"),
        report.skill_figure(evaluation_groups.by_sector(rows, sectors, 5), "sector"),
        report.decay_figure(evaluation_groups.ic_decay(rows, panel, "SPY", 5), 5),
        report.signal_turnover_figure(evaluation_signal.signal_turnover(rows)),
        report.deciles_figure(found.decile_returns, 5, spread),
        report.calibration_figure(found.calibration),
        report.overfitting_figure(probability_of_overfitting(trials, overlap_sessions=4)),
    ):
        assert shown.axes
    assert np.isnan(found.metrics["sharpe_momentum"])


# ---- figures ---------------------------------------------------------------------------------------


def bars(figure, axis: int = 1) -> np.ndarray:
    """Lengths of the error bars along y (1) or x (0)."""
    (axes,) = figure.axes
    return np.array([s[1, axis] - s[0, axis] for s in axes.collections[0].get_segments()])


def test_figures_show_the_frames_they_get_with_95_percent_bars():
    decay = evaluation_groups.ic_decay(ROWS, PANEL, "SPY", 5, (1, 5, 10))
    shown = report.decay_figure(decay, 5)
    np.testing.assert_allclose(shown.axes[0].lines[0].get_ydata().astype(float), decay.rank_ic)
    np.testing.assert_allclose(bars(shown), 2 * 1.96 * decay.rank_ic_error)
    bold = [t.get_text() for t in shown.axes[0].get_xticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["5"]
    years = evaluation_groups.by_year(ROWS, 5)
    shown = report.skill_figure(years, "year")
    np.testing.assert_allclose(bars(shown, 0), 2 * 1.96 * years.rank_ic_error)
    beyond = (years.rank_ic.abs() > 1.96 * years.rank_ic_error).sum()
    assert f"{beyond} of {len(years)} bars (95 %) off zero" in shown.axes[0].get_title(loc="left")


def test_figures_of_turnover_shap_and_overfitting_say_their_number():
    turnover = pd.DataFrame({"lag": [1], "rank_autocorrelation": 0.9, "error": 0.01})
    title = report.signal_turnover_figure(turnover.assign(top_turnover=0.27)).axes[0]
    assert "73% of the top, next session" in title.get_title(loc="left")
    model, X = booster()
    shown = report.shap_figure(attribution.shap(model, X, seed=0)).axes[0]
    colours = {bar.get_facecolor() for bar in shown.patches[:2]}
    assert len(colours) == 2  # one raises, the other lowers
    returns = pd.DataFrame(np.random.default_rng(0).normal(size=(240, 4)))
    found = probability_of_overfitting(returns, 6)
    title = report.overfitting_figure(found).axes[0].get_title(loc="left")
    share, loss = (f"{100 * p:.0f}%" for p in (found.probability, found.probability_of_loss))
    assert title == f"Best of 4 shown here: overfit in {share}\nof 20 choices, a loss in {loss}"


def test_the_decile_figure_says_the_interval_of_the_spread():
    deciles = pd.DataFrame({"decile": [1, 2], "excess_return": [0.0, 0.002], "error": 0.001})
    title = report.deciles_figure(deciles, 5, 0.0005).axes[0].get_title(loc="left")
    assert title == "Top less bottom decile: +20.0 bp ± 9.8"
