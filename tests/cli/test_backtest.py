"""quant50 backtest, from the command line to the folder that keeps the result."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from quant50lib.jobs import backtest as job
from quant50lib.utils.config import Home
from tests import desks

SMALL = desks.SETTINGS + '\n[simulator]\nfirst_session = "2022-01-03"\n'
WORDS = ("backtest", "--from", "2024-02-01", "--to", "2024-02-06")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return desks.write(tmp_path_factory.mktemp("backtest") / "desk", SMALL)


def test_it_says_what_it_earned_and_keeps_all_of_it(home):
    done = desks.invoke(home, *WORDS, "--json", **desks.NO_FORKS)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["market"] == "SIMULATED prices" and said["sessions"] == 4
    result, others, kept = job.load(job.newest(Home(home)))
    assert kept == said and list(others) == ["SPY", "equal weight", "minimum variance"]
    assert list(result.daily.index.strftime("%d")) == ["01", "02", "05", "06"]
    assert result.daily["equity"].iloc[-1] / 1e5 - 1 == pytest.approx(said["return_total"])
    assert [said[n] for n in ("return_annual", "volatility_annual", "sharpe")] == [None] * 3
    exposed = job.exposures(job.newest(Home(home)))
    weights = result.holdings.groupby("session")["weight"].sum()
    assert exposed.drop(columns="beta").sum(axis=1).loc[weights.index].to_list() == pytest.approx(
        weights.to_list()
    )
    assert job.safety(job.newest(Home(home)), "zero") is None
    assert len(result.fills) and len(result.targets)


def test_real_bars_of_a_file_are_called_real(home, tmp_path):
    market = job.market_of(
        job.Settings.model_validate({"simulator": {"first_session": "2022-01-03"}}),
        pd.Timestamp("2024-02-06"),
    )
    closes = pd.DataFrame(market.raw.fields["close"], market.sessions, market.raw.symbols)
    long = closes[["SPY", "AAPL", "XOM"]].stack().rename("close").reset_index()
    long.columns = ["date", "symbol", "close"]
    bars = long.assign(open=long.close, high=long.close, low=long.close, volume=10**6)
    bars["date"] = bars["date"].dt.date
    bars.to_parquet(tmp_path / "bars.parquet")
    done = desks.invoke(
        home, *WORDS, "--market", str(tmp_path / "bars.parquet"), "--json", "--no-brake",
        "--no-stops", **desks.NO_FORKS,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["market"] == "real prices"
    assert (home / "backtests" / "zero-no-brake-no-stops-2024-02-01-2024-02-06").is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--book", "hope"), "hope"),
        (("--from", "2024-02-10", "--to", "2024-02-11"), "no session"),
        (("--market", "/no/such.parquet"), "does not exist"),
    ],
)
def test_what_cannot_be_is_refused(home, words, said):
    done = desks.invoke(home, "backtest", *words, **desks.NO_FORKS)
    assert done.code == 2 and said in done.err, done.err
