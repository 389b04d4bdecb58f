"""The loop is the desk: the same sessions through notebooks and the twin, and through the loop.

Equal to the last bit: targets, holdings, equity; orders in all that is wanted of the broker. The
twin fills in parts at random unless told otherwise; the loop fills whole, so here the twin does too.
QUANT50_PROOF=all replays ten sessions, with two more trainings on their Mondays.
"""

from __future__ import annotations

import os

import pandas as pd
import pytest

from quant50lib.contracts import Equity, Fill, Holding, Order, Target
from quant50lib.jobs import backtest as job
from quant50lib.pipeline import archive
from quant50lib.services import backtest
from quant50lib.services.backtest_account import Costs
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home
from tests import desks

pytestmark = pytest.mark.slow
FIRST, SESSIONS = "2024-07-05", 10 if os.environ.get("QUANT50_PROOF") == "all" else 3
WHOLE_FILLS = '\n[simulator]\np_partial = 0.0\nfirst_session = "2021-01-04"\n'
ORDER = ["client_order_id", "symbol", "side", "intent", "qty", "price", "notional", "reason"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The runs of the desk, and the result of the loop."""
    home = Home(
        desks.write(tmp_path_factory.mktemp("parity") / "desk", desks.SETTINGS + WHOLE_FILLS)
    )
    last = dates.shift(FIRST, SESSIONS - 1)
    words = ("replay", "--retrain", "--from", FIRST, "--to", str(last.date()))
    done = desks.quant50(home.root, *words, timeout=900)
    assert done.code == 0, done.out + done.err
    settings = config.load(home, desks.environment(home.root))
    market, paper = job.market_of(settings, last), Costs.of(settings, "due")
    looped = backtest.run(market, "model", settings, dates.as_session(FIRST), last, paper)
    runs = [run for run in archive.runs(home) if run.schedule == "daily"]
    return sorted(runs, key=lambda run: run.run_date), looped


def stacked(runs, table):
    """A table of every run, the lines of its own session."""
    frames = [archive.read_table(run.path, table) for run in runs]
    own = [f[f["session"] == pd.Timestamp(r.run_date)] for f, r in zip(frames, runs, strict=True)]
    return pd.concat(own, ignore_index=True)


@pytest.mark.parametrize("table", [Target, Holding])
def test_targets_and_holdings_are_equal(both, table):
    runs, looped = both
    ours = {Target: looped.targets, Holding: looped.holdings}[table]
    assert len(runs) == SESSIONS and ours["session"].nunique() >= SESSIONS - 1
    pd.testing.assert_frame_equal(ours, stacked(runs, table), check_exact=True)


def test_orders_are_equal(both):
    runs, looped = both
    theirs = stacked(runs, Order).sort_values("client_order_id", ignore_index=True)
    ours = looped.orders.sort_values("client_order_id", ignore_index=True)
    pd.testing.assert_frame_equal(ours[ORDER], theirs[ORDER], check_exact=True)
    assert (theirs["state"].replace("accepted", "planned") == ours["state"]).all()


def test_fills_are_equal(both):
    runs, looped = both
    theirs = stacked(runs, Fill).sort_values("client_order_id", ignore_index=True)
    ours = looped.fills.sort_values("client_order_id", ignore_index=True)
    wanted = ["session", "client_order_id", "side", "qty", "price", "value"]
    pd.testing.assert_frame_equal(ours[wanted], theirs[wanted], check_dtype=False, check_exact=True)


def test_equity_is_equal_to_the_cent_and_further(both):
    runs, looped = both
    theirs = stacked(runs, Equity).drop(columns="broker_equity")
    ours = looped.equity.drop(columns="broker_equity")
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
