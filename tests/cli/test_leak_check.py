"""`quant50 leak-check`: what it reads, what it says, and how it ends."""

from __future__ import annotations

import pytest

from quant50lib.adapters.store import Store
from quant50lib.jobs import leak_check, leak_desk, leak_notebooks
from quant50lib.pipeline import archive
from quant50lib.services import features, leak, leak_planted
from quant50lib.settings import DataSettings, FeatureSettings, Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home
from tests import desks

NOW = ("--now", "2024-06-28T22:00Z")
LAST = dates.as_session("2024-06-28")
FEW = FeatureSettings(names=("ret_5", "vol_21"))
SETTINGS = Settings(features=FEW, data=DataSettings(min_history_sessions=40))
#: the same, as the command is told of it
SMALL = {
    "QUANT50_FEATURES__NAMES": '["ret_5", "vol_21"]',
    "QUANT50_DATA__MIN_HISTORY_SESSIONS": "40",
}


@pytest.fixture(autouse=True)
def few_names(monkeypatch):
    """A third of the names that the command takes: what is said does not depend on how many."""
    monkeypatch.setattr(leak_check, "NAMES", 20)


CLEAN = "nothing at or before a session depends on what came after it"


def test_without_a_store_the_demo_market_is_checked_and_nothing_is_left_behind(tmp_path):
    said = desks.invoke(tmp_path, "leak-check", "--sessions", "2", *NOW, **SMALL)
    assert said.code == 0 and CLEAN in said.out
    assert "no store yet" in said.err and "cut at 2024-06-28, 2024-06-04" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_leak_is_named_and_ends_with_the_exit_code_of_data(tmp_path, monkeypatch):
    plain = leak.library
    spoil = leak_planted.PLANTED["adjusted_price_level"].plant
    monkeypatch.setattr(leak, "library", lambda s, names: spoil(plain(s, names), s))
    said = desks.invoke(tmp_path, "leak-check", "--sessions", "1", *NOW, **SMALL)
    assert said.code == 3 and CLEAN not in said.out
    assert "LeakFound: 1 columns know the future" in said.err and "features.price of" in said.err


def test_the_desks_store_is_read_and_not_touched(tmp_path):
    home = Home(tmp_path)
    home.data.mkdir()
    known = leak_check.demo_world(SETTINGS, LAST, 1)
    leak_desk.fill(Store(home.store), known, LAST)
    before = archive.sha256(home.store), sorted(home.data.iterdir())
    said = desks.invoke(tmp_path, "leak-check", "--sessions", "1", *NOW, **SMALL)
    assert said.code == 0 and CLEAN in said.out and "the desk's store, copied" in said.err
    assert f"{known.bars['symbol'].nunique()} names" in said.err
    assert (archive.sha256(home.store), sorted(home.data.iterdir())) == before
    short = desks.invoke(tmp_path, "leak-check", "--sessions", "9", *NOW, **SMALL)
    assert short.code == 2 and "cut fewer" in short.err


def test_what_cannot_be_checked_is_refused(tmp_path):
    for words, why in (
        (("--date", "2024-07-05"), "has not closed"),
        (("--date", "2024-06-29"), "not a session"),
        (("--notebooks", str(tmp_path)), "no stage notebook"),
    ):
        said = desks.invoke(tmp_path, "leak-check", "--sessions", "1", *words, *NOW, **SMALL)
        assert said.code == 2 and why in said.err, said.err


def test_the_self_test_shows_what_was_caught_and_fails_for_what_was_not(tmp_path, monkeypatch):
    kept = {name: leak_planted.PLANTED[name] for name in ("centred_window", "label_shifted")}
    monkeypatch.setattr(leak_planted, "PLANTED", kept)
    monkeypatch.setattr(leak_check, "PLANTED", kept)
    said = desks.invoke(tmp_path, "leak-check", "--self-test", *NOW, **SMALL)
    assert said.code == 0 and "without a planted leak: 0 columns differ" in said.out
    assert "features.vol_centred_21" in said.out and "labels." in said.out
    blind = leak_planted.Planted("blind", "None at all.", "features", lambda p, s: p)
    kept["blind"] = blind
    said = desks.invoke(tmp_path, "leak-check", "--self-test", *NOW, **SMALL)
    assert said.code == 3 and "missed: blind" in said.err


@pytest.mark.slow
def test_leaks_that_were_edited_into_notebooks_are_caught_and_nothing_else(tmp_path):
    """A centred window in 02, scaling over the whole sample in 04, and in 05 the newest word on a
    close among the features, which only a model brings to the forecast; 03 is the desk's."""
    edited = tmp_path / "mine"
    edited.mkdir()
    desks.edit_notebook(
        "02_features",
        edited,
        "today = features",
        "returns = stage.panel.close.pct_change(fill_method=None)\n"
        "described.raw['vol_21'] = returns.rolling(21, center=True).std()\n",
    )
    desks.edit_notebook(
        "04_train",
        edited,
        "trained = ",
        "from dataclasses import replace\n"
        "rows = replace(rows, X=(rows.X - rows.X.mean()) / rows.X.std())\n",
    )
    desks.edit_notebook(
        "05_optimize",
        edited,
        "expected = ",
        "newest = stage.store.bars_asof(stage.run_date, None, 1).set_index('symbol')['close']\n"
        "matrix = matrix.add(newest.reindex(matrix.index) % 1, axis=0)\n",
    )
    settings = Settings(features=FEW, data=DataSettings(min_history_sessions=70))
    known = leak_check.demo_world(settings, LAST, 1)
    found = leak_notebooks.run(settings, known, edited)
    scaled = [spec.name for spec in features.chosen(settings.features)]
    seen = {(one.table, one.column) for one in found}
    assert ("05_optimize.ipynb: expected", "alpha") in seen
    assert {one for one in seen if not one[0].startswith("05")} == {
        ("02_features.ipynb: described", "vol_21 (raw)"),
        *(("04_train.ipynb: rows", name) for name in scaled),
    }
    centred = next(one for one in found if one.table.startswith("02"))
    # the first window of 10 sessions either side that reaches past the cut
    assert centred.session == dates.shift(LAST, -9) and centred.how == leak.LATER
