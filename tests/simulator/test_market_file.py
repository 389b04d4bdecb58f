"""Real bars from a file, and files that are none."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant50lib.errors import ContractError, SettingsError
from quant50lib.simulator.market import FileMarket, read_universe

REAL = Path(__file__).parents[2] / "../shared/data"
PARQUET, ACTIONS = REAL / "us_daily_2013_2018.parquet", REAL / "corporate_actions.csv"


def frame() -> pd.DataFrame:
    days = [dt.date(2020, 1, 2), dt.date(2020, 1, 3)] * 2
    prices = np.array([10.0, 11.0, 20.0, 21.0])
    return pd.DataFrame(
        {
            "symbol": ["BB", "BB", "AA", "AA"],
            "date": days,
            "open": prices,
            "high": prices + 1,
            "low": prices - 1,
            "close": prices + 0.5,
            "volume": [1000, 0, 3000, 4000],
        }
    )


def write(path: Path, table: pd.DataFrame) -> Path:
    table.to_parquet(path, index=False)
    return path


def test_bars_by_symbol(tmp_path: Path) -> None:
    made = FileMarket(write(tmp_path / "bars.parquet", frame()))
    assert list(made.listings()) == ["AA", "BB"]
    assert (made.first_day, made.last_day) == (dt.date(2020, 1, 2), dt.date(2020, 1, 3))
    series = made.series("BB")
    assert series.open.tolist() == [10.0, 11.0] and series.close.tolist() == [10.5, 11.5]
    assert series.trades.tolist() == [8, 0]
    assert made.series("CC") is None
    assert made.identity.startswith("file bars.parquet sha256=") and not made.simulated


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _repeat(path: Path) -> None:
    write(path, pd.concat([frame(), frame().head(1)]))


def _drop(path: Path) -> None:
    write(path, frame().drop(columns="close"))


def _null(path: Path) -> None:
    write(path, frame().assign(close=[1.0, None, 2.0, 3.0]))


def _words(path: Path) -> None:
    write(path, frame().assign(open="much"))


def _nothing(path: Path) -> None:
    write(path, frame().head(0))


@pytest.mark.parametrize("damage", [_truncate, _repeat, _drop, _null, _words, _nothing])
def test_a_damaged_file_is_named(tmp_path: Path, damage) -> None:
    path = write(tmp_path / "broken.parquet", frame())
    damage(path)
    with pytest.raises(ContractError, match="broken.parquet"):
        FileMarket(path)


def test_only_actions_that_the_prices_lack(tmp_path: Path) -> None:
    csv = tmp_path / "actions.csv"
    csv.write_text(
        "symbol,ex_date,type,ratio_new,ratio_old,cash_amount,already_in_prices\n"
        "AA,2020-01-03,split,2.0,1.0,,yes\n"
        "AA,2020-01-03,cash_dividend,,,0.25,no\n"
        "BB,2020-01-03,reverse_split,1,8,,no\n"
        "BB,2020-01-03,spinoff_or_special_distribution,,,,no\n"
        "BB,2021-01-04,split,2.0,1.0,,no\n"
        "AA,2020-01-02,large_distribution,,,5,no\n"
    )
    made = FileMarket(write(tmp_path / "bars.parquet", frame()), csv)
    found = [(a.symbol, a.kind, a.new, a.old, a.cash, a.special) for a in made.actions()]
    one = Decimal(1)
    assert found == [
        ("AA", "cash_dividend", one, one, Decimal(5), True),
        ("AA", "cash_dividend", one, one, Decimal("0.25"), False),
        ("BB", "reverse_split", one, Decimal(8), Decimal(0), False),
    ]
    csv.write_text("symbol,day\nAA,2020-01-03\n")
    with pytest.raises(ContractError, match="actions.csv"):
        FileMarket(tmp_path / "bars.parquet", csv)


def test_a_universe_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "universe.csv"
    path.write_text("symbol,name,sector,kind\nAA,Alpha,Energy,stock\nSPY,S&P,Broad,etf\n")
    assert [x.kind for x in read_universe(path)] == ["stock", "etf"]
    path.write_text("symbol,name,sector,kind\nAA,Alpha,Energy,bond\n")
    with pytest.raises(SettingsError, match="line 2"):
        read_universe(path)
    path.write_text("symbol,name,sector,kind\nAA,,,stock\nAA,,,stock\n")
    with pytest.raises(SettingsError, match="repeats"):
        read_universe(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_universe(tmp_path / "none.csv")


@pytest.mark.real
@pytest.mark.skipif(not PARQUET.exists(), reason="the real bars are not beside the checkout")
def test_the_real_bars_are_served_as_they_are() -> None:
    made = FileMarket(PARQUET, ACTIONS)
    table = pd.read_parquet(PARQUET)
    assert len(made.listings()) == table["symbol"].nunique() == 527
    for symbol in ("AAPL", "BRK.B", "SPY", "XLRE"):
        rows = table[table["symbol"] == symbol].sort_values("date")
        series = made.series(symbol)
        np.testing.assert_array_equal(series.close, rows["close"])
        np.testing.assert_array_equal(series.volume, rows["volume"])
        assert series.day.tolist() == rows["date"].tolist()
    dividend = [a for a in made.actions() if a.symbol == "AAPL" and a.ex_date.year == 2017]
    assert dt.date(2017, 8, 10) in {a.ex_date for a in dividend}
    assert not any(action.is_split for action in made.actions())
