"""Drift: the day against training, and a band around the IC that holds however often one looks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import Drift
from quant50lib.services import drift, features, label, model
from quant50lib.services.scaler import Scaler
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings, Settings
from quant50lib.utils import dates
from tests import factories

SETTINGS = Settings(
    features=FeatureSettings(names=("ret_5", "vol_21"), min_dollar_volume=0.0),
    model=ModelSettings(trees=5, min_rows_per_leaf=50, n_splits=2, min_training_sessions=200),
)
PANEL = factories.panel(40, 360, seed=3)
SECTORS = pd.Series("Energy", PANEL.symbols)
TRAINED_AT = PANEL.sessions[-30]
SESSION = PANEL.sessions[-1]


@pytest.fixture(scope="module")
def champion() -> model.LoadedModel:
    past = PANEL.until(TRAINED_AT)
    table = label.to_table(label.excess_return(past, "SPY", 5), 5, TRAINED_AT)
    known = label.KnownLabels(table, TRAINED_AT, 5)
    rows = model.training_set(past, known, SECTORS, SETTINGS.features, "SPY")
    return model.train(rows, SETTINGS.model, LabelSettings()).as_loaded("m", TRAINED_AT)


def matrix_of(session: pd.Timestamp) -> pd.DataFrame:
    past = PANEL.until(session)
    described = features.describe(past, SECTORS, SETTINGS.features, "SPY").standardised
    return pd.DataFrame({name: values.loc[session] for name, values in described.items()})


def of_day(champion, session=SESSION, panel=PANEL, matrix=None):
    given = matrix_of(session) if matrix is None else matrix
    return drift.of_day(session, panel, given, SECTORS, "SPY", champion, SETTINGS)


def test_the_band_holds_at_every_look_at_once():
    """2,000 paths of skill zero, looked at sixty times each: 5 % may leave the band, ever."""
    rng = np.random.default_rng(0)
    paths = rng.normal(0, 0.1, (2000, 60))
    n = np.arange(1, 61)
    half = np.array([drift.band(np.zeros(k), 0.1)[2] for k in n])
    means = paths.cumsum(axis=1) / n
    left = (np.abs(means) > half).any(axis=1).mean()
    assert 0.001 < left < 0.05
    pointwise = (np.abs(means) > 1.96 * 0.1 / np.sqrt(n)).any(axis=1).mean()
    assert pointwise > 0.2  # what a band for one look would have done


def test_the_band_is_ville_s_inequality_for_a_normal_mixture():
    """On its edge the mixture of likelihood ratios over N(0, τ²) equals 1/α, by quadrature."""
    deviation, n, alpha = 0.12, 7, 0.05
    total = n * drift.band(np.zeros(n), deviation, alpha)[2]
    tau = 1 / np.sqrt(drift.BEST_AT * deviation**2)
    slope = np.linspace(-12, 12, 200001) * tau
    weight = np.exp(-(slope**2) / 2 / tau**2) / (tau * np.sqrt(2 * np.pi))
    ratio = np.exp(slope * total - slope**2 * n * deviation**2 / 2)
    assert np.trapezoid(weight * ratio, slope) == pytest.approx(1 / alpha, rel=1e-6)


def test_the_ic_since_training_is_read_at_sessions_that_do_not_overlap(champion):
    found = drift.since_training(SESSION, PANEL, SECTORS, "SPY", champion, SETTINGS)
    assert found.index[0] == TRAINED_AT
    places = PANEL.sessions.get_indexer(found.index)
    assert (np.diff(places) == 5).all() and places[-1] + 6 <= len(PANEL.sessions) - 1
    assert len(found) == len(range(0, 30 - 6, 5))
    excess = label.excess_return(PANEL, "SPY", 5)
    for day in found.index:
        score = champion.score(matrix_of(day)).dropna()
        wanted = score.corr(excess.loc[day, score.index], method="spearman")
        assert found[day] == pytest.approx(wanted)


def test_nothing_of_the_future_changes_it(champion):
    cut = PANEL.sessions[-10]
    wild = PANEL.each(lambda f: f.mask((f.index > cut)[:, None] & np.ones(f.shape, bool), 1e6))
    a = of_day(champion, cut, PANEL.until(cut), matrix_of(cut))
    pd.testing.assert_frame_equal(a, of_day(champion, cut, wild, matrix_of(cut)))


def test_a_quiet_day_sounds_no_alarm_of_the_features_and_a_strange_one_does(champion):
    found = of_day(champion).set_index("name")
    assert list(of_day(champion).measure) == ["feature", "feature", "ic", "score"]
    assert not found.alarm[["ret_5", "vol_21"]].any()
    assert not found.alarm["score"] and found.value["score"] < 0.25
    strange = matrix_of(SESSION)
    strange["vol_21"] = np.nan
    strange["ret_5"] = 0.49
    loud = of_day(champion, matrix=strange).set_index("name")
    assert loud.alarm["vol_21"] and loud.alarm["ret_5"] and loud.alarm["score"]


@pytest.mark.parametrize("n", [40, 300])
def test_where_nothing_has_changed_the_index_is_zero_on_average_and_seldom_alarms(n):
    """4,000 days of twenty features each, drawn from what the scaler has learnt: uniform."""
    rng = np.random.default_rng(1)
    scaler = Scaler(("x",), (0.0,), (tuple(np.arange(1, 10) / 10 - 0.5),), (0.0,))
    found = [scaler.drift(pd.DataFrame({"x": rng.uniform(-0.5, 0.5, n)}))["x"] for _ in range(4000)]
    mean, most = drift.chance(n, 20)
    assert np.mean(found) == pytest.approx(mean, rel=0.15)  # empty shares, of forty, add a little
    rare = np.mean(np.array(found) - mean > max(0.25, most))
    assert 1 - (1 - rare) ** 20 < 0.03  # of days
    if n == 40:  # as it was before: one day in two
        assert 1 - (1 - np.mean(np.array(found) > 0.25)) ** 20 > 0.5


def test_a_small_universe_is_given_more_room(champion):
    small = matrix_of(SESSION).dropna().iloc[:32]
    rows = of_day(champion, matrix=small).query("measure != 'ic'")
    assert (rows.limit == drift.chance(32, 3)[1]).all() and (rows.limit > 0.25).all()
    whole = champion.scaler.drift(small) - 9 / 32
    found = rows.set_index("name").value
    np.testing.assert_allclose(found[whole.index], whole.clip(lower=0.0))


def test_a_model_that_did_harm_is_named(champion, monkeypatch):
    days = PANEL.sessions[-30:-6:5]
    monkeypatch.setattr(drift, "since_training", lambda *_: pd.Series(-0.9, days))
    row = of_day(champion).set_index("measure").loc["ic"]
    assert row.alarm and row.high < 0 and row.n == len(days) and row.value == pytest.approx(-0.9)


def test_without_a_model_or_a_known_label_nothing_is_claimed(champion):
    assert of_day(None).empty and list(of_day(None).columns) == Drift.columns()
    early = dates.shift(TRAINED_AT, 3)
    row = of_day(champion, early, PANEL.until(early), matrix_of(early)).set_index("measure")
    assert np.isnan(row.value["ic"]) and row.n["ic"] == 0 and not row.alarm["ic"]
    few = matrix_of(SESSION).iloc[:10]
    assert of_day(champion, matrix=few).query("measure != 'ic'").value.isna().all()


def test_the_deviation_is_that_of_the_daily_ics_out_of_fold(champion):
    metrics = champion.metrics
    assert drift._deviation(champion) == pytest.approx(metrics["rank_ic"] / metrics["icir"])
