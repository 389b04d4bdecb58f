"""`quant50 models` and `quant50 trials`: what there is, which one decides, and the way back."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from quant50lib.adapters import trials
from quant50lib.adapters.registry import Registry
from quant50lib.adapters.trials import Trials
from quant50lib.services import model
from quant50lib.services.gate import Verdict
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings
from quant50lib.utils import dates
from tests import desks
from tests.services.test_learners import FAST, rows_with


@pytest.fixture(scope="module")
def trained() -> model.Trained:
    return model.train(rows_with(0.0, n_sessions=120, names=12), FAST, LabelSettings())


@pytest.fixture
def home(tmp_path):
    return desks.write(tmp_path / "desk")


def save(home, trained, date: str, verdict: Verdict) -> str:
    facts = {"run_id": f"{date}-weekly", "data_digest": "d"}
    return Registry(home / "models").save(
        trained, verdict, trained_at=dates.as_session(date), **facts
    )


def test_models_are_listed_promoted_and_rolled_back(home, trained):
    assert "no model yet" in desks.invoke(home, "models").out
    assert desks.invoke(home, "models", "rollback").code == 8
    first, second = (
        save(home, trained, d, Verdict(True, "sound")) for d in ("2024-06-03", "2024-06-10")
    )
    modest = save(home, trained, "2024-06-17", Verdict(False, "not better", sound=True))
    broken = save(home, trained, "2024-06-24", Verdict(False, "a leak: vol_21"))
    registry = Registry(home / "models")
    registry.promote(second)
    shown = desks.invoke(home, "models").out.splitlines()
    assert [line.split()[0] == "→" for line in shown] == [False, True, False, False]
    assert "refused: a leak: vol_21" in shown[3] and "± " in shown[0]

    assert first in desks.invoke(home, "models", "rollback").out
    assert registry.champion_card()["model_id"] == first
    assert registry.load_latest(dates.as_session("2024-06-28")).model_id == first
    nothing = desks.invoke(home, "models", "rollback")
    assert nothing.code == 8 and "no accepted model is older" in nothing.err
    assert desks.invoke(home, "models", "rollback", second).code == 0
    assert desks.invoke(home, "models", "promote", modest).code == 0
    assert registry.champion_card()["model_id"] == modest
    refused = desks.invoke(home, "models", "promote", broken)
    assert refused.code == 8 and "cannot be promoted" in refused.err
    assert desks.invoke(home, "models", "promote", "20200101-00000000").code == 8
    assert registry.champion_card()["model_id"] == modest


def test_trials_are_listed_with_their_count(home, trained):
    sections = {"features": FeatureSettings(), "label": LabelSettings(), "model": ModelSettings()}
    line = trials.describe(
        trained,
        sections,
        run_id="2024-06-03-scratch",
        run_date=dates.as_session("2024-06-03"),
        at=pd.Timestamp("2024-06-03 22:00", tz="UTC"),
        data_digest="d",
    )
    ledger = Trials(home / "models")
    ledger.record(line)
    ledger.record(line)
    with ledger.path.open("ab") as file:
        file.write(b'{"configuration": "c')
    told = desks.invoke(home, "trials").out
    assert "2024-06-03-scratch" in told
    assert "2 trainings, 1 cut off while it was written: 2 configurations tried" in told
    found = json.loads(desks.invoke(home, "trials", "--json").out)
    assert found["configurations"] == 2 and found["trials"][0]["metrics"]["rank_ic"] is not None
    assert str(home) not in ledger.path.read_text()
