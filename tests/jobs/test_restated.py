"""What the vendor has changed since, on a desk that has traded on the old values."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from quant50lib import cli
from quant50lib.adapters.store import Store
from quant50lib.contracts import Order
from quant50lib.jobs import restated
from quant50lib.pipeline import archive
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home
from tests import desks

pytestmark = pytest.mark.slow

LEARNT = dates.scheduled(dates.shift(desks.FIRST, 1))


@pytest.fixture
def revised(desk, monkeypatch) -> tuple[Home, str]:
    """A desk whose vendor has since raised the last close of the name it bought most of."""
    for name, value in desks.environment(desk).items():
        monkeypatch.setenv(name, value)
    home = Home(desk)
    run = archive.newest(home, "daily", "sealed")
    orders = archive.read_table(run.path, Order).sort_values("notional")
    symbol = orders["symbol"].iloc[-1]
    store = Store(home.store)
    bar = store.bars_asof(dates.as_session(desks.FIRST), sessions=1, symbols=[symbol])
    changed = bar.assign(close=1.2 * bar["close"], high=1.2 * bar["high"])
    assert store.append_bars(changed, LEARNT).revised == 1
    return home, symbol


def test_a_changed_bar_is_told_with_the_runs_that_used_it_and_what_they_would_decide(revised):
    home, symbol = revised
    told: list[str] = []
    found = restated.report(home, config.load(home), desks.FIRST, 5, told.append)
    (change,) = found.changes.itertuples()
    assert change.symbol == symbol and change.what == "high close"
    assert change.change == pytest.approx(0.2)
    assert set(found.used["run"]) == {run.id for run in archive.runs(home)}
    daily = found.used[found.used["ordered"]]
    assert daily["symbol"].tolist() == [symbol] and (daily["weight"] > 0).all()
    (again,) = found.decided
    assert again.exact, "the bars of then are read to the last bit as the run has sealed them"
    weights = again.weights.set_index("symbol")
    assert weights.loc[symbol, "change"] != 0 and len(told) == 1
    orders = archive.read_table(archive.newest(home, "daily").path, Order)
    assert set(orders["symbol"]) <= set(weights.index[weights["then"] > 0])


def test_nothing_is_left_behind_and_what_was_learnt_before_is_left_out(revised):
    home, _ = revised
    before = sorted(p for p in home.root.rglob("*") if "snapshots" not in p.parts)
    shown = CliRunner().invoke(cli.app, ["restated", "--decisions", "1"])
    assert shown.exit_code == 0 and "2 sealed runs used an old value" in shown.stdout
    assert "bars of then read as sealed" in shown.stdout
    assert sorted(p for p in home.root.rglob("*") if "snapshots" not in p.parts) == before
    assert archive.verify(home) == []
    after = str((LEARNT + pd.Timedelta(days=1)).date())
    assert restated.report(home, config.load(home), after).used.empty
