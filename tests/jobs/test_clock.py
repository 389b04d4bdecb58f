"""A desk on Alpaca paper does not work while this machine's clock is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pandas as pd
import pytest

from quant50lib.adapters import broker
from quant50lib.errors import SettingsError
from quant50lib.jobs import desk
from quant50lib.settings import Secrets, Settings
from quant50lib.utils.config import Home

NOW = pd.Timestamp("2024-06-03 22:00", tz="UTC")
KEYS = Secrets(key_id="PKTEST", secret_key="secret")


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "kernels_of", lambda home, settings: contextlib.nullcontext())


def opened(home: Path, ahead: str, monkeypatch: pytest.MonkeyPatch, **execute: float) -> bool:
    """Whether the desk opens while the broker's clock is ahead of ours."""
    monkeypatch.setattr(broker.Broker, "clock", lambda account: NOW + pd.Timedelta(ahead))
    settings = Settings.model_validate({"broker": "paper", "execute": execute})
    with desk.open_desk(Home(home), settings, KEYS, NOW) as found:
        return found.clock() == NOW + pd.Timedelta(ahead)


@pytest.mark.parametrize("ahead", ["0s", "119s", "-119s"])
def test_a_small_difference_is_nobodys_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    assert opened(tmp_path, ahead, monkeypatch)


@pytest.mark.parametrize(
    ("ahead", "said"), [("121s", "121 s ahead of"), ("-1D", "86400 s behind this machine's")]
)
def test_a_large_one_stops_the_desk_and_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        opened(tmp_path, ahead, monkeypatch)
    assert opened(tmp_path, ahead, monkeypatch, max_clock_skew_seconds=100_000)
