"""What a run keeps for the next session, and when it is used."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import FEATURES
from quant50lib.pipeline import archive, carry
from quant50lib.pipeline.context import StageContext
from quant50lib.services import features, features_day
from quant50lib.settings import FeatureSettings, Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home
from tests import factories

FEW = FeatureSettings(names=("ret_5", "vol_21"), min_dollar_volume=0)
SETTINGS = Settings(features=FEW)
PANEL = factories.panel(6, 90, seed=8)
SECTORS = pd.Series("Energy", PANEL.symbols)
LAST = PANEL.sessions[-1]  # a Friday


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def until(n):
    return PANEL.each(lambda values: values.iloc[:n])


def of_day(home, n, settings=SETTINGS):
    panel = until(n)
    return carry.of_day(home, panel, SECTORS, settings, panel.sessions[-1])


def run_of(home, n, schedule="daily", seal=True, state=True):
    """A run of the n-th session, with the state of its features."""
    date = str(PANEL.sessions[n - 1].date())
    path = home.runs / f"{date}-{schedule}-abcd"
    path.mkdir(parents=True)
    told = {"id": path.name, "run_date": date, "schedule": schedule, "state": "running"}
    archive.write_json(path / archive.OPEN, {**told, "stages": {}, "started": date})
    if state:
        carry.keep(path, of_day(home, n)[0].state)
    return archive.seal(home, archive.info(path)) if seal else archive.info(path)


def test_two_sessions_in_a_row_are_one_panel(home):
    run_of(home, 88)
    run_of(home, 89)
    day, how = of_day(home, 90)
    assert how == f"carried on from {PANEL.sessions[88].date()}"
    whole = features.describe(PANEL, SECTORS, FEW, "SPY")
    for name, values in day.described.standardised.items():
        wanted = whole.standardised[name].iloc[-1:]
        pd.testing.assert_frame_equal(values, wanted, check_exact=True, check_freq=False)
    assert archive.verify(home) == []


def test_a_state_is_the_same_file_when_the_run_is_repeated(home, tmp_path):
    run = run_of(home, 89)
    again = run_of(Home(tmp_path / "other"), 89)
    assert run.facts["state_files"] == again.facts["state_files"] != {}
    assert run.facts["files"] == {}  # neither result nor evidence


@pytest.mark.parametrize(
    "kept, says",
    [
        ({"n": 88}, "no sealed run of .* holds a state"),
        ({"n": 89, "seal": False}, "no sealed run of"),
        ({"n": 89, "state": False}, "no sealed run of"),
    ],
)
def test_without_a_state_of_the_session_before_all_is_computed_anew(home, kept, says):
    run_of(home, **kept)
    assert carry.before(home, LAST)[0] is None
    assert pd.Series([of_day(home, 90)[1]]).str.match(f"anew: {says}").all()


def test_a_state_that_was_altered_is_found_and_not_used(home):
    path = run_of(home, 89).path / "state" / "features.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert "is not the one that was sealed" in of_day(home, 90)[1]
    (problem,) = archive.verify(home)
    assert "state/features.npz is not what was sealed" in problem
    path.unlink()
    assert archive.verify(home) == []


def test_other_code_and_other_settings_begin_anew(home, monkeypatch):
    run_of(home, 89)
    other = SETTINGS.model_copy(update={"features": FEW.model_copy(update={"names": ("ret_1",)})})
    assert of_day(home, 90, other)[1] == "anew: other features than those of the state"
    off = SETTINGS.runner.model_copy(update={"carry_features": "off"})
    assert "off" in of_day(home, 90, SETTINGS.model_copy(update={"runner": off}))[1]
    monkeypatch.setattr(carry.provenance, "code_digest", lambda: "edited")
    assert of_day(home, 90)[1] == "anew: the state was made by other code"


def test_the_first_session_of_a_week_is_checked_and_every_one_when_asked():
    monday, tuesday_after_a_holiday = "2024-07-01", "2024-05-28"
    for date, weekly in (
        (monday, True),
        (tuesday_after_a_holiday, True),
        ("2024-07-02", False),
        ("2024-12-31", False),  # a Tuesday of a week that the next year begins in
        ("2025-01-02", False),
    ):
        assert carry.is_checked(dates.as_session(date), "weekly") is weekly, date
        assert carry.is_checked(dates.as_session(date), "daily")


def test_the_check_of_a_week_is_told(home):
    monday = int(np.flatnonzero(PANEL.sessions.dayofweek == 0)[-1])
    run_of(home, monday)
    assert of_day(home, monday + 1)[1].endswith("equal to the panel computed anew")


def test_only_the_newest_states_are_kept(home):
    for n in (85, 86, 87, 88):
        run_of(home, n)
    run_of(home, 89, seal=False)
    carry.prune(home)
    held = sorted(p.parents[1].name[:10] for p in home.runs.glob("*/state/features.npz"))
    assert held == [str(PANEL.sessions[n - 1].date()) for n in (87, 88, 89)]
    assert archive.verify(home) == []
    assert features_day.of_day(until(88), SECTORS, FEW, "SPY").state is not None


def test_the_source_of_own_features_is_noted_with_the_run(home, tmp_path):
    source, place = tmp_path / "mine.py", home.runs / "open"
    source.write_text("FEATURES = []")
    place.mkdir(parents=True)
    own = SETTINGS.model_copy(update={"features": FEW.model_copy(update={"file": source})})
    (place / "settings.json").write_text(own.model_dump_json())
    archive.write_json(place / archive.OPEN, {"id": "open"})
    StageContext(home, FEATURES, place)
    noted = archive.read_json(place / archive.OPEN)["queries"]
    assert noted == {"features.features.file": hashlib.sha256(b"FEATURES = []").hexdigest()}
