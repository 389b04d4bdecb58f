"""The packaged universe is what it says; a user's own file is read or refused clearly."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from quant50lib.adapters import universe
from quant50lib.errors import SettingsError

SECTORS = Path(__file__).parents[3] / "shared" / "data" / "sectors.csv"
GICS = {
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
}
FUND_GROUPS = {"Broad Equity", "International Equity", "Bonds", "Commodities"}
SECTOR_FUNDS = {
    "XLB": "Materials",
    "XLC": "Communication Services",
    "XLE": "Energy",
    "XLF": "Financials",
    "XLI": "Industrials",
    "XLK": "Information Technology",
    "XLP": "Consumer Staples",
    "XLRE": "Real Estate",
    "XLU": "Utilities",
    "XLV": "Health Care",
    "XLY": "Consumer Discretionary",
    "VNQ": "Real Estate",
}
#: sector of April 2018 to sector of today: (names, old, new, from when, why)
MOVES = (
    (
        "GOOG GOOGL NFLX",
        "Information Technology",
        "Communication Services",
        "2018-09-24",
        "GICS: the new sector took in internet media",
    ),
    (
        "CHTR CMCSA DIS NWSA OMC",
        "Consumer Discretionary",
        "Communication Services",
        "2018-09-24",
        "GICS: the new sector took in media and cable",
    ),
    (
        "T VZ",
        "Telecommunication Services",
        "Communication Services",
        "2018-09-24",
        "GICS: the sector was widened and renamed",
    ),
    (
        "EBAY",
        "Information Technology",
        "Consumer Discretionary",
        "2018-09-24",
        "GICS: online marketplaces joined retailing",
    ),
    (
        "CVS",
        "Consumer Staples",
        "Health Care",
        "2018-12-03",
        "bought Aetna at the end of November 2018 and is a health-care service since",
    ),
    (
        "FIS FISV GPN MA PYPL V",
        "Information Technology",
        "Financials",
        "2023-03-20",
        "GICS: payment processing moved",
    ),
    (
        "ADP PAYX",
        "Information Technology",
        "Industrials",
        "2023-03-20",
        "GICS: payroll and human-resource services moved",
    ),
    (
        "DG DLTR TGT",
        "Consumer Discretionary",
        "Consumer Staples",
        "2023-03-20",
        "GICS: retailers that sell mostly staples moved",
    ),
)


@pytest.fixture(scope="module")
def names():
    return universe.load()


def test_it_holds_about_three_hundred_names_in_all_eleven_sectors(names):
    stocks = names[names["kind"] == "stock"]
    assert 275 <= len(stocks) <= 290 and (names["kind"] == "etf").sum() == 24
    assert set(stocks["sector"]) == GICS
    assert stocks["sector"].value_counts().min() >= 12
    assert set(names["sector"]) == GICS | FUND_GROUPS
    assert list(names["symbol"]) == sorted(names["symbol"])


def test_class_shares_take_a_dot_and_sector_funds_the_sector_they_track(names):
    groups = names.set_index("symbol")["sector"].to_dict()
    assert {"BRK.B", "BF.B"} <= set(groups)
    assert {symbol: groups[symbol] for symbol in SECTOR_FUNDS} == SECTOR_FUNDS
    assert {groups[s] for s in ("SPY", "QQQ", "IWM", "DIA", "VTI")} == {"Broad Equity"}
    assert {groups[s] for s in ("TLT", "IEF", "AGG")} == {"Bonds"}


@pytest.mark.real
@pytest.mark.skipif(not SECTORS.exists(), reason="the real data are not beside the checkout")
def test_sectors_agree_with_those_of_2018_but_for_the_moves_listed(names):
    with SECTORS.open(encoding="utf-8") as lines:
        then = {row["symbol"]: row["gics_sector"] for row in csv.DictReader(lines)}
    now = names[names["kind"] == "stock"].set_index("symbol")["sector"].to_dict()
    moved = {s: (old, new) for group, old, new, *_ in MOVES for s in group.split()}
    both = set(then) & set(now)
    assert len(both) >= 255
    assert {s: (then[s], now[s]) for s in both if then[s] != now[s]} == moved


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "names.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_own_file_replaces_it_sorted_and_trimmed(tmp_path):
    path = write(
        tmp_path, "kind,symbol,name,sector,note\netf, SPY ,Fund,Broad,x\nstock,NA,N,Tech,y\n"
    )
    found = universe.load(path)
    assert found.to_dict("list") == {
        "symbol": ["NA", "SPY"],
        "name": ["N", "Fund"],
        "sector": ["Tech", "Broad"],
        "kind": ["stock", "etf"],
    }


HEAD = "symbol,name,sector,kind\n"
SPY = "SPY,Fund,Broad,etf\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,name\nSPY,Fund\n", r"lacks \['sector', 'kind'\]"),
        (HEAD + SPY + "AAPL,Apple,Tech,stock\nAAPL,Apple,Tech,stock\n", "more than once: AAPL"),
        (HEAD + SPY + "brk-b,B,Fin,stock\n", "not a symbol.*brk-b"),
        (HEAD + SPY + "BTC,Coin,Money,crypto\n", "kind is not one of stock, etf: BTC"),
        (HEAD + SPY + "XYZ,,Tech,stock\n", "without a name: XYZ"),
        (HEAD + SPY + "XYZ,X,,stock\n", "without a sector: XYZ"),
        (HEAD + "AAPL,Apple,Tech,stock\n", "benchmark SPY"),
        ("", "cannot be read"),
        ('symbol,name,sector,kind\nSPY,"open,Broad,etf\n', "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said):
        universe.load(write(tmp_path, text))


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="universe.file"):
        universe.load(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SettingsError, match="universe.file"):
        universe.load(tmp_path / "b.csv")


def test_all_bad_rows_are_named_at_once(tmp_path):
    path = write(tmp_path, HEAD + "a,A,Tech,stock\nXYZ,,Tech,bond\n")
    with pytest.raises(SettingsError) as caught:
        universe.load(path, benchmark="QQQ")
    for part in ("not a symbol", "without a name", "kind is not", "benchmark QQQ"):
        assert part in str(caught.value)
