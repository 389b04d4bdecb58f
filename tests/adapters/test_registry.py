"""The registry: whole or not at all, what was saved or nothing, and never a model of the future."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import registry as module
from quant50lib.adapters.registry import Registry
from quant50lib.errors import ArchiveError
from quant50lib.services import label, model
from quant50lib.services.gate import Verdict
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings
from quant50lib.utils import dates
from tests import factories

GOOD, BAD = Verdict(True, "sound"), Verdict(False, "a leak")
JUNE, JULY, AUGUST = (dates.as_session(f"2024-{m}-03") for m in ("06", "07", "09"))


@pytest.fixture(scope="module")
def trained() -> model.Trained:
    panel = factories.panel(10, 320, seed=1)
    table = label.to_table(label.excess_return(panel, "SPY", 5), 5, panel.sessions[-1])
    chosen = FeatureSettings(names=("ret_5", "vol_21"))
    known = label.KnownLabels(table, panel.sessions[-1], 5)
    rows = model.training_set(panel, known, pd.Series("x", panel.symbols), chosen, "SPY")
    settings = ModelSettings(trees=5, min_rows_per_leaf=50, n_splits=2, threads=1)
    return model.train(rows, settings, LabelSettings())


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def save(models, trained, at=JUNE, verdict=GOOD, digest="d1", run_id="run-1") -> str:
    return Registry(models).save(
        trained, verdict, run_id=run_id, trained_at=at, data_digest=digest, settings={"seed": 50}
    )


def variant(trained, ic: float) -> model.Trained:
    """The same model with another record, so that two entries can be told apart."""
    return replace(trained, metrics=trained.metrics | {"rank_ic": ic})


def test_what_is_saved_comes_back(models, trained):
    model_id = save(models, trained)
    Registry(models).promote(model_id)
    found = Registry(models).load_latest(JUNE)
    matrix = pd.DataFrame({"vol_21": [0.1, -0.2], "ret_5": [0.3, 0.4]}, index=["A", "B"])
    wanted = model.predict(trained.learnt, trained.scaler, matrix)
    pd.testing.assert_series_equal(found.score(matrix), wanted, check_exact=True)
    assert (found.model_id, found.trained_at) == (model_id, JUNE)
    assert found.ic == trained.metrics["rank_ic"]
    assert found.ic_error == trained.metrics["rank_ic_error"]


def test_the_files_that_people_know_are_the_model_in_use(models, trained):
    model_id = save(models, trained)
    Registry(models).promote(model_id)
    folder = models / "registry" / model_id
    assert {p.name for p in folder.iterdir()} == {
        "booster.txt",
        "model.pkl",
        "scaler.pkl",
        "card.json",
    }
    assert (models / "latest_model.pkl").read_bytes() == (folder / "model.pkl").read_bytes()
    assert (models / "scaler.pkl").read_bytes() == (folder / "scaler.pkl").read_bytes()
    card = json.loads((models / "latest.json").read_text())
    assert card["model_id"] == model_id and card["accepted"] and card["run_id"] == "run-1"
    assert card["first_session"] < card["last_session"] < card["known_at"]
    assert card["features"] == ["ret_5", "vol_21"]
    assert pickle.loads((models / "latest_model.pkl").read_bytes()).boosters[0].num_trees() == 5


def test_saving_the_same_again_changes_nothing(models, trained):
    first = save(models, trained)
    before = {p: p.stat().st_mtime_ns for p in models.rglob("*")}
    assert save(models, trained, run_id="run-2") == first
    assert {p: p.stat().st_mtime_ns for p in models.rglob("*")} == before
    assert save(models, trained, digest="d2") != first
    assert save(models, trained, verdict=BAD) != first


def test_what_could_not_be_measured_is_null(models, trained):
    model_id = save(models, replace(trained, metrics={"rank_ic": np.nan, "n": np.int64(3)}))
    assert Registry(models).card(model_id)["metrics"] == {"rank_ic": None, "n": 3}
    found = Registry(models).load(model_id)
    assert found.ic == 0 and found.ic_error == np.inf


# ---- which model decides ---------------------------------------------------------------------------


def test_an_empty_registry_has_no_model(models):
    assert Registry(models).load_latest(JUNE) is None
    assert Registry(models).champion_card() is None
    assert Registry(models).list() == []


def test_a_day_never_sees_a_model_of_its_future(models, trained):
    old, new = save(models, trained, JUNE), save(models, trained, JULY)
    registry = Registry(models)
    for model_id in (old, new):
        registry.promote(model_id)
    assert registry.load_latest(dates.shift(JUNE, -1)) is None
    assert registry.load_latest(JUNE).model_id == old
    assert registry.load_latest(dates.shift(JULY, -1)).model_id == old
    assert registry.load_latest(JULY).model_id == new
    assert registry.champion_card()["model_id"] == new
    assert [c["model_id"] for c in registry.list()] == [old, new]


def test_a_refused_model_never_decides(models, trained):
    refused = save(models, trained, JULY, BAD)
    registry = Registry(models)
    assert registry.load_latest(AUGUST) is None
    with pytest.raises(ArchiveError, match="refused .a leak."):
        registry.promote(refused)
    accepted = save(models, trained, JUNE)
    registry.promote(accepted)
    assert registry.load_latest(AUGUST).model_id == accepted


def test_rolling_back_holds(models, trained):
    old, new = save(models, trained, JUNE), save(models, variant(trained, 0.01), JULY)
    registry = Registry(models)
    for model_id in (old, new, old):
        registry.promote(model_id)
    assert registry.load_latest(AUGUST).model_id == old


# ---- altered files ---------------------------------------------------------------------------------


class Bomb:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("name", ["latest_model.pkl", "scaler.pkl"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_foreign_pickle_is_named_and_never_opened(models, trained, tmp_path, name, replaced):
    Registry(models).promote(save(models, trained))
    if replaced:  # a file in place of the link
        (models / name).unlink()
    (models / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(ArchiveError, match=name):
        Registry(models).load_latest(JUNE)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("name", ["booster.txt", "model.pkl", "scaler.pkl"])
def test_one_changed_byte_is_found(models, trained, name):
    model_id = save(models, trained)
    path = models / "registry" / model_id / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for call in (Registry(models).load, Registry(models).promote):
        with pytest.raises(ArchiveError, match=f"{name} is not what was saved"):
            call(model_id)
    path.unlink()
    with pytest.raises(ArchiveError, match=f"{name} cannot be read"):
        Registry(models).load(model_id)


@pytest.mark.parametrize(
    "spoil", [{"accepted": True}, {"trained_at": "2020-01-02"}, {"digests": {}}]
)
def test_a_card_that_was_rewritten_is_found(models, trained, spoil):
    model_id = save(models, trained, verdict=BAD)
    path = models / "registry" / model_id / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | spoil))
    with pytest.raises(ArchiveError, match="card.json was altered"):
        Registry(models).load(model_id)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_card_is_named(models, trained, text):
    model_id = save(models, trained)
    (models / "registry" / model_id / "card.json").write_text(text)
    with pytest.raises(ArchiveError, match="card.json is not a model's card"):
        Registry(models).list()


def test_an_unknown_model_is_named(models, trained):
    save(models, trained)
    with pytest.raises(ArchiveError, match="20200102-00000000.*missing"):
        Registry(models).promote("20200102-00000000")


# ---- interruptions ---------------------------------------------------------------------------------


class Crash(BaseException):
    """What a killed process leaves: nothing after it runs."""


def crash_at(monkeypatch, nth: int):
    """The nth rename does not happen any more."""
    calls, real = iter(range(1, 99)), os.replace

    def renaming(a, b):
        if next(calls) == nth:
            raise Crash
        return real(a, b)

    monkeypatch.setattr(module.os, "replace", renaming)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_crash_in_the_first_promotion_leaves_no_mix(models, trained, monkeypatch, nth):
    model_id = save(models, trained)
    crash_at(monkeypatch, nth)
    with pytest.raises(Crash):
        Registry(models).promote(model_id)
    monkeypatch.undo()
    Registry(models).promote(model_id)
    assert Registry(models).load_latest(JUNE).model_id == model_id


def test_a_promotion_is_one_rename(models, trained, monkeypatch):
    """Model, scaler and card change together: before the rename the old, after it the new."""
    old, new = save(models, trained, JUNE), save(models, variant(trained, 0.01), JULY)
    Registry(models).promote(old)
    crash_at(monkeypatch, 1)
    with pytest.raises(Crash):
        Registry(models).promote(new)
    assert Registry(models).load_latest(AUGUST).model_id == old
    monkeypatch.undo()
    crash_at(monkeypatch, 2)  # there is no second
    Registry(models).promote(new)
    assert Registry(models).load_latest(AUGUST).model_id == new
    assert json.loads((models / "latest.json").read_text())["model_id"] == new


def test_a_crash_while_saving_leaves_nothing_that_is_listed(models, trained, monkeypatch):
    crash_at(monkeypatch, 1)
    with pytest.raises(Crash):
        save(models, trained)
    monkeypatch.undo()
    assert Registry(models).list() == []
    assert save(models, trained) == Registry(models).list()[0]["model_id"]


def test_a_copy_that_followed_the_links_still_works(models, trained, tmp_path):
    old, new = save(models, trained, JUNE), save(models, variant(trained, 0.01), JULY)
    Registry(models).promote(old)
    shutil.copytree(models, tmp_path / "copy", symlinks=False)
    assert not (tmp_path / "copy" / "latest").is_symlink()
    copied = Registry(tmp_path / "copy")
    assert copied.load_latest(JUNE).model_id == old
    copied.promote(new)
    assert copied.load_latest(JULY).model_id == new
